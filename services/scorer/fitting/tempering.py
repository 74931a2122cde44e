"""Fits the last correction: how much surer or less sure to be than fields and rivals make one, see `Temper`."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import msgspec
import numpy as np

from services.scorer.fitting.choices import RIDGE, Bill, likeliest, stacked
from services.scorer.fitting.evaluate import decided
from services.scorer.fitting.features import NONE, Compared
from services.scorer.matching.decide import odds
from services.scorer.matching.habits import habits
from services.scorer.matching.model import Floats, Weights
from services.scorer.matching.temper import LATEST, Steps, Temper

KNOTS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
"""The log-odds between which the correction of the whole bends: from 5 to 95 per cent."""
_KEPT = 0.05
"""The least that is left of a difference of log-odds, so that the correction turns no two candidates round."""


def tempered(worlds: Sequence[Compared], weights: Weights) -> Weights:
    """The weights, which correct nothing yet, with what corrects them best in these worlds."""
    sides, bounds = _keeping_order()
    choices = stacked(bill for world in worlds for bill in _correctable(world, weights))
    theta = likeliest(np.zeros(sides.shape[1]), choices, sides, bounds, np.full(sides.shape[1], RIDGE))
    single, series = np.split(theta[1:], 2)
    found = Temper(round(float(theta[0]), 3), _steps(single), _steps(series))
    return msgspec.structs.replace(weights, temper=found)


def _steps(added: Floats) -> Steps:
    return tuple(zip(KNOTS, added.round(3).tolist(), strict=True))


def _correctable(world: Compared, weights: Weights) -> Iterator[Bill]:
    """Every bill as the matcher decides on it, with what a correction adds to each of its candidates.

    A column for each number of the correction. What is not shown of the candidates counts with there being none.
    """
    usual_here, at = habits(world.books, weights), np.array(KNOTS)
    for (_, verdict), truth in zip(decided(world, weights), world.truths, strict=True):
        shown = [one for one in verdict.candidates if one.free > 0.0 and not one.claimed]
        if not shown or truth.duplicate_of is not None or truth.ambiguous:
            continue
        keys = [f"{one.kind}-{one.entry}" for one in shown]
        right = next((number for number, key in enumerate(keys) if key in truth.counterparts), NONE)
        recurs = verdict.grounds.recurs
        logits = np.log([odds(one.alone) * one.free for one in shown])
        hats = np.stack([np.interp(logits, at, one) for one in np.eye(len(at))], axis=1) * usual_here.late
        columns = (np.full((len(shown), 1), usual_here.strangers), hats * (not recurs), hats * recurs)
        yield Bill(np.concatenate(columns, axis=1), logits - np.log1p(verdict.grounds.rest), right)


def _keeping_order() -> tuple[Floats, Floats]:
    """Rows and bounds of what must hold of a correction: greater log-odds stay greater, however late documents are."""
    size = 1 + 2 * len(KNOTS)
    sides: list[Floats] = []
    bounds: list[float] = []
    for first in (1, 1 + len(KNOTS)):
        for at, (low, high) in enumerate(pairwise(KNOTS), start=first):
            side = np.zeros(size)
            side[at], side[at + 1] = LATEST, -LATEST
            sides.append(side)
            bounds.append((1 - _KEPT) * (high - low))
    return np.array(sides), np.array(bounds)
