"""One service's place on the broker: connecting, publishing, asking and answering.

FastStream is the shell (subscribers, drain on SIGTERM); this module closes what its and nats-py's defaults
leave open: a publish always names its stream, carries an id and waits for the acknowledgement; a page goes
out all or nothing; the client reconnects for ever; a connection closed for good ends the process.
"""

import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import anyio
import msgspec
import nats.errors
import nats.js.errors
import structlog
from faststream import AckPolicy, FastStream
from faststream.nats import NatsBroker
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import PubAck

from common import codec, joining, metrics, ops, rights, subjects, topology, tracing
from common.errors import Conflict, Fatal, Fate, NotConnected, RetryLater, WeirError, verdict
from common.health import Health
from common.messages import Answer, Notice, Refusal
from common.reading import ANSWER_WITHIN, Reading
from common.settings import Settings
from common.storing import Storing

log = structlog.get_logger()
T = TypeVar("T")
Task = Callable[[], Coroutine[Any, Any, None]]
Stop = Callable[[], Coroutine[Any, Any, None]]

PUBLISH_TIMEOUT = ANSWER_WITHIN
"""Seconds to wait for a publish acknowledgement."""
PUBLISH_TRIES = 4
ROOM = 4096
"""Bytes left beside a message for its subject, its headers and what is added to it before it leaves."""
CALL_WORKERS = 16
WRONG_LAST_SEQUENCE = 10071
"""The broker's code for a compare-and-set that came too late."""
_DUPLICATE_IN_PAGE = 10201
"""The broker's code for a page with a message id that the stream, or the page itself, holds already."""
_PAGE_LOST = frozenset({10176, 10210})
"""Its codes for a page of which it forgot the beginning, or for which it has no room now: to be sent anew."""
_SUBJECT_FULL = "maximum messages per subject exceeded"
"""What the broker says of a subject that holds all the messages it may; the code beside it has other uses too."""
PING_EVERY = 5.0
"""Seconds between two signs of life of a connection. The broker that falls silent, since the network between was cut or
its machine is gone, is left for another after the third that is missing: about ACK_WAIT."""


