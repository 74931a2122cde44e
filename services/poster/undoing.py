"""Undoing: what stands for one bill is taken back because a person says so, and stays so until one says otherwise.

The page says first what is about to be undone, then comes Qonto, then the page again, the claim, the posting and the
question. A poster that dies in between leaves a page that still stands, where undoing again begins anew, or one that
says it was undone, where it finishes. The page holds what the bill's document showed: as long as it shows that, no
decision links or creates anything for it (`plan`), be it delivered again, pulled again or read again after a rewind.
A lesson would turn down one entry only, and nothing keeps a bill from being created anew.
"""

import structlog

from common import subjects
from common.bus import Bus
from common.errors import AskPerson
from common.messages import Answer, Decision, Entry, Refusal, Undo, Undone
from common.qonto import parse_file_name
from services.poster.claims import Claims
from services.poster.effects import Effects
from services.poster.entries import Entries
from services.poster.job import Job
from services.poster.ledger import Ledger, Page
from services.poster.plan import UNDONE, Order
from services.poster.qonto import Denied, Missing, Qonto
from services.poster.records import Records
from services.poster.reviews import Reviews
from services.poster.telling import Telling

log = structlog.get_logger()

_MARK = "undo-"
"""How the id of an undoing begins, where a page otherwise names a decision."""


class Undoing:
    """Undoes as one worker."""

    def __init__(self, bus: Bus, qonto: Qonto) -> None:
        self._bus = bus
        self._qonto = qonto
        self._claims = Claims(bus)
        self._ledger = Ledger(bus, f"{bus.instance}.undo")
        self._entries = Entries(bus)
        self._records = Records(bus)
        self._reviews = Reviews(bus)
        self._effects = Effects(qonto, self._ledger, self._claims, self._records, self._entries)
        self._telling = Telling(bus, self._ledger, self._entries)

    async def undo(self, request: Undo) -> Answer:
        """Take one link or creation back; once, however often it is asked for."""
        workspace = subjects.workspace(request.workspace)
        realm, bill = subjects.RecordKey.parse(request.bill)
        if not request.by.strip():
            return Refusal(why="by: say who undoes it")
        name = Ledger.key(workspace, realm, bill)
        kept = await self._ledger.read(name)
        page = await self._ledger.respect(name, kept)
        if page is None or not (page.settled or _undone(page)):
            at_work = page is not None and (page.open or page.state == "uncertain")
            why = "is still being posted, or in doubt" if at_work else "has nothing in Qonto that could be undone"
            return Refusal(why=f"bill {request.bill} {why}", retry=at_work)
        if request.entry not in {None, page.entry}:
            why = f"{page.entry or 'nothing'} stands for bill {request.bill} by now, not {request.entry}"
            return Refusal(why=why, fix="look at the bill again, and undo what you see there")
        order = Order(
            id=page.decision if _undone(page) else f"{_MARK}{request.bill}-{page.epoch}",
            workspace=workspace,
            realm=realm,
            bill=bill,
            action="withdraw",
            record_seq=page.record_seq,
            record_hash=page.record_hash,
            source=await self._decision(workspace, request.bill),
            by=request.by.strip(),
        )
        job = Job(order=order, kept=kept)
        await self._records.fill([job])
        if job.error is not None:
            raise job.error
        if page.settled:
            said = f"undone by {order.by}" + (f": {request.note.strip()}" if request.note else "")
            begun = f"about to be {said}; ask for it again, or answer create to let it stand"
            job.kept = await self._ledger.take(name, kept, page.state, undone=job.document, why=begun)
            try:
                remark = await self._take_back(job, page, said)
            except AskPerson as error:
                await self._ledger.move(job.leaf, page.state, undone=page.undone, why=page.why)
                return Refusal(why=str(error), fix="settle it in Qonto; Weir leaves it linked as it is")
            why = "; ".join(part for part in (said, remark) if part)
            stamp = {**job.stamp, "review": None, "outcome": "withdrawn", "undone": job.document, "why": why}
            job.kept = await self._ledger.take(
                name, job.kept, "withdrawn", sent_at=None, paid=False, replaced=None, **stamp
            )
        if job.page.entry is not None and job.page.entry_kind is not None:
            await self._claims.release(workspace, job.page.entry_kind, job.page.entry, request.bill)
        await self._telling.report(job, "withdrawn", job.page.why, again=True)
        await self._ask(job)
        log.info("poster.undone", workspace=workspace, bill=request.bill, entry=job.page.entry)
        return Undone(bill=request.bill, entry=job.page.entry, why=job.page.why or "")

    async def _take_back(self, job: Job, page: Page, said: str) -> str | None:
        """Reject what Weir made, only let go of another; a remark. AskPerson if Qonto forbids it."""
        if page.entry is None:
            return None
        if page.made:
            await self._effects.retire(job, page.entry, said)
            return None
        entry = await self._effects.standing(job)
        if entry is None:
            return f"{page.entry} is gone from Qonto"
        if entry.kind == "transaction":
            return await self._detach(job, entry)
        if page.paid and entry.live and entry.status == "paid" and not entry.matched:
            try:
                await self._qonto.unmark_as_paid(entry.workspace, entry.id)
            except Denied as error:
                return f"let go; Qonto keeps it marked as paid: {error}"
            await self._entries.publish([await self._effects.shown(entry.workspace, entry.id, lambda e: not _paid(e))])
            return "let go, and no longer marked as paid"
        return "let go; it is not Weir's to reject"

    async def _detach(self, job: Job, entry: Entry) -> str:
        """Take the bill's document off a transaction, where it is one that Weir put there: its name says so."""
        order, removed = job.order, False
        for ident, name in await self._qonto.attached(order.workspace, entry.id):
            named = parse_file_name(name)
            if named is None or str(named.key) != order.key:
                continue
            try:
                await self._qonto.detach(order.workspace, entry.id, ident)
            except Missing:
                pass  # somebody else took it off
            except Denied as error:
                return f"let go; Qonto keeps the document: {error}"
            removed = True
        if removed:
            await self._entries.publish([await self._qonto.transaction(order.workspace, entry.id)])
        return "let go, its document removed" if removed else "let go"

    async def _decision(self, workspace: str, key: str) -> Decision:
        """The newest decision on the bill: what is shown with the question."""
        name = subjects.decision(self._bus.region, workspace, key)
        found = await self._bus.newest(self._bus.topology.decisions, name, Decision)
        if found is None:
            raise AskPerson("undone", f"no decision on bill {key} is kept any more; take it back in Qonto")
        return found.message

    async def _ask(self, job: Job) -> None:
        """Leave the bill to a person, with the question a held decision would raise; twice in short order is once."""
        if job.bill is None or not isinstance(job.order.source, Decision):
            return
        order = Order.of(job.order.source)
        await self._reviews.ask(order, AskPerson(UNDONE, job.page.why or UNDONE), job.record)


def _paid(entry: Entry) -> bool:
    return entry.status == "paid"


def _undone(page: Page) -> bool:
    return page.state == "withdrawn" and page.decision.startswith(_MARK)
