"""The mirror of Qonto: supplier invoices and transactions as entries, kept up on request.

The first pass reads everything, later ones what changed since the newest change seen, with an overlap. Lists
move while they are read, so pages are keyed by the time of change and not by their number. Once a day a full
pass finds what vanished; nothing is taken for vanished before Qonto says so itself.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec
import structlog

from common import subjects
from common.buckets import Bucket
from common.bus import Bus
from common.connections import Connections
from common.lease import lease
from common.messages import Entry, Mirror, Mirrored, Notice, now
from services.poster.entries import Entries
from services.poster.qonto import Denied, Listed, Missing, Qonto
from services.poster.readback import ReadBack

log = structlog.get_logger()

OVERLAP = timedelta(minutes=2)
FULL_EVERY = timedelta(days=1)
_WAIT = 20.0
"""Seconds a call waits for a pass of another instance."""
_BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
_STEP = timedelta(seconds=1)

What = Literal["invoices", "transactions"]
Fetch = Callable[[datetime, int], Awaitable[Listed]]


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """How far a list was read: the newest change seen, and when all of it was last read."""

    seen_until: datetime
    full_at: datetime


class QontoMirror:
    """Brings `entry.*` of one workspace up to date, one pass at a time."""

    def __init__(self, bus: Bus, qonto: Qonto, connections: Connections) -> None:
        self._bus = bus
        self._qonto = qonto
        self._connections = connections
        self._markers = Bucket(bus, "markers", Marker)
        self._entries = Entries(bus)
        self._read_back = ReadBack(bus)

    async def bring_up(self, request: Mirror) -> Mirrored:
        """Read what changed; the answer names the newest entry. NotConnected without a connection."""
        workspace = subjects.workspace(request.workspace)
        organization = await self._connections.required(workspace)
        async with lease(self._bus, f"mirror.{workspace}", wait=_WAIT):
            changed = await self._list(workspace, organization, "invoices", [self._invoices(workspace)])
            accounts = (await self._qonto.organization(workspace)).accounts
            fetches = [self._transactions(workspace, account) for account in accounts]
            changed += await self._list(workspace, organization, "transactions", fetches)
        pattern = f"{self._bus.region}.entry.{workspace}.>"
        newest = await self._bus.newest_sequence(self._bus.topology.entries, pattern)
        log.info("poster.mirrored", workspace=workspace, changed=changed, sequence=newest)
        return Mirrored(workspace=workspace, entries_seq=newest, changed=changed)

    async def _list(self, workspace: str, organization: str, what: What, fetches: list[Fetch]) -> int:
        key = f"{workspace}.{subjects.token(organization, 'organization')}.{what}"
        kept = await self._markers.get(key)
        begun = now()
        full = kept is None or begun - kept.value.full_at >= FULL_EVERY
        since = _BEGINNING if kept is None or full else kept.value.seen_until - OVERLAP
        seen_until = kept.value.seen_until if kept is not None else _BEGINNING
        seen: set[str] = set()
        changed = 0
        for fetch in fetches:
            async for page in _keyset(fetch, since):
                await self._tell_unreadable(workspace, page.unreadable)
                changed += await self._entries.publish(page.entries) if page.entries else 0
                await self._read_back.check(page.entries)
                seen_until = max([seen_until, *(entry.updated_at for entry in page.entries)])
                if full:
                    seen.update(entry.id for entry in page.entries)
        if full:
            changed += await self._bury(workspace, "invoice" if what == "invoices" else "transaction", seen)
        marker = Marker(seen_until=seen_until, full_at=begun if kept is None or full else kept.value.full_at)
        await self._markers.put(key, marker)
        return changed

    async def _bury(self, workspace: str, kind: Literal["invoice", "transaction"], seen: set[str]) -> int:
        """Mark entries that a full pass did not meet and that Qonto says are gone."""
        pattern = f"{self._bus.region}.entry.{workspace}.{kind}.*"
        buried = 0
        for name in await self._bus.subjects(self._bus.topology.entries, pattern):
            ident = name.rpartition(".")[2]
            if ident in seen:
                continue
            stored = (await self._bus.latest(self._bus.topology.entries, [name], Entry)).get(name)
            if stored is None or stored.message.deleted or not await self._gone(workspace, kind, ident):
                continue
            tombstone = msgspec.structs.replace(stored.message, deleted=True, updated_at=now())
            buried += await self._entries.publish([tombstone])
        if buried:
            log.info("poster.entries_vanished", workspace=workspace, kind=kind, count=buried)
        return buried

    async def _gone(self, workspace: str, kind: Literal["invoice", "transaction"], ident: str) -> bool:
        try:
            await (self._qonto.invoice if kind == "invoice" else self._qonto.transaction)(workspace, ident)
        except Missing:
            return True
        except Denied as error:
            log.warning("poster.entry_unknown", workspace=workspace, kind=kind, entry=ident, error=error)
        return False

    def _invoices(self, workspace: str) -> Fetch:
        async def fetch(since: datetime, page: int) -> Listed:
            return await self._qonto.invoices(workspace, page=page, updated_from=since)

        return fetch

    def _transactions(self, workspace: str, account: str) -> Fetch:
        async def fetch(since: datetime, page: int) -> Listed:
            return await self._qonto.transactions(workspace, account, page=page, updated_from=since)

        return fetch

    async def _tell_unreadable(self, workspace: str, unreadable: list[str]) -> None:
        for why in unreadable:
            log.error("poster.entry_unreadable", workspace=workspace, why=why)
            await self._bus.notify(
                Notice(
                    workspace=workspace,
                    kind="failed",
                    at=now(),
                    why=f"an entry of Qonto cannot be read and is left out: {why}",
                    provider="qonto",
                ),
                key=f"unreadable-{workspace}-{why}",
            )


async def _keyset(fetch: Fetch, since: datetime) -> AsyncIterator[Listed]:
    """The pages from `since` on, each begun at the last change seen, so that a list that moves loses nothing."""
    number = 1
    while True:
        page = await fetch(since, number)
        yield page
        if page.last:
            return
        # One second back: whether the filter includes its bound is not documented.
        reached = max((entry.updated_at for entry in page.entries), default=since) - _STEP
        if reached > since:
            since, number = reached, 1
        else:
            number += 1
