"""From delivered bills to published decisions."""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

import anyio
import msgspec
import nats.errors
import structlog

from common import codec, metrics, subjects, tracing
from common.bus import Bus
from common.delivery import Delivery
from common.errors import RetryLater, backoff
from common.messages import Decision, Message, now
from common.pace import Pace
from common.reading import Placed
from services.scorer.matching.decisions import decision_on, review_of
from services.scorer.matching.judge import Judge, Verdict
from services.scorer.placing import Case, Letter, place, record_seq_of
from services.scorer.surveying import Surveys
from services.scorer.view import View
from services.scorer.views import Views

log = structlog.get_logger()

PATIENCE = 2.0
"""Seconds a batch waits for a view; what takes longer is loaded in the background, and its bills come again.

Some thirty thousand messages: a backlog after a busy hour is read within it, and its bills need not come twice.
"""
_GLANCE = 0.2
"""Seconds for which a caller's view may keep bills waiting."""
_AGAIN = 0.5
"""Seconds until bills come again whose decisions others kept overtaking."""
_LOADS_AT_MOST = 4.0
"""Most seconds until bills come again whose workspace is being loaded: handing them back costs what loading needs."""
_WAITS_AT_MOST = 30.0
"""Most seconds until bills come again that wait for entries."""
_SLICE = 200
"""Bills that are prepared together, which makes each of them cheaper, and holds up whatever else waits for as long."""
_ROOM = 4096
"""Bytes that headers may take of what the broker accepts as one message."""

_STEPS = ("requested", "refused", "resolved", "closed")


class Head(Message, frozen=True, kw_only=True, tag="record.1"):
    """What is read of a delivered record: which version of which bill. The view has read the whole of it."""

    workspace: str
    realm: str
    id: str
    content_hash: str
    entries_seq: int = 0

    @property
    def key(self) -> str:
        """The record key of the bill."""
        return f"{self.realm}-{self.id}"


Lane = Sequence[Delivery[Head]]
"""The deliveries of one workspace."""


