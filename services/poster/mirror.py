"""The mirror of Qonto: supplier invoices and transactions as entries, kept up on request.

The first pass reads everything and goes on where it was cut short. After that a pass asks for the newest changes:
if they reach back to what was seen before, one call a list is all there is to it. The same answer tells how many
entries there are, so that one that vanished is noticed at once; once a day everything is compared in any case.
Nothing is taken for vanished before Qonto says so itself.

Of several bank accounts only those are listed whose balance moved since they were last; what moves no balance (a
file, a label) is seen when an account was not listed for RELIST.
"""

from datetime import datetime, timedelta

import msgspec
import structlog
from msgspec.structs import replace

from common import qonto as wire
from common import subjects
from common.buckets import Bucket
from common.bus import Bus
from common.connections import Connections
from common.lease import lease
from common.messages import Entry, EntryKind, Mirror, Mirrored, now
from common.wire import WireError
from services.poster.comparison import Comparison
from services.poster.damage import Damage
from services.poster.entries import Entries
from services.poster.lists import BEGINNING, Fetch, Marker, changes, covers, created_after
from services.poster.qonto import Denied, Listed, Missing, Qonto, Unreadable
from services.poster.readback import ReadBack
from services.poster.subscriptions import Subscriptions
from services.poster.unread import Unread

log = structlog.get_logger()

OVERLAP = timedelta(minutes=2)
FULL_EVERY = timedelta(days=1)
FULL_AGAIN = timedelta(minutes=10)
"""The least time between two comparisons of everything because a total looked wrong."""
RELIST = timedelta(hours=6)
"""The longest time that accounts are trusted to be as they were, and one that did not move is not listed."""
_WAIT = 20.0
"""Seconds a call waits for a pass of another instance."""


class Accounts(msgspec.Struct, frozen=True, kw_only=True):
    """The bank accounts as Qonto last told them."""

    asked_at: datetime
    accounts: tuple[wire.BankAccount, ...]

    @property
    def open(self) -> tuple[wire.BankAccount, ...]:
        """Those that anything can still happen on."""
        return tuple(account for account in self.accounts if account.open)


class QontoMirror:
    """Brings `entry.*` of one workspace up to date, one pass at a time."""

    def __init__(self, bus: Bus, qonto: Qonto, connections: Connections, subscriptions: Subscriptions) -> None:
        self._bus = bus
        self._qonto = qonto
        self._connections = connections
        self._subscriptions = subscriptions

    async def bring_up(self, request: Mirror) -> Mirrored:
        """Read what changed; the answer names the newest entry. NotConnected without a connection."""
        workspace = subjects.workspace(request.workspace)
        organization = await self._connections.required(workspace)
        async with lease(self._bus, f"mirror.{workspace}", wait=_WAIT):
            await self._subscriptions.ensure(workspace)
            changed = await _Pass(self._bus, self._qonto, workspace, organization).run()
        pattern = f"{self._bus.region}.entry.{workspace}.>"
        newest = await self._bus.newest_sequence(self._bus.topology.entries, pattern)
        log.info("poster.mirrored", workspace=workspace, changed=changed, sequence=newest)
        return Mirrored(workspace=workspace, entries_seq=newest, changed=changed)


class _List(msgspec.Struct, kw_only=True):
    """A list at Qonto, and how far it was read."""

    key: str
    fetch: Fetch
    marker: Marker
    state: str | None = None
    total: int | None = None
    newest: datetime = BEGINNING


