"""Once Qonto has read a document Weir uploaded, a person is asked about what it read otherwise than the bill says.

The reading comes later than the upload, people change it in Qonto, and bills change in QuickBooks: so it is
compared whenever either side changed. The question is asked once for what differs, whatever passes of the mirror
follow, and closed when nothing differs any more or the entry no longer stands for the bill. What was asked is
on the bill's ledger page.
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import timedelta

import structlog

from common import subjects
from common.buckets import Documents, Kept
from common.bus import Bus
from common.messages import Bill, Candidate, Entry, Record, ReviewRequested, Vendor, now, said
from services.poster.document import Papers, shown
from services.poster.job import Job
from services.poster.ledger import Fenced, Ledger, Page
from services.poster.reading import Reading, alike, compared
from services.poster.reviews import READ_BACK, Reviews

log = structlog.get_logger()

PATIENCE = timedelta(days=1)
"""Qonto reads within seconds; what it has not read after a day waits for a person."""
MEANING = (
    "answer create to let the entry stand as it is, refuse to have it rejected in Qonto, "
    "link to let another entry stand for the bill"
)
_ASKED = 500
_TWINS = 5
"""Duplicates that are named."""


class ReadBack:
    """Compares readings as the mirror meets them, and after orders that left an entry standing."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._ledger = Ledger(bus, f"{bus.instance}.mirror")
        self._reviews = Reviews(bus)
        self._papers = Papers(Documents(bus))

    async def check(self, entries: Sequence[Entry]) -> None:
        """Bring the questions about these entries in line with what they say now."""
        for entry in entries:
            if entry.kind == "invoice" and entry.origin is not None:
                await self._check(entry, entry.origin)

    async def after(self, jobs: Iterable[Job]) -> None:
        """The same for bills about whose entries something was asked and something was done just now."""
        await self.check(
            [
                job.entry
                for job in jobs
                if job.entry is not None and job.kept is not None and job.kept.value.differs is not None
            ]
        )

    async def _check(self, entry: Entry, origin: str) -> None:
        realm, bill_id = subjects.RecordKey.parse(origin)
        kept = await self._ledger.read(Ledger.key(entry.workspace, realm, bill_id))
        if kept is None or kept.value.open:
            return
        try:
            page = kept.value
            if page.differs is not None and _void(page, entry):
                await self._close(entry.workspace, origin, page, "its entry no longer stands for the bill")
                kept = await self._ledger.move(kept, page.state, differs=None, checked=None)
            if _stands(kept.value, entry) and (entry.analyzed_at is not None or _overdue(entry)):
                await self._compare(entry, origin, kept)
        except Fenced:
            log.info("poster.check_repeated", entry=entry.id)

    async def _compare(self, entry: Entry, origin: str, kept: Kept[Page]) -> None:
        page = kept.value
        record, vendor = await self._bill(entry.workspace, origin)
        if record is None or not isinstance(record.body, Bill):
            return
        version = f"{entry.updated_at.isoformat()} {record.content_hash}"
        if page.checked == version or shown(await self._papers.settled(record)) != page.document:
            return  # compared before, or the bill's next revision is on its way
        if entry.analyzed_at is None:
            since = said(entry.created_at or entry.updated_at)
            twins: tuple[Entry, ...] = ()
            reading = Reading((f"Qonto has not read the document since {since}",), {})
        else:
            twins = await self._twins(entry, page) if entry.has_duplicates else ()
            reading = compared(record.body, vendor, entry, twins)
        differs = f"{entry.id}: {'; '.join(reading.differs)}" if reading.differs else None
        if differs != page.differs:
            if page.differs is not None:
                news = "something else differs now" if differs else "Qonto now has what the bill says"
                await self._close(entry.workspace, origin, page, news)
            if differs is not None:
                await self._ask(entry, record, record.body, reading, twins)
        await self._ledger.move(kept, page.state, checked=version, differs=differs)

    async def _bill(self, workspace: str, origin: str) -> tuple[Record | None, Vendor | None]:
        """The bill's record and its vendor, as QuickBooks has them now."""
        region, stream = self._bus.region, self._bus.topology.records
        name = subjects.record(region, workspace, "bill", origin)
        stored = (await self._bus.latest(stream, [name], Record)).get(name)
        record = stored.message if stored is not None else None
        if record is None or not isinstance(record.body, Bill):
            return record, None
        name = subjects.record(region, workspace, "vendor", f"{record.realm}-{record.body.vendor.id}")
        found = (await self._bus.latest(stream, [name], Record)).get(name)
        body = found.message.body if found is not None else None
        return record, body if isinstance(body, Vendor) else None

    async def _twins(self, entry: Entry, page: Page) -> tuple[Entry, ...]:
        """Other live invoices that Qonto may take this one for: it says that there are some, not which."""
        stream = self._bus.topology.entries
        names = sorted(await self._bus.subjects(stream, f"{self._bus.region}.entry.{entry.workspace}.invoice.*"))
        own = {entry.id, page.retired, page.replaced}
        found: list[Entry] = []
        for start in range(0, len(names), _ASKED):
            for stored in (await self._bus.latest(stream, names[start : start + _ASKED], Entry)).values():
                other = stored.message
                if other.live and other.id not in own and other.origin != entry.origin and alike(entry, other):
                    found.append(other)
        return tuple(found[:_TWINS])

    async def _ask(self, entry: Entry, record: Record, bill: Bill, reading: Reading, twins: Sequence[Entry]) -> None:
        what = "; ".join(reading.differs)
        identity = f"{entry.id}|{READ_BACK}|{what}|{entry.updated_at.isoformat()}"
        request = ReviewRequested(
            review=hashlib.sha256(identity.encode()).hexdigest()[:32],
            workspace=entry.workspace,
            realm=record.realm,
            bill=record.id,
            requested_at=now(),
            score=0.0,
            why=f"Qonto read the uploaded document differently: {what}",
            summary=bill,
            gate=READ_BACK,
            counterfactual=MEANING,
            candidates=(
                Candidate(entry=entry.id, kind="invoice", score=0.0, fields=reading.fields),
                *(
                    Candidate(entry=twin.id, kind="invoice", score=0.0, fields={}, taken_by=twin.origin)
                    for twin in twins
                ),
            ),
        )
        newest = await self._reviews.newest(entry.workspace, record.key)
        if newest is None or newest.message.review != request.review:
            await self._reviews.publish(request)

    async def _close(self, workspace: str, origin: str, page: Page, why: str) -> None:
        """Close what was asked about the entry, unless somebody answered or something else was asked since."""
        newest = await self._reviews.newest(workspace, origin)
        if newest is None or newest.message.gate != READ_BACK:
            return
        about = [candidate.entry for candidate in newest.message.candidates[:1]]
        if about == [_about(page)] and await self._reviews.closing(newest) is None:
            await self._reviews.close(newest.message, "superseded", why=why)


def _about(page: Page) -> str:
    """The entry that the question on the page is about."""
    return (page.differs or "").partition(":")[0]


def _void(page: Page, entry: Entry) -> bool:
    """Whether the entry that was asked about no longer stands for the bill."""
    about = _about(page)
    return about != page.entry or page.state != "verified" or (about == entry.id and not entry.live)


def _stands(page: Page, entry: Entry) -> bool:
    return page.entry == entry.id and page.state == "verified" and page.made and entry.live


def _overdue(entry: Entry) -> bool:
    return now() - (entry.created_at or entry.updated_at) >= PATIENCE
