"""What is done to entries that stand: linking, paying, turning down. Each ends with Qonto read back."""

from collections.abc import Awaitable, Callable
from typing import Literal

import anyio
import structlog

from common.errors import AskPerson, RetryLater
from common.messages import Entry
from services.poster.claims import Claims
from services.poster.entries import Entries
from services.poster.job import Job
from services.poster.ledger import Fenced, Ledger, attachment_key
from services.poster.plan import PAYABLE, REJECTABLE, LinkTo, payment
from services.poster.qonto import Denied, Missing, Part, Qonto, Unknown
from services.poster.records import Records

log = structlog.get_logger()

LAG = (0.0, 0.3, 0.8, 1.5, 3.0)
"""Seconds before each read-back; Qonto may show a change a moment late."""


class Effects:
    """Effects on entries that stand, for one worker's ledger."""

    def __init__(self, qonto: Qonto, ledger: Ledger, claims: Claims, records: Records, entries: Entries) -> None:
        self._qonto = qonto
        self._ledger = ledger
        self._claims = claims
        self._records = records
        self._entries = entries

    async def shown(self, workspace: str, ident: str, expected: Callable[[Entry], bool]) -> Entry:
        """The invoice once Qonto shows it as `expected`; RetryLater if it does not in time."""
        for pause in LAG:
            await anyio.sleep(pause)
            try:
                entry = await self._qonto.invoice(workspace, ident)
            except Missing:
                continue
            if expected(entry):
                return entry
        raise RetryLater(f"Qonto does not show the change to {ident} yet")

    async def see(self, job: Job) -> None:
        """Read the job's entry back until Qonto shows the status it answered with."""
        if job.entry is not None:
            status = job.entry.status
            job.entry = await self.shown(job.order.workspace, job.entry.id, lambda shown: shown.status == status)

    async def standing(self, job: Job) -> Entry | None:
        """The entry that stands for the bill as Qonto shows it now; None if it is gone."""
        page, workspace = job.page, job.order.workspace
        fetch = self._qonto.transaction if page.entry_kind == "transaction" else self._qonto.invoice
        try:
            return await fetch(workspace, str(page.entry))
        except Missing:
            log.info("poster.entry_gone", workspace=workspace, entry=page.entry)
            return None

    async def pay(self, job: Job, entry: Entry) -> Literal["paid", "unpaid"] | None:
        """Bring the payment mark in line with the bill; what was done: `paid`, `unpaid` or None.

        `job.entry` becomes what Qonto answered; the caller reads it back.
        """
        job.entry = entry
        wanted = payment(job.page, job.bill, entry) if job.bill is not None else None
        if wanted is None:
            return None
        if wanted == "pay" and entry.status not in PAYABLE:
            raise AskPerson("status forbids", f"the bill is paid, but Qonto has {entry.id} as {entry.status}")
        try:
            if wanted == "pay":
                if not job.page.paid:
                    job.kept = await self._ledger.move(job.leaf, job.page.state, paid=True)
                day = await self._records.payment_day(job)
                job.entry = await self._qonto.mark_as_paid(entry.workspace, entry.id, day)
                return "paid"
            job.entry = await self._qonto.unmark_as_paid(entry.workspace, entry.id)
            job.kept = await self._ledger.move(job.leaf, job.page.state, paid=False)
            return "unpaid"
        except Denied as error:
            raise AskPerson("status forbids", f"Qonto does not mark {entry.id} as {wanted}: {error}") from None

    def may_retire(self, job: Job, entry: Entry) -> bool:
        """Whether Qonto would let Weir turn the entry down."""
        unmarkable = entry.status == "paid" and job.page.paid and not entry.matched
        return not entry.live or entry.status in REJECTABLE or unmarkable

    async def retire(self, job: Job, ident: str, note: str) -> None:
        """Reject an entry of Weir's own and see it rejected; AskPerson if its status forbids that."""
        workspace = job.order.workspace
        try:
            entry = await self._qonto.invoice(workspace, ident)
        except Missing:
            log.info("poster.entry_gone", workspace=workspace, entry=ident)
            return
        if not self.may_retire(job, entry):
            raise AskPerson("status forbids", f"{ident} is {entry.status} in Qonto and cannot be rejected there")
        try:
            if entry.live and entry.status == "paid":
                await self._qonto.unmark_as_paid(workspace, ident)
            if entry.live:
                await self._qonto.reject(workspace, ident, note)
        except Denied as error:
            raise AskPerson("status forbids", f"Qonto does not reject {ident}: {error}") from None
        entry = await self.shown(workspace, ident, lambda shown: not shown.live)
        await self._entries.publish([entry])

    async def withdraw(self, job: Job, note: str) -> str | None:
        """Take back what stands for the bill: reject Weir's own entry, only let go of another; why, if the latter."""
        page, why = job.page, None
        if page.entry is not None and page.made:
            await self.retire(job, page.entry, note)
        elif page.entry is not None:
            why = f"{page.entry} is not Weir's; it was only let go"
        job.kept = await self._ledger.take(
            job.ledger_key, job.kept, "withdrawn", sent_at=None, paid=False, replaced=None, **job.stamp
        )
        await self._give_up(job)
        return why

    async def link(self, job: Job, target: LinkTo) -> str | None:
        """Let an entry stand for the bill; ends `linked`, or with the reason a person is asked. Returns a remark.

        The page names the entry before it is claimed, so that whoever decides otherwise finds the claim.
        """
        order = job.order
        entry = await self._target(job, target)
        if job.kept is not None and job.page.entry not in {None, entry.id} and job.page.state != "withdrawn":
            await self.withdraw(job, f"The bill now stands as {entry.id}")
        made = entry.origin == order.key
        revision = job.page.revision if job.kept is not None else 0
        job.kept = await self._ledger.take(
            job.ledger_key,
            job.kept,
            "claimed",
            action="link",
            entry=entry.id,
            entry_kind=entry.kind,
            made=made,
            document=None,
            drafted=job.document,
            revision=max(revision, entry.revision or 0) if made else revision,
            sent_at=None,
            paid=False,
            replaced=None,
            **job.stamp,
        )
        try:
            await self._claims.take(order.workspace, entry.kind, entry.id, order.key)
        except AskPerson:
            job.kept = await self._ledger.move(job.leaf, "withdrawn", entry=None, entry_kind=None, made=False)
            raise
        if await self._claims.release(order.workspace, entry.kind, entry.id, order.key):
            raise Fenced(f"another worker took {job.ledger_key}", delay=1.0)
        remark = None
        if entry.kind == "transaction" and not entry.attachments:
            entry, remark = await self._attach(job, entry)
        job.entry = entry
        return remark

    async def abandon(self, job: Job) -> None:
        """Give up what was begun, is not wanted any more, and had no effect yet: what stood before is what there is."""
        page = job.kept.value if job.kept is not None else None
        if page is None or not page.open or page.sent_at is not None:
            return
        if page.state == "superseding":
            job.kept = await self._ledger.take(job.ledger_key, job.kept, "verified", drafted=None)
        else:
            await self.let_go(job)

    async def let_go(self, job: Job) -> None:
        """Give up the entry a bill holds, and leave it as it is: first on the page, then the claim."""
        if job.page.state != "withdrawn":
            job.kept = await self._ledger.take(job.ledger_key, job.kept, "withdrawn", review=None, outcome=None)
        await self._give_up(job)

    async def _give_up(self, job: Job) -> None:
        page = job.page
        if page.entry is not None and page.entry_kind is not None:
            await self._claims.release(job.order.workspace, page.entry_kind, page.entry, job.order.key)

    async def _target(self, job: Job, target: LinkTo) -> Entry:
        order = job.order
        fetch: Callable[[str, str], Awaitable[Entry]] = (
            self._qonto.invoice if target.kind == "invoice" else self._qonto.transaction
        )
        try:
            entry = await fetch(order.workspace, target.entry)
        except (Missing, Denied):
            raise AskPerson("entry gone", f"Qonto has no {target.kind} {target.entry} (any more)") from None
        if not entry.live:
            raise AskPerson("entry gone", f"{target.kind} {entry.id} is {entry.status} in Qonto")
        if entry.origin is not None and entry.origin != order.key:
            raise AskPerson("contested", f"{target.kind} {entry.id} was made for bill {entry.origin}")
        await self._claims.check(order.workspace, entry.kind, entry.id, order.key)
        return entry

    async def _attach(self, job: Job, entry: Entry) -> tuple[Entry, str | None]:
        """Put the bill's document on a transaction that has none, and see it there."""
        order, document = job.order, job.document
        if job.record is None or document is None or job.bill is None:
            return entry, None
        file = await self._records.file(job)
        part = Part(
            key=attachment_key(order.workspace, entry.id, document),
            file_name=job.file_name(max(job.page.revision, 1)),
            data=file.data,
            content_type=file.content_type,
        )
        try:
            await self._qonto.attach(order.workspace, entry.id, part)
        except Unknown:
            log.warning("poster.attachment_unanswered", workspace=order.workspace, transaction=entry.id)
        except Denied as error:
            return entry, f"the document could not be attached: {error}"
        for pause in LAG:
            await anyio.sleep(pause)
            entry = await self._qonto.transaction(order.workspace, entry.id)
            if entry.attachments:
                return entry, "its document was attached"
        raise RetryLater(f"Qonto does not show the document on {entry.id} yet", delay=3.0)
