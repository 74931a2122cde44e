"""The streams, buckets and durable consumers of one region: the only code that creates or changes them.

Services bind to what is here and never declare anything themselves: a client library that declares on the
side overwrites limits silently. `ensure` is idempotent, safe to race, and only ever widens: it creates what
is missing and updates what differs, and deletes nothing but what is in memory and belongs on disk.
"""

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import nats.js.errors
import structlog
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    Placement,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)

from common.errors import Fatal, UserError
from common.subjects import Span

log = structlog.get_logger()

ACK_WAIT = 15.0
"""Seconds without a heartbeat after which a message goes to another instance: the failover time."""

PACE: Mapping[Span, int] = {"second": 8, "minute": 480, "ten-seconds": 900, "ten-minutes": 9000, "hour": 45}
"""Calls a span lets through: for one QuickBooks company a little under its own 10 and 500, for all that goes to Qonto
a little under the 1,000 and 10,000 of one address, since calls may bunch up on their way. The hour counts what Qonto
may refuse with 401, of which it takes 200: `services.poster.limits` says how."""

_SECONDS: Mapping[Span, float] = {
    "second": 1.0, "minute": 60.0, "ten-seconds": 10.0, "ten-minutes": 600.0, "hour": 3600.0
}  # fmt: skip
_LONGEST_DUPLICATES = 120.0

BATCH_LIMIT = 1000
"""Most messages the broker takes in one atomic batch (its default limit)."""

_NAME_TAKEN = 10058  # the broker's code for "stream name already in use with a different configuration"


@dataclass(frozen=True, slots=True)
class Consumer:
    """A durable pull consumer: `name` on `stream`, for subjects matching `subject`."""

    stream: str
    name: str
    subject: str

    def config(self) -> ConsumerConfig:
        """As the broker takes it; redelivery is unlimited because the code decides when to park."""
        return ConsumerConfig(
            durable_name=self.name,
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ACK_WAIT,
            max_deliver=-1,
            filter_subject=self.subject,
            # No cap: what waits for its retry counts, and one tenant's waiting must not hold up the others.
            max_ack_pending=-1,
        )


