"""Who else an entry could belong to: how likely it is that no other bill is its document.

An entry serves one bill, so bills compete for it as entries compete for a bill. This is one round of belief
propagation between the two sides, as trackers use it to tell which echo belongs to which target (Williams and
Lau, "Approximate evaluation of marginal association probabilities with belief propagation", IEEE TAES 2014):
each bill lays claim to an entry with the odds that it is this one and none of its other candidates. One round
looks no further than the candidates of the rivals, so what comes out for a bill never depends on the batch it
is in.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta

import numpy as np

from services.scorer.matching.books import Books
from services.scorer.matching.compare import REFERENCE
from services.scorer.matching.decide import odds
from services.scorer.matching.model import AGREES, FIELDS, Floats
from services.scorer.matching.postings import Numbers
from services.scorer.matching.ranking import Ranking, Scored

EVEN = 0.5
"""Probability from which on an entry is likelier no other bill's."""
_FAIR = 0.1
"""Probability of getting an entry from which on a bill's chances are fair."""
_SAME_DAYS = timedelta(days=10)
_NONE: dict[str, float] = {}
CONTESTABLE = 0.1
"""Probability below which nobody looks for rivals of a candidate, and a bill is no rival: nothing hangs on it."""


def claims(bills: Numbers, stakes: Floats, scores: Floats) -> Floats:
    """How strongly each bill claims each of its candidates: the odds that it is this one and no other.

    `bills` are numbers from 0 on, `stakes` the odds of each pair alone, 0 where it is out of the running, `scores` have
    a column for each of FIELDS. An entry that shows a bill's number is its own, whatever else it could have.
    """
    totals = np.bincount(bills, stakes)
    others = np.where(scores[:, REFERENCE] >= AGREES, 0.0, np.maximum(totals[bills] - stakes, 0.0))
    found: Floats = stakes / (1 + others)
    return found


