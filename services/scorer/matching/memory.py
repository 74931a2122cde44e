"""What people taught the scorer in one workspace: aliases, identities, and what is not to be proposed again."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from msgspec.structs import replace

from common import codec
from common.messages import Lesson, Lessons
from services.scorer.matching.names import Name, name

EVIDENCE = 2
"""Bills that must have confirmed a name or an identity, less those that turned it down: one answer may be a slip."""
ONCE = 0.79
"""Name score after one confirmation: it speaks for the candidate, and stays below what counts as agreeing, so that it
brings the next bill before a person and never links one by itself."""
OTHER = 0.5
"""Name score of a company that people keep turning down."""
_SAME = 0.98
"""Measured score from which a name is the vendor's own: turning down its documents does not make it another's."""

_NOTHING: frozenset[str] = frozenset()


class Bounds(NamedTuple):
    """Where a name's score must lie after what people said about it."""

    at_least: float = 0.0
    at_most: float = 1.0


class _Taught(NamedTuple):
    """A lesson in the order in which lessons count; the review decides between two of one instant."""

    at: datetime
    review: str
    vendor: str
    lesson: Lesson


@dataclass(frozen=True, slots=True)
class _Standing:
    """What people's answers about one bill come to, the later ones over the earlier ones.

    `confirmed` and `refuted` are (vendor, name), `identities` (vendor, VAT number or IBAN).
    """

    confirmed: frozenset[tuple[str, str]] = frozenset()
    refuted: frozenset[tuple[str, str]] = frozenset()
    identities: frozenset[tuple[str, str]] = frozenset()
    turned_down: frozenset[str] = frozenset()


@dataclass
class _Tally:
    """How many bills say something of a vendor, and of how many vendors it is said."""

    bills: Counter[tuple[str, str]] = field(default_factory=Counter)
    vendors: Counter[str] = field(default_factory=Counter)

    def add(self, said: Iterable[tuple[str, str]]) -> None:
        for one in said:
            self.bills[one] += 1
            self.vendors[one[1]] += self.bills[one] == 1

    def take_back(self, said: Iterable[tuple[str, str]]) -> None:
        for one in said:
            self.bills[one] -= 1
            if not self.bills[one]:
                del self.bills[one]
                self.vendors[one[1]] -= 1
                if not self.vendors[one[1]]:
                    del self.vendors[one[1]]


