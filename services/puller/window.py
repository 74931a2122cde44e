"""Reading everything that changed in a span of time, page by page, without a snapshot.

QuickBooks stamps changes by the second and pages by offset, and an object edited between two pages moves to
the end: an offset then skips somebody else. So a window is read by its key, the second of the last change:
each page begins at the second where the one before ended, which only ever repeats rows. One case needs
offsets after all: a second that holds more rows than fit on a page (an import). It is read alone, by id,
each page beginning with the last row of the one before; a different row there means that one was edited
meanwhile, and the second is read again from its start.

One damaged object makes every page that holds it fail. The window is then halved, in time, until what fails
is a single second; that one is read object by object (`services.puller.salvage`), and the rest goes on.

Pure: `statement` says what to ask, `following` where to go on. Neither knows HTTP or the clock.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from msgspec.structs import replace

from common.messages import Part
from common.wire import WireError

PAGE = 1000
"""Rows of one answer: the most QuickBooks gives."""

SECOND = timedelta(seconds=1)


class Window(Part, frozen=True, kw_only=True):
    """Where reading stands: from `since` up to `until`, both inclusive, whole seconds.

    `until` is the server's own time of the first answer, None before it; `near` is an earlier end for now,
    since a page that reached further could not be read. `crowded` says that `since` alone is read, by id,
    from row `start` (counted from 1), whose id must be `last`.
    """

    since: datetime
    until: datetime | None = None
    near: datetime | None = None
    crowded: bool = False
    start: int = 1
    last: str | None = None


class Row(NamedTuple):
    """One object of an answer: its id, the second of its last change, and the object as it came.

    `wrong` says why it cannot be kept, if its id or that second cannot be read; it still has its place on a page.
    """

    id: str
    at: datetime
    body: Any
    wrong: str | None = None

    def sound(self) -> Any:
        """The object, or WireError if it cannot be kept."""
        if self.wrong is not None:
            raise WireError(self.wrong)
        return self.body


@dataclass(frozen=True, slots=True)
class Page:
    """One answer: its rows in the order asked for, and the server's time when it began to answer."""

    rows: Sequence[Row]
    answered_at: datetime


class Unreadable(Exception):  # noqa: N818 (not the end: the window is halved)
    """A page cannot be had because of an object in it; `answered_at` is the server's time."""

    def __init__(self, why: str, answered_at: datetime) -> None:
        super().__init__(why)
        self.answered_at = answered_at


def statement(entity: str, window: Window, *, inactive: bool = False, size: int = PAGE) -> str:
    """The query for the next page of `window`; `inactive` asks for inactive names too."""
    order = "Id" if window.crowded else "MetaData.LastUpdatedTime"
    return (
        f"SELECT * FROM {entity} WHERE {conditions(window, inactive=inactive)} "  # noqa: S608 (our own words and instants)
        f"ORDERBY {order} STARTPOSITION {window.start} MAXRESULTS {size}"
    )


def conditions(window: Window, *, inactive: bool = False) -> str:
    """What an object of `window` fulfils, for a statement."""
    until = window.since if window.crowded else window.near or window.until
    found = [f"MetaData.LastUpdatedTime >= '{literal(window.since)}'"]
    if until is not None:
        found.append(f"MetaData.LastUpdatedTime <= '{literal(until)}'")
    if inactive:
        found.append("Active IN (true, false)")
    return " AND ".join(found)


def following(window: Window, page: Page, size: int = PAGE) -> Window | None:
    """Where to go on after `page`, or None when the window is read."""
    until = window.until or whole(page.answered_at)
    if window.crowded:
        return _in_crowd(window, page, size, until)
    if len(page.rows) < size:
        return None if window.near is None else after(window, window.near)
    first, last = page.rows[0].at, page.rows[-1].at
    return Window(since=last, until=max(until, last), near=window.near, crowded=first == last)


def _in_crowd(window: Window, page: Page, size: int, until: datetime) -> Window | None:
    shifted = window.last is not None and (not page.rows or page.rows[0].id != window.last)
    if shifted:
        return Window(since=window.since, until=until, near=window.near, crowded=True)
    if len(page.rows) == size:
        # Every restart takes an edited row out of this second for good, so restarts come to an end.
        start, last = window.start + size - 1, page.rows[-1].id
        return Window(since=window.since, until=until, near=window.near, crowded=True, start=start, last=last)
    return after(replace(window, until=until), window.since)


def after(window: Window, second: datetime) -> Window | None:
    """What is left of `window` behind a second that was read; None if that was the last one."""
    since, until = second + SECOND, window.until
    if until is None or since > until:
        return None
    near = window.near if window.near is not None and since <= window.near else None
    return Window(since=since, until=until, near=near)


def halved(window: Window) -> Window | None:
    """The first half of a window that cannot be read whole; None if it is a single second already."""
    end = window.near or window.until
    if end is None:
        raise ValueError("a window without an end cannot be halved")
    if window.crowded or end <= window.since:
        return None
    seconds = int((end - window.since).total_seconds()) // 2
    return Window(since=window.since, until=window.until, near=window.since + seconds * SECOND)


async def pages(
    ask: Callable[[Window], Awaitable[Page]],
    window: Window,
    size: int = PAGE,
    *,
    salvage: Callable[[datetime], Awaitable[Sequence[Row]]],
) -> AsyncIterator[tuple[list[Row], Window | None, datetime]]:
    """The rows not yet given of each page, where reading goes on, and up to when the window reaches.

    A row comes again only if it was edited meanwhile. `ask` may raise Unreadable; `salvage` then gives what
    can be read of a single second. `size` must be at least 2.
    """
    given: set[tuple[str, datetime]] = set()
    at: Window | None = window
    while at is not None:
        try:
            page = await ask(at)
        except Unreadable as error:
            at = replace(at, until=at.until or whole(error.answered_at))
            if (half := halved(at)) is not None:
                at = half
                continue
            rows, until = await salvage(at.since), at.until or at.since
            at = after(at, at.since)
        else:
            rows, until = page.rows, at.until or whole(page.answered_at)
            at = following(at, page, size)
        fresh = [row for row in rows if (row.id, row.at) not in given]
        # Only the second where the next page begins can repeat.
        repeatable = {(row.id, row.at) for row in rows} | given
        given = {(ident, second) for ident, second in repeatable if at is not None and second == at.since}
        yield fresh, at, until


def whole(moment: datetime) -> datetime:
    """`moment` in UTC, cut to its second: the precision of QuickBooks."""
    return moment.astimezone(UTC).replace(microsecond=0)


def literal(moment: datetime) -> str:
    """`moment` as statements and addresses spell it."""
    return f"{whole(moment).replace(tzinfo=None).isoformat()}Z"
