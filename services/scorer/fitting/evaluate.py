"""What weights decide in a world whose truth is known, and how often that is right."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import exp, lgamma, log, log1p

import numpy as np

from common.messages import Policy
from services.scorer import model
from services.scorer.decide import EVIDENCE
from services.scorer.fitting.features import NONE, Compared
from services.scorer.model import AGREES, FIELDS, Weights

BINS = 15
_NAME, _CURRENCY, _REFERENCE = (FIELDS.index(one) for one in ("name", "currency", "reference"))
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Figures:
    """What came of the bills of one world, or of several together.

    `bills` are all open ones, `matchable` those whose counterpart is there and can be told, `absent` those
    without. `auto` were linked without a person, `right` of them to their counterpart, `covered` of them
    matchable, `false` of them absent; `used` linked an entry that serves another bill. `retained` counterparts
    are among the candidates. `tops` are the probability of each best candidate and whether it is the counterpart.
    """

    bills: int = 0
    matchable: int = 0
    absent: int = 0
    retained: int = 0
    auto: int = 0
    right: int = 0
    covered: int = 0
    false: int = 0
    used: int = 0
    asked: int = 0
    tops: tuple[tuple[float, bool], ...] = ()

    def __add__(self, other: "Figures") -> "Figures":
        names = self.__slots__
        return Figures(*(getattr(self, name) + getattr(other, name) for name in names))

    @property
    def precision(self) -> float:
        """Share of the links that are right; 1 where nothing was linked."""
        return self.right / self.auto if self.auto else 1.0

    @property
    def bound(self) -> float:
        """What the precision is at least, with 95 % confidence."""
        return lower_bound(self.right, self.auto)

    @property
    def coverage(self) -> float:
        """Share of the matchable bills that were linked without a person."""
        return self.covered / self.matchable if self.matchable else 0.0

    @property
    def calibration_error(self) -> float:
        """Expected calibration error of the best candidates, over equally filled bins."""
        return calibration_error(self.tops)


def lower_bound(right: int, of: int) -> float:
    """The one-sided 95 % lower bound of a share (Clopper and Pearson, Biometrika 1934); 0 of nothing."""
    if not right:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        tail = sum(exp(_log_chance(of - wrong, of, middle)) for wrong in range(of - right + 1))
        low, high = (middle, high) if tail < 1 - _CONFIDENCE else (low, middle)
    return low


def _log_chance(right: int, of: int, share: float) -> float:
    choose = lgamma(of + 1) - lgamma(right + 1) - lgamma(of - right + 1)
    return choose + right * log(share) + (of - right) * log1p(-share)


def calibration_error(tops: tuple[tuple[float, bool], ...]) -> float:
    """The mean distance of probability and share of right ones, over BINS equally filled bins."""
    if not tops:
        return 0.0
    ordered = np.array(sorted(tops))
    bins = np.array_split(ordered, min(BINS, len(ordered)))
    return float(sum(abs(part[:, 0].mean() - part[:, 1].mean()) * len(part) for part in bins) / len(ordered))


class Decisions:
    """The decisions of one version of the weights on a world, on the posterior and behind all gates.

    `pairwise` leaves the competition of the candidates out: each has the probability it has by itself.
    """

    def __init__(
        self, world: Compared, weights: Weights, *, pairwise: bool = False, policy: Policy | None = None
    ) -> None:
        self._world = world
        self._policy = policy or Policy()
        logits = model.held(weights.logits(world.scores), world.scores)
        self.chances = np.empty(len(logits))
        for bill in range(len(world.bills)):
            rows = slice(int(world.starts[bill]), int(world.starts[bill + 1]))
            alone = 1 / (1 + np.exp(-logits[rows]))
            self.chances[rows] = alone if pairwise else model.posterior(logits[rows])

    def linked(self, bill: int) -> int | None:
        """The row that the bill is linked to without a person, None if none."""
        world, policy = self._world, self._policy
        rows = world.rows(bill)
        if not rows:
            return None
        ordered = sorted(rows, key=lambda row: (-self.chances[row], world.candidates[row]))
        best = ordered[0]
        if self.chances[best] < policy.auto or not self._evident(best):
            return None
        if len(ordered) > 1:
            second = self.chances[ordered[1]]
            if second >= policy.review and self.chances[best] - second < policy.margin:
                return None
        if world.candidates[best] in self._used or self._contested(bill, best):
            return None
        return None if world.books.earlier_copy(world.bills[bill]) is not None else best

    def _evident(self, row: int) -> bool:
        """Whether two fields agree, one of which names the supplier or the document, and no number contradicts."""
        scores = self._world.scores[row]
        agreeing = [at for at in range(len(FIELDS)) if at != _CURRENCY and scores[at] >= AGREES]
        identified = scores[-1] == 1.0 or _NAME in agreeing or _REFERENCE in agreeing
        return bool(len(agreeing) >= EVIDENCE and identified and scores[_REFERENCE] != 0.0)

    def _contested(self, bill: int, row: int) -> bool:
        """Whether another open bill has as good a right to the entry."""
        world, policy = self._world, self._policy
        for rival, theirs in self._wanted[world.candidates[row]]:
            if rival == bill or self.chances[theirs] < policy.review:
                continue
            mine, other = world.bills[bill], world.bills[rival]
            if world.books.is_copy(mine, other):
                if world.books.entered(other) < world.books.entered(mine):
                    return True
            elif self.chances[theirs] > self.chances[row] - policy.margin and not self._settled(row, theirs):
                return True
        return False

    def _settled(self, row: int, theirs: int) -> bool:
        """Whether the entry names this bill's number and not the other's."""
        scores = self._world.scores
        return bool(scores[row, _REFERENCE] >= AGREES and not scores[theirs, _REFERENCE] >= AGREES)

    @cached_property
    def _used(self) -> set[str]:
        claims = self._world.books.claims
        units = set(claims)
        for key in claims:
            entry = self._world.books.entries.get(key)
            units |= {f"transaction-{ident}" for ident in entry.matched} if entry else set()
        return units

    @cached_property
    def _wanted(self) -> Mapping[str, list[tuple[int, int]]]:
        """For each entry the bills it is a candidate of, with the row."""
        found: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for bill in range(len(self._world.bills)):
            for row in self._world.rows(bill):
                found[self._world.candidates[row]].append((bill, row))
        return found

    def figures(self) -> Figures:
        """What came of it."""
        world = self._world
        counts: defaultdict[str, int] = defaultdict(int)
        tops = []
        for bill, truth in enumerate(world.truths):
            rows, right = world.rows(bill), int(world.right[bill])
            present = bool(truth.counterparts) and not truth.ambiguous and truth.duplicate_of is None
            absent = not truth.counterparts and truth.duplicate_of is None
            counts["matchable"] += present
            counts["absent"] += absent
            counts["retained"] += present and right != NONE
            if rows and truth.duplicate_of is None:
                best = max(rows, key=lambda row: self.chances[row])
                tops.append((float(self.chances[best]), best == right))
            row = self.linked(bill)
            if row is None:
                counts["asked"] += float(self.chances[rows.start : rows.stop].sum()) >= self._policy.review
                continue
            counts["auto"] += 1
            counts["right"] += row == right
            counts["covered"] += present
            counts["false"] += absent
            counts["used"] += world.candidates[row] in self._used
        return Figures(bills=len(world.bills), tops=tuple(tops), **counts)