@dataclass(frozen=True)
class Topology:
    """Names and shapes for one region; several regions can share a cluster."""

    region: str
    replicas: int = 1
    placement_tags: tuple[str, ...] = ()
    records: str = field(init=False)
    entries: str = field(init=False)
    decisions: str = field(init=False)
    reviews: str = field(init=False)
    postings: str = field(init=False)
    pulls: str = field(init=False)
    notices: str = field(init=False)
    failures: str = field(init=False)
    meters: str = field(init=False)
    checks: str = field(init=False)

    def __post_init__(self) -> None:
        for name in "records entries decisions reviews postings pulls notices failures meters checks".split():
            object.__setattr__(self, name, f"{name.upper()}_{self.region}")

    def bucket(self, name: str) -> str:
        """The bucket's name in this region."""
        return f"{name}_{self.region}"

    def pace(self, span: Span) -> str:
        """Name of the stream that counts the calls of a span."""
        return f"PACE_{span.upper().replace('-', '_')}_{self.region}"

    @property
    def puller(self) -> Consumer:
        """Ticks, one at a time per workspace."""
        return Consumer(self.pulls, "puller", f"{self.region}.pull.*")

    @property
    def scorer(self) -> Consumer:
        """Bills to decide on; any instance may take any bill."""
        return Consumer(self.records, "scorer", f"{self.region}.record.*.bill.*")

    @property
    def poster(self) -> Consumer:
        """Decisions to carry out."""
        return Consumer(self.decisions, "poster", f"{self.region}.decision.>")

    @property
    def answers(self) -> Consumer:
        """People's answers to reviews."""
        return Consumer(self.reviews, "answers", f"{self.region}.review.resolved.>")

    @property
    def lessons(self) -> Consumer:
        """Closed reviews to learn from."""
        return Consumer(self.reviews, "lessons", f"{self.region}.review.closed.>")

    @property
    def checker(self) -> Consumer:
        """Workspaces whose self-check is due."""
        return Consumer(self.checks, "checker", f"{self.region}.check.*")

    @property
    def guarded(self) -> frozenset[str]:
        """The streams whose messages cause postings: each has to prove that it was published there."""
        return frozenset({self.records, self.decisions})

    def reviewer(self, workspace: str) -> Consumer:
        """What the reviewers of a workspace read its reviews through, from the first on."""
        return Consumer(self.reviews, f"reviewer-{workspace}", f"{self.region}.review.*.{workspace}.>")

    @property
    def consumers(self) -> tuple[Consumer, ...]:
        """Every durable of the region."""
        return (self.puller, self.scorer, self.poster, self.answers, self.lessons, self.checker)

    @property
    def streams(self) -> tuple[StreamConfig, ...]:
        """Every stream of the region, buckets and the object store included."""
        region = self.region
        latest = {"max_msgs_per_subject": 1, "allow_direct": True, "allow_atomic": True}
        history = {"deny_delete": True, "deny_purge": True, "allow_direct": True, "allow_atomic": True}
        return (
            self._stream(self.records, (f"{region}.record.>",), "What QuickBooks holds, latest version", **latest),
            self._stream(self.entries, (f"{region}.entry.>",), "What Qonto holds, latest version", **latest),
            self._stream(self.decisions, (f"{region}.decision.>",), "What should happen, and why", **history),
            self._stream(self.reviews, (f"{region}.review.>",), "What waits for people", **history),
            self._stream(self.postings, (f"{region}.posting.>",), "What happened in Qonto", **history),
            self._stream(self.notices, (f"{region}.notice.>",), "What owners should know", **history),
            self._stream(
                self.failures, (f"{region}.failure.>",), "What could not be handled, and what came of it", **history
            ),
            self._schedule(
                self.pulls,
                (f"{region}.pull.*", f"{region}.schedule.*"),
                "Ticks: which workspace to pull now, and the next scheduled ones",
            ),
            self._schedule(
                self.checks,
                (f"{region}.check.*", f"{region}.check-schedule.*"),
                "Self-checks: which workspace to check now, and the next scheduled ones",
            ),
            self._stream(
                self.meters,
                (f"{region}.meter.>",),
                "Metered reads by month and workspace, each subject a counter",
                discard=DiscardPolicy.OLD,  # a counter takes its new value's place; the broker insists
                max_msgs_per_subject=1,
                allow_msg_counter=True,
                allow_direct=True,
            ),
            *(self._pace(span, calls) for span, calls in PACE.items()),
            self._bucket("markers", "How far each entity was read"),
            self._bucket("omissions", "Which files of each bill could not be had"),
            self._bucket("pulls", "How pulling each workspace stands"),
            self._bucket("accounts", "Which workspace each provider account belongs to"),
            self._bucket("idempotency", "The ledger: what was posted for each bill"),
            self._bucket("claims", "Which bill each entry serves"),
            self._bucket("connections", "Sealed provider tokens"),
            self._bucket("subscriptions", "Webhooks that providers were asked for, secrets sealed"),
            self._bucket("vault", "Proof of the master key"),
            self._bucket("authorizations", "OAuth states that wait for their callback"),
            self._bucket("policies", "What each workspace allows", history=64),
            self._bucket("aliases", "What people's answers taught about each vendor"),
            self._bucket("selfchecks", "How right automatic decisions were, and which vendors are held back"),
            self._bucket("surveys", "What is usual in each workspace"),
            self._bucket("workspaces", "The tenants of the region"),
            self._bucket("leases", "Who works on what, until when"),
            self._bucket("people", "Who may use the console, and what each may do where"),
            self._bucket("sessions", "Who is signed in, by the hash of what the browser holds"),
            self._bucket("invitations", "One-time links to sign in, by their hash"),
            self._bucket("tokens", "What programs use the API with, by hash"),
            self._stream(
                f"OBJ_{self.bucket('documents')}",
                (f"$O.{self.bucket('documents')}.C.>", f"$O.{self.bucket('documents')}.M.>"),
                "Documents of bills, by hash",
                allow_rollup_hdrs=True,
                allow_direct=True,
            ),
        )

    def _schedule(self, name: str, subjects: tuple[str, ...], description: str) -> StreamConfig:
        """Work that the broker itself brings when it is due, each workspace's once."""
        return self._stream(
            name,
            subjects,
            description,
            retention=RetentionPolicy.WORK_QUEUE,
            discard=DiscardPolicy.OLD,  # what is newer for a workspace takes the place of what is older
            max_msgs_per_subject=1,
            allow_msg_schedules=True,
            allow_rollup_hdrs=True,  # schedules imply it
            allow_msg_ttl=True,
        )

    def _pace(self, span: Span, calls: int) -> StreamConfig:
        """The broker as the limiter: a subject takes so many messages of a certain age, and refuses the next.

        On disk, since a broker that restarts forgets streams in memory, and no provider could be called any more.
        """
        return self._stream(
            self.pace(span),
            (f"{self.region}.pace.{span}.>",),
            f"Calls to a provider within {span.replace('-', ' ')}",
            max_age=_SECONDS[span],
            max_msgs_per_subject=calls,
            discard_new_per_subject=True,
            allow_direct=True,
            duplicate_window=min(_SECONDS[span], _LONGEST_DUPLICATES),
        )

    def _bucket(self, name: str, description: str, history: int = 1) -> StreamConfig:
        bucket = self.bucket(name)
        return self._stream(
            f"KV_{bucket}",
            (f"$KV.{bucket}.>",),
            description,
            max_msgs_per_subject=history,
            allow_rollup_hdrs=True,
            allow_msg_ttl=True,
            deny_delete=True,
            # Reads go to the leader: a follower may answer with an older value.
            allow_direct=False,
        )

    def _stream(self, name: str, subjects: tuple[str, ...], description: str, **limits: Any) -> StreamConfig:
        settings: dict[str, Any] = {
            "retention": RetentionPolicy.LIMITS,
            "discard": DiscardPolicy.NEW,  # a full stream pushes back instead of forgetting
            "storage": StorageType.FILE,
            "num_replicas": self.replicas,
            "duplicate_window": 120.0,
            "placement": Placement(tags=list(self.placement_tags)) if self.placement_tags else None,
            **limits,
        }
        return StreamConfig(name=name, subjects=list(subjects), description=description, **settings)


