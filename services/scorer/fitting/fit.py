"""Fits the weights: a multinomial logit per bill over its candidates and "Qonto holds no counterpart".

The utility of a candidate is the prior plus the worths of its fields, that of no counterpart is 0. Worths
are straight lines between the knots of a table, so the likelihood is concave in the parameters: the worth
of each field's lowest score and the rises from knot to knot. What must hold of any weights is stated as
linear constraints.

What the matcher adds to the worths, for the habits of a world and for other bills that want an entry, depends on the
weights itself. So the weights are fitted in ROUNDS, each with what those of the round before add.
A bill of a series (see `series`) has worths of its own for dates, beside those that all have.

The constraints: rises are not negative; no field is worth more than `model.MOST`; amount and date, or a reference, are
never enough for a link, and what contradicts in name or amount not even for a question; name, amount and date together
are enough for a link, and name with either of them for a question.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log

import msgspec
import numpy as np

from common.messages import Field
from services.scorer.fitting.choices import RIDGE, Bill, likeliest, stacked
from services.scorer.fitting.competition import offsets, usual
from services.scorer.fitting.features import NONE, Compared
from services.scorer.fitting.tempering import tempered
from services.scorer.matching.model import FIELDS, MOST, SAME, SERIES, Floats, Weights

KNOTS: Mapping[Field, tuple[float, ...]] = {
    "name": (0.0, 0.3, 0.45, 0.55, 0.7, 0.8, 0.84, 0.9, 0.97, 1.0),
    "amount": (0.0, 0.1, 0.5, 0.79, 0.86, 0.9, 0.98, 1.0),
    "date": (0.0, 0.03, 0.08, 0.2, 0.5, 0.76, 0.9, 0.95, 0.97, 0.985, 1.0),
    "currency": (0.0, 0.6, 1.0),
    "reference": (0.0, 0.85, 0.92, 0.97, 1.0),
}
SERIES_KNOTS = (0.0, 0.08, 0.2, 0.5, 0.9, 0.985, 1.0)
"""Where the tables may bend: at the scores that the comparison gives for one reason each."""

ENOUGH, TOO_LITTLE = 0.9, 0.8
"""What name, amount and date must at least come to without a reference, and amount and date, or a reference alone, may
at most."""
ASKED = 0.6
"""What name and amount, or name and date, must at least come to by themselves: a person is asked before a document
that Qonto has half read is made again."""
AGAINST = 0.4
"""What another name, or another amount, may at most come to though everything else but a reference agrees."""
ROUNDS, TOLD = 5, 2
"""Rounds of a fit, and the last of those that are told the habits of the worlds: later ones estimate them as the
matcher does, and go half the way, as habits and weights follow from each other."""
_START: Mapping[Field, tuple[float, float]] = {
    "name": (-4.0, 4.0),
    "amount": (-4.0, 2.5),
    "date": (-3.0, 2.0),
    "currency": (-1.0, 0.2),
    "reference": (-3.0, 5.0),
}
"""Worths of the lowest and highest scores to begin with; well within all constraints."""


@dataclass(frozen=True)
class _Layout:
    """Which parameters are whose: the prior, then each field's lowest worth and its rises, then the identity."""

    first: Mapping[Field, int]
    series: int
    size: int

    def rises(self, field: Field) -> range:
        return range(self.first[field] + 1, self.first[field] + len(KNOTS[field]))


def _layout() -> _Layout:
    first: dict[Field, int] = {}
    at = 1
    for field in FIELDS:
        first[field] = at
        at += len(KNOTS[field])
    return _Layout(first, at, at + len(SERIES_KNOTS) + 1)


_PLAN = _layout()


def fit(worlds: Sequence[Compared], unseen: Sequence[Compared], label: str) -> Weights:
    """The weights under which what is really so in these worlds is most likely; copies of bills say nothing.

    They are tempered on other worlds, which they were not fitted on. The version is the label and a digest of all
    numbers, so others never have the same name.
    """
    sides, bounds = _constraints()
    ridge = np.array([0.0] + [RIDGE] * (_PLAN.size - 1))  # nothing is known of the prior beforehand
    theta, weights = _start(), None
    for fitted in range(ROUNDS):
        choices = stacked(bill for world in worlds for bill in _comparable(world, weights, told=fitted <= TOLD))
        last, theta = theta, likeliest(_start(), choices, sides, bounds, ridge)
        if fitted > TOLD + 1:
            theta = (theta + last) / 2
        bare = _weights(theta)
        common = usual(worlds, bare)
        weights = msgspec.structs.replace(bare, accidents=common.accidents, shares=common.shares)
    return _named(tempered(unseen, _named(weights or _weights(theta), label)), label)


def _comparable(world: Compared, weights: Weights | None, *, told: bool) -> Iterator[Bill]:
    """Every bill with a truth of its own, with the ramps of its candidates and what these weights add."""
    added = np.zeros(len(world.candidates)) if weights is None else offsets(world, weights, told=told)
    design = _design(world.scores)
    for bill, truth in enumerate(world.truths):
        running = np.array([row for row in world.rows(bill) if np.isfinite(added[row])], dtype=np.intp)
        row = int(world.right[bill])
        hidden = bool(truth.counterparts) and row not in running
        if running.size and truth.duplicate_of is None and not hidden:
            right = NONE if row == NONE else int(np.searchsorted(running, row))
            yield Bill(design[running], added[running], right)


