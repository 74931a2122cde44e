"""One list of Qonto, read while it moves: the newest change first, or all that changed, oldest first.

Pages are keyed by the time of change and not by their number, so that what moves is met once too often rather than
never. Whether the filter includes its bound is not documented, so every key goes a second back.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import msgspec

from common.messages import Entry
from services.poster.qonto import Listed

BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
_STEP = timedelta(seconds=1)

Fetch = Callable[[datetime | None, int], Awaitable[Listed]]
"""A page of what changed since an instant, oldest first; with None, of everything, newest first."""


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """How far a list was read.

    `seen_until` is the newest change up to which it was read without a gap, `whole` whether the first pass came to
    its end, `full_at` when all of it was last compared. `total` is how many entries Qonto then said there are and
    `newest` when the youngest of them was created: a total that has moved by anything but what was created since
    tells that something vanished; `doubted_at` is when all was last compared for that reason. `state` is that of
    the bank account when it was last listed, at `listed_at`.
    """

    seen_until: datetime = BEGINNING
    whole: bool = False
    full_at: datetime = BEGINNING
    doubted_at: datetime = BEGINNING
    total: int | None = None
    newest: datetime = BEGINNING
    state: str | None = None
    listed_at: datetime = BEGINNING

    def expects(self, total: int | None, created: int) -> bool:
        """Whether `total` is what `created` new entries explain; True where nothing can be said."""
        return self.total is None or total is None or total == self.total + created


async def changes(fetch: Fetch, since: datetime) -> AsyncIterator[tuple[Listed, datetime]]:
    """Every page from `since` on, with the time up to which nothing is missing once it is taken."""
    number = 1
    while True:
        page = await fetch(since, number)
        reached = max((entry.updated_at for entry in page.entries), default=since) - _STEP
        yield page, max(reached, since)
        if page.last:
            return
        if reached > since:
            since, number = reached, 1
        else:
            number += 1


def covers(page: Listed, since: datetime) -> bool:
    """Whether a page that begins with the newest change reaches back beyond `since`, so that nothing is missing."""
    return page.last or min((entry.updated_at for entry in page.entries), default=since) < since


def created_after(entries: list[Entry], moment: datetime) -> set[str]:
    """The ids of the entries created later than `moment`."""
    return {entry.id for entry in entries if entry.created_at is not None and entry.created_at > moment}