class _Pass:
    """One pass over everything of one workspace, under its lease."""

    def __init__(self, bus: Bus, qonto: Qonto, workspace: str, organization: str) -> None:
        self._bus = bus
        self._qonto = qonto
        self._workspace = workspace
        self._organization = organization
        self._home = f"{workspace}.{subjects.token(organization, 'organization')}"
        self._markers = Bucket(bus, "markers", Marker)
        self._accounts = Bucket(bus, "markers", Accounts)
        self._entries = Entries(bus)
        self._read_back = ReadBack(bus)
        self._unread = Unread(bus, f"{self._home}.unread")
        self._damage = Damage(bus, workspace)
        self._begun = now()
        self._met: set[str] = set()
        self._changed = 0

    async def run(self) -> int:
        """Read what changed; how many entries are new or different."""
        await self._unread.load()
        await self._damage.load()
        invoices = await self._list("invoices", self._invoices)
        if await self._bring_up(invoices):
            await self._compare("invoice", [invoices])
        for ident in self._unread.due(self._met):
            await self._look_again("invoice", ident)
        await self._unread.save()
        await self._transactions_of_all()
        return self._changed

    async def _transactions_of_all(self) -> None:
        accounts = await self._known_accounts()
        open_lists = [await self._of(account) for account in accounts.open]
        suspicious = False
        for one in open_lists:
            stale = self._begun - one.marker.listed_at >= RELIST
            # The only account is listed in any case: that costs no more than asking whether it moved.
            if len(open_lists) == 1 or stale or one.state is None or one.state != one.marker.state:
                suspicious = await self._bring_up(one) or suspicious
        if suspicious:
            closed = [await self._of(account) for account in accounts.accounts if not account.open]
            await self._compare("transaction", [*open_lists, *closed])

    async def _known_accounts(self) -> Accounts:
        key = f"{self._home}.accounts"
        kept = await self._accounts.get(key)
        if kept is not None and len(kept.value.open) == 1 and self._begun - kept.value.asked_at < RELIST:
            return kept.value
        told = await self._qonto.organization(self._workspace)
        fresh = Accounts(asked_at=self._begun, accounts=told.bank_accounts)
        await self._accounts.put(key, fresh)
        return fresh

    async def _of(self, account: wire.BankAccount) -> _List:
        async def fetch(since: datetime | None, page: int) -> Listed:
            return await self._qonto.transactions(
                self._workspace, account.id, page=page, updated_from=since, newest_first=since is None
            )

        return await self._list(f"transactions.{subjects.token(account.id, 'account')}", fetch, account.state)

    async def _invoices(self, since: datetime | None, page: int) -> Listed:
        return await self._qonto.invoices(self._workspace, page=page, updated_from=since, newest_first=since is None)

    async def _list(self, name: str, fetch: Fetch, state: str | None = None) -> _List:
        key = f"{self._home}.{name}"
        kept = await self._markers.get(key)
        return _List(key=key, fetch=fetch, marker=Marker() if kept is None else kept.value, state=state)

    async def _bring_up(self, one: _List) -> bool:
        """Read what changed in a list; whether all of it should be compared."""
        fresh: set[str] = set()
        page: Listed | None = None
        if one.marker.whole:
            page = await one.fetch(None, 1)
            since = one.marker.seen_until - OVERLAP
        else:
            since = max(one.marker.seen_until - OVERLAP, BEGINNING)
        if page is None or not covers(page, since):
            fresh = await self._walk(one, since)
            page = await one.fetch(None, 1)
        await self._take(page)
        fresh |= created_after(page.entries, one.marker.newest)
        one.total = page.total
        one.newest = max([one.marker.newest, *(entry.created_at for entry in page.entries if entry.created_at)])
        seen_until = max([one.marker.seen_until, *(entry.updated_at for entry in page.entries)])
        now_read = replace(one.marker, seen_until=seen_until, state=one.state, listed_at=self._begun)
        if not one.marker.whole:
            now_read = replace(now_read, whole=True, full_at=self._begun, total=one.total, newest=one.newest)
            suspicious = False
        elif one.marker.expects(one.total, len(fresh)):
            now_read = replace(now_read, total=one.total, newest=one.newest)
            suspicious = self._begun - one.marker.full_at >= FULL_EVERY
        else:
            # What Qonto counts may not be what it lists: then this would go on at every pass.
            suspicious = self._begun - one.marker.doubted_at >= FULL_AGAIN
            now_read = replace(now_read, doubted_at=self._begun) if suspicious else now_read
        await self._keep(one, now_read)
        return suspicious

    async def _walk(self, one: _List, since: datetime) -> set[str]:
        """Read all that changed from `since` on, the marker after each page; the ids of what was created since."""
        fresh: set[str] = set()
        async for page, reached in changes(one.fetch, since):
            await self._take(page)
            fresh |= created_after(page.entries, one.marker.newest) if one.marker.whole else set()
            if reached > one.marker.seen_until:
                await self._keep(one, replace(one.marker, seen_until=reached))
        return fresh

    async def _take(self, page: Listed) -> None:
        self._changed += await self._entries.publish(page.entries) if page.entries else 0
        await self._read_back.check(page.entries)
        self._unread.note(page.entries)
        self._met.update(entry.id for entry in page.entries if entry.kind == "invoice" and entry.analyzed_at is None)
        await self._damage.read(page.entries)
        await self._damage.met(page.unreadable)

    async def _keep(self, one: _List, marker: Marker) -> None:
        await self._markers.put(one.key, marker)
        one.marker = marker

    async def _compare(self, kind: EntryKind, lists: list[_List]) -> None:
        """Read everything, and look for what was not met."""

        async def look_again(ident: str) -> int:
            return await self._look_again(kind, ident)

        comparison = Comparison(self._bus, self._workspace, self._organization, self._home, kind)
        try:
            found = await comparison.run([one.fetch for one in lists], self._take, look_again)
        except (Denied, Missing) as error:  # most likely an account that was closed: nothing can be told apart
            log.warning("poster.not_compared", workspace=self._workspace, kind=kind, error=error)
            for one in lists:
                await self._keep(one, replace(one.marker, full_at=self._begun))
            return
        for ident in await self._damage.unmet(kind, found.damaged, whole=found.whole):
            await self._look_again(kind, ident)
        for one in lists:
            compared = replace(one.marker, full_at=self._begun)
            if found.whole and one.marker.whole and one.newest > BEGINNING:
                compared = replace(compared, total=one.total, newest=one.newest)
            await self._keep(one, compared)
        log.info(
            "poster.compared",
            workspace=self._workspace,
            kind=kind,
            entries=found.entries,
            vanished=found.vanished,
            whole=found.whole,
        )

    async def _look_again(self, kind: EntryKind, ident: str) -> int:
        """Ask for one entry: publish it as it is, or that it is gone; 1 if it is gone since."""
        name = subjects.entry(self._bus.region, self._workspace, kind, ident)
        stored = (await self._bus.latest(self._bus.topology.entries, [name], Entry)).get(name)
        if (stored is None or stored.message.deleted) and not self._damage.stands(kind, ident):
            return 0
        try:
            read = self._qonto.invoice if kind == "invoice" else self._qonto.transaction
            present = [await read(self._workspace, ident)]
        except Missing:
            await self._damage.gone(kind, ident)
            if stored is None or stored.message.deleted:
                return 0
            # Of the same moment as what is buried: should Qonto show that again, it counts.
            tombstone = replace(stored.message, deleted=True)
            self._unread.note([tombstone])
            gone = await self._entries.publish([tombstone])
            self._changed += gone
            return gone
        except Denied as error:
            log.warning("poster.entry_unknown", workspace=self._workspace, kind=kind, entry=ident, error=error)
            return 0
        except WireError as error:
            await self._damage.met([Unreadable(kind=kind, why=str(error), id=ident)])
            return 0
        await self._damage.read(present)
        self._changed += await self._entries.publish(present)
        await self._read_back.check(present)
        self._unread.note(present)
        return 0
