"""Lists of bills that wait: found, put in order, counted, and shown a page at a time. Pure.

A page ends with a mark: the place of its last row in the order. The next page begins behind that place, so rows that
come and go meanwhile neither hide others nor show them twice.
"""

import base64
import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import date, datetime
from decimal import Decimal
from operator import itemgetter
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from common import codec
from common.errors import UserError
from common.folding import folded, words
from common.messages import ReviewResolved
from common.reviews import Review, Step
from common.waiting import Waiting

Sort = Literal["since", "due", "total", "score", "vendor"]
_ZONED = Annotated[datetime, msgspec.Meta(tz=True)]
_SORTED_BY: dict[Sort, Any] = {"since": _ZONED, "due": date, "total": Decimal, "score": float, "vendor": str}
"""What rows can be put in order by, and the type of that."""

MOST = 200
"""Rows of one page, or of one bulk confirmation, at most."""
MOST_VENDORS = 50
"""Vendors counted by name; of more, those with the most rows."""

_VALUES: dict[Sort, Callable[[Waiting], Any]] = {
    "since": lambda bill: bill.since,
    "due": lambda bill: bill.due_on,
    "total": lambda bill: bill.total,
    "score": lambda bill: bill.score,
    "vendor": lambda bill: folded(bill.vendor) if bill.vendor else None,
}
_Place = tuple[bool, Any, str]


