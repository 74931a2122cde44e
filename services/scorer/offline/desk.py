"""Exports on one desk: the newest version of everything, decided in the order of the bills."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from common.messages import Bill, Policy, Record
from common.quickbooks import NO_CURRENCY
from services.scorer.matching.books import Books
from services.scorer.matching.judge import Judge, Verdict
from services.scorer.offline import exports
from services.scorer.offline.evaluation import Outcome, Ranked
from services.scorer.offline.exports import Lacking
from services.scorer.offline.lines import Problems, say, shown

T = TypeVar("T")
V = TypeVar("V", Record, Record | Lacking)

BATCH = 500
"""Bills decided at a time."""
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_NAMED = 5
"""Ids that a summary names."""


class Decided(NamedTuple):
    """One bill with its verdict and its amount in the currency of the books."""

    bill: str
    verdict: Verdict
    worth: Decimal

    @property
    def outcome(self) -> Outcome:
        """What counts of it when decisions are measured."""
        ranked = tuple(
            Ranked(frozenset((one.entry, *(part.partition("-")[2] for part in one.also))), one.score)
            for one in self.verdict.candidates
        )
        taken = self.verdict.entry.id if self.verdict.entry and self.verdict.action == "link" else None
        linked = next((one.entries for one in ranked if taken in one.entries), frozenset({taken} if taken else ()))
        return Outcome(self.bill, self.verdict.action, ranked, linked, self.worth)


class Desk:
    """Reads files once, and decides on their bills as often as asked, under one policy or another.

    `entries` are the ids of all that were read.
    """

    def __init__(self, policy: Policy, home_currency: str | None, problems: Problems) -> None:
        self.policy = policy
        self._books = Books(policy=policy, home_currency=home_currency)
        self._judge = Judge(self._books)
        self._problems = problems
        self._bills: dict[str, Record | Lacking] = {}
        self.entries: set[str] = set()

    def read(self, bills: Path, entries: Path, vendors: Path | None) -> None:
        """Read all files; of what comes several times the newest version counts, and it is said."""
        self._books.vendors_known = vendors is not None
        if vendors is not None:
            for vendor in _newest(vendors, "vendor", exports.vendors(vendors, self._problems)).values():
                self._take(f"{shown(vendors)}, vendor {vendor.id}", self._books.take_record, vendor)
        self._read_bills(bills)
        self._read_entries(entries)

    def decisions(self, policy: Policy | None = None) -> Iterator[tuple[Decided, ...]]:
        """The verdicts in the order of the bills, a batch at a time, under another policy where one is given."""
        self._books.policy = policy or self.policy
        bills = iter(self._bills.values())
        while batch := tuple(islice(bills, BATCH)):
            keys = [found.key for found in batch if isinstance(found, Record)]
            try:
                self._judge.prepare(keys)
            except Exception:  # noqa: BLE001 (one of them is at fault: each is decided by itself, and that one named)
                self._judge = Judge(self._books)
                yield tuple(self._decide(found, Judge(self._books)) for found in batch)
            else:
                yield tuple(self._decide(found, self._judge) for found in batch)

    def _read_bills(self, path: Path) -> None:
        self._bills = _newest(path, "bill", exports.bills(path, self._problems, self._books.home_currency))
        if not self._bills:
            say(f"{shown(path)}: no bill in it; one Bill object per line is wanted, as the QuickBooks API gives them")
        homeless = 0
        for found in self._bills.values():
            if isinstance(found, Record):
                homeless += isinstance(found.body, Bill) and found.body.currency == NO_CURRENCY
                self._take(f"{shown(path)}, bill {found.id}", self._books.take_record, found)
        if homeless:
            say(f"{shown(path)}: bills without a currency: {homeless}; --home-currency EUR says which one they are in")

    def _read_entries(self, path: Path) -> None:
        newest: dict[str, datetime] = {}
        again: dict[str, None] = {}
        for entry in exports.entries(path, self._problems):
            self.entries.add(entry.id)
            key = f"{entry.kind}-{entry.id}"
            if key in newest:
                again[entry.id] = None
            if newest.get(key, _LONG_AGO) <= entry.updated_at:
                newest[key] = entry.updated_at
                self._take(f"{shown(path)}, {entry.kind} {entry.id}", self._books.take_entry, entry)
        _tell_again(path, "entry", list(again))

    def _take(self, place: str, take: Callable[[T], None], thing: T) -> None:
        try:
            take(thing)
        except Exception as error:  # noqa: BLE001 (one object must not take the rest with it; it is named)
            self._problems.add(place, f"nothing can be made of it ({type(error).__name__}: {error}); please report it")

    def _decide(self, found: Record | Lacking, judge: Judge) -> Decided:
        if isinstance(found, Lacking):
            return Decided(found.id, Verdict("refuse", 0.0, found.why, gate="incomplete"), Decimal(0))
        try:
            verdict = judge.decide(found.key)
        except Exception as error:  # noqa: BLE001 (one bill must not take the rest with it; it is named)
            why = f"it could not be decided ({type(error).__name__}: {error}); please report it"
            self._problems.add(f"bill {found.id}", why)
            self._judge = Judge(self._books)  # the other may have compared half of it
            verdict = Verdict("refuse", 0.0, why, gate="unforeseen")
        return Decided(found.id, verdict, _worth(found))


def _worth(record: Record) -> Decimal:
    """A bill's amount in the home currency by its own exchange rate, else as it stands."""
    bill = record.body
    return bill.total * (bill.exchange_rate or 1) if isinstance(bill, Bill) else Decimal(0)


def _newest(path: Path, what: str, versions: Iterable[V]) -> dict[str, V]:
    """The newest version of each object by id, where the first one stood; of equally new ones the last."""
    newest: dict[str, V] = {}
    again: dict[str, None] = {}
    for found in versions:
        known = newest.setdefault(found.id, found)
        if known is not found:
            again[found.id] = None
        if (found.updated_at or _LONG_AGO) >= (known.updated_at or _LONG_AGO):
            newest[found.id] = found
    _tell_again(path, what, list(again))
    return newest


def _tell_again(path: Path, what: str, idents: list[str]) -> None:
    if idents:
        named = ", ".join(idents[:_NAMED]) + (", …" if len(idents) > _NAMED else "")
        say(f"{shown(path)}: came more than once, the newest version counts: {what} {named} ({len(idents)} in all)")