class Rivals:
    """Who wants which entries of one workspace; the books must not change meanwhile."""

    def __init__(self, books: Books, ranking: Ranking) -> None:
        self._books = books
        self._ranking = ranking
        self._wanted_by: dict[str, list[str]] = {}
        self._claims: dict[str, dict[str, float]] = {}
        self._stakes: dict[str, dict[str, float]] = {}

    def prepare(self, keys: Iterable[str]) -> None:
        """Look for the rivals of all these bills, and for theirs, at once; their candidates were ranked before."""
        first = set(keys)
        self._seek(self._seek(first) - first)

    def _seek(self, keys: Iterable[str]) -> set[str]:
        """The rivals of these bills, with their claims laid."""
        ranked = (scored for key in keys for scored in self._ranking.of(key))
        sought = {scored.key: (scored.key, *scored.parts) for scored in ranked if scored.alone >= CONTESTABLE}
        self._find(sorted({one for members in sought.values() for one in members}))
        wanting = {
            (rival, entry)
            for entry, members in sought.items()
            for one in members
            for rival in self._wanted_by.get(one, ())
        }
        return set(self._lay_claims(wanting))

    def unclaimed(self, pairs: Sequence[tuple[str, Scored]]) -> list[float]:
        """How free the claims of rivals leave each of these bills' candidates, however unlikely it is; all at once."""
        self._find(sorted({one for _, scored in pairs for one in (scored.key, *scored.parts)}))
        rivals = [
            sorted({rival for one in (scored.key, *scored.parts) for rival in self._wanted_by.get(one, ())} - {key})
            for key, scored in pairs
        ]
        self._lay_claims({(one, scored.key) for (_, scored), found in zip(pairs, rivals, strict=True) for one in found})
        return [
            1 / (1 + self._claimed(key, scored.key, found)) for (key, scored), found in zip(pairs, rivals, strict=True)
        ]

    def _claimed(self, key: str, entry: str, rivals: Iterable[str]) -> float:
        """How strongly those of these rivals claim an entry, all together, that are no copies of the bill."""
        claims = [(rival, claim) for rival in rivals if (claim := self._claims.get(rival, _NONE).get(entry))]
        return sum(claim for rival, claim in claims if not self._books.is_copy(key, rival))

    def wanting(self, entries: Sequence[str]) -> list[Sequence[str]]:
        """Live bills that each of these entries could belong to."""
        self._find(entries)
        return [self._wanted_by.get(entry, ()) for entry in entries]

    def free(self, key: str, scored: Scored) -> tuple[float, str | None]:
        """The probability that a bill's candidate belongs to no other bill, and the bill that claims it most.

        Bills that are the same document entered twice do not compete. Whether a rival was posted already makes no
        difference, so how far that has got changes nothing.
        """
        return self.wanted(key, scored) if scored.alone >= CONTESTABLE else (1.0, None)

    def wanted(self, key: str, scored: Scored) -> tuple[float, str | None]:
        """`free` of a candidate that is however unlikely."""
        against = {rival: self._against(key, rival, scored.key) for rival in self._others(key, scored)}
        claiming = sorted(rival for rival, claim in against.items() if claim)
        return 1 / (1 + sum(sorted(against.values()))), max(claiming, key=against.__getitem__, default=None)

    def _against(self, key: str, rival: str, entry: str) -> float:
        """How strongly a rival claims an entry against a bill.

        Two claim it outright, whatever else they could have: a bill that may be the same document, as that could be
        the other's as well; and one with a fair chance of getting the entry. So two bills are not sure of it.
        """
        theirs = self._ranking.candidate(rival, entry, least=CONTESTABLE)
        if theirs is None or self._books.is_copy(key, rival):
            return 0.0
        stake = self._stake(rival, theirs)
        self._lay([key])
        if self._look_alike(key, rival):
            return stake
        at_most = stake / (1 + self._claims[key].get(entry, 0.0))
        fair = at_most >= odds(_FAIR) and self._likelihood(rival, theirs) >= _FAIR
        return stake if fair else self._claims[rival][entry]

    def _likelihood(self, key: str, scored: Scored) -> float:
        """The probability that a bill gets an entry, as far as its rivals' claims say."""
        if key not in self._stakes:
            self._stakes[key] = {one.key: self._stake(key, one) * self._left(key, one) for one in self._ranking.of(key)}
        stakes = self._stakes[key]
        return stakes[scored.key] / (1 + sum(stakes.values()))

    def _left(self, key: str, scored: Scored) -> float:
        """How free the rivals' claims leave a bill's candidate."""
        if scored.alone < CONTESTABLE:
            return 1.0
        return 1 / (1 + self._claimed(key, scored.key, self._others(key, scored)))

    def _look_alike(self, one: str, other: str) -> bool:
        """Whether two bills of a supplier have the same total in the same days, and no numbers that tell them apart."""
        a, b = self._books.bill(one), self._books.bill(other)
        if a.vendor.id != b.vendor.id or (a.total, a.currency) != (b.total, b.currency) or (a.number and b.number):
            return False
        return a.issued_on is None or b.issued_on is None or abs(a.issued_on - b.issued_on) <= _SAME_DAYS

    def _others(self, key: str, scored: Scored) -> list[str]:
        """Other bills that the entry, or a payment that is part of it, could belong to."""
        members = (scored.key, *scored.parts)
        self._find(members)
        found = {rival for one in members for rival in self._wanted_by.get(one, ()) if rival != key}
        return self._lay_claims({(rival, scored.key) for rival in found}) if found else []

    def _find(self, entries: Sequence[str]) -> None:
        books = self._books
        todo = [one for one in entries if one not in self._wanted_by and one in books.index]
        if not todo:
            return
        found = books.bill_index.candidates([books.index.query(one) for one in todo])
        wanted_by: dict[str, list[str]] = {one: [] for one in todo}
        for which, row in zip(found.which.tolist(), found.rows.tolist(), strict=True):
            wanted_by[todo[which]].append(books.bill_index.key(row))
        self._wanted_by |= wanted_by

    def _lay_claims(self, pairs: Collection[tuple[str, str]]) -> list[str]:
        """Work out how strongly bills claim their candidates: those that are not out of reach of the entry named."""
        keys = sorted(set(self._ranking.reaching(sorted(pairs), CONTESTABLE)))
        self._ranking.rank(keys)
        self._lay(keys)
        return keys

    def _lay(self, keys: Iterable[str]) -> None:
        todo = [key for key in keys if key not in self._claims]
        if not todo:
            return
        ranked = [(number, key, scored) for number, key in enumerate(todo) for scored in self._ranking.of(key)]
        stakes = np.array([self._stake(key, scored) for _, key, scored in ranked], np.float64)
        scores = np.array([scored.scores for *_, scored in ranked], np.float64).reshape(-1, len(FIELDS))
        found = claims(np.array([number for number, *_ in ranked], np.int64), stakes, scores)
        self._claims |= {key: {} for key in todo}
        for (_, key, scored), claim in zip(ranked, found.tolist(), strict=True):
            if scored.alone >= CONTESTABLE:
                self._claims[key][scored.key] = claim

    def _stake(self, key: str, scored: Scored) -> float:
        """The odds of a candidate alone; nothing for one that a person turned down for the bill."""
        memory = self._books.memory
        turned_down = bool(memory) and any(memory.rejected(key, one) for one in (scored.key, *scored.parts))
        return 0.0 if turned_down else odds(scored.alone)
