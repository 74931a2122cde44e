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
from math import exp, isfinite, log
from typing import NamedTuple, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.messages import Field

FIELDS: tuple[Field, ...] = get_args(Field)
COLUMNS = len(FIELDS) + 1
"""Columns of a matrix of scores: the fields in their order, then 1.0 for an equal identity, NaN for none."""

AGREES = 0.8
"""A field's score from which on it counts as agreeing evidence."""

MOST = 8.0
"""Log-odds that no field alone may exceed, for or against: nothing that people type is surer than that."""

CONFLICT = 0.849
"""Ceiling of the probability of a document with another invoice number: a person may still see it."""
OTHER_COMPANY = 0.5
"""Ceiling where the numbers in the two names contradict (Depot 12, Depot 14), whatever else agrees."""

_NAME, _AMOUNT, _DATE, _REFERENCE = map(FIELDS.index, ("name", "amount", "date", "reference"))
_NO_AMOUNT, _NO_DATE = 0.79, 0.5
"""Scores below which amounts, and from which on dates, are no coincidence any more."""

Floats = NDArray[np.float64]
Table = tuple[tuple[float, float], ...]
"""Scores from 0 to 1, rising, each with its worth; straight lines between them."""


class Habits(NamedTuple):
    """What differs from workspace to workspace, as log-odds; 0 where it is as in the books that were fitted on.

    `presence` says how usual it is that Qonto holds a bill's document before Weir comes. `coincidence` says how much
    more an equal amount on the same days is worth: less where many documents have the same ones by accident.
    """

    presence: float = 0.0
    coincidence: float = 0.0


class Weights(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One version of the weights. ValueError names the field that makes no sense.

    `prior` is the log-odds of a candidate before anything is compared: most share an amount by accident.
    `identity` is the worth of an equal VAT number or IBAN: the same counterparty, whichever document. `habits` are
    those of the workspace that the weights are for.
    """

    version: str
    prior: float
    identity: float
    worths: dict[Field, Table]
    habits: Habits = Habits()

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

    def suited(self, habits: Habits) -> "Weights":
        """The same weights for a workspace with these habits."""
        return msgspec.structs.replace(self, habits=habits)

    def worth(self, field: Field, score: float | None) -> float:
        """The log-odds of a field's score; 0 where one side does not say."""
        if score is None:
            return 0.0
        table = self.worths[field]
        for (low, low_worth), (high, high_worth) in pairwise(table):
            if score <= high:
                return low_worth + (high_worth - low_worth) * (score - low) / (high - low)
        return table[-1][1]

    def logit(self, scores: Mapping[Field, float | None], *, same_identity: bool = False) -> float:
        """The log-odds, against no counterpart at all, of a candidate with these scores."""
        total = self.prior + self.habits.presence + sum(self.worth(field, score) for field, score in scores.items())
        total += self.coincidence(scores.get("amount"), scores.get("date"))
        return total + self.identity if same_identity else total

    def coincidence(self, amount: float | None, date: float | None) -> float:
        """What these two are worth more or less than elsewhere, as log-odds."""
        scores = np.full((1, COLUMNS), np.nan)
        scores[0, [_AMOUNT, _DATE]] = np.array([amount, date], dtype=np.float64)
        worths = (self.worths_of(field, scores[:, FIELDS.index(field)]) for field in ("amount", "date"))
        return float(self._coincidences(scores, *worths)[0])

    def _coincidences(self, scores: Floats, amounts: Floats, dates: Floats) -> Floats:
        """`coincidence` of every row, from what its amount and date are worth.

        It is at most what the two add by agreeing rather than not, whichever adds less, so that no amount or date
        gains by being moved away.
        """
        edge = amounts - self.worth("amount", _NO_AMOUNT), dates - self.worth("date", _NO_DATE)
        added = np.where(coincide(scores), np.maximum(np.minimum(*edge), 0.0), 0.0)
        share = self.habits.coincidence
        return np.asarray(np.copysign(np.minimum(abs(share), added), share))

    def probability(self, scores: Mapping[Field, float | None], *, same_identity: bool = False) -> float:
        """The probability that two documents are the same, from their fields' scores, if none competes."""
        return 1 / (1 + exp(-self.logit(scores, same_identity=same_identity)))

    def worths_of(self, field: Field, scores: Floats) -> Floats:
        """`worth` of every score at once, in the same shape; NaN says that one side does not say."""
        return np.where(np.isnan(scores), 0.0, np.interp(scores, *_points(self.worths[field])))

    def logits(self, scores: Floats) -> Floats:
        """The log-odds of every row of a matrix of scores with `COLUMNS` columns."""
        worths = [self.worths_of(field, scores[:, column]) for column, field in enumerate(FIELDS)]
        return self.combined(worths, scores, scores[:, -1] == 1.0)

    def combined(self, worths: Sequence[Floats | float], scores: Floats, same: NDArray[np.bool_]) -> Floats:
        """The log-odds of every row, from what each of its FIELDS is worth and whether the identity is the same."""
        total = sum(worths, np.full(len(scores), self.prior + self.habits.presence))
        if self.habits.coincidence:
            total += self._coincidences(scores, np.asarray(worths[_AMOUNT]), np.asarray(worths[_DATE]))
        return total + np.where(same, self.identity, 0.0)


@lru_cache(maxsize=128)
def _points(table: Table) -> tuple[Floats, Floats]:
    """The scores of a table, and what they are worth, as arrays."""
    at, worth = np.array(table).T
    return at, worth


def coincide(scores: Floats) -> NDArray[np.bool_]:
    """Which rows of a matrix of scores have the same amount on the same days, as unrelated documents may have, too."""
    found: NDArray[np.bool_] = (scores[:, _AMOUNT] >= AGREES) & (scores[:, _DATE] >= _NO_DATE)
    return found


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
        return msgspec.json.decode(text, type=Weights)
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
