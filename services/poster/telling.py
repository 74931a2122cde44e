"""Ending a job: the ledger says so, subscribers see the entry, a posting tells what happened."""

from typing import Any

import structlog

from common import metrics, subjects, tracing
from common.bus import Bus
from common.errors import AskPerson, Refused
from common.messages import Outcome, Posting, now
from services.poster.entries import Entries
from services.poster.job import Job
from services.poster.ledger import Ledger, State
from services.poster.plan import Finish

log = structlog.get_logger()


class Telling:
    """Ends jobs of one worker's ledger."""

    def __init__(self, bus: Bus, ledger: Ledger, entries: Entries) -> None:
        self._bus = bus
        self._ledger = ledger
        self._entries = entries

    async def settle(self, job: Job, outcome: Outcome, why: str | None, **changes: Any) -> None:
        """Qonto shows the effect: let subscribers see the entry, write it down, report."""
        page = job.page
        if job.entry is not None:
            await self._entries.publish([job.entry])
        why = "; ".join(part for part in (why, job.note) if part) or None
        # An upload somebody else left is reported for the decision it was for; then ours is planned anew.
        foreign = page.decision if isinstance(job.effect, Finish) and page.decision != job.order.id else None
        foreign_entry = page.action == "link" and not page.made
        state: State = "withdrawn" if outcome == "withdrawn" else "linked" if foreign_entry else "verified"
        settled = {
            "document": page.drafted or page.document,
            "drafted": None,
            "sent_at": None,
            "replaced": None,
            "retired": None,
            "verified_at": now(),
            "why": why,
            "undone": page.undone if state == "withdrawn" else None,
        }
        stamp = {} if foreign else job.stamp
        job.kept = await self._ledger.move(job.leaf, state, **{**stamp, **settled, "outcome": outcome, **changes})
        log.debug("poster.settled", key=job.ledger_key, outcome=outcome, revision=job.page.revision)
        await self.report(job, outcome, why, replaced=job.page.retired, foreign=foreign)

    async def stand(self, job: Job, **changes: Any) -> None:
        """Qonto shows an entry for the bill, and nobody knows which version of it: write that down, report nothing."""
        await self._entries.publish([job.seen])
        nothing_open = {"document": None, "drafted": None, "sent_at": None, "replaced": None}
        job.kept = await self._ledger.move(job.leaf, "verified", **nothing_open, **changes)

    async def report(
        self,
        job: Job,
        outcome: Outcome,
        why: str | None,
        *,
        replaced: str | None = None,
        again: bool = False,
        foreign: str | None = None,
    ) -> None:
        """Publish the posting; once, even if it is told again after the broker's memory of ids has run out."""
        posting = job.told(outcome, why, decision=foreign, replaced=replaced)
        if foreign is None:
            job.posting = posting
        if posting.verified_at is not None:
            _verified(job, posting)
        await self._publish(job, posting, again=again)

    async def failed(self, job: Job, error: Exception) -> None:
        """Publish the posting of an order that ended in doubt or in a refusal; other errors go on by themselves."""
        match error:
            case AskPerson(gate="uncertain"):
                await self._publish(job, job.told("uncertain", str(error)))
            case Refused():
                await self._publish(job, job.told("failed", str(error), field=error.field, fix=error.fix))

    async def _publish(self, job: Job, posting: Posting, *, again: bool = False) -> None:
        key = f"{posting.realm}-{posting.bill}"
        name = subjects.posting(self._bus.region, posting.workspace, key)
        stream = self._bus.topology.postings
        if again:
            newest = await self._bus.newest(stream, name, Posting)
            if newest is not None and newest.message.id == posting.id:
                return
        await self._bus.publish(name, posting, stream=stream, key=posting.id, **job.step.headers)
        metrics.POSTINGS.labels(posting.outcome).inc()


def _verified(job: Job, posting: Posting) -> None:
    """Qonto showed the effect: the end of the bill's trace, and how long it took from reading the bill."""
    about = {"entry": posting.entry, "outcome": posting.outcome, "revision": posting.revision}
    tracing.begin("poster.verified", about, parent=job.step.trace, root=True).end()
    if job.record is not None and posting.verified_at is not None and posting.outcome not in {"unchanged", "stale"}:
        seconds = (posting.verified_at - job.record.pulled_at).total_seconds()
        metrics.VERIFIED_LATENCY.observe(max(0.0, seconds))
