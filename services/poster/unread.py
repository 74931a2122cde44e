"""Invoices that Qonto has not read yet: looked at again, ever more rarely, until it has or gives up.

`updated_at` is said to move when the reading comes; this does not depend on it. An invoice among the latest changes
is met at every pass anyway, only the others cost a call of their own.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from common.buckets import Bucket
from common.bus import Bus
from common.messages import Entry, now

FIRST = timedelta(minutes=1)
LONGEST = timedelta(hours=6)
TRIES = 12
"""Looks at one invoice, over two days; then Qonto will not read it any more."""
AT_ONCE = 5
"""Looks of one pass."""
KEPT = 1000
"""Invoices that are followed in one workspace; beyond that the oldest give way."""


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """How often an invoice was looked at for its reading, and when it is due again."""

    tries: int = 0
    due: datetime


class Unread:
    """The invoices of one workspace that wait to be read, as the bucket keeps them."""

    def __init__(self, bus: Bus, key: str) -> None:
        self._bucket = Bucket(bus, "markers", dict[str, Watched])
        self._key = key
        self._watched: dict[str, Watched] = {}
        self._kept: dict[str, Watched] = {}

    async def load(self) -> None:
        """Read what is followed."""
        kept = await self._bucket.get(self._key)
        self._kept = {} if kept is None else kept.value
        self._watched = dict(self._kept)

    async def save(self) -> None:
        """Keep what is followed, if that changed."""
        if self._watched != self._kept:
            self._watched = dict(list(self._watched.items())[-KEPT:])
            await self._bucket.put(self._key, self._watched)
            self._kept = dict(self._watched)

    def note(self, entries: Iterable[Entry]) -> None:
        """Follow those that were not read yet, and leave the others."""
        at = now()
        for entry in entries:
            if entry.kind != "invoice":
                continue
            too_old = entry.created_at is None or entry.created_at < at - TRIES * LONGEST
            if entry.analyzed_at is not None or not entry.live or too_old:
                self._watched.pop(entry.id, None)
            elif entry.id not in self._watched:
                self._watched[entry.id] = Watched(due=at + FIRST)

    def due(self, met: set[str]) -> list[str]:
        """At most AT_ONCE invoices to look at now, none of those `met` in this pass; they count as looked at."""
        at = now()
        found = [ident for ident, one in self._watched.items() if one.due <= at and ident not in met][:AT_ONCE]
        for ident in found:
            tries = self._watched[ident].tries + 1
            if tries >= TRIES:
                del self._watched[ident]
            else:
                wait = min(FIRST * 2**tries, LONGEST)
                self._watched[ident] = Watched(tries=tries, due=at + wait)
        return found
