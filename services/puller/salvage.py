"""Reading around an object that QuickBooks cannot give.

QuickBooks fails a whole page for one damaged object in it. Once the window is down to the second it was last
changed in, the objects of that second are read by their place in it, in ever smaller groups, until only what
is damaged is left; lists without windows are read so from their start. What is damaged is told to the owner,
kept on the marker, and tried again every day: by its id, or if even that cannot be had, by its second. So is an
object that comes malformed.
Editing it in QuickBooks brings it back by itself.

An object counts as damaged only while QuickBooks still counts its neighbours: otherwise QuickBooks itself is
unwell, and the pull fails where it stands.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar

import structlog
from msgspec.structs import replace

from common.bus import Bus
from common.errors import RetryLater
from services.puller.marker import Marker, due
from services.puller.omissions import left_damaged
from services.puller.quickbooks import NEVER, UNNAMED, Company, Damaged, Missing
from services.puller.window import Row, Window, conditions

log = structlog.get_logger()
T = TypeVar("T")

TRIES = 3
"""Times a second is read in which objects are edited meanwhile, before the pull is put off."""

ACTIVE = " WHERE Active IN (true, false)"


class Salvage:
    """What can be read of one entity of a company, and what cannot: `damaged` ids, and seconds.

    `marker` says what was damaged before, and is told already; `at` is QuickBooks' time of this pull.
    """

    def __init__(
        self, bus: Bus, company: Company, entity: str, marker: Marker, at: datetime, *, inactive: bool = False
    ) -> None:
        self._bus = bus
        self._company = company
        self.entity = entity
        self._inactive = inactive
        self._at = at
        self._tried_at = marker.tried_at
        self._seconds = set(marker.seconds)
        self._told: set[str | datetime] = {*marker.damaged, *marker.seconds}
        self.damaged = set(marker.damaged)

    @property
    def due(self) -> bool:
        """Whether something is damaged and was not tried for a day."""
        return bool(self.damaged or self._seconds) and due(self._tried_at, self._at)

    def noted(self, marker: Marker) -> Marker:
        """`marker` with what is damaged by now."""
        tried_at = (self._tried_at or self._at) if self.damaged or self._seconds else None
        damaged, seconds = tuple(sorted(self.damaged)), tuple(sorted(self._seconds))
        return replace(marker, damaged=damaged, seconds=seconds, tried_at=tried_at)

    def new(self, key: str | datetime) -> bool:
        """Whether the owner was not told of this id or second; from now on it counts as told."""
        new = key not in self._told
        self._told.add(key)
        return new

    @property
    def told(self) -> set[str]:
        """The ids that the owner was told of."""
        return {key for key in self._told if isinstance(key, str)}

    def note(self, row: Row) -> None:
        """Keep in mind what was read and is malformed, by its id or, without one, by its second; it counts as told."""
        if row.id != UNNAMED:
            self.damaged.add(row.id)
            self._told.add(row.id)
        elif row.at != NEVER:
            self._seconds.add(row.at)

    def take_over(self, earlier: "Salvage") -> None:
        """Add what an earlier slice of the same pull found damaged, and told."""
        self.damaged |= earlier.damaged
        self._seconds |= earlier._seconds  # noqa: SLF001 (one of us)
        self._told |= earlier._told  # noqa: SLF001

    async def again(self) -> list[Row]:
        """Those once damaged that can be read by now; what is gone is forgotten."""
        rows = [row for ident in sorted(self.damaged) for row in await self._one(ident)]
        rows += [row for second in sorted(self._seconds) for row in await self.second(second)]
        self._tried_at = self._at
        return rows

    async def second(self, second: datetime) -> list[Row]:
        """The objects last changed in that second. Damaged if QuickBooks cannot even count them."""
        where = " WHERE " + conditions(Window(since=second, until=second), inactive=self._inactive)
        for _ in range(TRIES):
            self._seconds.discard(second)
            count = await self._company.count(self.entity, where)
            log.info("puller.salvage", entity=self.entity, second=second.isoformat(), objects=count)
            rows = await self.listed(where, second=second)
            # An object that was edited left the second, and those behind it moved up: with as many as before, none did.
            if await self._company.count(self.entity, where) == count:
                return rows
        raise RetryLater(f"{self.entity} objects changed at {second:%Y-%m-%d %H:%M:%S} UTC keep being edited")

    async def listed(self, where: str = "", *, order: str = " ORDERBY Id", second: datetime | None = None) -> list[Row]:
        """Every object that fulfils `where` (" WHERE …"), except what is damaged; all last changed in `second`."""

        async def one(text: str, error: Damaged) -> list[Row]:
            try:
                ids = await self._company.ids(self.entity, text.replace("SELECT *", "SELECT Id", 1))
            except Damaged:
                ids = [UNNAMED]
            if UNNAMED not in ids:
                return [row for ident in ids for row in await self._one(ident)]
            if second is None:
                self.damaged.add(UNNAMED)
                await self._tell(UNNAMED, f"a {self.entity}", error)
            else:
                self._seconds.add(second)
                await self._tell(second, f"a {self.entity} last changed at {second:%Y-%m-%d %H:%M:%S} UTC", error)
            return []

        async def ask(text: str) -> list[Row]:
            return await self._company.rows(self.entity, text)

        return await self._around("*", where + order, ask, one, lambda: self._company.count(self.entity, where))

    async def ids(self) -> set[str]:
        """The id of every object, except those that cannot be had."""
        where = ACTIVE if self._inactive else ""

        async def ask(text: str) -> list[str]:
            return await self._company.ids(self.entity, text)

        async def none(_text: str, _error: Damaged) -> list[str]:
            return []

        count = lambda: self._company.count(self.entity, where)  # noqa: E731
        return set(await self._around("Id", where + " ORDERBY Id", ask, none, count))

    async def _around(
        self,
        wanted: str,
        condition: str,
        ask: Callable[[str], Awaitable[list[T]]],
        one: Callable[[str, Damaged], Awaitable[list[T]]],
        count: Callable[[], Awaitable[int]],
    ) -> list[T]:
        """All that `ask` gives page by page; `one` says what stands in for a place that cannot be read."""

        def statement(start: int, size: int) -> str:
            return f"SELECT {wanted} FROM {self.entity}{condition} STARTPOSITION {start} MAXRESULTS {size}"  # noqa: S608

        async def read(start: int, size: int) -> list[T]:
            try:
                return await ask(statement(start, size))
            except Damaged as error:
                if size == 1:
                    return await one(statement(start, size), error)
                half = size // 2
                return [*await read(start, half), *await read(start + half, size - half)]

        found: list[T] = []
        size, start, more = self._company.size, 1, True
        while more:
            try:
                page = await ask(statement(start, size))
                more = len(page) == size
            except Damaged:
                left = await count() - start + 1
                page = await read(start, min(size, left)) if left > 0 else []
                more = left > size
            found += page
            start += size
        return found

    async def _one(self, ident: str) -> list[Row]:
        self.damaged.discard(ident)
        try:
            return [await self._company.read(self.entity, ident)]
        except Missing:
            return []
        except Damaged as error:
            self.damaged.add(ident)
            await self._tell(ident, f"{self.entity} {ident}", error)
            return []

    async def _tell(self, key: str | datetime, what: str, error: Damaged) -> None:
        if self.new(key):
            await left_damaged(self._bus, self._company, what, error)
