"""What the books know of each vendor from earlier bills."""

from bisect import bisect_left, insort
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime

from services.scorer.matching.readiness import History

Entered = tuple[datetime, int, str]
"""When a bill was entered, for telling the first of two."""


@dataclass(slots=True)
class _Bills:
    entered: list[Entered] = field(default_factory=list)
    paid: list[Entered] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)


class Dealings:
    """Bills by vendor, in the order in which they were entered; add, change and remove at any time.

    Only QuickBooks counts here, never how far Weir has got: what is posted must not change what is decided.
    """

    def __init__(self) -> None:
        self._vendors: defaultdict[str, _Bills] = defaultdict(_Bills)
        self._known: dict[str, tuple[str, Entered, bool]] = {}

    def take(self, key: str, vendor: str, entered: Entered, *, paid: bool) -> None:
        """A bill as it is now."""
        known, now = self._known.get(key), (vendor, entered, paid)
        if known == now:
            return
        if known is not None:
            self.drop(key)
        self._known[key] = now
        bills = self._vendors[vendor]
        bills.keys.add(key)
        _put(bills.entered, entered)
        if paid:
            _put(bills.paid, entered)

    def drop(self, key: str) -> None:
        """A bill that is gone; one that was never there is fine."""
        vendor, entered, paid = self._known.pop(key, (None, None, False))
        if vendor is None or entered is None:
            return
        bills = self._vendors[vendor]
        bills.keys.remove(key)
        del bills.entered[bisect_left(bills.entered, entered)]
        if paid:
            del bills.paid[bisect_left(bills.paid, entered)]

    def of(self, vendor: str) -> list[str]:
        """The vendor's bills, in order."""
        return sorted(self._vendors[vendor].keys) if vendor in self._vendors else []

    def beside(self, key: str) -> list[str]:
        """The vendor's other bills, in order; KeyError if the bill is not there."""
        return [other for other in self.of(self._known[key][0]) if other != key]

    def before(self, key: str) -> History:
        """What was known of the vendor before this bill was entered; KeyError if it is not there."""
        vendor, entered, _ = self._known[key]
        bills = self._vendors[vendor]
        count = bisect_left(bills.entered, entered)
        since = bills.entered[0][0].date() if count else None
        return History(count, bisect_left(bills.paid, entered), since)


def _put(known: list[Entered], one: Entered) -> None:
    """Put it in its place among these, which is mostly the end: bills come about in the order they were entered."""
    if known and one < known[-1]:
        insort(known, one)
    else:
        known.append(one)
