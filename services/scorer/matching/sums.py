"""Payments that cover several bills at once, and bills that were paid in several parts.

Nothing is decided here: what adds up to the cent is proposed to a person, with the sum in words. Sets are found by
meeting in the middle (Horowitz and Sahni, "Computing Partitions with Applications to the Knapsack Problem", JACM
1974): the sums of one half of the items are looked up among those of the other. Of those of the other half that
have the same sum and as many members, only the number and the nearest in time are kept, so the work is bounded
however many sets fit, and yet all of them are counted and the nearest is found.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import combinations
from typing import NamedTuple

from services.scorer.matching.references import Reference, mentioned

MOST_ITEMS = 20
"""Items that are tried; the nearest in time of more."""
MOST_MEMBERS = 6
"""Members of a sum: with more of them something fits by accident."""
FEWEST_MEMBERS = 2
"""One member is no sum but an ordinary match."""
MOST_STEPS = 3_000
"""Subsets of a half that are made, and sums that are looked up, for one question."""

_UNDATED = 366
"""Days away of what has no date."""

_Near = tuple[int, tuple[int, ...]]
"""Days in all, and the positions of the members."""
_NOTHING: tuple[int, _Near] = (0, (0, ()))


@dataclass(frozen=True, slots=True)
class Item:
    """A bill, credit note or payment. `amount` is what is open or was paid; a credit or refund is negative.

    `text` is what a payment says of its purpose, `number` the invoice number of a bill.
    """

    key: str
    amount: Decimal
    on: date | None = None
    text: str = ""
    number: Reference | None = None


@dataclass(frozen=True, slots=True)
class Sum:
    """Items whose amounts add up to that of `whole`, in the order of their dates; `why` says so in words.

    `others` counts further sets that fit as well (one item alone among them), `untried` items that were too many
    to be tried.
    """

    whole: Item
    parts: tuple[Item, ...]
    why: str
    others: int = 0
    untried: int = 0

    @property
    def ambiguous(self) -> bool:
        """Whether another set fits as well, or might."""
        return self.others > 0 or self.untried > 0


@dataclass(frozen=True, slots=True)
class Instalments:
    """Payments that name the bill and are less than what is open of it, in the order of their dates.

    `left` is what is still to pay after them, negative if they are too much.
    """

    bill: Item
    payments: tuple[Item, ...]
    left: Decimal
    why: str


class Found(NamedTuple):
    """The nearest of the sets with the wanted sum (positions, None without any), how many there are, the work."""

    best: tuple[int, ...] | None
    sets: int
    steps: int


def covers_bills(payment: Item, bills: Iterable[Item], currency: str) -> Sum | None:
    """The open bills and credits of the payee that make up a payment; None if none do or it is a refund.

    Amounts are in `currency`.
    """
    if payment.amount <= 0:
        return None
    tried, untried = _nearest(payment, bills)
    found = search(payment, tried)
    if found.best is None:
        return None
    parts, others = tuple(tried[one] for one in found.best), found.sets - 1
    what = "bills less credits" if any(part.amount < 0 for part in parts) else "bills"
    why = f"{_money(payment, currency)}{_when(payment)} pays {what} {_listed(parts)}{_doubt(others, untried)}"
    return Sum(payment, parts, why, others, untried)


def covered_by(bill: Item, payments: Iterable[Item], currency: str) -> Sum | None:
    """The payments to the supplier that make up what is open of a bill; None if none do or nothing is."""
    if bill.amount <= 0:
        return None
    tried, untried = _nearest(bill, payments)
    found = search(bill, tried)
    if found.best is None:
        return None
    parts, others = tuple(tried[one] for one in found.best), found.sets - 1
    paid_by = f"is paid by {_listed(parts, dated=True)}{_doubt(others, untried)}"
    return Sum(bill, parts, f"bill {bill.key} of {_money(bill, currency)}{_when(bill)} {paid_by}", others, untried)


def instalments(bill: Item, payments: Iterable[Item], currency: str) -> Instalments | None:
    """The payments to the supplier that name the bill and are less than what is open of it; None if there are none.

    A partial payment has no amount to be known by: without the number in its text it is nobody's in particular.
    """
    number = bill.number
    if number is None:
        return None
    named = [one for one in payments if 0 < one.amount < bill.amount and mentioned(number, one.text)]
    if not named:
        return None
    parts = tuple(sorted(named, key=_in_time))
    paid = sum((one.amount for one in parts), Decimal(0))
    left = bill.amount - paid
    rest = f"{_plain(left)} {currency} left to pay" if left >= 0 else f"{_plain(-left)} {currency} too much"
    names, pays = ("names", "pays") if len(parts) == 1 else ("name", "pay")
    what = f"{_plain(paid)} {currency} of its {_money(bill, currency)}"
    why = f"{_listed(parts, dated=True)} {names} bill {bill.key} and {pays} {what}, {rest}"
    return Instalments(bill, parts, left, why)


def search(whole: Item, items: Sequence[Item]) -> Found:
    """Sets of FEWEST_MEMBERS to MOST_MEMBERS of at most MOST_ITEMS items that add up to `whole`, counted and ranked.

    The best has the fewest days between its members and `whole` in all, then the fewest members, then those that
    come first. Takes at most MOST_STEPS steps. ValueError for more items, or nothing to add up to.
    """
    if len(items) > MOST_ITEMS:
        raise ValueError(f"{len(items)} items, at most {MOST_ITEMS} can be tried")
    if whole.amount <= 0:
        raise ValueError(f"{whole.key}: {whole.amount} cannot be made up of anything")
    scale = _scale([whole, *items])
    wanted = int(whole.amount.scaleb(scale))
    worth = [int(item.amount.scaleb(scale)) for item in items]
    away = [_days(whole, item) for item in items]
    middle = len(items) // 2
    steps = 0

    # Of the right half: per sum and number of members, how many subsets there are and which is the nearest.
    right: dict[tuple[int, int], tuple[int, _Near]] = {}
    for members in _subsets(range(middle, len(items))):
        steps += 1
        at = (sum(worth[one] for one in members), len(members))
        near = (sum(away[one] for one in members), members)
        count, nearest = right.get(at, (0, near))
        right[at] = (count + 1, min(nearest, near))

    best: tuple[int, int, tuple[int, ...]] | None = None
    sets = 0
    for members in _subsets(range(middle)):
        missing, days = wanted - sum(worth[one] for one in members), sum(away[one] for one in members)
        for more in range(MOST_MEMBERS - len(members) + 1):
            steps += 1
            count, (further, others) = right.get((missing, more), _NOTHING)
            sets += count
            size = len(members) + more
            if count and size >= FEWEST_MEMBERS:
                candidate = (days + further, size, (*members, *others))
                best = candidate if best is None else min(best, candidate)
    return Found(best[2] if best else None, sets, steps)


def _subsets(positions: range) -> Iterable[tuple[int, ...]]:
    for size in range(MOST_MEMBERS + 1):
        yield from combinations(positions, size)


def _nearest(whole: Item, items: Iterable[Item]) -> tuple[list[Item], int]:
    """The items to try, in the order of their dates, and how many are left out."""
    able = sorted((one for one in items if one.amount), key=lambda one: (_days(whole, one), one.key))
    return sorted(able[:MOST_ITEMS], key=_in_time), max(0, len(able) - MOST_ITEMS)


def _days(whole: Item, item: Item) -> int:
    if whole.on is None or item.on is None:
        return _UNDATED
    return abs((whole.on - item.on).days)


def _in_time(item: Item) -> tuple[date, str]:
    return item.on or date.max, item.key


def _scale(items: Iterable[Item]) -> int:
    """Decimals of the finest amount: with so many moved, all are whole numbers."""
    return max(max(0, -int(item.amount.normalize().as_tuple().exponent)) for item in items)


def _listed(items: Sequence[Item], *, dated: bool = False) -> str:
    *first, last = (f"{item.key} ({_plain(item.amount)}{_when(item) if dated else ''})" for item in items)
    return f"{', '.join(first)} and {last}" if first else last


def _doubt(others: int, untried: int) -> str:
    said = []
    if others:
        said.append(f"{others} other {'set' if others == 1 else 'sets'} would fit as well")
    if untried:
        said.append(f"{untried} further ones were not tried")
    return f"; {', '.join(said)}" if said else ""


def _when(item: Item) -> str:
    return f" on {item.on.isoformat()}" if item.on else ""


def _money(item: Item, currency: str) -> str:
    return f"{_plain(item.amount)} {currency}"


def _plain(amount: Decimal) -> str:
    return f"{amount:,.2f}" if amount == round(amount, 2) else f"{amount:,}"