class Memory:
    """Pure state, fed by vendor in any order; the same lessons make the same memory.

    The newest answer about a bill counts: a later one takes back what an earlier one taught. A name or an
    identity that people confirmed for several vendors belongs to somebody who collects for others (a payment
    provider, a factor) and is evidence for none of them.
    """

    def __init__(self) -> None:
        self._lessons: dict[str, tuple[Lesson, ...]] = {}
        self._by_bill: defaultdict[str, set[_Taught]] = defaultdict(set)
        self._by_word: defaultdict[str, set[str]] = defaultdict(set)
        self._standing: dict[str, _Standing] = {}
        self._confirmed, self._refuted, self._identified = _Tally(), _Tally(), _Tally()
        self._digest = 0

    def __len__(self) -> int:
        """Of how many vendors anything was taught."""
        return len(self._lessons)

    @property
    def version(self) -> str:
        """Sixteen hexadecimal digits that differ where the lessons differ; zeros before the first one."""
        return f"{self._digest:016x}"

    def take(self, vendor: str, value: Lessons | None) -> frozenset[str]:
        """All lessons about a vendor (`{realm}-{id}`) in place of those known before; None if there are none.

        Of the vendors returned, names and identities may count otherwise now: of this one, and of those that share a
        name, an identity or a bill with it.
        """
        before, after = self._lessons.pop(vendor, ()), tuple(map(_folded, value.lessons)) if value is not None else ()
        self._digest ^= _digest(vendor, before) ^ _digest(vendor, after)
        if after:
            self._lessons[vendor] = after
        bills = {lesson.bill for lesson in (*before, *after)}
        concerned = self._concerned(bills)
        for lesson in before:
            self._by_bill[lesson.bill].discard(_taught(vendor, lesson))
            for word in _words(lesson):
                self._by_word[word].discard(vendor)
        for lesson in after:
            self._by_bill[lesson.bill].add(_taught(vendor, lesson))
            for word in _words(lesson):
                self._by_word[word].add(vendor)
        concerned |= self._concerned(bills)
        for bill in bills:
            self._judge(bill)
        return frozenset({vendor} | concerned)

    def rejected(self, bill: str, entry: str) -> bool:
        """Whether a person was shown this entry for this bill and turned it down: it is never linked by itself."""
        standing = self._standing.get(bill)
        return standing is not None and entry in standing.turned_down

    def name_of(self, vendor: str, name: Name) -> Bounds | None:
        """Where the score of a counterparty's name must lie for this vendor; None if people said nothing of it."""
        net = self._net(vendor, name.text)
        if net >= EVIDENCE and self._confirmed.vendors[name.text] == 1:
            return Bounds(at_least=1.0)
        if net > 0:
            return Bounds(at_least=ONCE)
        return Bounds(at_most=OTHER) if net <= -EVIDENCE else None

    def name_score(self, vendor: str, names: Iterable[Name], measured: float | None) -> float | None:
        """The `measured` similarity of an entry's `names`, corrected by what people said of them for this vendor.

        A confirmed name raises it, a refuted one lowers it; what is the vendor's own name as it stands stays so.
        """
        if vendor not in self._lessons:  # most vendors: nobody was ever asked about them
            return measured
        bounds = [found for found in (self.name_of(vendor, name) for name in names) if found is not None]
        floor = max((found.at_least for found in bounds), default=0.0)
        ceiling = min((found.at_most for found in bounds), default=1.0)
        if measured is None:
            return min(floor, ceiling) if floor else None
        return measured if measured >= _SAME else min(max(measured, floor), ceiling)

    def aliases(self, vendor: str) -> frozenset[str]:
        """The folded names that are evidence: further names of the vendor."""
        if vendor not in self._lessons:
            return _NOTHING
        names = {lesson.name for lesson in self._lessons[vendor] if lesson.name is not None}
        return frozenset(
            text for text in names if self._net(vendor, text) >= EVIDENCE and self._confirmed.vendors[text] == 1
        )

    def identity(self, vendor: str) -> frozenset[str]:
        """The VAT numbers and IBANs known to be the vendor's own."""
        if vendor not in self._lessons:
            return _NOTHING
        found = {one for lesson in self._lessons[vendor] for one in lesson.identities}
        bills, vendors = self._identified.bills, self._identified.vendors
        return frozenset(one for one in found if bills[vendor, one] >= EVIDENCE and vendors[one] == 1)

    def _net(self, vendor: str, name: str) -> int:
        """Bills that confirmed a name, less those that turned it down."""
        return self._confirmed.bills[vendor, name] - self._refuted.bills[vendor, name]

    def _concerned(self, bills: Iterable[str]) -> set[str]:
        """The vendors that these bills were answered for, and those that share a name or an identity of the answers."""
        found: set[str] = set()
        for taught in [taught for bill in bills for taught in self._by_bill[bill]]:
            found |= {taught.vendor}.union(*(self._by_word[word] for word in _words(taught.lesson)))
        return found

    def _judge(self, bill: str) -> None:
        """Put what the answers about a bill come to now in place of what they came to before."""
        before = self._standing.pop(bill, _Standing())
        taught = self._by_bill[bill]
        after = _standing(taught)
        if taught:
            self._standing[bill] = after
        else:
            del self._by_bill[bill]
        for tally, old, new in (
            (self._confirmed, before.confirmed, after.confirmed),
            (self._refuted, before.refuted, after.refuted),
            (self._identified, before.identities, after.identities),
        ):
            tally.take_back(old)
            tally.add(new)


def _folded(lesson: Lesson) -> Lesson:
    """The lesson with its names as they are folded today: lessons outlive the way names are read."""
    turned_down = tuple(replace(one, name=_fold(one.name)) for one in lesson.turned_down)
    return replace(lesson, name=_fold(lesson.name), turned_down=turned_down)


def _fold(text: str | None) -> str | None:
    return None if text is None else name(text).text


def _words(lesson: Lesson) -> Iterator[str]:
    """The name and the identities that a lesson confirms."""
    yield from lesson.identities
    if lesson.name is not None:
        yield lesson.name


def _taught(vendor: str, lesson: Lesson) -> _Taught:
    return _Taught(lesson.at, lesson.review, vendor, lesson)


def _standing(taught: Iterable[_Taught]) -> _Standing:
    """What the lessons about one bill come to; of a review that was closed twice the first word counts."""
    candidates: dict[str, tuple[str, str | None]] = {}
    newest: _Taught | None = None
    seen: set[str] = set()
    for one in sorted(taught):
        if one.review in seen:
            continue
        seen.add(one.review)
        candidates |= {turned.entry: (one.vendor, turned.name) for turned in one.lesson.turned_down}
        if one.lesson.entry is not None:
            candidates.pop(one.lesson.entry, None)
        newest = one
    if newest is None:
        return _Standing()
    lesson = newest.lesson
    confirmed = frozenset([(newest.vendor, lesson.name)] if lesson.name is not None else [])
    refuted = frozenset((vendor, name) for vendor, name in candidates.values() if name is not None)
    return _Standing(
        confirmed=confirmed,
        refuted=refuted - confirmed,
        identities=frozenset((newest.vendor, one) for one in lesson.identities),
        turned_down=frozenset(candidates),
    )


def _digest(vendor: str, lessons: tuple[Lesson, ...]) -> int:
    """A number for these lessons about this vendor, 0 for none: numbers of all vendors combine in any order."""
    if not lessons:
        return 0
    content = codec.encode((vendor, lessons))
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big")
