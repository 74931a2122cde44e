"""Which bills are one of a series: a supplier bills the same amount again and again, as for rents and subscriptions.

An entry that fits such a bill but for its day may be the document of another period, also of one whose bill is not in
the books. Where nothing recurs there is no such explanation.
"""

from collections import defaultdict
from datetime import date, timedelta
from decimal import Decimal

from common.messages import Bill

PERIOD = timedelta(days=10)
"""Days by which two bills of a series lie apart at least; nearer ones may be one document."""

_Amount = tuple[str, Decimal, str]


class Series:
    """Bills by vendor, total and currency; add, change and remove at any time."""

    def __init__(self) -> None:
        self._days: defaultdict[_Amount, dict[str, date]] = defaultdict(dict)
        self._known: dict[str, _Amount] = {}

    def take(self, key: str, vendor: str, bill: Bill) -> None:
        """A bill of this vendor as it is now."""
        self.drop(key)
        if bill.issued_on is None:
            return
        amount = self._known[key] = vendor, bill.total, bill.currency
        self._days[amount][key] = bill.issued_on

    def drop(self, key: str) -> None:
        """A bill that is gone; one that was never there is fine."""
        amount = self._known.pop(key, None)
        if amount is None:
            return
        del self._days[amount][key]
        if not self._days[amount]:
            del self._days[amount]

    def recurs(self, key: str) -> bool:
        """Whether the vendor billed the same in another period; False for a bill without a date."""
        if key not in self._known:
            return False
        days = self._days[self._known[key]]
        return len(days) > 1 and any(abs(day - days[key]) > PERIOD for day in days.values())
