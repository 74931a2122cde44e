"""Reading everything that changed in a span of time, page by page, without a snapshot.

QuickBooks stamps changes by the second and pages by offset, and an object edited between two pages moves to
the end: an offset then skips somebody else. So a window is read by its key, the second of the last change:
each page begins at the second where the one before ended, which only ever repeats rows. One case needs
offsets after all: a second that holds more rows than fit on a page (an import). It is read alone, by id,
each page beginning with the last row of the one before; a different row there means that one was edited
meanwhile, and the second is read again from its start.

Pure: `statement` says what to ask, `following` where to go on. Neither knows HTTP or the clock.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from common.messages import Part

PAGE = 1000
"""Rows of one answer: the most QuickBooks gives."""

SECOND = timedelta(seconds=1)


class Window(Part, frozen=True, kw_only=True):
    """Where reading stands: from `since` up to `until`, both inclusive, whole seconds.

    `until` is the server's own time of the first answer, None before it. `crowded` says that `since` alone
    is read, by id, from row `start` (counted from 1), whose id must be `last`.
    """

    since: datetime
    until: datetime | None = None
    crowded: bool = False
    start: int = 1
    last: str | None = None


class Row(NamedTuple):
    """One object of an answer: its id, the second of its last change, and the object as it came."""

    id: str
    at: datetime
    body: Any


@dataclass(frozen=True, slots=True)
class Page:
    """One answer: its rows in the order asked for, and the server's time when it began to answer."""

    rows: Sequence[Row]
    answered_at: datetime


def statement(entity: str, window: Window, *, inactive: bool = False, size: int = PAGE) -> str:
    """The query for the next page of `window`; `inactive` asks for inactive names too."""
    until = window.since if window.crowded else window.until
    conditions = [f"MetaData.LastUpdatedTime >= '{_literal(window.since)}'"]
    if until is not None:
        conditions.append(f"MetaData.LastUpdatedTime <= '{_literal(until)}'")
    if inactive:
        conditions.append("Active IN (true, false)")
    order = "Id" if window.crowded else "MetaData.LastUpdatedTime"
    return (
        f"SELECT * FROM {entity} WHERE {' AND '.join(conditions)} "  # noqa: S608 (our own words and instants)
        f"ORDERBY {order} STARTPOSITION {window.start} MAXRESULTS {size}"
    )


def following(window: Window, page: Page, size: int = PAGE) -> Window | None:
    """Where to go on after `page`, or None when the window is read."""
    until = window.until or whole(page.answered_at)
    if window.crowded:
        return _in_crowd(window, page, size, until)
    if len(page.rows) < size:
        return None
    first, last = page.rows[0].at, page.rows[-1].at
    return Window(since=last, until=max(until, last), crowded=first == last)


def _in_crowd(window: Window, page: Page, size: int, until: datetime) -> Window | None:
    shifted = window.last is not None and (not page.rows or page.rows[0].id != window.last)
    if shifted:
        return Window(since=window.since, until=until, crowded=True)
    if len(page.rows) == size:
        # Every restart takes an edited row out of this second for good, so restarts come to an end.
        start = window.start + size - 1
        return Window(since=window.since, until=until, crowded=True, start=start, last=page.rows[-1].id)
    after = window.since + SECOND
    return Window(since=after, until=until) if after <= until else None


async def pages(
    ask: Callable[[Window], Awaitable[Page]], window: Window, size: int = PAGE
) -> AsyncIterator[tuple[list[Row], Window | None, datetime]]:
    """The rows not yet given of each page, where reading goes on, and up to when the window reaches.

    A row comes again only if it was edited meanwhile. `size` must be at least 2.
    """
    given: set[tuple[str, datetime]] = set()
    at: Window | None = window
    while at is not None:
        page = await ask(at)
        fresh = [row for row in page.rows if (row.id, row.at) not in given]
        until = at.until or whole(page.answered_at)
        at = following(at, page, size)
        # Only the second where the next page begins can repeat.
        repeatable = {(row.id, row.at) for row in page.rows} | given
        given = {(ident, second) for ident, second in repeatable if at is not None and second == at.since}
        yield fresh, at, until


def whole(moment: datetime) -> datetime:
    """`moment` in UTC, cut to its second: the precision of QuickBooks."""
    return moment.astimezone(UTC).replace(microsecond=0)


def _literal(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