class Scoring:
    """Handles batches of bill records."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._pace = Pace()
        self.views = Views(bus, self._pace, bus.settings.scorer_entries)
        self._surveys = Surveys(bus, self._pace)
        self._judging, self._publishing = anyio.Lock(), anyio.Lock()

    async def handle(self, deliveries: Sequence[Delivery[Head]]) -> None:
        """Decide on a batch: judge it, then publish; while that is on its way the next batch is judged.

        Workspaces do not wait for each other: one whose view is not there yet is set aside.
        """
        counts = Counter[str]()
        async with self._judging:
            lanes = _lanes(deliveries)
            names = [self._subject(delivery) for lane in lanes.values() for delivery in lane]
            with self.views.using(lanes) as views:
                ready: dict[str, Lane] = {}
                placed: dict[str, Placed] = {}

                async def look() -> None:
                    placed.update(await self._bus.placed(self._bus.topology.decisions, names))

                async with anyio.create_task_group() as group:
                    group.start_soon(look)
                    for workspace, lane in lanes.items():
                        group.start_soon(self._make_ready, views[workspace], lane, ready)
                cases: list[tuple[Delivery[Head], Case]] = []
                for workspace, lane in ready.items():
                    cases += await self._judge(views[workspace], lane, placed, counts)
            await self.views.make_room()
        async with self._publishing:
            left = await place(self._bus, [case for _, case in cases], placed)
            late = {id(case) for case in left}
            for delivery, case in cases:
                if id(case) in late:
                    await delivery.later(_AGAIN)
                else:
                    metrics.DECISIONS.labels(case.action).inc()
                    metrics.DECISION_LATENCY.observe(delivery.age or 0.0)
            for delivery in deliveries:
                await delivery.done()
        log.info("scorer.decided", bills=len(deliveries), workspaces=len(lanes), **counts)

    @asynccontextmanager
    async def view(self, workspace: str) -> AsyncIterator[View | None]:
        """A workspace's books as the streams have them now, for a caller; None while they are being loaded.

        They may change as soon as the caller waits for anything, and stay in memory until the end of the block.
        """
        with self.views.using([workspace]) as views:
            view = views[workspace]
            ready = await self._glance(view)
            if not ready:
                with anyio.move_on_after(PATIENCE):
                    await view.ended.wait()
                ready = not view.loading and await self._glance(view)
            yield view if ready else None
        await self.views.make_room()

    async def _glance(self, view: View) -> bool:
        """Read what is new in a view for a caller; what takes longer is loaded behind, for bills wait meanwhile."""
        async with self._judging:  # one reads at a time
            ready = view.loaded and not view.loading and await view.read(within=_GLANCE)
            if not ready:
                await self.views.load(view)
            return ready

    async def _make_ready(self, view: View, lane: Lane, ready: dict[str, Lane]) -> None:
        """Bring a view up to date; what can be judged now goes to `ready`, the rest comes again later."""
        try:
            if view.loading or not await view.read(within=PATIENCE):
                await self.views.load(view)
                await _set_aside(lane, "its view is being loaded", _LOADS_AT_MOST)
                return
            await self._surveys.renew(view.workspace, view.books)
        except RetryLater as error:
            await _set_aside(lane, str(error))
            return
        except Exception as error:  # noqa: BLE001 (one workspace must not take the batch with it; the table decides)
            await self.views.drop(view)
            for delivery in lane:
                await delivery.failed(error)
            return
        early = [
            delivery
            for delivery in lane
            if delivery.message.entries_seq > view.entries_seq or delivery.sequence > view.records_seq
        ]
        if early:
            why = f"entries were read up to {view.entries_seq}, records up to {view.records_seq}"
            await _set_aside(early, why)
        ready[view.workspace] = [delivery for delivery in lane if not delivery.settled]

    async def _judge(
        self, view: View, lane: Lane, placed: Mapping[str, Placed], counts: Counter[str]
    ) -> list[tuple[Delivery[Head], Case]]:
        judge = Judge(view.books)
        cases: list[tuple[Delivery[Head], Case]] = []
        failures: list[tuple[Delivery[Head], Exception]] = []
        due: list[Delivery[Head]] = []
        for delivery in lane:
            reason = _unfit(view, delivery)
            there = placed.get(self._subject(delivery))
            if reason is not None:
                failures.append((delivery, reason))
            elif there is not None and record_seq_of(there.key) >= delivery.sequence:
                counts["known"] += 1
            elif view.books.bills[delivery.message.key].content_hash != delivery.message.content_hash:
                counts["replaced"] += 1  # by a newer version, which is decided by itself
            else:
                due.append(delivery)
        async with self._pace:
            for start in range(0, len(due), _SLICE):
                batch = due[start : start + _SLICE]
                judge.prepare(delivery.message.key for delivery in batch)
                for delivery in batch:
                    step = _traced(delivery)
                    try:
                        decision = _decision(view, delivery, judge.decide(delivery.message.key))
                        cases.append((delivery, self._case(view, decision, step)))
                        counts[decision.action] += 1
                    except Exception as error:  # noqa: BLE001 (nor must one bill)
                        step.failed(error)
                        failures.append((delivery, error))
                    step.end()
                    await self._pace.rest()
        for delivery, failure in failures:
            await delivery.failed(failure)
        return cases

    def _case(self, view: View, decision: Decision, traced: tracing.Step) -> Case:
        traced.note({"action": decision.action, "gate": decision.gate, "score": decision.score})
        region, workspace, key = self._bus.region, decision.workspace, decision.key
        version = f"{decision.id}-{decision.record_seq}"
        name = subjects.decision(region, workspace, key)
        letter = Letter(name, self._encoded(decision), version, (name,), trace=traced.headers)
        case = Case(decision.record_seq, letter, None, decision.action)
        if decision.action in {"review", "refuse"}:
            names = tuple(subjects.review(region, step, workspace, key) for step in _STEPS)
            subject = names[0] if decision.action == "review" else names[1]
            case.question = review_of(decision, view.books.bill(key))
            body = self._encoded(case.question)
            pattern = f"{region}.review.*.{workspace}.{key}"
            case.review = Letter(subject, body, f"review-{version}", names, pattern, trace=traced.headers)
        return case

    def _encoded(self, message: Message) -> msgspec.Raw:
        """The message as it travels; too large a one must not spoil the page it is on."""
        body = codec.encode(message)
        if len(body) + _ROOM > self._bus.client.max_payload:
            raise nats.errors.MaxPayloadError
        return msgspec.Raw(body)

    def _subject(self, delivery: Delivery[Head]) -> str:
        return subjects.decision(self._bus.region, delivery.message.workspace, delivery.message.key)


def _traced(delivery: Delivery[Head]) -> tracing.Step:
    """The step that decides on a delivered bill."""
    about: tracing.About = {
        "workspace": delivery.message.workspace,
        "record": delivery.message.key,
        "attempt": delivery.attempt,
    }
    return tracing.begin("scorer.decide", about, parent=delivery.trace, root=True)


def _lanes(deliveries: Iterable[Delivery[Head]]) -> dict[str, Lane]:
    """The deliveries by workspace; of one bill only the newest, which the others were replaced by."""
    newest: dict[tuple[str, str], Delivery[Head]] = {}
    for delivery in sorted(deliveries, key=lambda one: one.sequence):
        newest[delivery.message.workspace, delivery.message.key] = delivery
    lanes: defaultdict[str, list[Delivery[Head]]] = defaultdict(list)
    for delivery in newest.values():
        lanes[delivery.message.workspace].append(delivery)
    return dict(lanes)


async def _set_aside(lane: Lane, why: str, at_most: float = _WAITS_AT_MOST) -> None:
    """Have bills delivered again later, ever later up to `at_most` seconds."""
    log.info("scorer.waits", workspace=lane[0].message.workspace, bills=len(lane), why=why)
    for delivery in lane:
        await delivery.later(backoff(delivery.attempt, first=0.25, cap=at_most))


def _unfit(view: View, delivery: Delivery[Head]) -> Exception | None:
    """Why a delivered bill cannot be judged at all."""
    sequence, reason = view.unreadable.get(delivery.subject, (0, None))
    if reason is not None and sequence == delivery.sequence:
        return reason
    if delivery.message.key not in view.books.bills:
        return ValueError(f"{delivery.message.key} is no bill of {view.workspace}")
    return None


def _decision(view: View, delivery: Delivery[Head], verdict: Verdict) -> Decision:
    books = view.books
    record = books.bills[delivery.message.key]
    return decision_on(record, delivery.sequence, verdict, books.policy, now(), books.memory.version)
