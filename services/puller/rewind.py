"""Reading again, or further back: markers set back on request.

A rewind publishes everything changed since an instant anew, even if unchanged. A backfill publishes only what
is missing, and is where later first pulls of the workspace begin.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Literal

import structlog
from msgspec.structs import replace

from common import subjects
from common.buckets import Bucket
from common.bus import Bus
from common.connections import Connections
from common.errors import Conflict, Refused
from common.messages import Backfill, Done, Rewind, Workspace, now, said
from common.settings import EARLIEST
from common.ticks import ask_for_pull
from services.puller import attachments, reference
from services.puller.entities import DELETIONS, ENTITIES
from services.puller.marker import Marker, Markers, Moved, first_pull_begins, rewound
from services.puller.window import Window

log = structlog.get_logger()

TRIES = 5
"""Attempts against a pull that moves the same markers meanwhile."""

_READ = tuple(entity.name for entity in ENTITIES)


class Rewinder:
    """Answers `rewind` and `backfill`."""

    def __init__(self, bus: Bus, connections: Connections) -> None:
        self._bus = bus
        self._connections = connections
        self._workspaces = Bucket(bus, "workspaces", Workspace)

    async def rewind(self, request: Rewind) -> Done:
        """Set every marker of the connected company back to `to` and have it pulled."""
        workspace, to = _checked(request.workspace, request.to, "to")
        markers = await self._markers(workspace)
        beginning = await self._beginning(workspace)
        await self._until_unmoved(markers, lambda: self._set_back(markers, to, min(to, beginning)))
        log.info("puller.rewound", workspace=workspace, to=to.isoformat())
        return await self._tick(workspace, "rewind")

    async def backfill(self, request: Backfill) -> Done:
        """Have everything changed since `since` read, and what is missing published."""
        workspace, since = _checked(request.workspace, request.since, "since")
        markers = await self._markers(workspace)
        await markers.load()
        await self._begin_at(workspace, since, further=any(name in markers for name in (*_READ, attachments.ENTITY)))
        beginning = await self._beginning(workspace)
        await self._until_unmoved(markers, lambda: self._reach_back(markers, since, beginning))
        log.info("puller.backfill", workspace=workspace, since=since.isoformat())
        return await self._tick(workspace, "backfill")

    async def _markers(self, workspace: str) -> Markers:
        realm = await self._connections.account(workspace)
        if realm is None:
            raise Refused(f"{workspace} has no connected QuickBooks company", fix="connect it first")
        return Markers(self._bus, workspace, realm)

    async def _until_unmoved(self, markers: Markers, move: Callable[[], Awaitable[None]]) -> None:
        for attempt in range(1, TRIES + 1):
            try:
                await markers.load()
                await move()
            except Moved:
                if attempt == TRIES:
                    raise
            else:
                return

    async def _set_back(self, markers: Markers, to: datetime, beginning: datetime) -> None:
        await _begin(markers, beginning)
        for name in (*_READ, attachments.ENTITY, reference.COMPANY, reference.TAX_CODES):
            if name in markers:
                await markers.move(name, rewound(markers[name], to))
        if (reached := markers[DELETIONS].until) is not None:
            await markers.move(DELETIONS, Marker(until=min(reached, to), republish=True))

    async def _reach_back(self, markers: Markers, since: datetime, beginning: datetime) -> None:
        await _begin(markers, beginning)
        # Attachments first and from the very beginning: their files may be older than the bills' last change.
        for name, to in ((attachments.ENTITY, attachments.ALL), *((name, since) for name in _READ)):
            await markers.move(name, rewound(markers[name], to, republish=False))

    async def _beginning(self, workspace: str) -> datetime:
        kept = await self._workspaces.get(workspace)
        return first_pull_begins(None if kept is None else kept.value, self._bus.settings.backfill_from)

    async def _begin_at(self, workspace: str, since: datetime, *, further: bool) -> None:
        """Keep where first pulls begin; where something was read already, only `further` back than it was."""
        wanted = since.astimezone(UTC).date()
        while True:
            kept = await self._workspaces.get(workspace)
            try:
                if kept is None:
                    first = Workspace(id=workspace, region=self._bus.region, created_at=now(), backfill_from=wanted)
                    await self._workspaces.create(workspace, first)
                else:
                    before = kept.value.backfill_from or self._bus.settings.backfill_from
                    known = replace(kept.value, backfill_from=min(before, wanted) if further else wanted)
                    await self._workspaces.replace(workspace, known, kept.revision)
            except Conflict:
                continue
            return

    async def _tick(self, workspace: str, reason: Literal["rewind", "backfill"]) -> Done:
        await ask_for_pull(self._bus, workspace, reason)
        return Done()


async def _begin(markers: Markers, beginning: datetime) -> None:
    """Open the windows of a first pull that has not come to them: one that runs began elsewhere, and has to stop."""
    for name, since in ((attachments.ENTITY, attachments.ALL), *((name, beginning) for name in _READ)):
        if name not in markers:
            await markers.move(name, Marker(window=Window(since=since)))


def _checked(workspace: str, instant: datetime, field: str) -> tuple[str, datetime]:
    if instant.tzinfo is None:
        raise Refused(f"{field}: {instant} has no zone", field=field, fix="add one, such as Z or +01:00")
    if instant < EARLIEST:
        fix = f"name {EARLIEST:%Y-%m-%d} or later: QuickBooks has nothing older"
        raise Refused(f"{field}: {instant.isoformat()} is too long ago", field=field, fix=fix)
    if instant > now():
        raise Refused(f"{field}: {said(instant)} is in the future", field=field, fix="name a date that is past")
    return subjects.workspace(workspace), instant
