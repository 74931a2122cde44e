"""One pull of one company: everything that changed since its markers, in the order in which it is needed.

A pull asks change data capture once. If that tells all (it is cut off at 1000 objects and forgets after 30
days), its objects are published as they came; an entity with a window open is read by window. Deletions come
from the same answer or, if it does not tell all, from comparing ids. Every page moves its marker, so a pull
may stop after any of them and the next one goes on there.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import anyio
import structlog
from msgspec.structs import replace

from common.bus import Bus
from common.errors import Refused
from services.puller import attachments
from services.puller.attachments import Attachments
from services.puller.entities import BEFORE_BILLS, BILL, DELETIONS, ENTITIES, Entity
from services.puller.index import Indexes
from services.puller.marker import Marker, Markers, due
from services.puller.progress import Progress
from services.puller.publisher import Publisher
from services.puller.quickbooks import Capture, Company, Unsupported
from services.puller.records import parts
from services.puller.reference import TAX_CODES, TAX_RATES, Reference
from services.puller.salvage import Salvage
from services.puller.window import PAGE, Page, Row, Window, pages, whole

log = structlog.get_logger()

CAPTURE_REACHES = timedelta(days=29)
"""How far back change data capture is believed; QuickBooks refuses after 30 days."""
CAPTURE_HOLDS = 1000
"""Objects in an answer of change data capture that was cut off."""
SOME = 50
"""Objects that are looked at one by one, and bills whose files are fetched, between two looks at the clock."""


class Unfinished(Exception):  # noqa: N818 (not an error: there is more to do)
    """The pull has had its time; the next one goes on where it stopped."""


class Pull:
    """One pull, of at most about `seconds`; then `run` raises Unfinished at the next page.

    `beginning` is where the company's first pull begins. `indexes` are what earlier slices left of attachments.
    """

    def __init__(
        self,
        bus: Bus,
        company: Company,
        progress: Progress,
        *,
        beginning: datetime,
        seconds: float,
        indexes: Indexes | None = None,
    ) -> None:
        self._bus = bus
        self._overlap = timedelta(seconds=bus.settings.pull_overlap)
        self._beginning = beginning
        self._progress = progress
        self._company = company
        self._markers = Markers(bus, company.workspace, company.realm)
        self._attachments = Attachments(bus, company, Indexes() if indexes is None else indexes)
        self._publisher = Publisher(bus, company, self._attachments)
        self._reference = Reference(bus, company, self._markers, self._publisher)
        self._at = beginning
        self._ends_at = anyio.current_time() + seconds
        self.first = False

    @property
    def counts(self) -> dict[str, int]:
        """How many records of each kind were published so far."""
        return dict(self._publisher.counts)

    async def left_out(self) -> list[str]:
        """In words, each object and file that QuickBooks could not give so far."""
        found: list[str] = []
        for name in (TAX_RATES, TAX_CODES, *(entity.name for entity in ENTITIES), attachments.ENTITY):
            marker = self._markers[name]
            found += [f"{name} {ident}" for ident in marker.damaged]
            found += [f"a {name} last changed at {second:%Y-%m-%d %H:%M:%S} UTC" for second in marker.seconds]
        return [*found, *await self._attachments.left_out()]

    async def run(self) -> None:
        """Read and publish all there is. Unfinished if time is over, NotConnected, RetryLater or Refused."""
        await self._markers.load()
        self.first = attachments.ENTITY not in self._markers
        changes = await self._changes()
        self._at = await self._reference.refresh()
        await self._note_beginning()
        self._attachments.begin(self._markers[attachments.ENTITY], self._at)
        for entity in BEFORE_BILLS:
            await self._read(entity, changes)
        attached_until = await self._read_attachments(changes)
        await self._read(BILL, changes)
        await self._delete(changes)
        everything = self._attachments_window().since == attachments.ALL
        attached_since = self._beginning if everything else attachments.ALL
        deleted = self._attachments_deleted(changes)
        for some in parts(await self._attachments.missing(deleted), SOME):
            await self._complete(sorted(await self._attachments.confirm(some)))
        await self._complete(self._publisher.bills_to_complete(attached_since))
        uncaptured_at = self._attachments_uncaptured(changes, compared=deleted is None)
        marker = Marker(until=attached_until, uncaptured_at=uncaptured_at)
        self._publisher.settle()
        await self._markers.move(attachments.ENTITY, self._attachments.noted(marker))
        self._attachments.done()

    async def _note_beginning(self) -> None:
        """Before a first pull publishes anything: deletions count from here on, however long it takes to succeed."""
        marker = self._markers[DELETIONS]
        if marker.until is None and marker.window is None:
            await self._markers.move(DELETIONS, Marker(window=Window(since=whole(self._at))))

    async def _changes(self) -> Capture | None:
        """What change data capture tells, or None if that is not all."""
        deletions = self._markers[DELETIONS].until
        if deletions is None:
            return None
        markers = [self._markers[entity.name] for entity in ENTITIES]
        known = [deletions, *(marker.until for marker in markers if marker.until and marker.quiet)]
        if (attached := self._markers[attachments.ENTITY].until) is not None:
            # Even while its window is open: which attachments were deleted since is told by nothing else.
            known.append(attached)
        since = min(known) - self._overlap
        if max(known) - since > CAPTURE_REACHES:  # set back further than that: no need to ask
            return None
        try:
            changes = await self._capture(since)
        except Refused as error:  # too far back, or an object in it is damaged: the windows tell the rest
            log.info("puller.no_capture", workspace=self._company.workspace, error=error)
            return None
        if changes.total >= CAPTURE_HOLDS:
            log.info("puller.capture_full", workspace=self._company.workspace, objects=changes.total)
            return None
        if changes.time - since > CAPTURE_REACHES:
            log.info("puller.capture_short", workspace=self._company.workspace, since=since.isoformat())
            return None
        return changes

    async def _capture(self, since: datetime) -> Capture:
        """What changed since, attachments included if QuickBooks captures them: asked once a day if it does not."""
        names = [entity.name for entity in ENTITIES]
        refused_at = self._markers[attachments.ENTITY].uncaptured_at
        changes = None
        if refused_at is not None:
            changes = await self._company.changes(names, since)
            if not due(refused_at, changes.time):
                return changes
        try:
            return await self._company.changes([*names, attachments.ENTITY], since)
        except Unsupported:
            return changes or await self._company.changes(names, since)

    async def _read_attachments(self, changes: Capture | None) -> datetime:
        marker, window = self._markers[attachments.ENTITY], self._attachments_window()
        if changes is None or attachments.ENTITY not in changes.asked or not marker.quiet:
            until = await self._attachments.read(window, again=marker.republish, pause=self._pause)
        else:
            await self._attachments.take(changes.live.get(attachments.ENTITY, []), since=window.since)
            until = whole(changes.time)
        await self._attachments.mended()
        return until

    def _attachments_deleted(self, changes: Capture | None) -> list[str] | None:
        """The attachments known to be deleted, None if only comparing ids can tell.

        Where they are not captured, ids are compared once a day, and once more when they are captured again.
        """
        refused_at = self._markers[attachments.ENTITY].uncaptured_at
        if changes is not None and attachments.ENTITY in changes.asked:
            return changes.deleted.get(attachments.ENTITY, []) if refused_at is None else None
        return None if due(refused_at, self._at) else []

    def _attachments_uncaptured(self, changes: Capture | None, *, compared: bool) -> datetime | None:
        """When change data capture last refused attachments and their ids were compared instead."""
        refused_at = self._markers[attachments.ENTITY].uncaptured_at
        if changes is not None and attachments.ENTITY in changes.asked:
            return None
        if compared and (changes is not None or refused_at is not None):
            return self._at
        return refused_at

    async def _complete(self, bills: Sequence[str]) -> None:
        for some in parts(bills, SOME):
            done = self._publisher.total
            marker = self._markers[BILL.name]
            damaged = (await self._publisher.complete(some, marker.damaged)).union(marker.damaged)
            if len(damaged) > len(marker.damaged):
                tried_at = marker.tried_at or self._at
                kept = replace(marker, damaged=tuple(sorted(damaged)), tried_at=tried_at)
                await self._markers.move(BILL.name, kept)
            self._pause(progress=self._publisher.total > done)

    async def _read(self, entity: Entity, changes: Capture | None) -> None:
        salvage = self._salvage(entity)
        if salvage.due:
            await self._rows(entity, await salvage.again(), salvage)
            await self._move(entity, self._markers[entity.name], salvage)
        marker = self._markers[entity.name]
        if changes is not None and marker.quiet:
            await self._rows(entity, changes.live.get(entity.name, []), salvage)
            await self._move(entity, Marker(until=whole(changes.time)), salvage)
            return

        async def ask(at: Window) -> Page:
            return await self._company.page(entity.name, at, inactive=entity.lists_names)

        async for found, window, until in pages(
            ask, self._window(entity.name), self._company.size, salvage=salvage.second
        ):
            await self._rows(entity, found, salvage, republish=marker.republish)
            if window is None:
                await self._move(entity, Marker(until=until), salvage)
            else:
                await self._move(entity, replace(marker, window=window), salvage)
                await self._progress.reached(entity.name, window.since, self.counts, first=marker.until is None)
                self._pause()

    async def _rows(self, entity: Entity, rows: Sequence[Row], salvage: Salvage, *, republish: bool = False) -> None:
        salvage.damaged.difference_update(row.id for row in rows)  # saved again since
        done = self._publisher.total
        for some in parts(rows, SOME if entity is BILL else PAGE):
            # The next slice reads the page anew, and would publish once more what is published again.
            self._pause(progress=self._publisher.total > done and not republish)
            for row in await self._publisher.rows(entity, some, republish=republish, told=salvage.told):
                salvage.note(row)

    async def _move(self, entity: Entity, marker: Marker, salvage: Salvage) -> None:
        self._publisher.settle()
        await self._markers.move(entity.name, salvage.noted(marker))

    def _salvage(self, entity: Entity) -> Salvage:
        marker = self._markers[entity.name]
        return Salvage(self._bus, self._company, entity.name, marker, self._at, inactive=entity.lists_names)

    async def _delete(self, changes: Capture | None) -> None:
        marker = self._markers[DELETIONS]
        # A deletion after the first answer of a window is a later one; all markers stand before this moment.
        reached = min(until for entity in ENTITIES if (until := self._markers[entity.name].until) is not None)
        if changes is not None:
            reached = whole(changes.time)
        elif marker.until is None and marker.window is not None:  # what was published then may have gone since
            reached = min(reached, marker.window.since)
        for entity in () if marker.until is None else ENTITIES:
            deleted = await self._missing(entity) if changes is None else changes.deleted.get(entity.name, [])
            for some in parts(deleted, SOME):
                done = self._publisher.total
                await self._publisher.deletions(entity, some, republish=marker.republish)
                self._pause(progress=self._publisher.total > done and not marker.republish)
        self._publisher.settle()
        await self._markers.move(DELETIONS, Marker(until=reached))

    async def _missing(self, entity: Entity) -> list[str]:
        """Ids that have a record and are not among those QuickBooks lists."""
        return sorted(await self._publisher.ids(entity) - await self._salvage(entity).ids())

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