class Row(NamedTuple):
    """A bill that waits; `given` is an answer that is being carried out."""

    bill: Waiting
    given: ReviewResolved | None = None


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows, in which order. Every word of `text` (`folding.words`) must be found; `vendor` is `{realm}-{id}`.

    `least` and `most` bound the total, whatever its currency; `before` is an instant since before which they wait.
    """

    text: str = ""
    gate: str | None = None
    vendor: str | None = None
    step: Step | None = None
    answered: bool | None = None
    least: Decimal | None = None
    most: Decimal | None = None
    before: datetime | None = None
    sort: Sort = "since"
    descending: bool = False


class Vendor(msgspec.Struct, frozen=True):
    """A supplier among the rows, `{realm}-{id}`, and how many rows it has."""

    key: str
    name: str | None
    count: int


class Page(msgspec.Struct, frozen=True):
    """Rows in order; `next` is the mark to go on from, None at the end.

    `count` is how many rows there are on all pages. `gates` and `vendors` count the rows there would be were the query
    not for one of them.
    """

    rows: tuple[Row, ...]
    next: str | None
    count: int
    gates: dict[str, int]
    vendors: tuple[Vendor, ...]


class Beside(NamedTuple):
    """Where a row stands: its `number` of so many `in_all`, and its neighbours that nobody has answered yet."""

    number: int
    in_all: int
    before: Waiting | None = None
    after: Waiting | None = None


class _Mark(msgspec.Struct, frozen=True):
    sort: Sort
    descending: bool
    value: msgspec.Raw
    key: str


def page(reviews: Iterable[Review[Waiting]], query: Query, mark: str | None = None, limit: int = 50) -> Page:
    """At most `limit` rows behind `mark`; UserError if that is no mark of this order."""
    after = _place_of(mark, query) if mark is not None else None
    found = _found(reviews, query)
    of_gate = found if query.gate is None else [one for one in found if one.question.gate == query.gate]
    of_vendor, both = found, of_gate
    if query.vendor is not None:
        of_vendor, both = (
            [one for one in some if one.question.vendor_key == query.vendor] for some in (found, of_gate)
        )
    gates = Counter([one.question.gate or "" for one in of_vendor])
    vendors = Counter([one.question.vendor_key for one in of_gate])
    names = {one.question.vendor_key: one.question.vendor for one in of_gate}
    placed = [(_place(one.question, query), one) for one in both]
    if after is not None:
        placed = [pair for pair in placed if (pair[0] < after if query.descending else pair[0] > after)]
    choose = heapq.nlargest if query.descending else heapq.nsmallest
    limit = min(max(limit, 1), MOST)
    chosen = [row_of(one) for _, one in choose(limit + 1, placed, key=itemgetter(0))]
    shown = tuple(chosen[:limit])
    return Page(
        rows=shown,
        next=_mark(shown[-1].bill, query) if len(chosen) > limit else None,
        count=len(both),
        gates=dict(gates.most_common()),
        vendors=tuple(Vendor(one, names[one], many) for one, many in vendors.most_common(MOST_VENDORS)),
    )


def beside(reviews: Iterable[Review[Waiting]], query: Query, bill: Waiting) -> Beside:
    """What stands before and after a row in the order, whether or not the row itself is what `query` asks for."""
    own = _place(bill, query)
    ahead: list[tuple[_Place, Waiting]] = []
    behind: list[tuple[_Place, Waiting]] = []
    for review in _found(reviews, query):
        one = review.question
        wanted = query.gate in {None, one.gate} and query.vendor in {None, one.vendor_key}
        if wanted and review.given is None and one.key != bill.key:
            place = _place(one, query)
            (ahead if place < own else behind).append((place, one))
    if query.descending:
        ahead, behind = behind, ahead
    nearest = (min, max) if query.descending else (max, min)
    before, after = (
        choose(some, key=itemgetter(0))[1] if some else None
        for choose, some in zip(nearest, (ahead, behind), strict=True)
    )
    return Beside(len(ahead) + 1, len(ahead) + 1 + len(behind), before, after)


def alike(reviews: Iterable[Review[Waiting]], bill: Waiting, least: float = 0.0) -> list[Row]:
    """The rows that can be confirmed together with this one, itself the first; at most MOST.

    They are of one supplier, held back for one reason, and the same fields of the first candidate agree and differ; it
    is at least as likely as `least`. An entry that several of them would be linked to is nobody's: each of those is for
    a person to look at.
    """
    if bill.entry is None:
        return []
    wanted = Counter[str | None]()
    found = []
    for review in reviews:
        one = review.question
        wanted[one.entry] += 1
        if review.given is None and _kind(one) == _kind(bill) and (one.likely or 0.0) >= least:
            found.append(one)
    found.sort(key=lambda one: (one.key != bill.key, one.since, one.key))
    return [Row(one) for one in found if wanted[one.entry] == 1][:MOST]


def _kind(bill: Waiting) -> tuple[str, str | None, Step, str | None]:
    return bill.vendor_key, bill.gate, bill.step, bill.pattern


def _found(reviews: Iterable[Review[Waiting]], query: Query) -> list[Review[Waiting]]:
    """The reviews that match all but gate and vendor."""
    found = list(reviews)
    if query.step is not None:
        found = [one for one in found if one.step == query.step]
    if query.answered is not None:
        found = [one for one in found if (one.given is not None) == query.answered]
    if (least := query.least) is not None:
        found = [one for one in found if one.question.total >= least]
    if (most := query.most) is not None:
        found = [one for one in found if one.question.total <= most]
    if (before := query.before) is not None:
        found = [one for one in found if one.question.since < before]
    if wanted := words(query.text):
        found = [one for one in found if all(word in one.text for word in wanted)]
    return found


def row_of(review: Review[Waiting]) -> Row:
    """An open review as a row."""
    return Row(review.question, review.given)


def text(bill: Waiting) -> str:
    """What a row is found by: made once for each, since it takes longer than looking through all of them."""
    parts = (bill.vendor, bill.number, bill.key, f"{bill.total} {bill.total:,}", bill.currency, bill.entry, bill.gate)
    return " ".join(folded(part) for part in parts if part)


def _place(bill: Waiting, query: Query) -> _Place:
    """Where a row stands in the order; what has no value comes last, whichever way the order goes."""
    value = _VALUES[query.sort](bill)
    return (value is None) != query.descending, value, bill.key


def _mark(bill: Waiting, query: Query) -> str:
    _, value, key = _place(bill, query)
    mark = _Mark(query.sort, query.descending, msgspec.Raw(codec.encode(value)), key)
    return base64.urlsafe_b64encode(codec.encode(mark)).decode().rstrip("=")


def _place_of(text: str, query: Query) -> _Place:
    try:
        mark = codec.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), _Mark)
        value = codec.decode(mark.value, _SORTED_BY[mark.sort] | None)
        if isinstance(value, Decimal) and not value.is_finite():
            raise ValueError(value)
    except (ValueError, msgspec.MsgspecError) as error:
        raise UserError("after: this is no mark of a page; begin with the first page") from error
    if (mark.sort, mark.descending) != (query.sort, query.descending):
        raise UserError("after: this mark is of another order; begin with the first page")
    return (value is None) != query.descending, value, mark.key
