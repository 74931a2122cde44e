"""What is measured of a region as a whole, read from its streams and buckets by every console for itself.

All consoles of a region say the same, so whoever adds up takes the `max` (deploy/observe does): there is no exporter
that could be missing, and no lease to hold. Read in the background, not when somebody asks, and only where
WEIR_OPS_PORT is set. A round costs a few short questions, the buckets of the workspaces, and of reviews the headers
of what is new; the first one reads the headers of all reviews there ever were. Workspaces are told of up to MOST
for each gauge, those that are worst.
"""

import heapq
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal, get_args

import anyio
import msgspec
import nats.errors
import nats.js.errors
import structlog
from nats.aio.msg import Msg
from prometheus_client import Gauge

from common import metrics, subjects
from common.buckets import Bucket
from common.bus import Bus
from common.errors import RetryLater
from common.failures import Failures
from common.feed import Feed
from common.inbox import published_at
from common.messages import Provider, PullState, SelfCheck, Stage, now
from common.reviews import rejected_by
from common.standing import Pause
from common.topology import PACE, Consumer

log = structlog.get_logger()

EVERY = 30.0
"""Seconds between two rounds."""
MOST = 500
"""Workspaces that one gauge tells of."""
_SHARE = 0.05
"""Part of the time that may be spent on reading: a large region is read less often."""
_PATIENCE = 10.0
_QONTO_SPANS = frozenset({"ten-seconds", "ten-minutes", "hour"})
_STATES = ("connected", "paused", "needs-reconnect", "disconnected")


class _Connection(msgspec.Struct, frozen=True):
    """What is read of a connection; its tokens stay sealed."""

    state: Literal["connected", "needs-reconnect", "disconnected"]
    since: datetime
    paused: Pause | None = None
    expires_at: datetime | None = None
    refresh_expires_at: datetime | None = None
    hard_expires_at: datetime | None = None

    @property
    def ends_at(self) -> datetime | None:
        ends = [end for end in (self.refresh_expires_at, self.hard_expires_at) if end is not None]
        return min(ends, default=None)


class OpenReviews:
    """When each open review was asked, by workspace and bill, told by the headers of REVIEWS in their order. Pure."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], tuple[str, str, float]] = {}

    def take(self, messages: Sequence[Msg]) -> None:
        """The next messages of the stream."""
        for message in messages:
            key = (message.headers or {}).get("Nats-Msg-Id", "")
            self.hear(message.subject, key, published_at(message) or time.time())

    def hear(self, subject: str, key: str, at: float) -> None:
        """One message: its subject, the key it was published with, which holds the review's id, and when."""
        _, _, step, workspace, bill = subject.split(".")
        match step:
            case "requested" | "refused":
                self._open[workspace, bill] = (step, key, at)
            case "closed" if (asked := self._open.get((workspace, bill))) is not None and not rejected_by(key):
                if key.removeprefix("closed-") in asked[1]:
                    del self._open[workspace, bill]

    def counts(self) -> Counter[str]:
        """How many are open, by step."""
        return Counter(step for step, _, _ in self._open.values())

    def oldest(self) -> dict[str, float]:
        """When the oldest open review of each workspace was asked, in seconds since 1970; refused bills left out."""
        found: dict[str, float] = {}
        for (workspace, _), (step, _, at) in self._open.items():
            if step == "requested":
                found[workspace] = min(at, found.get(workspace, at))
        return found