class Bus(Reading):
    """The broker as one service sees it. Create, register handlers, then `run`."""

    def __init__(self, settings: Settings, service: str) -> None:
        self.settings = settings
        self.service = service
        self.identity = joining.identity(service)
        self.region = settings.region
        self.instance = f"{service}-{uuid.uuid4().hex[:8]}"
        self.topology = topology.Topology(
            settings.region,
            settings.replicas,
            tuple(tag.strip() for tag in settings.placement_tags.split(",") if tag.strip()),
        )
        self.broker = NatsBroker(
            settings.broker_url().split(","),
            name=self.instance,
            security=joining.security(settings),
            inbox_prefix=rights.inbox(self.identity),
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            ping_interval=PING_EVERY,  # type: ignore[arg-type]  # a float does as well
            max_outstanding_pings=2,
            graceful_timeout=topology.ACK_WAIT,
            ack_policy=AckPolicy.MANUAL,
            apply_types=False,
            logger=None,
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnected,
            reconnected_cb=self._on_reconnected,
            closed_cb=self._on_closed,
        )
        self._app = FastStream(self.broker, logger=None)
        self._client: Client | None = None
        self.health = Health(lambda: self._client is not None and self._client.is_connected)
        self._fatal: WeirError | None = None
        self._denials = joining.Denials()
        self._stopping = False
        self._before: list[Task] = []
        self._tasks: list[tuple[Task, Stop]] = []
        self._after_reconnect: list[Callable[[], None]] = []
        self.started = anyio.Event()
        self.storing = Storing()
        self.health.needs("room on the broker's disk", self.storing.see)

    def before_serving(self, do: Task) -> None:
        """Do this once when streams and buckets are there and no message was taken yet; what it raises ends `run`."""
        self._before.append(do)

    def add_task(self, task: Task, stop: Stop) -> None:
        """Run `task` while the service is up; `stop` ends it in good order before the broker is left."""
        self._tasks.append((task, stop))

    def after_reconnect(self, do: Callable[[], None]) -> None:
        """Call `do` whenever the connection came back: what the broker was asked before, it has forgotten."""
        self._after_reconnect.append(do)

    async def run(self, *tasks: Task) -> None:
        """Serve until SIGTERM or SIGINT, then finish what was begun and leave.

        `tasks` run beside the handlers once the broker is connected, and are cancelled at the end. Raises
        UserError when the broker cannot be reached at all, Fatal when the process had to stop.
        """
        structlog.contextvars.bind_contextvars(region=self.region, instance=self.instance)
        names = self.topology
        for stream in (names.records, names.entries, names.decisions, names.reviews, names.postings, names.notices):
            metrics.PUBLISH_REFUSED.labels(self._named(stream))  # an increase shows only of what was there before
        with ops.port(self.settings, self.service, self.health) as watched:
            await self._run([*tasks, *([self.health.watch] if watched else [])])

    async def _run(self, tasks: Sequence[Task]) -> None:
        await self.connect()
        await self._find_streams()
        for do in self._before:
            await do()
        self._answer_readiness()
        self._app.on_shutdown(self._on_shutdown)
        self._app.after_startup(self._on_started)
        try:
            async with anyio.create_task_group() as group:
                for task in tasks:
                    group.start_soon(task)
                for task, _stop in self._tasks:
                    group.start_soon(self._once_started, task)
                try:
                    await self._app.run()
                except nats.errors.ConnectionReconnectingError as error:
                    log.info("broker.gone", error=error)  # it left before us: there is nothing to drain
                    await self.client.close()
                group.cancel_scope.cancel()
        except Exception as error:
            if self._fatal is None:
                raise
            log.info("service.left_open", error=error)  # a connection that is closed cannot be left in good order
        if self._fatal is not None:
            raise self._fatal

    async def _find_streams(self) -> None:
        """Make what is missing where a token lets us; with a key of our own see that the operator made it."""
        if self.settings.keyed:
            await topology.check(self.js, self.topology, *rights.bound(self.identity, self.topology))
        else:
            await topology.ensure(self.js, self.topology)

    async def connect(self) -> None:
        """Connect; UserError naming WEIR_NATS_URL if nobody answers within ten seconds."""
        if self._client is not None:
            return
        await joining.check_reachable(self.settings, self.identity)
        self._client = await self.broker.connect()

    async def close(self) -> None:
        """Leave the broker (for those who never `run`)."""
        self._stopping = True
        try:
            await self.broker.stop()
        except nats.errors.Error as error:  # the broker left before us: there is nothing to drain
            log.info("broker.gone", error=error)
        self._client = None

    def stop(self, reason: WeirError | None = None) -> None:
        """End `run` in good order; with a `reason`, `run` raises it."""
        if reason is not None:
            self._fatal = self._fatal or reason
            log.error("service.stopping", why=str(reason))
        self._app.exit()

    @property
    def client(self) -> Client:
        """The connected NATS client."""
        if self._client is None:
            raise RuntimeError("the bus is not connected yet")
        return self._client

    @property
    def js(self) -> JetStreamContext:
        """JetStream with a time-out that a slow disk does not trip."""
        return self.client.jetstream(timeout=PUBLISH_TIMEOUT)

    def oversize(self, message: Any) -> int | None:
        """The size of a message in bytes if the broker would refuse it, which closes no page for others; else None."""
        size = len(codec.encode(message)) + ROOM
        return size if size > self.client.max_payload else None

    async def _on_started(self) -> None:
        # The broker must know our subscriptions before we say that we are ready. nats-py's PING overtakes
        # what waits to be written, so the first answer proves nothing; by the second all was written.
        await self.client.flush()
        await self.client.flush()
        self.started.set()
        self.health.started = True
        log.info("service.ready", instance=self.instance, region=self.region)

    async def _once_started(self, task: Task) -> None:
        await self.started.wait()
        await task()

    async def _on_shutdown(self) -> None:
        self._stopping = self.health.draining = True
        log.info("service.draining", instance=self.instance)
        async with anyio.create_task_group() as group:
            for _task, stop in self._tasks:
                group.start_soon(stop)

    async def _on_error(self, error: Exception) -> None:
        if (subject := self._denials.heard(error)) is not None:
            metrics.DENIED.inc()
            log.error("broker.denied", identity=self.identity, subject=subject, error=error)
        elif not self._stopping:
            log.warning("broker.error", error=error)

    async def _on_disconnected(self) -> None:
        if not self._stopping:
            log.warning("broker.disconnected")

    async def _on_reconnected(self) -> None:
        metrics.RECONNECTS.inc()
        log.info("broker.reconnected")
        for do in self._after_reconnect:
            do()

    async def _on_closed(self) -> None:
        if not self._stopping:
            self.stop(Fatal("the broker closed the connection for good"))

    async def publish(self, subject: str, message: Any, *, stream: str, key: str | None = None, **headers: str) -> int:
        """Publish and wait until the stream has it; the sequence it got.

        `key` is the message's identity: the same key within the stream's duplicate window is stored once,
        which also makes our own retry safe. Raises RetryLater when the broker does not answer, Conflict when a
        sequence that `headers` expect has moved on.
        """
        ack = await self._publish(subject, codec.encode(message), stream, key or uuid.uuid4().hex, headers)
        return int(ack.seq)

    async def _publish(
        self, subject: str, body: bytes, stream: str | None, identity: str, headers: Mapping[str, str]
    ) -> PubAck:
        about = {"Nats-Msg-Id": identity, **tracing.headers(), **headers}
        silent = False
        for attempt in range(1, PUBLISH_TRIES + 1):
            try:
                ack = await self.js.publish(subject, body, timeout=PUBLISH_TIMEOUT, stream=stream, headers=about)
                self.storing.took(stream)
                return ack
            except nats.errors.MaxPayloadError:
                raise
            except (nats.errors.Error, nats.js.errors.NoStreamResponseError) as error:
                if isinstance(error, nats.js.errors.APIError) and error.err_code == WRONG_LAST_SEQUENCE:
                    raise Conflict(f"{subject}: another message came first") from error
                self._permitted(subject)
                silent = isinstance(error, TimeoutError)
                metrics.PUBLISH_RETRIES.labels(self._named(stream or subject)).inc()
                log.warning("bus.publish_retried", subject=subject, attempt=attempt, error=str(error) or repr(error))
                await anyio.sleep(0.1 * attempt)
        metrics.PUBLISH_REFUSED.labels(self._named(stream or subject)).inc()
        if silent and stream is not None:
            raise await self.storing.why_not(self.js, stream)
        raise RetryLater(
            f"the broker does not take messages on {subject}; is WEIR_REGION right, and `weir setup` done?"
        )

    def _permitted(self, subject: str) -> None:
        """RetryLater that says so if the broker refused what this process published on `subject`."""
        if subject in self._denials:
            raise RetryLater(
                f"the broker's permissions do not let {self.identity} publish on {subject}",
                fix="run `weir broker-config` of this version and have the broker read its configuration anew",
            )

    async def publish_page(
        self,
        stream: str,
        page: Sequence[tuple[str, Any]],
        *,
        expected: Mapping[str, int] | None = None,
        headers: Mapping[str, Mapping[str, str]] | None = None,
    ) -> int:
        """Publish all of `page` (subject, message) or nothing; the sequence of the last one.

        One fsync for the whole page. At most `topology.BATCH_LIMIT` messages. `expected` names, for some
        subjects, the sequence of the message that is to be replaced (0: none); `headers` are more of single
        messages, by subject. Conflict if a subject moved on, or if one of the message ids among the headers is
        known to the stream: it refuses the whole page then. When the commit's answer is lost, a page with
        neither may be stored twice; every reader is idempotent by content.
        """
        if not 0 < len(page) <= topology.BATCH_LIMIT:
            raise ValueError(f"a page holds 1 to {topology.BATCH_LIMIT} messages, not {len(page)}")
        silent = False
        for attempt in range(1, PUBLISH_TRIES + 1):
            batch = uuid.uuid4().hex
            try:
                *head, (subject, last) = page
                for number, (name, message) in enumerate(head, start=1):
                    about = {"Nats-Expected-Stream": stream, **_in_batch(batch, number, name, expected, headers)}
                    await self.client.publish(name, codec.encode(message), headers=about)
                ack = await self.js.publish(
                    subject,
                    codec.encode(last),
                    timeout=PUBLISH_TIMEOUT * 2,
                    stream=stream,
                    headers={**_in_batch(batch, len(page), subject, expected, headers), "Nats-Batch-Commit": "1"},
                )
            except nats.js.errors.APIError as error:
                if error.err_code in {WRONG_LAST_SEQUENCE, _DUPLICATE_IN_PAGE}:
                    raise Conflict(f"{stream}: a message of the page was replaced, or stored already") from error
                if error.err_code not in _PAGE_LOST:
                    metrics.PUBLISH_REFUSED.labels(self._named(stream)).inc()
                    raise
                log.info("bus.page_sent_anew", stream=stream, size=len(page), attempt=attempt, why=error.description)
                await anyio.sleep(0.2 * attempt)
            except nats.errors.MaxPayloadError:
                raise
            except (nats.errors.Error, nats.js.errors.NoStreamResponseError) as error:
                silent = isinstance(error, TimeoutError)
                self._permitted(page[-1][0])
                metrics.PUBLISH_RETRIES.labels(self._named(stream)).inc()
                log.warning("bus.page_retried", stream=stream, size=len(page), attempt=attempt, error=error)
                await anyio.sleep(0.2 * attempt)
            else:
                self.storing.took(stream)
                return int(ack.seq)
        metrics.PUBLISH_REFUSED.labels(self._named(stream)).inc()
        if silent or stream in self.storing.mute:  # of a page, a stream that stores nothing says that it is incomplete
            raise await self.storing.why_not(self.js, stream)
        raise RetryLater(f"the broker does not take pages for {stream}")

    def _named(self, stream: str) -> str:
        """The stream as metrics call it: without its region; a counter's subject is one of METERS."""
        return stream.removesuffix(f"_{self.region}") if "." not in stream else "METERS"

    async def admit(self, stream: str, subject: str) -> bool:
        """Whether the stream takes one more message on `subject`; False if that is beyond its limit."""
        return await self.take_place(stream, subject) is not None

    async def take_place(self, stream: str, subject: str) -> int | None:
        """The sequence of one more message on `subject`, which `give_place` takes out again; None beyond its limit."""
        try:
            ack = await self.js.publish(subject, b"", timeout=PUBLISH_TIMEOUT, stream=stream)
        except nats.js.errors.APIError as error:
            if error.description == _SUBJECT_FULL:
                return None
            raise RetryLater(f"{stream} takes no message: {error.description}") from error
        except (nats.errors.Error, nats.js.errors.NoStreamResponseError) as error:
            raise RetryLater(f"{stream} does not answer") from error
        return int(ack.seq)

    async def give_place(self, stream: str, sequence: int) -> None:
        """Take out what `take_place` put in; one that is left behind ends with its span."""
        try:
            await self.js.delete_msg(stream, sequence)
        except (nats.errors.Error, nats.js.errors.APIError) as error:
            log.info("bus.place_kept", stream=stream, sequence=sequence, error=error)

    async def count(self, subject: str, by: int = 1) -> int:
        """Add to a counter, a subject of a stream that counts; its new value."""
        # The broker refuses a counted message that names its stream.
        ack = await self._publish(subject, b"", None, uuid.uuid4().hex, {"Nats-Incr": f"{by:+d}"})
        return int(ack.val or 0)

    async def notify(self, notice: Notice, *, key: str | None = None) -> None:
        """Tell a workspace's owner."""
        subject = subjects.notice(self.region, notice.workspace)
        await self.publish(subject, notice, stream=self.topology.notices, key=key)

    async def call(self, subject: str, message: Any, *, timeout: float = 30.0) -> Answer:  # noqa: ASYNC109
        """Ask the service that answers on `subject`; a Refusal is an answer too.

        Raises RetryLater when nobody answers in `timeout` seconds.
        """
        try:
            answer = await self.client.request(subject, codec.encode(message), timeout=timeout)
        except nats.errors.NoRespondersError as error:
            raise RetryLater(f"no running service answers on {subject}") from error
        except nats.errors.Error as error:
            self._permitted(subject)
            raise RetryLater(f"{subject} did not answer within {timeout:g} s") from error
        return codec.decode(answer.data, Answer)  # type: ignore[arg-type]

    def answers(self, subject: str, type_: type[T], answer: Callable[[T], Awaitable[Answer]]) -> None:
        """Answer calls on `subject`, one instance per call; an error becomes a Refusal with its reason."""

        async def handle(data: bytes) -> bytes:
            try:
                return codec.encode(await answer(codec.decode(data, type_)))
            except Exception as error:  # noqa: BLE001 (whatever it is, the caller must hear of it)
                result = verdict(error, attempt=1)
                level = log.info if isinstance(error, WeirError) else log.error
                level("call.refused", subject=subject, error=error, exc_info=not isinstance(error, WeirError))
                return codec.encode(
                    Refusal(why=error.why, fix=error.fix, retry=True, reason="not-connected")
                    if isinstance(error, NotConnected)
                    else Refusal(why=result.why, fix=result.fix, retry=result.fate is Fate.RETRY)
                )

        self.broker.subscriber(subject, queue=self.service, max_workers=CALL_WORKERS, decoder=_raw)(handle)

    def _answer_readiness(self) -> None:
        async def handle(_data: bytes) -> bytes:
            return msgspec.json.encode(
                {"instance": self.instance, "ready": self.client.is_connected and not self.storing.mute}
            )

        subject = subjects.ready(self.region, self.service)
        self.broker.subscriber(subject, decoder=_raw)(handle)


def _in_batch(
    batch: str,
    number: int,
    subject: str,
    expected: Mapping[str, int] | None,
    headers: Mapping[str, Mapping[str, str]] | None,
) -> dict[str, str]:
    about = {**tracing.headers(), "Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
    if expected is not None and subject in expected:
        about["Nats-Expected-Last-Subject-Sequence"] = str(expected[subject])
    if headers is not None:
        about.update(headers.get(subject, {}))
    return about


async def _raw(message: Any) -> bytes:
    return bytes(message.body)
