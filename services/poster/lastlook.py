"""What Qonto holds for bills that are about to be uploaded, whatever the ledger says of them.

The mirror, read as its stream grows, and one list of what Qonto took in since: that answers for any number of
bills, and nothing rests on how Qonto searches. Where there is no whole mirror yet, everything is listed once.

Somebody may have uploaded a bill's document by hand after it was decided on. Where a live invoice that Weir did not
make, and that the decision did not know as it is now, has the bill's number, amount, currency and supplier, a person
is asked: to upload it once more would be a duplicate, to link it unasked a guess.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

import anyio
import msgspec
import structlog

from common import codec, subjects
from common.buckets import Bucket
from common.bus import PUBLISH_TIMEOUT, Bus
from common.errors import RetryLater, cause
from common.inbox import END, NO_MESSAGES, Inbox, status
from common.messages import Bill, Entry
from services.poster.lists import Marker
from services.poster.mirror import OVERLAP
from services.poster.qonto import Missing, Qonto
from services.poster.reading import same_name, same_number

log = structlog.get_logger()

MOST_VIEWS = 64
"""Organizations whose uploads are kept in mind; others are read anew."""
_AT_ONCE = 8
"""Look-ups at a time."""
_PAGE = 1000
"""Entries read from the mirror at a time."""
_BACK = timedelta(seconds=5)
"""How far back a list begins before the newest upload an earlier one showed; lists may lag a moment."""
_STEP = timedelta(seconds=1)
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_NEWEST = 1 << 62
"""Stands for the place of what is not in the mirror yet."""


class Wanted(NamedTuple):
    """A bill to be uploaded, how far into the mirror its decision looked, and what people turned down for it."""

    bill: Bill
    known: int
    turned_down: frozenset[str] = frozenset()


@dataclass(slots=True)
class _View:
    """The invoices of one organization, up to where the mirror and Qonto were read: which are whose, and for each
    amount those that Weir did not make, with their place in the mirror.
    """

    sequence: int = 0
    until: datetime = _NEVER
    uploads: dict[str, set[str]] = field(default_factory=dict)
    others: dict[tuple[Decimal, str], dict[str, int]] = field(default_factory=dict)
    turn: anyio.Lock = field(default_factory=anyio.Lock)

    def note(self, entry: Entry, sequence: int | None = None) -> None:
        if entry.origin is not None:
            self.uploads.setdefault(entry.origin, set()).add(entry.id)
        elif entry.amount is not None and entry.currency is not None:
            there = self.others.setdefault((entry.amount, entry.currency), {})
            if sequence is not None:
                there[entry.id] = sequence
            else:
                there.setdefault(entry.id, _NEWEST)


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
        view = self._view(workspace, organization or "")
        async with view.turn:
            await self._read_mirror(workspace, organization, view)
            await self._read_news(workspace, view, kept.value.seen_until if kept and kept.value.whole else _NEVER)
            found = {origin: view.uploads.get(origin, set()).difference(known) for origin, known in wanted.items()}
        return await self._shown(workspace, {origin: idents for origin, idents in found.items() if idents})

    async def alike(self, workspace: str, wanted: Mapping[str, Wanted]) -> dict[str, list[Entry]]:
        """Live invoices that Weir did not make and that seem to be documents of these bills (record key), as Qonto
        shows them now; only what their decisions did not know. Looks where `uploads` just looked.
        """
        view = self._view(workspace, await self._qonto.account(workspace) or "")
        found: dict[str, set[str]] = {}
        for origin, (bill, known, turned_down) in wanted.items():
            there = view.others.get((abs(bill.total), bill.currency), {}) if bill.number else {}
            found[origin] = {ident for ident, sequence in there.items() if sequence > known} - turned_down
        shown = await self._shown(workspace, {origin: idents for origin, idents in found.items() if idents})
        alike = {
            origin: [entry for entry in entries if same_document(wanted[origin].bill, entry)]
            for origin, entries in shown.items()
        }
        return {origin: entries for origin, entries in alike.items() if entries}

    def _view(self, workspace: str, organization: str) -> _View:
        view = self._views.setdefault((workspace, organization), _View())
        self._views.move_to_end((workspace, organization))
        while len(self._views) > MOST_VIEWS:
            self._views.popitem(last=False)
        return view

    async def _read_mirror(self, workspace: str, organization: str | None, view: _View) -> None:
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
                            view.note(entry, int(headers["Nats-Sequence"]))
                    view.sequence = int(headers["Nats-Sequence"])
                if not messages or int((word.headers or {}).get("Nats-Num-Pending", 0)) == 0:
                    return

    async def _read_news(self, workspace: str, view: _View, mirrored: datetime) -> None:
        since = max(view.until - _BACK if view.until > _NEVER else _NEVER, mirrored - OVERLAP)
        newest, page = view.until, 1
        while True:
            listed = await self._qonto.invoices(workspace, page=page, created_from=since)
            for entry in listed.entries:
                view.note(entry)
                newest = max(newest, entry.created_at or newest)
            if listed.last:
                break
            # By time and not by number: what is deleted meanwhile would move others to a page that was read.
            if newest - _STEP > since:
                since, page = newest - _STEP, 1
            else:
                page += 1
        view.until = newest

    async def _shown(self, workspace: str, idents: dict[str, set[str]]) -> dict[str, list[Entry]]:
        found: dict[str, list[Entry]] = {}
        limit = anyio.CapacityLimiter(_AT_ONCE)

        async def fetch(origin: str, ident: str) -> None:
            async with limit:
                try:
                    found.setdefault(origin, []).append(await self._qonto.trace(workspace, ident))
                except Missing:
                    log.info("poster.entry_gone", workspace=workspace, entry=ident)

        await _all_of(partial(fetch, origin, ident) for origin, several in idents.items() for ident in several)
        return found


def same_document(bill: Bill, entry: Entry) -> bool:
    """Whether a live invoice that Weir did not make says of itself all that tells the bill's document."""
    return (
        entry.live
        and entry.origin is None
        and entry.amount == abs(bill.total)
        and entry.currency == bill.currency
        and bool(bill.number and entry.number and same_number(bill.number, entry.number))
        and bool(bill.vendor.name and entry.counterparty and same_name(bill.vendor.name, entry.counterparty))
    )


async def _all_of(looks: Iterable[Callable[[], Coroutine[Any, Any, None]]]) -> None:
    """Look in several places; what kept one of them from it is raised as it is."""
    try:
        async with anyio.create_task_group() as group:
            for look in looks:
                group.start_soon(look)
    except ExceptionGroup as errors:
        raise cause(errors) from None
