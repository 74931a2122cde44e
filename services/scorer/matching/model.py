"""The weights: what agreement and disagreement of each field are worth, as log-odds.

A candidate's log-odds are the prior plus the worth of every field, as in Fellegi and Sunter, "A Theory for
Record Linkage" (JASA 1969). A field that one side does not have is worth nothing. Each table maps a field's
score in [0, 1] to its worth and rises with the score, so moving a date or an amount away can never raise a
probability.

The candidates of one bill compete with each other and with "Qonto holds no counterpart", whose log-odds are
0: a multinomial logit (McFadden, "Conditional logit analysis of qualitative choice behavior", 1974), see
`posterior`. `python -m services.scorer.fitting` fits the weights on invented workspaces.
"""

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from itertools import pairwise
from math import copysign, exp, isfinite, log
from typing import get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from common import codec
from common.errors import UserError
from common.messages import Field, Part
from services.scorer.matching.temper import Correction, Temper

FIELDS: tuple[Field, ...] = get_args(Field)
SAME, SERIES = len(FIELDS), len(FIELDS) + 1
COLUMNS = len(FIELDS) + 2
"""Columns of a matrix of scores: the fields in their order, then SAME, 1.0 for an equal identity, and SERIES, 1.0 for a
bill that is one of a series; both NaN if not."""

AGREES = 0.8
"""A field's score from which on it counts as agreeing evidence."""

MOST = 8.0
"""Log-odds that no field alone may exceed, for or against: nothing that people type is surer than that."""

CONFLICT = 0.849
"""Ceiling of the probability of a document with another invoice number: a person may still see it."""
OTHER_COMPANY = 0.5
"""Ceiling where the numbers in the two names contradict (Depot 12, Depot 14), whatever else agrees."""

_NAME, _AMOUNT, _DATE, _REFERENCE = map(FIELDS.index, ("name", "amount", "date", "reference"))
_NEAR_DATE = 0.5
"""Score of a date from which on the same amount may be a coincidence."""
_NO_AMOUNT, _NO_DATE = 0.0, 0.03
"""Scores of amounts and dates at which nothing is left of a coincidence."""
_SHIFTED = 1.7
"""How much more than elsewhere another period's document is to be expected on a bill's day, for each unit of log-odds
by which dates suffer more: what is off is often off by a period. Chosen on invented worlds that nothing is reported
on."""

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Table = tuple[tuple[float, float], ...]
"""Scores from 0 to 1, rising, each with its worth; straight lines between them."""


LEVELS: Mapping[Field, tuple[float, ...]] = {
    "name": (0.5, 0.75, 0.82),
    "amount": (0.5, 0.8, 0.98),
    "date": (0.2, 0.5, 0.8),
}
"""The scores that part the levels of a field whose shares differ from workspace to workspace."""
_PLACES = {field: place for place, field in enumerate(LEVELS)}


class Habits(Part, frozen=True, kw_only=True):
    """What differs from workspace to workspace, as log-odds; 0 where it is as in the books that were fitted on.

    `presence` says how usual it is that Qonto holds a bill's document before Weir comes. `coincidence` says how much
    more an equal amount on the same days is worth: less where many documents have the same ones by accident; and
    `strangers` how much less than that under another name. `damage` says of each of LEVELS' fields how much more each
    of its levels is worth, from the lowest: more where so much is lost between a document and its entry more often.
    """

    presence: float = 0.0
    coincidence: float = 0.0
    strangers: float = 0.0
    damage: tuple[tuple[float, ...], ...] = ()

    @property
    def late(self) -> float:
        """How much more usual than elsewhere it is that a document has another date, as log-odds; 0 where it is not."""
        return self._worst("date")

    @property
    def twice(self) -> float:
        """How much of that would count twice of a document with another date and another amount."""
        return min(self._worst("amount"), self._worst("date"))

    def _worst(self, field: Field) -> float:
        return max(self.damage[_PLACES[field]][0], 0.0) if self.damage else 0.0