class Gauges:
    """The gauges of one region; `run` keeps them up to date."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._reviews = OpenReviews()
        stream, pattern = bus.topology.reviews, f"{bus.region}.review.*.*.*"
        self._feed = Feed(bus, stream, pattern, self._reviews.take, headers_only=True)

    async def run(self) -> None:
        """Read again and again."""
        while True:
            began = time.monotonic()
            if await self.read():
                metrics.REGION_READ.set_to_current_time()
            await anyio.sleep(max(EVERY, (time.monotonic() - began) / _SHARE))

    async def read(self) -> bool:
        """Bring every gauge up to date; False if some could not be read, which keep their last values."""
        parts = {
            "stages": self._stages,
            "failures": self._failures,
            "connections": self._connections,
            "limits": self._limits,
            "reads": self._reads,
            "precision": self._precision,
            "reviews": self._read_reviews,
        }
        whole = True
        for name, part in parts.items():
            try:
                await part()
            except (RetryLater, nats.errors.Error, nats.js.errors.Error, msgspec.MsgspecError) as error:
                whole = False
                log.warning("console.gauges_not_read", part=name, error=error)
        return whole

    async def _stages(self) -> None:
        for consumer in self._bus.topology.consumers:
            info = await self._bus.js.consumer_info(consumer.stream, consumer.name)
            pending, in_hand = info.num_pending or 0, info.num_ack_pending or 0
            metrics.PENDING.labels(consumer.name).set(pending)
            metrics.IN_HAND.labels(consumer.name).set(in_hand)
            floor = info.ack_floor.stream_seq if info.ack_floor is not None else 0
            metrics.OLDEST.labels(consumer.name).set(await self._age(consumer, floor) if pending or in_hand else 0.0)

    async def _age(self, consumer: Consumer, floor: int) -> float:
        """Seconds since the first message behind `floor` was published."""
        try:
            first = await self._bus.js.get_msg(consumer.stream, seq=floor + 1, subject=consumer.subject, next=True)
        except nats.js.errors.NotFoundError:
            return 0.0  # done meanwhile
        return max(0.0, (now() - first.time).total_seconds()) if first.time is not None else 0.0

    async def _failures(self) -> None:
        standing = Counter(failure.stage for failure in await Failures(self._bus).standing())
        for stage in get_args(Stage):
            metrics.FAILURES.labels(stage).set(standing[stage])

    async def _connections(self) -> None:
        """Tell of the connections, and when those of QuickBooks that can be pulled were pulled last."""
        states = Counter[tuple[str, str]]()
        since: dict[tuple[str, ...], float] = {}
        tokens: dict[tuple[str, ...], float] = {}
        ends: dict[tuple[str, ...], float] = {}
        pulling: set[str] = set()
        async for kept in Bucket(self._bus, "connections", _Connection).items():
            workspace, _, provider = kept.key.partition(".")
            connection = kept.value
            paused = connection.state == "connected" and connection.paused is not None
            states[provider, "paused" if paused else connection.state] += 1
            if connection.state != "connected":
                continue
            if provider == "quickbooks" and not paused:
                pulling.add(workspace)
            at = (workspace, provider)
            since[at] = connection.since.timestamp()
            if connection.expires_at is not None:
                tokens[at] = connection.expires_at.timestamp()
            if connection.ends_at is not None:
                ends[at] = connection.ends_at.timestamp()
        for provider in get_args(Provider):
            for state in _STATES:
                metrics.CONNECTIONS.labels(provider, state).set(states[provider, state])
        for gauge, values in ((metrics.CONNECTED_AT, since), (metrics.TOKEN_ENDS, tokens), (metrics.GRANT_ENDS, ends)):
            _show(gauge, _least(values))
        await self._pulls(pulling)

    async def _pulls(self, pulling: set[str]) -> None:
        """Tell when each workspace was read last; of one never read, when its first pull began."""
        pulled: dict[tuple[str, ...], float] = {}
        async for kept in Bucket(self._bus, "pulls", PullState).items():
            if kept.key in pulling:
                pulled[kept.key,] = (kept.value.finished_at or kept.value.began_at).timestamp()
        _show(metrics.PULLED_AT, _least(pulled))

    async def _limits(self) -> None:
        for span, places in PACE.items():
            provider: Provider = "qonto" if span in _QONTO_SPANS else "quickbooks"
            pattern = f"{self._bus.region}.pace.{span}.{provider}.*"
            used = await self._bus.held(self._bus.topology.pace(span), pattern)
            metrics.PLACES_USED.labels(provider, span).set(max(used.values(), default=0))
            metrics.PLACES.labels(provider, span).set(places)

    async def _reads(self) -> None:
        everybody = subjects.metered(self._bus.region, "quickbooks", now())
        found = await self._bus.counted(self._bus.topology.meters, f"{everybody}.>")
        whole = await self._bus.counted(self._bus.topology.meters, everybody)
        metrics.READS.set(whole.get(everybody, 0))
        metrics.ALLOWANCE.set(self._bus.settings.quickbooks_monthly_reads)
        reads: dict[tuple[str, ...], float] = {(name.rpartition(".")[2],): count for name, count in found.items()}
        _show(metrics.READS_OF, worst(reads))

    async def _precision(self) -> None:
        checks: dict[tuple[str, ...], SelfCheck] = {}
        async for kept in Bucket(self._bus, "selfchecks", SelfCheck).items():
            checks[kept.key,] = kept.value
        shown = _least({at: check.overall.at_least - check.target for at, check in checks.items()})
        _show(metrics.PRECISION, {at: checks[at].overall.at_least for at in shown})
        _show(metrics.PRECISION_TARGET, {at: checks[at].target for at in shown})
        _show(metrics.PRECISION_CASES, {at: checks[at].overall.cases for at in shown})

    async def _read_reviews(self) -> None:
        """Tell of the open reviews; RetryLater while there is more to read than fits into a round."""
        if not await self._feed.read(within=_PATIENCE):
            raise RetryLater("there are more reviews to read")
        counts, at = self._reviews.counts(), time.time()
        for step in ("requested", "refused"):
            metrics.REVIEWS.labels(step).set(counts[step])
        ages: dict[tuple[str, ...], float] = {
            (workspace,): max(0.0, at - asked) for workspace, asked in self._reviews.oldest().items()
        }
        _show(metrics.REVIEW_AGE, worst(ages))


Values = Mapping[tuple[str, ...], float]
"""What a gauge tells, by its labels."""


def worst(values: Values) -> Values:
    """The greatest MOST of them."""
    return {at: values[at] for at in heapq.nlargest(MOST, values, key=values.__getitem__)}


def _least(values: Values) -> Values:
    return {at: values[at] for at in heapq.nsmallest(MOST, values, key=values.__getitem__)}


def _show(gauge: Gauge, values: Values) -> None:
    """The gauge tells these and nothing else: who left is not told of any more."""
    _forget(gauge, values)
    for labels, value in values.items():
        gauge.labels(*labels).set(value)


def _forget(gauge: Gauge, but: Iterable[tuple[str, ...]]) -> None:
    kept = set(but)
    for metric in gauge.collect():
        for sample in metric.samples:
            labels = tuple(sample.labels.values())
            if labels not in kept:
                gauge.remove(*labels)
