"""Reading around an object that QuickBooks cannot give.

QuickBooks fails a whole page for one damaged object in it. Once the window is down to the second it was last
changed in, the objects of that second are read by their place in it, in ever smaller groups, until only what
is damaged is left. It is told to the owner, kept on the marker if its id can be had, and tried again every
day; editing it in QuickBooks brings it back by itself.

An object counts as damaged only while QuickBooks still counts its neighbours: otherwise QuickBooks itself is
unwell, and the pull fails where it stands.
"""

from collections.abc import Sequence
from datetime import datetime

import structlog

from common.bus import Bus
from common.errors import RetryLater
from services.puller.omissions import left_damaged
from services.puller.quickbooks import Company, Damaged, Missing
from services.puller.window import Row, Window, conditions, statement

log = structlog.get_logger()

TRIES = 3
"""Times a second is read in which objects are edited meanwhile, before the pull is put off."""


class Salvage:
    """What can be read of one entity of a company, and the ids of what cannot (`damaged`)."""

    def __init__(
        self, bus: Bus, company: Company, entity: str, *, inactive: bool = False, damaged: Sequence[str] = ()
    ) -> None:
        self._bus = bus
        self._company = company
        self._entity = entity
        self._inactive = inactive
        self.damaged = set(damaged)

    async def second(self, second: datetime) -> list[Row]:
        """The objects last changed in that second. Damaged if QuickBooks cannot even count them."""
        for _ in range(TRIES):
            count = await self._count(second)
            log.info("puller.salvage", entity=self._entity, second=second.isoformat(), objects=count)
            size = self._company.size
            rows = [
                row
                for start in range(1, count + 1, size)
                for row in await self._read(second, start, min(size, count + 1 - start))
            ]
            # An object that was edited left the second, and those behind it moved up: with as many as before, none did.
            if await self._count(second) == count:
                return rows
        raise RetryLater(f"{self._entity} objects changed at {second:%Y-%m-%d %H:%M:%S} UTC keep being edited")

    async def again(self) -> list[Row]:
        """Those once damaged that can be read by now; what is gone is forgotten."""
        ids, self.damaged = sorted(self.damaged), set()
        return [row for ident in ids for row in await self._one(ident, told=True)]

    async def _count(self, second: datetime) -> int:
        where = conditions(Window(since=second, until=second), inactive=self._inactive)
        answer = await self._company.query(self._entity, f"SELECT COUNT(*) FROM {self._entity} WHERE {where}")  # noqa: S608
        return answer.total or 0

    async def _read(self, second: datetime, start: int, size: int) -> list[Row]:
        at = Window(since=second, crowded=True, start=start)
        text = statement(self._entity, at, inactive=self._inactive, size=size)
        try:
            return await self._company.rows(self._entity, text)
        except Damaged as error:
            if size > 1:
                half = size // 2
                return [*await self._read(second, start, half), *await self._read(second, start + half, size - half)]
            return await self._named(second, text, error)

    async def _named(self, second: datetime, text: str, error: Damaged) -> list[Row]:
        """The one object of a statement, by its id; told as left out if even that cannot be had."""
        try:
            ids = await self._company.ids(self._entity, text.replace("SELECT *", "SELECT Id", 1))
        except Damaged:
            what = f"a {self._entity} last changed at {second:%Y-%m-%d %H:%M:%S} UTC"
            await left_damaged(self._bus, self._company, what, error)
            return []
        return [row for ident in ids for row in await self._one(ident)]

    async def _one(self, ident: str, *, told: bool = False) -> list[Row]:
        try:
            return [await self._company.read(self._entity, ident)]
        except Missing:
            return []
        except Damaged as error:
            self.damaged.add(ident)
            if not told:
                await left_damaged(self._bus, self._company, f"{self._entity} {ident}", error)
            return []
