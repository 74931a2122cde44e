"""From delivered bills to published decisions."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import anyio
import structlog

from common import subjects
from common.bus import Bus
from common.consume import Delivery
from common.errors import RetryLater
from common.messages import Decision, Record, now
from services.scorer.decisions import decision_on, review_of
from services.scorer.judge import Judge
from services.scorer.view import View, Views

log = structlog.get_logger()

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
                verdict = judge.decide(delivery.message.key)
                decisions.append(
                    decision_on(
                        delivery.message,
                        delivery.sequence,
                        verdict,
                        view.books.policy,
                        now(),
                        view.books.memory.version,
                    )
                )
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
                await bus.publish(
                    subject,
                    review_of(decision, view.books.bill(decision.key)),
                    stream=names.reviews,
                    key=f"review-{decision.id}",
                )
            subject = subjects.decision(bus.region, decision.workspace, decision.key)
            await bus.publish(subject, decision, stream=names.decisions, key=f"{decision.id}-{decision.record_seq}")


def _is_newest(view: View, record: Record) -> bool:
    """Whether the books hold this very version; an older one was replaced and needs no decision."""
    known = view.books.bills.get(record.key)
    return known is not None and known.content_hash == record.content_hash
