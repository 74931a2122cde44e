"""Which files hang on which bills.

QuickBooks keeps an attachment apart from its bill, and attaching does not touch the bill. So attachments are
read apart, before the bills of the same pull; the join of the two is kept in memory only. Instead the attachments'
marker moves last of all, when every bill they name is in RECORDS with them, and every bill they no longer
name without them: whoever crashes in between reads them again. A bill that is neither in RECORDS nor among
the bills of this pull is fetched by its id; and a bill that comes to light later than its attachments has them
looked up.

What a bill has lost is found by comparing what the bills in RECORDS hold with what was read. That takes a
look at all of them, so it is done only if some attachment may have left its bill.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime

import structlog
from msgspec.structs import replace

from common import quickbooks as wire
from common import subjects
from common.bus import Bus
from common.messages import Document, Record, now
from common.settings import EARLIEST
from common.wire import WireError
from services.puller.entities import BILL
from services.puller.files import Files
from services.puller.index import Index, Indexes
from services.puller.marker import Marker
from services.puller.omissions import left_malformed
from services.puller.quickbooks import Company, Damaged, Missing
from services.puller.records import Records
from services.puller.salvage import Salvage
from services.puller.window import Page, Row, Window, pages

log = structlog.get_logger()

ENTITY = "Attachable"
ALL = EARLIEST
"""Before the first attachment there is."""
_NOWHERE: frozenset[str] = frozenset()


class Attachments:
    """What one pull knows of its company's attachments.

    Before anything is read, `begin` says what was damaged at the last pull; what is now, `noted` says.
    """

    def __init__(self, bus: Bus, company: Company, indexes: Indexes) -> None:
        self._bus = bus
        self._company = company
        self._indexes = indexes
        self._salvage = Salvage(bus, company, ENTITY, Marker(), ALL)
        self._records = Records(bus, company.workspace, company.realm)
        self._files = Files(bus, company)
        self._since = ALL
        self._again = False
        self._index = Index(ALL, None, ALL, self._salvage)
        self._holding: dict[str, set[str]] = {}
        self._gone: set[str] = set()
        self._bereft: set[str] = set()
        self._retried: set[str] = set()

    def begin(self, marker: Marker, at: datetime) -> None:
        """The pull begins at QuickBooks' time `at`, from this marker."""
        self._salvage = Salvage(self._bus, self._company, ENTITY, marker, at)

    def noted(self, marker: Marker) -> Marker:
        """`marker` with what is damaged by now."""
        return self._salvage.noted(marker)

    async def read(self, window: Window, *, again: bool = False, pause: Callable[[], None]) -> datetime:
        """Index what changed in `window`, whole; up to when that is.

        `again`: files that could not be had are tried again. `pause` may raise between two pages: the next pull of
        this process goes on there.
        """
        self._since, self._again = window.since, again
        workspace, realm = self._company.workspace, self._company.realm
        index = self._indexes.of(workspace, realm, window, self._salvage, self._company.answered_at or now())
        self._index = index
        if index.at is not None:
            found = pages(self._page, index.at, self._company.size, salvage=self._salvage.second)
            async for rows, at, reached in found:
                await self.take(rows, since=window.since)
                index.at, index.reached, index.read_at = at, reached, self._company.answered_at
                if at is not None:
                    pause()
        return index.reached

    def done(self) -> None:
        """Everything that was read is in RECORDS."""
        self._indexes.done(self._company.workspace, self._company.realm)

    async def mended(self) -> None:
        """Index what was damaged and can be read by now, and have failed hosts asked again; each once a day."""
        self._retried = await self._files.due()
        if self._salvage.due:
            for row in await self._salvage.again():
                self._bereft |= await self._take_in(row)

    async def take(self, rows: Sequence[Row], *, since: datetime) -> None:
        """Index attachments as they were read: all that changed since."""
        self._since = since
        for row in rows:
            self._salvage.damaged.discard(row.id)
            await self._take_in(row)

    async def of(self, bill: Record, held: Record | None) -> tuple[Document, ...]:
        """The documents of a bill: those it is `held` with and has not lost, and those read since, fetched now."""
        again, whole = self._again, True
        if held is None and self._may_miss(bill):
            await self._look_up(bill.id)
        elif held is not None and (
            bill.id in self._retried or (bill.body != held.body and await self._files.lacking(bill.id))
        ):
            await self._look_up(bill.id)
            again = True
        else:
            whole = False
        named = self._index.of.get(bill.id, {})
        had = [
            replace(document, name=named[document.attachable].file_name or document.name)
            if document.attachable in named
            else document
            for document in (held.documents if held is not None else ())
            if not self._lost(document.attachable, bill.id)
        ]
        have = {document.attachable for document in had}
        wanted = [named[ident] for ident in sorted(named, key=_age) if ident not in have]
        forget = lambda ident: self._lost(ident, bill.id) or (whole and ident not in named)  # noqa: E731
        fetched = await self._files.fetch(bill.id, wanted, again=again, forget=forget)
        return (*had, *fetched)

    async def left_out(self) -> list[str]:
        """In words, each file that a bill lacks because it could not be had."""
        files = await self._files.left_out()
        held = await self._records.held(BILL.kind, files)
        return [file for bill in files if bill in held and not held[bill].message.deleted for file in files[bill]]

    def bills(self, since: datetime) -> set[str]:
        """Ids of the bills that lost an attachment or lack one that is due, or that one names which changed since."""
        named = {
            bill
            for bill, files in self._index.of.items()
            if any(file.updated_at is None or file.updated_at >= since for file in files.values())
        }
        return named | self._bereft | self._retried

    async def missing(self, deleted: Collection[str] | None) -> list[str]:
        """Ids of attachments that bills in RECORDS hold and QuickBooks seems not to have.

        `deleted` are those that change data capture names, None if it does not tell.
        """
        whole = self._since <= ALL
        if not (whole or deleted is None or deleted or self._index.moved):
            return []
        holders = await self._holders()
        for ident in holders.keys() & self._index.on.keys():
            self._bereft |= holders[ident] - self._index.on[ident]
        if whole:
            unseen = holders.keys() - self._index.on.keys()
        elif deleted is not None:
            unseen = holders.keys() & set(deleted)
        else:
            unseen = holders.keys() - await self._salvage.ids() if holders else set()
        self._holding = {ident: holders[ident] for ident in unseen}
        return sorted(unseen, key=_age)

    async def confirm(self, missing: Sequence[str]) -> set[str]:
        """The bills that held those of `missing` which QuickBooks, asked for each, no longer has."""
        bills: set[str] = set()
        for ident in missing:
            try:
                await self._take_in(await self._company.read(ENTITY, ident))
            except Missing:
                self._gone.add(ident)
                bills |= self._holding[ident]
            except Damaged as error:
                log.warning("puller.not_confirmed", entity=ENTITY, id=ident, error=error)
            else:
                log.warning("puller.not_deleted", entity=ENTITY, id=ident)
        return bills

    async def _holders(self) -> dict[str, set[str]]:
        """The bills in RECORDS that hold each attachment."""
        found: dict[str, set[str]] = {}
        async for record in self._records.all(BILL.kind):
            for document in () if record.deleted else record.documents:
                found.setdefault(document.attachable, set()).add(record.id)
        return found

    async def _look_up(self, bill: str) -> None:
        """Index all attachments of one bill."""
        of_bill = f" WHERE AttachableRef.EntityRef.Type = 'bill' AND AttachableRef.EntityRef.value = '{bill}'"
        for row in await self._salvage.listed(of_bill, order=""):
            await self._take_in(row)

    async def _take_in(self, row: Row) -> frozenset[str]:
        """Take in one attachment; the bills it hangs on."""
        try:
            attachable = wire.attachable(row.sound())
        except WireError as error:
            if row.id not in self._salvage.told:
                fix = "attach the file again in QuickBooks"
                await left_malformed(self._bus, self._company, ENTITY, row, error, fix=fix)
            self._salvage.note(row)
            return _NOWHERE
        # A mere note is not a file; and what never changed since it was created has left no bill.
        bills = frozenset(filter(self._is_bill, attachable.bills)) if attachable.file_name else _NOWHERE
        self._index.moved |= attachable.changed
        for bill in self._index.on.get(attachable.id, _NOWHERE) - bills:
            del self._index.of[bill][attachable.id]
        self._index.on[attachable.id] = bills
        for bill in bills:
            self._index.of.setdefault(bill, {})[attachable.id] = attachable
        return bills

    async def _page(self, window: Window) -> Page:
        return await self._company.page(ENTITY, window)

    def _is_bill(self, ident: str) -> bool:
        """Whether there can be a bill of that id; one that is malformed has been left out."""
        try:
            subjects.token(f"{self._company.realm}-{ident}")
        except subjects.BadTokenError as error:
            log.warning("puller.not_a_bill", workspace=self._company.workspace, error=error)
            return False
        return True

    def _may_miss(self, bill: Record) -> bool:
        """Whether a bill seen for the first time is older than the window: its files may lie before it."""
        return bill.created_at is None or bill.created_at < self._since

    def _lost(self, ident: str, bill: str) -> bool:
        return ident in self._gone or (ident in self._index.on and bill not in self._index.on[ident])


def _age(ident: str) -> tuple[int, str]:
    """Ids of attachments grow; they are numbers of up to 21 digits."""
    return len(ident), ident
