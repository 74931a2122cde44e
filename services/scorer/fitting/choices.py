"""Choices between the candidates of a bill and there being none, and the parameters under which they are likeliest.

A multinomial logit: the utility of a candidate is linear in the parameters, that of no counterpart is 0. The optimum
under linear constraints is found by an interior point method: Newton's steps on the likelihood plus a logarithmic
barrier that is taken back by and by (Boyd and Vandenberghe, "Convex Optimization", chapter 11). No chance is involved.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.scorer.fitting.features import NONE
from services.scorer.matching.model import Floats

DOUBT = 0.002
"""Share of the labels that are taken to be wrong: so much of a counterpart's weight goes to there being none."""
RIDGE = 1.0
"""Pull of parameters towards 0, which is what they are where data say nothing."""
_STEPS, _BARRIERS = 40, (10.0, 1.0, 0.1, 0.01)


class Bill(NamedTuple):
    """A bill with a row of parameters' shares and an offset for each candidate; `right` is its counterpart or NONE."""

    design: Floats
    offsets: Floats
    right: int


class Choices(NamedTuple):
    """Bills one after the other: a row and an offset for each candidate.

    `starts` has the first row of each bill, `right` the row of its counterpart or NONE.
    """

    design: Floats
    offsets: Floats
    starts: NDArray[np.intp]
    right: NDArray[np.intp]


def stacked(bills: Iterable[Bill]) -> Choices:
    """The choices of these bills; at least one."""
    several = list(bills)
    starts = np.cumsum([0, *(len(one.offsets) for one in several)])[:-1]
    right = [NONE if one.right == NONE else start + one.right for start, one in zip(starts, several, strict=True)]
    return Choices(
        np.concatenate([one.design for one in several]),
        np.concatenate([one.offsets for one in several]),
        starts.astype(np.intp),
        np.array(right, dtype=np.intp),
    )


def likeliest(start: Floats, choices: Choices, sides: Floats, bounds: Floats, ridge: Floats) -> Floats:
    """The parameters under which what is really so is likeliest, of those for which sides @ parameters < bounds.

    The search begins at `start`, for which this holds. `ridge` is how strongly each parameter is pulled towards 0.
    """
    theta = start
    for strength in _BARRIERS:
        theta = _newton(theta, choices, sides, bounds, ridge, strength)
    return theta


def _newton(theta: Floats, choices: Choices, sides: Floats, bounds: Floats, ridge: Floats, strength: float) -> Floats:
    """The best parameters for one strength of the barrier."""
    design, added, starts, right = choices

    def cost(point: Floats) -> float:
        slack = bounds - sides @ point
        if slack.min() <= 0.0:
            return float("inf")
        return (
            _loss(design @ point + added, starts, right)
            + float(ridge @ point**2) / 2
            - strength * float(np.log(slack).sum())
        )

    now = cost(theta)
    for _ in range(_STEPS):
        chance = _chances(design @ theta + added, starts)
        slack = bounds - sides @ theta
        gradient = (
            design.T @ (chance - _target(right, len(design))) + ridge * theta + strength * (sides.T @ (1 / slack))
        )
        weighted = design * chance[:, None]
        means = np.add.reduceat(weighted, starts, axis=0)
        scaled = sides / slack[:, None]
        hessian = design.T @ weighted - means.T @ means + np.diag(ridge) + strength * (scaled.T @ scaled)
        step = np.linalg.solve(hessian + 1e-9 * np.eye(len(theta)), gradient)
        descent, length = float(gradient @ step), 1.0
        if descent < 1e-3 * strength:
            break
        while (new := cost(theta - length * step)) > now - 1e-4 * length * descent and length > 1e-10:
            length /= 2
        if new >= now:
            break
        theta, now = theta - length * step, new
    return theta


def _chances(utilities: Floats, starts: NDArray[np.intp]) -> Floats:
    """P of every candidate among its bill's candidates and none."""
    lengths = np.diff([*starts, len(utilities)])
    highest = np.maximum(np.maximum.reduceat(utilities, starts), 0.0)
    odds = np.exp(utilities - np.repeat(highest, lengths))
    return np.asarray(odds / np.repeat(np.add.reduceat(odds, starts) + np.exp(-highest), lengths))


def _target(right: NDArray[np.intp], rows: int) -> Floats:
    found = np.zeros(rows)
    found[right[right != NONE]] = 1.0 - DOUBT
    return found


def _loss(utilities: Floats, starts: NDArray[np.intp], right: NDArray[np.intp]) -> float:
    """The negative log-likelihood of what is really so."""
    highest = np.maximum(np.maximum.reduceat(utilities, starts), 0.0)
    lengths = np.diff([*starts, len(utilities)])
    total = np.add.reduceat(np.exp(utilities - np.repeat(highest, lengths)), starts) + np.exp(-highest)
    return float((highest + np.log(total)).sum() - (1.0 - DOUBT) * utilities[right[right != NONE]].sum())