def _design(scores: Floats) -> Floats:
    """One row per candidate, one column per parameter."""
    found = np.zeros((len(scores), _PLAN.size))
    found[:, 0] = 1.0
    for column, field in enumerate(FIELDS):
        known = ~np.isnan(scores[:, column])
        score = np.where(known, scores[:, column], 0.0)
        found[:, _PLAN.first[field]] = known
        for at, (low, high) in zip(_PLAN.rises(field), pairwise(KNOTS[field]), strict=True):
            found[:, at] = np.clip((score - low) / (high - low), 0.0, 1.0)
    dates = scores[:, FIELDS.index("date")]
    of_series = (scores[:, SERIES] == 1.0) & ~np.isnan(dates)
    found[:, _PLAN.series] = of_series
    for at, (low, high) in enumerate(pairwise(SERIES_KNOTS), start=_PLAN.series + 1):
        found[:, at] = np.where(of_series, np.clip((np.nan_to_num(dates) - low) / (high - low), 0.0, 1.0), 0.0)
    found[:, -1] = np.nan_to_num(scores[:, SAME])
    return found


def _constraints() -> tuple[Floats, Floats]:
    """Rows and bounds of what must hold: rows @ parameters < bounds."""
    sides: list[Floats] = []
    bounds: list[float] = []

    def below(side: Floats, bound: float) -> None:
        sides.append(side)
        bounds.append(bound)

    for field in FIELDS:
        lowest, highest = _at(field, 0.0), _at(field, 1.0)
        below(lowest, 0.0)
        below(-lowest, MOST)
        below(-highest, 0.0)
        below(highest, MOST)
        for at in _PLAN.rises(field):
            below(-_unit(at), 0.0)
    rises = range(_PLAN.series + 1, _PLAN.size - 1)
    for at in rises:
        below(-_unit(at), 0.0)
    below(-_unit(_PLAN.series), MOST)
    below(sum((_unit(at) for at in rises), _unit(_PLAN.series)), 0.0)
    below(_unit(0), 0.0)
    below(-_unit(0), 2 * MOST)
    below(-_unit(_PLAN.size - 1), 0.0)
    below(_unit(_PLAN.size - 1), MOST)
    alone = _unit(0) + _at("amount", 1.0) + _at("date", 1.0) + _at("currency", 1.0)
    below(alone, _logit(TOO_LITTLE))
    below(-alone - _at("name", 1.0), -_logit(ENOUGH))
    below(_unit(0) + _at("reference", 1.0), _logit(TOO_LITTLE))
    below(alone + _at("name", 0.0), _logit(AGAINST))
    below(alone - _at("amount", 1.0) + _at("amount", 0.0) + _at("name", 1.0), _logit(AGAINST))
    for other in (_at("amount", 1.0) + _at("currency", 1.0), _at("date", 1.0)):
        below(-_unit(0) - _at("name", 1.0) - other, -_logit(ASKED))
    return np.array(sides), np.array(bounds)


def _unit(at: int) -> Floats:
    found = np.zeros(_PLAN.size)
    found[at] = 1.0
    return found


def _at(field: Field, score: float) -> Floats:
    """The row that gives a field's worth at its lowest or highest score."""
    found = _unit(_PLAN.first[field])
    if score:
        found[_PLAN.rises(field)] = 1.0
    return found


def _start() -> Floats:
    """A point well within the constraints."""
    found = np.zeros(_PLAN.size)
    found[0], found[-1] = -5.0, 1.0
    for field, (low, high) in _START.items():
        rises = _PLAN.rises(field)
        found[_PLAN.first[field]] = low
        found[rises] = (high - low) / len(rises)
    found[_PLAN.series] = -2.0
    found[_PLAN.series + 1 : -1] = 1.0 / (len(SERIES_KNOTS) - 1)
    return found


def _weights(theta: Floats) -> Weights:
    worths = {}
    for field in FIELDS:
        found = theta[_PLAN.first[field]] + np.cumsum([0.0, *np.maximum(theta[_PLAN.rises(field)], 0.0)])
        worths[field] = tuple(zip(KNOTS[field], (round(float(worth), 3) for worth in found), strict=True))
    risen = theta[_PLAN.series] + np.cumsum([0.0, *np.maximum(theta[_PLAN.series + 1 : -1], 0.0)])
    series = tuple(zip(SERIES_KNOTS, (round(float(worth), 3) for worth in risen), strict=True))
    prior, identity = round(float(theta[0]), 3), round(float(theta[-1]), 3)
    return Weights(version="being fitted", prior=prior, identity=identity, worths=worths, series=series)


def _named(weights: Weights, label: str) -> Weights:
    """The weights under a version of their own."""
    weights = msgspec.structs.replace(weights, version=label)
    digest = hashlib.sha256(msgspec.json.encode(weights, order="sorted")).hexdigest()[:8]
    return msgspec.structs.replace(weights, version=f"{label}-{digest}")


def _logit(probability: float) -> float:
    return log(probability / (1 - probability))
