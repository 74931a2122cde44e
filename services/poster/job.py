"""One order on its way: what is known about it, and what came of it."""

import uuid
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import anyio
from structlog.contextvars import bound_contextvars

from common import tracing
from common.buckets import Kept
from common.messages import Bill, Entry, Outcome, Posting, Record, now
from common.qonto import file_name
from common.subjects import RecordKey
from services.poster.document import choose, shown
from services.poster.ledger import Ledger, Page
from services.poster.plan import Create, Effect, Finish, Order, Supersede

AT_ONCE = 12
"""Jobs worked on at the same time."""
_NAMESPACE = uuid.UUID("0b8c3a52-9a3f-5b0e-8c39-5a6c0f6f0d11")


@dataclass(slots=True, eq=False)
class Job:
    """An order with the record it is about and the ledger page as last read.

    `standing` is what Qonto itself showed of the entry that stands, where the mirror was behind. A job is over
    when it has a posting, an error, or nothing to say (`silent`). `step` is its place in the bill's trace.
    """

    order: Order
    record: Record | None = None
    kept: Kept[Page] | None = None
    entry: Entry | None = None
    standing: Entry | None = None
    effect: Effect | None = None
    note: str | None = None
    posting: Posting | None = None
    error: Exception | None = None
    silent: bool = False
    step: tracing.Step = tracing.OFF

    @property
    def over(self) -> bool:
        """Whether nothing is left to do."""
        return self.silent or self.posting is not None or self.error is not None

    @property
    def ledger_key(self) -> str:
        """Where its page is kept."""
        return Ledger.key(self.order.workspace, self.order.realm, self.order.bill)

    @property
    def leaf(self) -> Kept[Page]:
        """Its page with the revision to replace; only once there is one."""
        if self.kept is None:
            raise LookupError(f"{self.ledger_key} has no page")
        return self.kept

    @property
    def page(self) -> Page:
        """Its page; only once there is one."""
        return self.leaf.value

    @property
    def seen(self) -> Entry:
        """The entry as last seen; only once there is one."""
        if self.entry is None:
            raise LookupError(f"bill {self.order.key} has no entry")
        return self.entry

    @property
    def stamp(self) -> dict[str, Any]:
        """What a ledger step notes of the order it is for."""
        return {
            "decision": self.order.id,
            "record_seq": self.order.record_seq,
            "record_hash": self.order.record_hash,
            "review": self.order.id if self.order.by is not None else None,
            "outcome": None,
        }

    @property
    def bill(self) -> Bill | None:
        """The bill, unless it is deleted."""
        body = self.record.body if self.record is not None else None
        return body if isinstance(body, Bill) and not (self.record and self.record.deleted) else None

    @property
    def document(self) -> str | None:
        """The hash of what the bill's document shows."""
        return shown(self.record) if self.record is not None else None

    def file_name(self, revision: int) -> str:
        """What its document is called in Qonto as `revision`."""
        if self.record is None or self.bill is None:
            raise LookupError(f"bill {self.order.key} is not there")
        vendor = self.bill.vendor.name or self.bill.vendor.id
        extension = choose(self.record).extension
        return file_name(RecordKey(self.order.realm, self.order.bill), revision, vendor, self.bill.number, extension)

    @property
    def uploads(self) -> bool:
        """Whether its effect is an upload, or finishing one."""
        return isinstance(self.effect, Create | Supersede | Finish)

    def told(
        self,
        outcome: Outcome,
        why: str | None = None,
        *,
        decision: str | None = None,
        replaced: str | None = None,
        field: str | None = None,
        fix: str | None = None,
    ) -> Posting:
        """The posting that says so; its id is made from content, so saying it again is saying it once."""
        page = self.kept.value if self.kept is not None else None
        revision = page.revision if page is not None else 0
        entry = page.entry if page is not None else None
        verified = page.verified_at if page is not None and outcome not in {"stale", "failed", "uncertain"} else None
        decision = decision or self.order.id
        parts = (self.order.workspace, decision, outcome, str(revision), entry or "-")
        return Posting(
            id=str(uuid.uuid5(_NAMESPACE, "/".join(parts))),
            workspace=self.order.workspace,
            realm=self.order.realm,
            bill=self.order.bill,
            decision=decision,
            outcome=outcome,
            revision=revision,
            posted_at=now(),
            entry=entry,
            entry_kind=page.entry_kind if page is not None else None,
            replaced=replaced,
            verified_at=verified,
            why=why,
            field=field,
            fix=fix,
            record_hash=page.record_hash if page is not None and page.decision == decision else self.order.record_hash,
            by=self.order.by,
        )


async def each(jobs: Iterable[Job], work: Callable[[Job], Awaitable[None]]) -> None:
    """Do `work` for every job, some at a time; an error ends its own job only."""
    limit = anyio.CapacityLimiter(AT_ONCE)

    async def one(job: Job) -> None:
        about = {"workspace": job.order.workspace, "record": job.order.key}
        async with limit:
            try:
                with job.step.current(), bound_contextvars(**about):
                    await work(job)
            except Exception as error:  # noqa: BLE001 (its delivery is settled by it, by the table)
                job.error = error

    async with anyio.create_task_group() as group:
        for job in jobs:
            group.start_soon(one, job)
