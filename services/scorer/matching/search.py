"""Finding an entry as a person looks for one: by words, numbers, amounts and days, written in any of the usual ways."""

import heapq
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from common.folding import folded, words
from common.messages import Entry, EntryKind, Hit


class Rank(NamedTuple):
    """How well an entry fits what was looked for: words that are its number or amount, then how new it is."""

    exact: int
    day: date
    key: str


class Query:
    """What a person looks for; all words must be found."""

    def __init__(self, text: str, kind: EntryKind | None = None, amount: Decimal | None = None) -> None:
        wanted = words(text)
        self._names = [word for word in wanted if not any(map(str.isdecimal, word))]
        self._numbers = [word for word in wanted if any(map(str.isdecimal, word))]
        self._kind = kind
        self._amount = abs(amount) if amount is not None else None

    def rank(self, entry: Entry) -> Rank | None:
        """How well the entry fits; None if it does not, or does not stand any more."""
        if not entry.live or self._kind not in {None, entry.kind}:
            return None
        amounts = [one for one in (entry.amount, entry.local_amount) if one is not None]
        if self._amount is not None and self._amount not in amounts:
            return None
        text = _text(entry) if self._names or self._numbers else ""
        if not all(word in text for word in self._names):
            return None
        days = [day for day in (entry.issued_on, entry.paid_on, entry.due_on) if day is not None]
        exact = 0
        if self._numbers:
            money = [form for one in amounts for form in _amounts(one)]
            dated = " ".join(form for day in days for form in _days(day))
            whole = f"{text} {' '.join(money)} {dated}"
            if not all(word in whole for word in self._numbers):
                return None
            marks = {folded(entry.number or ""), *money}
            exact = sum(word in marks for word in self._numbers)
        return Rank(exact, max(days, default=date.min), f"{entry.kind}-{entry.id}")


class Best:
    """The `limit` entries that fit best of those that were looked at, and how many fit at all."""

    def __init__(self, query: Query, limit: int) -> None:
        self.count = 0
        self._query = query
        self._limit = limit
        self._kept: list[tuple[Rank, Entry, str | None]] = []

    def look(self, entry: Entry, serves: str | None) -> None:
        """Look at an entry, which is linked to the bill that it `serves`."""
        rank = self._query.rank(entry)
        if rank is None:
            return
        self.count += 1
        if len(self._kept) < self._limit:
            heapq.heappush(self._kept, (rank, entry, serves))
        elif rank > self._kept[0][0]:
            heapq.heapreplace(self._kept, (rank, entry, serves))

    def hits(self) -> tuple[Hit, ...]:
        """The best, best first."""
        best = sorted(self._kept, key=lambda kept: kept[0], reverse=True)
        return tuple(Hit(entry=entry, serves=serves) for _, entry, serves in best)


def _text(entry: Entry) -> str:
    said: Sequence[str | None] = (
        entry.counterparty,
        entry.label,
        entry.number,
        entry.file_name,
        entry.vat_number,
        entry.iban,
        entry.currency,
        entry.id,
    )
    return folded(" ".join(part for part in said if part))


def _amounts(amount: Decimal) -> Iterator[str]:
    """An amount as people write it: with point or comma, with thousands apart or not."""
    plain, grouped = f"{amount:.2f}", f"{amount:,.2f}"
    yield from (plain, plain.replace(".", ","), grouped, grouped.translate({ord(","): ".", ord("."): ","}))
    if plain.endswith(".00"):
        yield plain[:-3]


def _days(day: date) -> Iterator[str]:
    iso = day.isoformat()
    year, month, number = iso.split("-")
    yield from (iso, f"{number}.{month}.{year}", f"{number}/{month}/{year}", f"{number}-{month}-{year}")
