"""What Qonto holds for bills that are about to be uploaded, whatever the ledger says of them.

The mirror, read as its stream grows, and one list of what Qonto took in since: that answers for any number of
bills. Where there is no whole mirror yet, each bill is looked for by its file name.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import anyio
import msgspec
import structlog

from common import codec, subjects
from common.buckets import Bucket
from common.bus import PUBLISH_TIMEOUT, Bus
from common.errors import RetryLater, cause
from common.inbox import END, NO_MESSAGES, Inbox, status
from common.messages import Entry
from services.poster.lists import Marker
from services.poster.mirror import OVERLAP
from services.poster.qonto import Missing, Qonto

log = structlog.get_logger()

MOST_VIEWS = 64
"""Organizations whose uploads are kept in mind; others are read anew."""
_AT_ONCE = 8
"""Look-ups at a time."""
_PAGE = 1000
"""Entries read from the mirror at a time."""
_BACK = timedelta(seconds=5)
"""How far back a list begins before the newest upload an earlier one showed; lists may lag a moment."""
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class _View:
    """The uploads of one organization: which entries each bill has, up to where the mirror and Qonto were read."""

    sequence: int = 0
    until: datetime = _NEVER
    uploads: dict[str, set[str]] = field(default_factory=dict)
    turn: anyio.Lock = field(default_factory=anyio.Lock)

    def note(self, entry: Entry) -> None:
        if entry.origin is not None:
            self.uploads.setdefault(entry.origin, set()).add(entry.id)


class LastLook:
    """Looks for uploads of any workspace; remembers only which entry is whose, never how an entry stands."""

    def __init__(self, bus: Bus, qonto: Qonto) -> None:
        self._bus = bus
        self._qonto = qonto
        self._markers = Bucket(bus, "markers", Marker)
        self._views: OrderedDict[tuple[str, str], _View] = OrderedDict()

    async def uploads(self, workspace: str, wanted: Mapping[str, Collection[str]]) -> dict[str, list[Entry]]:
        """The entries made for each bill (record key) as Qonto shows them now, but for the ids that come with it."""
        organization = await self._qonto.account(workspace)
        kept = None
        if organization is not None:
            kept = await self._markers.get(f"{workspace}.{subjects.token(organization, 'organization')}.invoices")
        if organization is None or kept is None or not kept.value.whole:
            return await self._by_name(workspace, wanted)
        view = self._view(workspace, organization)
        async with view.turn:
            await self._read_mirror(workspace, organization, view)
            await self._read_news(workspace, view, kept.value.seen_until)
            found = {origin: view.uploads.get(origin, set()).difference(known) for origin, known in wanted.items()}
        return await self._shown(workspace, {origin: idents for origin, idents in found.items() if idents})

    def _view(self, workspace: str, organization: str) -> _View:
        view = self._views.setdefault((workspace, organization), _View())
        self._views.move_to_end((workspace, organization))
        while len(self._views) > MOST_VIEWS:
            self._views.popitem(last=False)
        return view

    async def _read_mirror(self, workspace: str, organization: str, view: _View) -> None:
        stream = self._bus.topology.entries
        pattern = f"{self._bus.region}.entry.{workspace}.invoice.*"
        async with Inbox(self._bus.client) as inbox:
            while True:
                request = {"seq": view.sequence + 1, "next_by_subj": pattern, "batch": _PAGE}
                reply = await inbox.ask(f"$JS.API.DIRECT.GET.{stream}", request)
                messages, word = await inbox.gather(reply, math.inf, within=PUBLISH_TIMEOUT)
                if word is None or status(word) not in {END, NO_MESSAGES}:
                    raise RetryLater(f"{stream} does not answer")
                for message in messages:
                    headers = message.headers or {}
                    try:
                        entry = codec.decode(message.data, Entry)
                    except msgspec.MsgspecError as error:
                        log.warning("poster.entry_unreadable", subject=headers.get("Nats-Subject"), error=error)
                    else:
                        if entry.organization == organization:
                            view.note(entry)
                    view.sequence = int(headers["Nats-Sequence"])
                if not messages or int((word.headers or {}).get("Nats-Num-Pending", 0)) == 0:
                    return

    async def _read_news(self, workspace: str, view: _View, mirrored: datetime) -> None:
        since = max(view.until - _BACK if view.until > _NEVER else _NEVER, mirrored - OVERLAP)
        newest = view.until
        async for entry in self._qonto.created_since(workspace, since):
            view.note(entry)
            newest = max(newest, entry.created_at or newest)
        view.until = newest

    async def _shown(self, workspace: str, idents: dict[str, set[str]]) -> dict[str, list[Entry]]:
        found: dict[str, list[Entry]] = {}
        limit = anyio.CapacityLimiter(_AT_ONCE)

        async def fetch(origin: str, ident: str) -> None:
            async with limit:
                try:
                    found.setdefault(origin, []).append(await self._qonto.invoice(workspace, ident))
                except Missing:
                    log.info("poster.entry_gone", workspace=workspace, entry=ident)

        await _all_of(partial(fetch, origin, ident) for origin, several in idents.items() for ident in several)
        return found

    async def _by_name(self, workspace: str, origins: Collection[str]) -> dict[str, list[Entry]]:
        found: dict[str, list[Entry]] = {}
        limit = anyio.CapacityLimiter(_AT_ONCE)

        async def search(origin: str) -> None:
            async with limit:
                found[origin] = await self._qonto.named(workspace, f"QBO-{origin}-r")

        await _all_of(partial(search, origin) for origin in origins)
        return found


async def _all_of(looks: Iterable[Callable[[], Coroutine[Any, Any, None]]]) -> None:
    """Look in several places; what kept one of them from it is raised as it is."""
    try:
        async with anyio.create_task_group() as group:
            for look in looks:
                group.start_soon(look)
    except ExceptionGroup as errors:
        raise cause(errors) from None
