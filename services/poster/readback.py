"""What Qonto has read in a document Weir uploaded, compared with the bill it stands for.

The reading comes later than the upload. A conflict raises a review, once per entry and reading.
"""

import hashlib
import re
import unicodedata

import structlog

from common import subjects
from common.bus import Bus
from common.messages import Bill, Candidate, Entry, Record, ReviewRequested, now
from services.poster.document import choose, shown
from services.poster.ledger import Fenced, Ledger, Page
from services.poster.reviews import Reviews

log = structlog.get_logger()

GATE = "read-back differs"


def differences(bill: Bill, entry: Entry, *, drawn: bool, first: bool) -> list[str]:
    """What the reading contradicts; a field that was not read contradicts nothing.

    What Weir drew itself says what the bill says: only doubles are looked for. A later revision is a double
    of the one it replaced by design.
    """
    found: list[str] = []
    if not drawn:
        if entry.amount is not None and entry.amount != bill.total:
            found.append(f"amount {entry.amount} {entry.currency or ''} instead of {bill.total} {bill.currency}")
        elif entry.amount is not None and entry.currency is not None and entry.currency != bill.currency:
            found.append(f"currency {entry.currency} instead of {bill.currency}")
        if entry.number and bill.number and _plain(entry.number) != _plain(bill.number):
            found.append(f"number {entry.number} instead of {bill.number}")
    if entry.has_duplicates and first:
        found.append("Qonto takes it for a duplicate")
    return found


def _plain(number: str) -> str:
    folded = unicodedata.normalize("NFKD", number).casefold()
    return re.sub(r"[\W_]+", "", folded)


class ReadBack:
    """Compares readings as the mirror meets them."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._ledger = Ledger(bus, f"{bus.instance}.mirror")
        self._reviews = Reviews(bus)

    async def check(self, entries: list[Entry]) -> None:
        """Raise a review for each of Weir's entries whose reading contradicts its bill."""
        for entry in entries:
            if entry.kind == "invoice" and entry.origin is not None and entry.analyzed_at is not None and entry.live:
                await self._check(entry, entry.origin)

    async def _check(self, entry: Entry, origin: str) -> None:
        realm, bill_id = subjects.RecordKey.parse(origin)
        kept = await self._ledger.read(Ledger.key(entry.workspace, realm, bill_id))
        if kept is None or not _to_check(kept.value, entry):
            return
        name = subjects.record(self._bus.region, entry.workspace, "bill", origin)
        stored = (await self._bus.latest(self._bus.topology.records, [name], Record)).get(name)
        record = stored.message if stored is not None else None
        if record is None or not isinstance(record.body, Bill) or shown(record) != kept.value.document:
            return  # the bill changed since: its next revision is compared
        drawn = choose(record).document is None
        found = differences(record.body, entry, drawn=drawn, first=kept.value.revision == 1)
        if found:
            await self._ask(entry, record, record.body, "; ".join(found))
        try:
            await self._ledger.move(kept, kept.value.state, checked_at=entry.analyzed_at)
        except Fenced:
            log.info("poster.check_repeated", entry=entry.id)

    async def _ask(self, entry: Entry, record: Record, bill: Bill, what: str) -> None:
        identity = f"{entry.id}|{entry.analyzed_at}|{GATE}"
        request = ReviewRequested(
            review=hashlib.sha256(identity.encode()).hexdigest()[:32],
            workspace=entry.workspace,
            realm=record.realm,
            bill=record.id,
            requested_at=now(),
            score=0.0,
            why=f"Qonto read the uploaded document differently: {what}",
            summary=bill,
            gate=GATE,
            candidates=(Candidate(entry=entry.id, kind="invoice", score=0.0, fields={}),),
        )
        newest = await self._reviews.newest(entry.workspace, record.key)
        if newest is None or newest.message.review != request.review:
            await self._reviews.publish(request)


def _to_check(page: Page, entry: Entry) -> bool:
    return page.entry == entry.id and page.state == "verified" and page.checked_at != entry.analyzed_at
