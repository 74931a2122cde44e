"""Turning what was read into records, and publishing those that say something new.

Bills are special: they carry their documents, and before the first one of a pull is published the poster
brings its mirror of Qonto up to date, so that the scorer decides on what Qonto holds now.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

import anyio
import structlog
from msgspec.structs import replace

from common import quickbooks as wire
from common import subjects
from common.bus import Bus
from common.errors import NotConnected, RetryLater
from common.messages import Company as CompanyBody
from common.messages import Mirror, Mirrored, Record, RecordKind, Refusal, now
from common.wire import WireError
from services.puller.attachments import Attachments
from services.puller.download import NotNow
from services.puller.entities import BILL, Entity
from services.puller.omissions import left_damaged, left_malformed
from services.puller.quickbooks import UNNAMED, Company, Damaged, Missing
from services.puller.records import Held, Records, deleted, differs, newest, record, with_documents
from services.puller.window import Row

log = structlog.get_logger()

COMPANY_ID = "1"
"""Id of the one CompanyInfo object of a company."""
DRESSED_WITHIN = 240.0
"""Seconds in which the files of some bills are fetched; those that are ready by then are published."""
MOST_PUT_OFF = 20
"""Bills that are put off before the pull ends: then it is not the file but its host."""
_SPLIT = "raise the broker's max_payload, or split it up in QuickBooks; it is tried again every day"
MIRROR_TIMEOUT = 120.0
"""Seconds the poster may take to read what changed in Qonto."""


class Publisher:
    """Publishes for one pull of one company; `counts` says how many records of each kind."""

    def __init__(self, bus: Bus, company: Company, attachments: Attachments) -> None:
        self._bus = bus
        self._company = company
        self._records = Records(bus, company.workspace, company.realm)
        self._attachments = attachments
        self._entries_seq: int | None = None
        self._complete: set[str] = set()
        self._put_off: list[NotNow] = []
        self._late = False
        self.counts: Counter[str] = Counter()
        self._home_currency: str | None = None

    @property
    def total(self) -> int:
        """How many records were published so far."""
        return self.counts.total()

    async def rows(
        self, entity: Entity, rows: Sequence[Row], *, republish: bool = False, told: Collection[str] = ()
    ) -> list[Row]:
        """Publish objects as they were read; unchanged ones only with `republish`.

        Those that are malformed, or larger than the broker takes, which are told unless their ids are among `told`.
        """
        records: list[Record] = []
        malformed: list[Row] = []
        for row in rows:
            try:
                found = wire.normalize(entity.name, row.sound(), home_currency=self._home_currency)
            except WireError as error:
                malformed.append(row)
                if row.id not in told:
                    await left_malformed(self._bus, self._company, entity.name, row, error)
                continue
            made = record(entity.kind, found, self._company)
            if (size := self._bus.oversize(made)) is not None:
                malformed.append(row)
                if row.id not in told:
                    why = WireError(f"with {size:,} bytes it is larger than the broker takes")
                    await left_malformed(self._bus, self._company, entity.name, row, why, fix=_SPLIT)
            else:
                records.append(made)
        await self.records(entity.kind, records, republish=republish)
        return malformed

    async def records(self, kind: RecordKind, records: Sequence[Record], *, republish: bool = False) -> None:
        """Publish records of one kind, unchanged ones only with `republish`, older versions never.

        Bills that are put off, since a file of theirs cannot be had now, hold up no other; `settle` tells of them.
        """
        held = await self._records.held(kind, (record.id for record in records))
        records = newest(records, held)
        if kind == BILL.kind:
            records = await self._dressed(records, held)
        news = [record for record in records if republish or differs(record, held.get(record.id))]
        if news:
            await self._publish(kind, news, held)
        if len(self._put_off) >= MOST_PUT_OFF or self._late:
            self.settle()

    def settle(self) -> None:
        """Before a marker moves: RetryLater if bills were put off, which it must not pass."""
        if self._put_off:
            raise self._put_off[0]

    async def _publish(self, kind: RecordKind, news: Sequence[Record], held: Held) -> None:
        entries_seq = await self._mirrored() if kind == BILL.kind else 0
        pulled_at = now()
        news = [replace(record, entries_seq=entries_seq, pulled_at=pulled_at) for record in news]
        await self._records.publish(news, held)
        self.counts[kind] += len(news)

    def bills_to_complete(self, since: datetime) -> list[str]:
        """Bills that attachments since then name, or no longer name, not among those read: theirs may differ."""
        return sorted(self._attachments.bills(since) - self._complete)

    async def complete(self, bills: Sequence[str], damaged: Collection[str]) -> set[str]:
        """See that these bills are in RECORDS with their documents; one that is not there at all is read.

        The ids of those that QuickBooks cannot give, or gives malformed; they are told unless they are among `damaged`.
        """
        held = await self._records.held(BILL.kind, bills)
        unseen: list[Row] = []
        lost: set[str] = set()
        for ident in bills:
            try:
                if ident not in held and (row := await self._read(BILL, ident)) is not None:
                    unseen.append(row)
            except Damaged as error:
                lost.add(ident)
                if ident not in damaged:
                    await left_damaged(self._bus, self._company, f"{BILL.name} {ident}", error)
        lost.update(row.id for row in await self.rows(BILL, unseen, told=damaged) if row.id != UNNAMED)
        await self.records(BILL.kind, [item.message for item in held.values() if not item.message.deleted])
        return lost

    async def deletions(self, entity: Entity, ids: Iterable[str], *, republish: bool = False) -> None:
        """Publish as deleted those of `ids` that QuickBooks, asked for each, no longer has.

        It is asked because it has been seen to report deletions that were none.
        """
        tombstones: list[Record] = []
        alive: list[Row] = []
        for ident, item in (await self._records.held(entity.kind, ids)).items():
            if item.message.deleted:
                tombstones += [item.message] if republish else []
                continue
            try:
                row = await self._read(entity, ident)
            except Damaged as error:  # what cannot be read is there
                log.warning("puller.not_deleted", entity=entity.name, id=ident, error=error)
                continue
            if row is None:
                tombstones.append(deleted(item.message))
            else:
                log.warning("puller.not_deleted", entity=entity.name, id=ident)
                alive.append(row)
        await self.records(entity.kind, tombstones, republish=republish)
        await self.rows(entity, alive)

    async def learn_home_currency(self) -> None:
        """Take from the company's record what stands in where its objects name no currency."""
        for item in (await self._records.held("company", [COMPANY_ID])).values():
            if isinstance(item.message.body, CompanyBody):
                self._home_currency = item.message.body.home_currency

    async def unknown(self, kind: RecordKind, ids: Collection[str]) -> set[str]:
        """Those of `ids` that have no record."""
        return set(ids) - (await self._records.held(kind, ids)).keys()

    async def ids(self, entity: Entity) -> set[str]:
        """Every id of the entity in RECORDS, deleted ones included."""
        return await self._records.ids(entity.kind)

    async def _dressed(self, records: Sequence[Record], held: Held) -> list[Record]:
        """The bills with their documents, those they had and kept and those attached since, without who is put off."""
        dressed = {bill.id: bill for bill in records if bill.deleted}

        async def dress(bill: Record) -> None:
            known = held[bill.id].message if bill.id in held else None
            try:
                dressed[bill.id] = with_documents(bill, await self._attachments.of(bill, known))
            except NotNow as error:
                self._put_off.append(error)
            else:
                self._complete.add(bill.id)

        try:
            with anyio.move_on_after(DRESSED_WITHIN) as patience:
                async with anyio.create_task_group() as group:
                    for bill in records:
                        if not bill.deleted:
                            group.start_soon(dress, bill)
        except ExceptionGroup as errors:
            # Each of them ends the pull; one is enough to tell why.
            raise errors.exceptions[0] from None
        if patience.cancelled_caught:
            self._late = True
            why = f"the files of {len(records) - len(dressed)} bills were not had within {DRESSED_WITHIN:g} s"
            self._put_off.append(NotNow(why, delay=1.0))
        return [dressed[bill.id] for bill in records if bill.id in dressed]

    async def _mirrored(self) -> int:
        """Sequence of the newest Qonto entry, after the poster has read what changed; asked once a pull."""
        if self._entries_seq is None:
            workspace = self._company.workspace
            subject = subjects.call(self._bus.region, "qonto", "mirror")
            match await self._bus.call(subject, Mirror(workspace=workspace), timeout=MIRROR_TIMEOUT):
                case Mirrored(entries_seq=sequence):
                    self._entries_seq = sequence
                case Refusal(reason="not-connected", why=why, fix=fix):
                    raise NotConnected("qonto", workspace, why, fix=fix)
                case Refusal(why=why):
                    raise RetryLater(f"the mirror of Qonto: {why}")
                case other:
                    raise RetryLater(f"the mirror of Qonto answered with {type(other).__name__}")
        return self._entries_seq

    async def _read(self, entity: Entity, ident: str) -> Row | None:
        try:
            return await self._company.read(entity.name, ident)
        except Missing:
            return None
