"""From delivered bills to published decisions."""

import uuid
from collections import Counter, defaultdict
from collections.abc import Sequence

import anyio
import structlog

from common import subjects
from common.bus import Bus
from common.consume import Delivery
from common.errors import RetryLater
from common.messages import Bill, Decision, Record, ReviewRequested, now
from services.scorer import model
from services.scorer.judge import Judge, Verdict
from services.scorer.view import View, Views

log = structlog.get_logger()

_NAMESPACE = uuid.UUID("6f0c1d0e-4c1b-5f0a-9b59-0f6a6d1c7a11")
_IN_FLIGHT = 64
"""Publishes that wait for their acknowledgement at a time."""


class Scoring:
    """Handles batches of bill records."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._views = Views(bus)

    async def handle(self, deliveries: Sequence[Delivery[Record]]) -> None:
        """Decide on a batch, one workspace after the other; a workspace that cannot be decided is retried."""
        by_workspace: defaultdict[str, list[Delivery[Record]]] = defaultdict(list)
        for delivery in deliveries:
            by_workspace[delivery.message.workspace].append(delivery)
        for workspace, batch in by_workspace.items():
            try:
                await self._decide(workspace, batch)
            except RetryLater as error:
                await self._views.drop(workspace)
                for delivery in batch:
                    await delivery.failed(error)

    async def _decide(self, workspace: str, batch: Sequence[Delivery[Record]]) -> None:
        view = await self._views.get(workspace)
        await view.catch_up(max(delivery.message.entries_seq for delivery in batch))
        judge = Judge(view.books)
        present = [delivery for delivery in batch if _is_newest(view, delivery.message)]
        judge.prepare(delivery.message.key for delivery in present)
        decisions: list[Decision] = []
        failures: list[tuple[Delivery[Record], Exception]] = []
        # Without a pause: the feeds must not change the books under the judge. A batch takes well under a second.
        for delivery in present:
            try:
                decisions.append(_decision(view, delivery, judge.decide(delivery.message.key)))
            except Exception as error:  # noqa: BLE001 (one bill must not take the batch with it; the table decides)
                failures.append((delivery, error))
        for delivery, failure in failures:
            await delivery.failed(failure)
        async with anyio.create_task_group() as group:
            limit = anyio.CapacityLimiter(_IN_FLIGHT)
            for decision in decisions:
                group.start_soon(self._publish, view, decision, limit)
        for delivery in batch:
            await delivery.done()
        counts = Counter[str](decision.action for decision in decisions)
        log.info("scorer.decided", workspace=workspace, **counts)

    async def _publish(self, view: View, decision: Decision, limit: anyio.CapacityLimiter) -> None:
        bus, names = self._bus, self._bus.topology
        async with limit:
            if decision.action in {"review", "refuse"}:
                step = "requested" if decision.action == "review" else "refused"
                subject = subjects.review(bus.region, step, decision.workspace, decision.key)
                await bus.publish(subject, _review(view, decision), stream=names.reviews, key=f"review-{decision.id}")
            subject = subjects.decision(bus.region, decision.workspace, decision.key)
            await bus.publish(subject, decision, stream=names.decisions, key=f"{decision.id}-{decision.record_seq}")


def _is_newest(view: View, record: Record) -> bool:
    """Whether the books hold this very version; an older one was replaced and needs no decision."""
    known = view.books.bills.get(record.key)
    return known is not None and known.content_hash == record.content_hash


def _decision(view: View, delivery: Delivery[Record], verdict: Verdict) -> Decision:
    record, policy = delivery.message, view.books.policy
    entry = verdict.entry
    identity = "|".join(
        str(part)
        for part in (
            record.workspace,
            record.key,
            record.content_hash,
            verdict.action,
            entry.id if entry else "",
            verdict.gate or "",
            policy.version,
            model.VERSION,
        )
    )
    return Decision(
        id=str(uuid.uuid5(_NAMESPACE, identity)),
        workspace=record.workspace,
        realm=record.realm,
        bill=record.id,
        action=verdict.action,
        score=round(verdict.score, 4),
        why=verdict.why,
        record_hash=record.content_hash,
        record_seq=delivery.sequence,
        entries_seq=record.entries_seq,
        policy_version=policy.version,
        model_version=model.VERSION,
        decided_at=now(),
        entry=entry.id if entry else None,
        entry_kind=entry.kind if entry else None,
        readiness=verdict.readiness,
        gate=verdict.gate,
        counterfactual=verdict.counterfactual,
        candidates=verdict.candidates,
    )


def _review(view: View, decision: Decision) -> ReviewRequested:
    summary = view.books.bills[decision.key].body
    if not isinstance(summary, Bill):
        raise TypeError(f"{decision.key} has no body to show")
    return ReviewRequested(
        review=decision.id,
        workspace=decision.workspace,
        realm=decision.realm,
        bill=decision.bill,
        requested_at=decision.decided_at,
        score=decision.score,
        why=decision.why,
        summary=summary,
        gate=decision.gate,
        counterfactual=decision.counterfactual,
        readiness=decision.readiness,
        candidates=decision.candidates,
    )