_AS_ELSEWHERE = Habits()
_SUREST = 700.0
"""Log-odds beyond which a number cannot tell the difference."""


class Weights(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One version of the weights. ValueError names the field that makes no sense.

    `prior` is the log-odds of a candidate before anything is compared: most share an amount by accident.
    `identity` is the worth of an equal VAT number or IBAN: the same counterparty, whichever document. `habits` are
    those of the workspace that the weights are for. `accidents` are how many documents agree with a bill in amount and
    days by accident in the books that were fitted on, under its own name or none and under another; `shares` how often
    a bill and its document are on each level of a field there. `series` is what a date's score is worth beside the rest
    for a bill that is one of a series: never more, and less the farther away, as it may be another period's. `temper`
    corrects what a candidate comes to when its rivals are known.
    """

    version: str
    prior: float
    identity: float
    worths: dict[Field, Table]
    habits: Habits = Habits()
    accidents: tuple[float, float] = (0.1, 0.1)
    shares: dict[Field, tuple[float, ...]] = {}
    series: Table = ((0.0, 0.0), (1.0, 0.0))
    temper: Temper = Temper()

    def __post_init__(self) -> None:
        if not self.version:
            raise ValueError("version is empty; give these weights a name of their own")
        if not isfinite(self.prior):
            raise ValueError(f"prior is {self.prior}; it must be a finite number")
        if not 0.0 <= self.identity <= MOST:
            raise ValueError(f"identity is {self.identity}; it must lie between 0 and {MOST:g}")
        if set(self.worths) != set(FIELDS):
            raise ValueError(f"worths has {', '.join(sorted(self.worths))}; it must have {', '.join(sorted(FIELDS))}")
        for field, table in self.worths.items():
            _check(f"worths.{field}", table)
        _check("series", self.series)

    def suited(self, habits: Habits) -> "Weights":
        """The same weights for a workspace with these habits."""
        worths = dict(self.worths)
        for field, shifts in zip(LEVELS, habits.damage, strict=False):
            worths[field] = _shifted(self.worths[field], LEVELS[field], shifts)
        return msgspec.structs.replace(self, habits=habits, worths=worths)

    def correction(self, *, recurs: bool) -> Correction:
        """What corrects the odds of a bill's candidates, its rivals known, in a workspace with these habits."""
        return self.temper.correction(strangers=self.habits.strangers, late=self.habits.late, recurs=recurs)

    def worth(self, field: Field, score: float | None) -> float:
        """The log-odds of a field's score; 0 where one side does not say."""
        return 0.0 if score is None else _between(self.worths[field], score)

    def logit(
        self, scores: Mapping[Field, float | None], *, same_identity: bool = False, recurs: bool = False
    ) -> float:
        """The log-odds, against no counterpart at all, of a candidate with these scores.

        The same as `logits` of a row; for a few candidates it takes a fraction of the time.
        """
        total = self.prior + self.habits.presence + self.coincidence(scores, recurs=recurs)
        for field in FIELDS:
            total += self.worth(field, scores.get(field))
        amount, date = scores.get("amount"), scores.get("date")
        if recurs:
            total += self.another_period(date)
        if amount is not None and date is not None and amount < LEVELS["amount"][0] and date < LEVELS["date"][0]:
            total -= self.habits.twice
        return total + self.identity if same_identity else total

    def probability(
        self, scores: Mapping[Field, float | None], *, same_identity: bool = False, recurs: bool = False
    ) -> float:
        """The probability that two documents are the same, from their fields' scores, if none competes."""
        return 1 / (1 + exp(min(-self.logit(scores, same_identity=same_identity, recurs=recurs), _SUREST)))

    def coincidence(self, scores: Mapping[Field, float | None], *, recurs: bool = False) -> float:
        """What amount and date together are worth more or less than elsewhere, as log-odds.

        It is at most what the two add by agreeing rather than not, whichever adds less, so that no amount or date
        gains by being moved away.
        """
        name, amount, date = scores.get("name"), scores.get("amount"), scores.get("date")
        if amount is None or date is None or self.habits == _AS_ELSEWHERE:
            return 0.0
        by_date, late = self.worth("date", date), self.worth("date", _NO_DATE)
        share = self.habits.coincidence
        if name is not None and name < AGREES:
            share += self.habits.strangers
        if recurs:
            by_date, late = by_date + self.another_period(date), late + self.another_period(_NO_DATE)
            share -= _SHIFTED * self.habits.late
        edge = min(self.worth("amount", amount) - self.worth("amount", _NO_AMOUNT), by_date - late)
        return copysign(min(abs(share), max(edge, 0.0)), share)

    def another_period(self, date: float | None) -> float:
        """What a date's score is worth beside the rest if the bill is one of a series."""
        return 0.0 if date is None else _between(self.series, date)

    def _coincidences(self, scores: Floats, amounts: Floats, dates: Floats, recurs: Flags) -> Floats:
        """`coincidence` of every row, from what its amount and date are worth."""
        late: Floats | float = self.worth("date", _NO_DATE)
        share = self.habits.coincidence + np.where(scores[:, _NAME] < AGREES, self.habits.strangers, 0.0)
        if recurs.any():
            late = late + np.where(recurs, np.interp(_NO_DATE, *_points(self.series)), 0.0)
            share = share - np.where(recurs, _SHIFTED * self.habits.late, 0.0)
        edge = np.minimum(amounts - self.worth("amount", _NO_AMOUNT), dates - late)
        unknown = np.isnan(scores[:, _AMOUNT] + scores[:, _DATE])
        added = np.where(unknown, 0.0, np.maximum(edge, 0.0))
        return np.asarray(np.copysign(np.minimum(abs(share), added), share))

    def worths_of(self, field: Field, scores: Floats) -> Floats:
        """`worth` of every score at once, in the same shape; NaN says that one side does not say."""
        return np.where(np.isnan(scores), 0.0, np.interp(scores, *_points(self.worths[field])))

    def logits(self, scores: Floats) -> Floats:
        """The log-odds of every row of a matrix of scores with `COLUMNS` columns."""
        worths = [self.worths_of(field, scores[:, column]) for column, field in enumerate(FIELDS)]
        return self.combined(worths, scores, scores[:, SAME] == 1.0, scores[:, SERIES] == 1.0)

    def combined(self, worths: Sequence[Floats | float], scores: Floats, same: Flags, recurs: Flags) -> Floats:
        """The log-odds of every row, from what each of its FIELDS is worth, whether the identity is the same, and
        whether the bill is one of a series."""
        total = sum(worths, np.full(len(scores), self.prior + self.habits.presence))
        period = self._another_period(scores, recurs)
        total += period
        if self.habits != _AS_ELSEWHERE:
            amounts, dates = (np.asarray(worths[column]) for column in (_AMOUNT, _DATE))
            total += self._coincidences(scores, amounts, dates + period, recurs) - self._doubled(scores)
        return total + np.where(same, self.identity, 0.0)

    def _another_period(self, scores: Floats, recurs: Flags) -> Floats:
        """What every row's date is worth beside the rest, in rows whose bill is one of a series."""
        if not recurs.any():
            return np.zeros(len(scores))
        dates = scores[:, _DATE]
        return np.where(recurs & ~np.isnan(dates), np.interp(dates, *_points(self.series)), 0.0)

    def _doubled(self, scores: Floats) -> Floats:
        """What would count twice of a document that is damaged in amount and in date: one damage is enough."""
        twice = self.habits.twice
        if not twice:
            return np.zeros(len(scores))
        both = (scores[:, _AMOUNT] < LEVELS["amount"][0]) & (scores[:, _DATE] < LEVELS["date"][0])
        return np.where(both, twice, 0.0)


def _between(table: Table, score: float) -> float:
    """What a score is worth by a table."""
    for (low, low_worth), (high, high_worth) in pairwise(table):
        if score <= high:
            return low_worth + (high_worth - low_worth) * (score - low) / (high - low)
    return table[-1][1]


def _shifted(table: Table, edges: tuple[float, ...], shifts: tuple[float, ...]) -> Table:
    """A table with each level moved, that rises as it did; where a level would pass another, both meet halfway."""
    scores, worths = np.array(table).T
    moved = np.clip(worths + np.array(shifts)[np.digitize(scores, edges)], -MOST, MOST)
    risen = (np.maximum.accumulate(moved) + np.minimum.accumulate(moved[::-1])[::-1]) / 2
    return tuple(zip(scores.tolist(), risen.round(4).tolist(), strict=True))


@lru_cache(maxsize=128)
def _points(table: Table) -> tuple[Floats, Floats]:
    """The scores of a table, and what they are worth, as arrays."""
    at, worth = np.array(table).T
    return at, worth


def coincide(scores: Floats) -> Flags:
    """Which rows of a matrix of scores have the same amount on the same days, as unrelated documents may have, too."""
    found: NDArray[np.bool_] = (scores[:, _AMOUNT] >= AGREES) & (scores[:, _DATE] >= _NEAR_DATE)
    return found


def contradicts(name: float | None, reference: float | None) -> bool:
    """Whether these scores say that a candidate is not the document: other numbers in its name, or another number."""
    return 0.0 in (name, reference)


def held(logits: Floats, scores: Floats) -> Floats:
    """The log-odds of candidates, held down by what contradicts in their rows of scores."""
    name, reference = scores[:, _NAME], scores[:, _REFERENCE]
    capped = np.where(reference == 0.0, np.minimum(logits, _odds(CONFLICT)), logits)
    return np.where(name == 0.0, np.minimum(capped, _odds(OTHER_COMPANY)), capped)


def posterior(logits: Floats) -> Floats:
    """The probability of each candidate of one bill, given that one of them or none is the counterpart.

    What is missing to 1 is the probability that there is none.
    """
    highest = max(0.0, float(logits.max(initial=0.0)))
    odds = np.exp(logits - highest)
    return np.asarray(odds / (odds.sum() + np.exp(-highest)), dtype=np.float64)


def read(text: bytes, source: str) -> Weights:
    """Weights from JSON; UserError names the source, the field and the fix."""
    try:
        return codec.decode(text, Weights)
    except msgspec.MsgspecError as error:
        raise UserError(f"{source}: {error}; fit the weights again or take the file of a release") from None


@cache
def weights(version: str | None = None) -> Weights:
    """The weights of a version, to score again what was decided with it; without one, today's.

    UserError names the versions there are.
    """
    here = files("services.scorer.matching")
    found = {
        one.version: one
        for one in (read((here / name).read_bytes(), name) for name in ("weights.json", "weights-2026.11.1.json"))
    }
    if version is None:
        return next(iter(found.values()))
    if version not in found:
        raise UserError(f"weights {version} are unknown; this release has {', '.join(found)}")
    return found[version]


def _odds(probability: float) -> float:
    return log(probability / (1 - probability))


def _check(what: str, table: Table) -> None:
    if len(table) < 2 or table[0][0] != 0.0 or table[-1][0] != 1.0:
        raise ValueError(f"{what} must go from score 0 to score 1")
    for score, worth in table:
        if not isfinite(worth) or abs(worth) > MOST:
            raise ValueError(f"{what} is {worth} at score {score}; it must lie between -{MOST:g} and {MOST:g}")
    for (low, low_worth), (high, high_worth) in pairwise(table):
        if not low < high:
            raise ValueError(f"{what} has score {high} after {low}; its scores must rise")
        if high_worth < low_worth:
            raise ValueError(f"{what} falls from {low_worth} to {high_worth} at score {high}; it must rise")


_TODAY = weights()
VERSION, PRIOR, IDENTITY, WORTH = _TODAY.version, _TODAY.prior, _TODAY.identity, _TODAY.worths
worth, probability = _TODAY.worth, _TODAY.probability
