"""Everything the mirror has beside everything that is there, so that what vanished is noticed.

Both are read in the order of their last change, a page of Qonto at a time. What the mirror has from up to where Qonto
was read, and Qonto did not show, is looked at alone; then that place is kept. So a comparison that is cut short
goes on from there, and needs no more memory than the times and ids of one workspace's entries.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from common.buckets import Bucket
from common.bus import Bus
from common.errors import Conflict
from common.messages import Entry, EntryKind
from services.poster.damage import named
from services.poster.lists import BEGINNING, Fetch, changes
from services.poster.qonto import Listed

_PAGE = 500
"""Entries of the mirror that are read at once."""

LookAgain = Callable[[str], Awaitable[int]]
"""Asks for the entry of an id alone; 1 if it is gone since."""


class Reached(msgspec.Struct, frozen=True, kw_only=True):
    """How far a comparison came before it was cut short: all that changed earlier was compared."""

    until: datetime


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """What a comparison found; `damaged` names what it met and could not read.

    `whole` is False if it went on with one that was cut short: what vanished in between may have escaped it.
    """

    entries: int
    vanished: int
    damaged: frozenset[str]
    whole: bool


@dataclass(slots=True, eq=False)
class _Walk:
    pages: AsyncIterator[tuple[Listed, datetime]]
    reached: datetime


class Comparison:
    """Compares the entries of one kind in one workspace, for the organization that `home` names."""

    def __init__(self, bus: Bus, workspace: str, organization: str, home: str, kind: EntryKind) -> None:
        self._bus = bus
        self._organization = organization
        self._pattern = f"{bus.region}.entry.{workspace}.{kind}.*"
        self._reached = Bucket(bus, "markers", Reached)
        self._key = f"{home}.compared-{kind}"

    async def run(
        self, lists: Sequence[Fetch], take: Callable[[Listed], Awaitable[None]], look_again: LookAgain
    ) -> Compared:
        """Read the lists side by side, hand every page to `take`, and look again for what they lack."""
        present = await self._present()
        kept = await self._reached.get(self._key)
        start = kept.value.until if kept is not None else BEGINNING
        place = sum(changed < start for changed, _ in present) if kept is not None else 0
        met: dict[str, datetime] = {}
        damaged: set[str] = set()
        count = vanished = 0
        walks = [_Walk(changes(fetch, start), start) for fetch in lists]
        while walks:
            behind = min(walks, key=lambda walk: walk.reached)
            try:
                page, behind.reached = await anext(behind.pages)
            except StopAsyncIteration:
                walks.remove(behind)
            else:
                await take(page)
                count += len(page.entries)
                met |= {entry.id: entry.updated_at for entry in page.entries}
                damaged.update(map(named, page.unreadable))
            reached = min((walk.reached for walk in walks), default=None)
            if reached is not None and reached <= start:
                continue
            while place < len(present) and (reached is None or present[place][0] < reached):
                ident = present[place][1]
                if ident not in met and ident not in damaged:
                    vanished += await look_again(ident)
                place += 1
            if reached is not None:
                start = reached
                # An entry never changes backwards: what is still to be compared was met at `reached` or later.
                met = {ident: changed for ident, changed in met.items() if changed >= reached}
                await self._reached.put(self._key, Reached(until=reached))
        await self._forget()
        return Compared(entries=count, vanished=vanished, damaged=frozenset(damaged), whole=kept is None)

    async def _present(self) -> list[tuple[datetime, str]]:
        """When each entry that the mirror has of this organization changed last, oldest change first."""
        names = await self._bus.subjects(self._bus.topology.entries, self._pattern)
        found: list[tuple[datetime, str]] = []
        for start in range(0, len(names), _PAGE):
            page = await self._bus.latest(self._bus.topology.entries, names[start : start + _PAGE], Entry)
            entries = [stored.message for stored in page.values()]
            found += [
                (entry.updated_at, entry.id)
                for entry in entries
                if not entry.deleted and entry.organization in {"", self._organization}
            ]
        return sorted(found)

    async def _forget(self) -> None:
        kept = await self._reached.get(self._key)
        if kept is not None:
            try:
                await self._reached.delete(self._key, kept.revision)
            except Conflict:
                return  # another pass took over, and keeps its own place
