"""One pull of one company: everything that changed since its markers, in the order in which it is needed.

A pull asks change data capture once. If that tells all (it is cut off at 1000 objects and forgets after 30
days), its objects are published as they came; an entity with a window open is read by window. Deletions come
from the same answer or, if it does not tell all, from comparing ids. Every page moves its marker, so a pull
may stop after any of them and the next one goes on there.
"""

from datetime import UTC, datetime, time, timedelta

import anyio
import structlog
from msgspec.structs import replace

from common.bus import Bus
from common.messages import now
from services.puller import attachments
from services.puller.attachments import Attachments
from services.puller.entities import BEFORE_BILLS, BILL, DELETIONS, ENTITIES, Entity
from services.puller.marker import Marker, Markers
from services.puller.publisher import Publisher
from services.puller.quickbooks import Capture, Company, Unsupported, ident
from services.puller.records import parts
from services.puller.reference import Reference
from services.puller.window import PAGE, Page, Window, pages, whole

log = structlog.get_logger()

CAPTURE_REACHES = timedelta(days=29)
"""How far back change data capture is asked; QuickBooks refuses after 30 days."""
CAPTURE_HOLDS = 1000
"""Objects in an answer of change data capture that was cut off."""
SOME = 200
"""Objects that are looked at one by one between two looks at the clock."""


class Unfinished(Exception):  # noqa: N818 (not an error: there is more to do)
    """The pull has had its time; the next one goes on where it stopped."""


class Pull:
    """One pull, of at most about `seconds`; then `run` raises Unfinished at the next page."""

    def __init__(self, bus: Bus, company: Company, *, seconds: float) -> None:
        self._overlap = timedelta(seconds=bus.settings.pull_overlap)
        self._beginning = datetime.combine(bus.settings.backfill_from, time.min, UTC)
        self._company = company
        self._markers = Markers(bus, company.workspace, company.realm)
        self._attachments = Attachments(bus, company)
        self._publisher = Publisher(bus, company, self._attachments)
        self._reference = Reference(company, self._markers, self._publisher)
        self._ends_at = anyio.current_time() + seconds
        self.first = False

    @property
    def counts(self) -> dict[str, int]:
        """How many records of each kind were published so far."""
        return dict(self._publisher.counts)

    async def run(self) -> None:
        """Read and publish all there is. Unfinished if time is over, NotConnected, RetryLater or Refused."""
        await self._markers.load()
        self.first = attachments.ENTITY not in self._markers
        await self._reference.refresh()
        changes = await self._changes()
        for entity in BEFORE_BILLS:
            await self._read(entity, changes)
        attached_until = await self._attachments.read(self._attachments_window())
        await self._read(BILL, changes)
        await self._delete(changes)
        attached_since = self._beginning if self.first else attachments.ALL
        for some in parts(self._publisher.bills_left(attached_since), SOME):
            done = self._publisher.total
            await self._publisher.complete(some)
            self._pause(progress=self._publisher.total > done)
        await self._markers.move(attachments.ENTITY, Marker(until=attached_until))

    async def _changes(self) -> Capture | None:
        """What change data capture tells, or None if that is not all."""
        deletions = self._markers[DELETIONS].until
        if deletions is None:
            return None
        markers = [self._markers[entity.name] for entity in ENTITIES]
        known = [deletions, *(marker.until for marker in markers if marker.until and marker.quiet)]
        since = min(known) - self._overlap
        if now() - since > CAPTURE_REACHES:
            return None
        try:
            changes = await self._company.changes([entity.name for entity in ENTITIES], since)
        except Unsupported:
            return None
        if changes.total >= CAPTURE_HOLDS:
            log.info("puller.capture_full", workspace=self._company.workspace, objects=changes.total)
            return None
        return changes

    async def _read(self, entity: Entity, changes: Capture | None) -> None:
        marker = self._markers[entity.name]
        if changes is not None and marker.quiet:
            await self._publisher.rows(entity, changes.live.get(entity.name, []))
            await self._markers.move(entity.name, Marker(until=whole(changes.time)))
            return

        async def ask(at: Window) -> Page:
            return await self._company.page(entity.name, at, inactive=entity.lists_names)

        async for found, window, until in pages(ask, self._window(entity.name)):
            await self._publisher.rows(entity, found, republish=marker.republish)
            if window is None:
                await self._markers.move(entity.name, Marker(until=until))
            else:
                await self._markers.move(entity.name, replace(marker, window=window))
                self._pause()

    async def _delete(self, changes: Capture | None) -> None:
        marker = self._markers[DELETIONS]
        # A deletion after the first answer of a window is a later one; all markers stand before this moment.
        reached = min(until for entity in ENTITIES if (until := self._markers[entity.name].until) is not None)
        if changes is not None:
            reached = whole(changes.time)
        for entity in () if marker.until is None else ENTITIES:
            deleted = await self._missing(entity) if changes is None else changes.deleted.get(entity.name, [])
            for some in parts(deleted, SOME):
                done = self._publisher.total
                await self._publisher.deletions(entity, some, republish=marker.republish)
                self._pause(progress=self._publisher.total > done and not marker.republish)
        await self._markers.move(DELETIONS, Marker(until=reached))

    async def _missing(self, entity: Entity) -> list[str]:
        """Ids that have a record and are not among those QuickBooks lists."""
        active = " WHERE Active IN (true, false)" if entity.lists_names else ""
        listed: set[str] = set()
        start = 1
        while True:
            answer = await self._company.query(
                entity.name,
                f"SELECT Id FROM {entity.name}{active} ORDERBY Id STARTPOSITION {start} MAXRESULTS {PAGE}",  # noqa: S608
            )
            listed |= {ident(item) for item in answer.objects}
            if len(answer.objects) < PAGE:
                return sorted(await self._publisher.ids(entity) - listed)
            start += PAGE

    def _window(self, name: str) -> Window:
        marker = self._markers[name]
        if marker.window is not None:
            return marker.window
        return Window(since=self._beginning if marker.until is None else marker.until - self._overlap)

    def _attachments_window(self) -> Window:
        """From the very first attachment at a first pull: a bill may be changed later than its files."""
        if self.first:
            return Window(since=attachments.ALL)
        return self._window(attachments.ENTITY)

    def _pause(self, *, progress: bool = True) -> None:
        """End the slice if time is over; never without progress that the next one can build on."""
        if progress and anyio.current_time() >= self._ends_at:
            raise Unfinished
