"""Jobs that upload: a new entry, a new revision of one, or what a dead worker left half done."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import anyio
import structlog

from common import tracing
from common.errors import AskPerson
from common.messages import Decision, Entry, Outcome
from services.poster.claims import Claims
from services.poster.creating import Draft, NeverArrived, Uploads
from services.poster.document import choose
from services.poster.effects import Effects
from services.poster.job import Job, each
from services.poster.lastlook import LastLook, Wanted
from services.poster.ledger import Ledger, State, document_key
from services.poster.plan import Create, Finish, Supersede
from services.poster.qonto import PER_PAGE, Missing, Qonto
from services.poster.records import Records
from services.poster.telling import Telling

log = structlog.get_logger()

WORKSPACES_AT_ONCE = 4
_DRAWN = 64_000
"""Bytes a drawn document has at most, for filling uploads."""
_READ_BACK_PAGES = 2
"""Pages beyond those that the fresh entries fill themselves; what is not met by then is read alone."""
_READ_BACK_FROM = timedelta(seconds=1)


class Uploading:
    """Uploads for one worker's ledger, the jobs of a workspace together."""

    def __init__(
        self,
        qonto: Qonto,
        ledger: Ledger,
        claims: Claims,
        records: Records,
        effects: Effects,
        telling: Telling,
        last_look: LastLook,
    ) -> None:
        self._qonto = qonto
        self._ledger = ledger
        self._claims = claims
        self._records = records
        self._effects = effects
        self._telling = telling
        self._uploads = Uploads(qonto, ledger, last_look)

    async def carry_out(self, jobs: Iterable[Job]) -> None:
        """Carry out every upload among `jobs`; each job ends with a posting, an error, or open to be planned again."""
        grouped: dict[str, list[Job]] = defaultdict(list)
        for job in jobs:
            grouped[job.order.workspace].append(job)
        limit = anyio.CapacityLimiter(WORKSPACES_AT_ONCE)

        async def one(workspace: str, group: list[Job]) -> None:
            async with limit:
                try:
                    with tracing.together("poster.upload", [job.step for job in group]):
                        await self._carry_out(workspace, group)
                except Exception as error:  # noqa: BLE001 (ends this workspace's jobs, not those of others)
                    for job in group:
                        job.error = job.error or (None if job.over else error)

        async with anyio.create_task_group() as tasks:
            for workspace, group in grouped.items():
                tasks.start_soon(one, workspace, group)

    async def _carry_out(self, workspace: str, jobs: list[Job]) -> None:
        drafts: dict[Job, Draft] = {}

        async def begin(job: Job) -> None:
            draft = await self._begin(job)
            if draft is not None:
                drafts[job] = draft

        await each(jobs, begin)
        await self._uploads.carry_out(workspace, [draft for draft in drafts.values() if not draft.over])
        for job, draft in drafts.items():
            job.kept, job.error, job.entry = draft.kept, draft.error, draft.entry
            job.note = "found in Qonto from an earlier attempt" if draft.adopted else draft.note
        await each([job for job in drafts if isinstance(job.error, NeverArrived)], self._never_arrived)
        made = [job for job in drafts if not job.over and job.entry is not None]
        paid: dict[Job, Outcome | None] = {}
        forbidden: dict[Job, AskPerson] = {}

        async def pay(job: Job) -> None:
            try:
                paid[job] = await self._effects.pay(job, job.seen)
            except AskPerson as error:
                forbidden[job] = error  # it stands for the bill all the same

        await each(made, pay)
        made = [job for job in made if not job.over]
        fresh = [job.seen for job in made if not drafts[job].adopted]
        shown = await self._read_back(workspace, fresh)

        async def conclude(job: Job) -> None:
            seen = shown.get(job.seen.id)
            if seen is not None and seen.status == job.seen.status:
                job.entry = seen
            else:
                await self._effects.see(job)
            await self._conclude(job, paid.get(job))
            job.error = forbidden.get(job)

        await each(made, conclude)

    async def _begin(self, job: Job) -> Draft | None:
        """Write the intent, or take over the one that was left; the draft that carries it out.

        None if there is nothing left to carry out: the order is planned again.
        """
        order = job.order
        match job.effect:
            case Create(revision=revision):
                if job.kept is not None and job.page.entry is not None:
                    await self._effects.let_go(job)
                await self._claim(job, "claimed", revision, entry=None, entry_kind=None, made=False, paid=False)
            case Supersede(revision=revision):
                await self._check_retirable(job)
                await self._claim(job, "superseding", revision)
            case _ if job.page.open:
                job.kept = await self._ledger.take(job.ledger_key, job.kept, job.page.state)
        draft = Draft(origin=order.key, kept=job.leaf)
        if isinstance(job.effect, Finish) and job.page.replaced is not None and job.page.entry is not None:
            try:
                draft.entry = await self._qonto.invoice(order.workspace, job.page.entry)  # only the other is to go
            except Missing:
                await self._keep_other(job)
                return None
        elif order.action == "create" and job.record is not None and job.bill is not None:
            document = choose(job.record).document
            draft.size = document.size if document is not None else _DRAWN
            draft.load = partial(self._records.file, job)
            if isinstance(order.source, Decision) and order.by is None and isinstance(job.effect, Create):
                turned_down = frozenset(one.entry for one in order.source.candidates if one.turned_down)
                draft.wanted = Wanted(job.bill, order.source.entries_seq, turned_down)
        return draft

    async def _keep_other(self, job: Job) -> None:
        """Of two entries the one that was to stay is gone from Qonto: the other stands after all."""
        gone, other = str(job.page.entry), job.page.replaced
        log.info("poster.entry_gone", workspace=job.order.workspace, entry=gone)
        job.kept = await self._ledger.move(
            job.leaf, "verified", entry=other, replaced=None, sent_at=None, drafted=None, document=None
        )
        await self._claims.release(job.order.workspace, "invoice", gone, job.order.key)

    async def _claim(self, job: Job, state: State, revision: int, **changes: Any) -> None:
        order = job.order
        job.kept = await self._ledger.take(
            job.ledger_key,
            job.kept,
            state,
            action="create",
            revision=revision,
            drafted=job.document,
            key=document_key(order.workspace, order.realm, order.bill, revision),
            file_name=job.file_name(revision),
            sent_at=None,
            replaced=None,
            **job.stamp,
            **changes,
        )
        log.debug("poster.claim_taken", key=job.ledger_key, revision=revision, epoch=job.page.epoch)

    async def _check_retirable(self, job: Job) -> None:
        """Before a new revision goes up: the old one must be one that can go."""
        ident = str(job.page.entry)
        try:
            entry = await self._qonto.invoice(job.order.workspace, ident)
        except Missing:
            return
        if not self._effects.may_retire(job, entry):
            why = f"the bill changed, but Qonto has {ident} as {entry.status} and lets nobody reject it"
            raise AskPerson("status forbids", why)

    async def _never_arrived(self, job: Job) -> None:
        """What was only looked for never came to be: what stood before is what there is."""
        if job.page.state == "uncertain" and job.order.action != "withdraw":
            job.error = AskPerson("uncertain", job.page.why or str(job.error))  # only a person goes past it
            return
        job.error = None
        state: State = "withdrawn" if job.page.entry is None else "verified"
        job.kept = await self._ledger.take(job.ledger_key, job.kept, state, sent_at=None, drafted=None)

    async def _read_back(self, workspace: str, entries: Sequence[Entry]) -> dict[str, Entry]:
        """What Qonto shows of fresh entries, by id, in as few lists as possible."""
        found: dict[str, Entry] = {}
        created = [entry.created_at for entry in entries if entry.created_at is not None]
        if len(created) < 2:
            return found
        wanted, since = {entry.id for entry in entries}, min(created) - _READ_BACK_FROM
        for page in range(1, len(entries) // PER_PAGE + _READ_BACK_PAGES + 1):
            listed = await self._qonto.invoices(workspace, page=page, created_from=since)
            found |= {entry.id: entry for entry in listed.entries}
            if listed.last or wanted <= found.keys():
                break
        return found

    async def _conclude(self, job: Job, paid: Outcome | None) -> None:
        """The new entry stands: claim it, retire the one it replaces, settle.

        An adopted entry of another revision, or one that this page never sent and in which Qonto read another amount,
        shows another version of the bill: it stands, and the order is planned again.
        """
        order, entry, page = job.order, job.seen, job.page
        await self._claims.take(order.workspace, entry.kind, entry.id, order.key)
        old = page.replaced or (page.entry if page.made and page.entry != entry.id else None)
        if old is not None:
            await self._replace(job, old, entry)
        standing: dict[str, Any] = {
            "entry": entry.id,
            "entry_kind": entry.kind,
            "made": True,
            "revision": max(page.revision, entry.revision or 0),
            "paid": paid == "paid" or (old is None and page.paid),
        }
        total = abs(job.bill.total) if job.bill is not None and page.sent_at is None else None
        otherwise = total is not None and entry.amount is not None and entry.amount != total
        if entry.revision != page.revision or otherwise:
            await self._telling.stand(job, **standing)
        else:
            outcome: Outcome = "created" if old is None else "superseded"
            remark = "marked as paid" if paid == "paid" else None
            await self._telling.settle(job, outcome, remark, retired=old, **standing)
        if old is not None:
            await self._claims.release(order.workspace, "invoice", old, order.key)

    async def _replace(self, job: Job, old: str, entry: Entry) -> None:
        """Retire the old entry for the new one; if Qonto no longer lets it go, take the new one back instead.

        Which of the two is to go is on the page before it goes, so that whoever finishes takes no other.
        """
        if job.page.replaced is None:
            job.kept = await self._ledger.move(
                job.leaf, "superseding", entry=entry.id, entry_kind=entry.kind, made=True, replaced=old
            )
        try:
            await self._effects.retire(job, old, f"Superseded by {entry.file_name}")
        except AskPerson:
            job.kept = await self._ledger.move(job.leaf, "superseding", entry=old, replaced=entry.id)
            await self._effects.retire(job, entry.id, f"Taken back: {old} could not be rejected")
            job.kept = await self._ledger.move(job.leaf, "verified", replaced=None, sent_at=None, drafted=None)
            await self._claims.release(job.order.workspace, entry.kind, entry.id, job.order.key)
            raise