async def ensure(js: JetStreamContext, topology: Topology) -> list[str]:
    """Create what is missing, update what differs; the names of what changed, in order."""
    changed = [await _ensure_stream(js, config) for config in topology.streams]
    changed += [await _ensure_consumer(js, consumer) for consumer in topology.consumers]
    names = [name for name in changed if name]
    if names:
        log.info("topology.changed", region=topology.region, names=names)
    return names


async def ensure_reviewer(js: JetStreamContext, topology: Topology, workspace: str) -> None:
    """Create what the reviewers of a workspace read through, unless it is there."""
    await _ensure_consumer(js, topology.reviewer(workspace))


async def check(js: JetStreamContext, topology: Topology, streams: Collection[str], durables: Collection[str]) -> None:
    """See that these streams and durables are there and do what this version needs; UserError if not.

    What is only wider, or is the operator's to choose (replicas, placement, words), is as good.
    """
    for stream in topology.streams:
        if stream.name in streams:
            try:
                present = (await js.stream_info(str(stream.name))).config
            except nats.js.errors.NotFoundError:
                raise UserError(f"the broker has no stream {stream.name}; run `weir setup` first") from None
            if lacking := _lacking(stream.as_dict(), present.as_dict()):
                raise UserError(f"stream {stream.name} is of another version ({lacking}); run `weir setup` first")
    for consumer in topology.consumers:
        if consumer.name in durables:
            try:
                found = (await js.consumer_info(consumer.stream, consumer.name)).config.as_dict()
            except nats.js.errors.NotFoundError:
                raise UserError(f"{consumer.stream} has no consumer {consumer.name}; run `weir setup` first") from None
            if found.get("filter_subject") != consumer.subject:
                raise UserError(f"consumer {consumer.name} is of another version (filter); run `weir setup` first")


def _lacking(wanted: Mapping[str, Any], present: Mapping[str, Any]) -> str | None:
    """The first setting of a stream without which this version cannot work; None if all are there."""
    if not set(wanted["subjects"]) <= set(present.get("subjects") or ()):
        return "subjects"
    for name, value in wanted.items():
        needed = name in {"retention", "max_msgs_per_subject"} or (value is True and name.startswith("allow_"))
        if needed and present.get(name) != value:
            return name
    return None


async def _ensure_stream(js: JetStreamContext, wanted: StreamConfig) -> str | None:
    name = str(wanted.name)
    try:
        info = await js.stream_info(name)
    except nats.js.errors.NotFoundError:
        try:
            await js.add_stream(wanted)
            return name
        except nats.js.errors.BadRequestError as error:
            if error.err_code != _NAME_TAKEN:
                raise Fatal(f"the broker refuses stream {name}: {error.description}") from error
            info = await js.stream_info(name)  # another instance was faster
    if _agrees(wanted.as_dict(), info.config.as_dict()):
        return None
    if info.config.storage == StorageType.MEMORY and wanted.storage == StorageType.FILE:
        log.info("topology.moved_to_disk", stream=name)
        with suppress(nats.js.errors.NotFoundError):  # another instance was faster
            await js.delete_stream(name)
        return await _ensure_stream(js, wanted)
    try:
        await js.update_stream(wanted)
    except nats.js.errors.APIError as error:
        raise Fatal(f"the broker refuses to upgrade stream {name}: {error.description}") from error
    return name


async def _ensure_consumer(js: JetStreamContext, consumer: Consumer) -> str | None:
    wanted = consumer.config()
    try:
        info = await js.consumer_info(consumer.stream, consumer.name)
    except nats.js.errors.NotFoundError:
        info = None
    if info is not None and _agrees(wanted.as_dict(), info.config.as_dict()):
        return None
    await js.add_consumer(consumer.stream, wanted)  # creates, or updates the durable of that name
    return f"{consumer.stream}/{consumer.name}"


def _agrees(wanted: dict[str, Any], present: dict[str, Any]) -> bool:
    """Whether everything asked for is so; the broker leaves out what is false, zero or empty."""
    return all(present.get(key, value if not value else None) == value for key, value in wanted.items())
