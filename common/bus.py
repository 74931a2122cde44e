"""One service's place on the broker: connecting, publishing, asking and answering.

FastStream is the shell (subscribers, drain on SIGTERM); this module closes what its and nats-py's defaults
leave open: a publish always names its stream, carries an id and waits for the acknowledgement; a page goes
out all or nothing; the client reconnects for ever; a connection closed for good ends the process.
"""

import math
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Generic, TypeVar

import anyio
import msgspec
import nats
import nats.errors
import nats.js.errors
import structlog
from faststream import AckPolicy, FastStream
from faststream.nats import NatsBroker
from faststream.nats.security import NatsToken
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import PubAck

from common import codec, subjects, topology
from common.errors import Conflict, Fatal, Fate, NotConnected, RetryLater, UserError, WeirError, verdict
from common.inbox import END, NO_MESSAGES, Inbox, status
from common.messages import Answer, Notice, Refusal
from common.settings import Settings, without_userinfo

log = structlog.get_logger()
T = TypeVar("T")
Task = Callable[[], Coroutine[Any, Any, None]]
Stop = Callable[[], Coroutine[Any, Any, None]]

PUBLISH_TIMEOUT = 5.0
"""Seconds to wait for a publish acknowledgement; a disk under load takes one."""
PUBLISH_TRIES = 4
CALL_WORKERS = 16
WRONG_LAST_SEQUENCE = 10071
"""The broker's code for a compare-and-set that came too late."""
_DUPLICATE_IN_PAGE = 10201
"""The broker's code for a page with a message id that the stream, or the page itself, holds already."""
_PAGE_LOST = frozenset({10176, 10210})
"""Its codes for a page of which it forgot the beginning, or for which it has no room now: to be sent anew."""
_MOST_ASKED = 1024
"""Subjects of which the broker gives the newest message in one answer."""
_SUBJECT_FULL = "maximum messages per subject exceeded"
"""What the broker says of a subject that holds all the messages it may; the code beside it has other uses too."""
_FIRST_CONNECTION = 10.0


class Stored(msgspec.Struct, Generic[T], frozen=True):
    """A message as a stream holds it."""

    subject: str
    sequence: int
    message: T


class Placed(msgspec.Struct, frozen=True):
    """Where a message stands in its stream, and the key it was published with."""

    sequence: int
    key: str | None


class _Subjects(msgspec.Struct):
    subjects: dict[str, int] = {}


class _StreamInfo(msgspec.Struct):
    state: _Subjects | None = None
    total: int = 0


class _Counter(msgspec.Struct):
    val: str


class Bus:
    """The broker as one service sees it. Create, register handlers, then `run`."""

    def __init__(self, settings: Settings, service: str) -> None:
        self.settings = settings
        self.service = service
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
            security=NatsToken(token) if (token := _token(settings)) else None,
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
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
        self._fatal: WeirError | None = None
        self._stopping = False
        self._before: list[Task] = []
        self._tasks: list[tuple[Task, Stop]] = []
        self._after_reconnect: list[Callable[[], None]] = []
        self.started = anyio.Event()

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
        await self.connect()
        await topology.ensure(self.js, self.topology)
        for do in self._before:
            await do()
        self._answer_readiness()
        self._app.on_shutdown(self._on_shutdown)
        self._app.after_startup(self._on_started)
        async with anyio.create_task_group() as group:
            for task in tasks:
                group.start_soon(task)
            for task, _stop in self._tasks:
                group.start_soon(self._once_started, task)
            await self._app.run()
            group.cancel_scope.cancel()
        if self._fatal is not None:
            raise self._fatal

    async def connect(self) -> None:
        """Connect; UserError naming WEIR_NATS_URL if nobody answers within ten seconds."""
        if self._client is not None:
            return
        await check_reachable(self.settings)
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

    async def _on_started(self) -> None:
        # The broker must know our subscriptions before we say that we are ready. nats-py's PING overtakes
        # what waits to be written, so the first answer proves nothing; by the second all was written.
        await self.client.flush()
        await self.client.flush()
        self.started.set()
        log.info("service.ready", instance=self.instance, region=self.region)

    async def _once_started(self, task: Task) -> None:
        await self.started.wait()
        await task()

    async def _on_shutdown(self) -> None:
        self._stopping = True
        log.info("service.draining", instance=self.instance)
        async with anyio.create_task_group() as group:
            for _task, stop in self._tasks:
                group.start_soon(stop)

    async def _on_error(self, error: Exception) -> None:
        if not self._stopping:
            log.warning("broker.error", error=error)

    async def _on_disconnected(self) -> None:
        if not self._stopping:
            log.warning("broker.disconnected")

    async def _on_reconnected(self) -> None:
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
        for attempt in range(1, PUBLISH_TRIES + 1):
            try:
                return await self.js.publish(
                    subject,
                    body,
                    timeout=PUBLISH_TIMEOUT,
                    stream=stream,
                    headers={"Nats-Msg-Id": identity, **headers},
                )
            except nats.errors.MaxPayloadError:
                raise
            except (nats.errors.Error, nats.js.errors.NoStreamResponseError) as error:
                if isinstance(error, nats.js.errors.APIError) and error.err_code == WRONG_LAST_SEQUENCE:
                    raise Conflict(f"{subject}: another message came first") from error
                log.warning("bus.publish_retried", subject=subject, attempt=attempt, error=str(error) or repr(error))
                await anyio.sleep(0.1 * attempt)
        raise RetryLater(
            f"the broker does not take messages on {subject}; is WEIR_REGION right, and `weir setup` done?"
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
                    raise
                log.info("bus.page_sent_anew", stream=stream, size=len(page), attempt=attempt, why=error.description)
                await anyio.sleep(0.2 * attempt)
            except nats.errors.MaxPayloadError:
                raise
            except (nats.errors.Error, nats.js.errors.NoStreamResponseError) as error:
                log.warning("bus.page_retried", stream=stream, size=len(page), attempt=attempt, error=error)
                await anyio.sleep(0.2 * attempt)
            else:
                return int(ack.seq)
        raise RetryLater(f"the broker does not take pages for {stream}")

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

    async def counted(self, stream: str, pattern: str) -> dict[str, int]:
        """Every counter whose subject matches `pattern`, with its value."""
        found = await self.latest(stream, await self.subjects(stream, pattern), _Counter)
        return {name: int(stored.message.val) for name, stored in found.items()}

    async def notify(self, notice: Notice, *, key: str | None = None) -> None:
        """Tell a workspace's owner."""
        subject = subjects.notice(self.region, notice.workspace)
        await self.publish(subject, notice, stream=self.topology.notices, key=key)

    async def latest(self, stream: str, names: Iterable[str], type_: type[T]) -> dict[str, Stored[T]]:
        """The newest message of each subject that has one, by subject.

        A message that cannot be read as `type_` is left out and logged: it must not stop those beside it.
        """
        found: dict[str, Stored[T]] = {}
        async for name, sequence, answer in self._newest(stream, names):
            try:
                found[name] = Stored(name, sequence, codec.decode(answer.data, type_))
            except msgspec.MsgspecError as error:
                log.warning("bus.unreadable", stream=stream, subject=name, sequence=sequence, error=error)
        return found

    async def placed(self, stream: str, names: Iterable[str]) -> dict[str, Placed]:
        """Where the newest message of each subject that has one stands; what it says is not looked at."""
        return {
            name: Placed(sequence, (answer.headers or {}).get("Nats-Msg-Id"))
            async for name, sequence, answer in self._newest(stream, names)
        }

    async def _newest(self, stream: str, names: Iterable[str]) -> AsyncIterator[tuple[str, int, Msg]]:
        """Subject, sequence and newest message as it is, of each of these subjects that has one."""
        wanted = dict.fromkeys(names)
        while wanted:
            asked = list(islice(wanted, _MOST_ASKED))
            answers, left = await self._direct_get(stream, asked)
            for answer in answers:
                headers = answer.headers or {}
                name = headers["Nats-Subject"]
                del wanted[name]
                yield name, int(headers["Nats-Sequence"]), answer
            if not left or not answers:  # the broker cuts a large answer and says how many it left out
                for name in asked:
                    wanted.pop(name, None)

    async def _direct_get(self, stream: str, names: Sequence[str]) -> tuple[list[Msg], int]:
        """The newest messages of these subjects as they are, and how many the broker left for another time."""
        async with Inbox(self.client) as inbox:
            request = {"multi_last": names, "batch": len(names)}
            reply = await inbox.ask(f"$JS.API.DIRECT.GET.{stream}", request)
            found, word = await inbox.gather(reply, math.inf, within=PUBLISH_TIMEOUT)
        if word is None:
            raise RetryLater(f"{stream} does not answer")
        headers = word.headers or {}
        if status(word) not in {END, NO_MESSAGES}:
            raise RetryLater(f"{stream}: {headers.get('Description', status(word))}")
        return found, int(headers.get("Nats-Num-Pending", 0))

    async def newest(self, stream: str, subject: str, type_: type[T]) -> Stored[T] | None:
        """The newest message on `subject` (wildcards allowed), or None."""
        try:
            found = await self.js.get_last_msg(stream, subject)
        except nats.js.errors.NotFoundError:
            return None
        return Stored(found.subject or subject, int(found.seq or 0), codec.decode(found.data or b"", type_))

    async def newest_sequence(self, stream: str, subject: str) -> int:
        """The sequence of the newest message on `subject` (wildcards allowed); 0 if there is none."""
        try:
            return int((await self.js.get_last_msg(stream, subject)).seq or 0)
        except nats.js.errors.NotFoundError:
            return 0

    async def subjects(self, stream: str, pattern: str) -> list[str]:
        """Every subject of `stream` that matches `pattern` and has a message, in pages of the broker's size."""
        found: list[str] = []
        while True:
            request = msgspec.json.encode({"subjects_filter": pattern, "offset": len(found)})
            answer = await self.client.request(f"$JS.API.STREAM.INFO.{stream}", request, timeout=PUBLISH_TIMEOUT)
            page = codec.decode(answer.data, _StreamInfo)
            if page.state is None:
                raise RetryLater(f"{stream} does not tell its subjects")
            found += page.state.subjects
            if not page.state.subjects or len(found) >= page.total:
                return found

    async def call(self, subject: str, message: Any, *, timeout: float = 30.0) -> Answer:  # noqa: ASYNC109
        """Ask the service that answers on `subject`; a Refusal is an answer too.

        Raises RetryLater when nobody answers in `timeout` seconds.
        """
        try:
            answer = await self.client.request(subject, codec.encode(message), timeout=timeout)
        except nats.errors.NoRespondersError as error:
            raise RetryLater(f"no running service answers on {subject}") from error
        except nats.errors.Error as error:
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
            return msgspec.json.encode({"instance": self.instance, "ready": self.client.is_connected})

        subject = subjects.ready(self.region, self.service)
        self.broker.subscriber(subject, decoder=_raw)(handle)


async def check_reachable(settings: Settings) -> None:
    """Return if the broker answers within ten seconds; else UserError naming the setting and the fix."""
    why = "no answer"

    async def remember(error: Exception) -> None:
        nonlocal why
        why = str(error) or type(error).__name__

    with anyio.move_on_after(_FIRST_CONNECTION):
        while "authorization" not in why.lower():
            try:
                client = await nats.connect(
                    settings.broker_url().split(","),
                    token=_token(settings),
                    allow_reconnect=False,
                    connect_timeout=2,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    error_cb=remember,
                )
                await client.close()
                return
            except (OSError, nats.errors.Error) as error:
                await remember(error)
                await anyio.sleep(0.25)
    raise UserError(
        f"WEIR_NATS_URL: the broker at {without_userinfo(settings.broker_url())} cannot be used ({why}); "
        "check the address and WEIR_NATS_TOKEN, or start all on one machine with `weir up`"
    )


def _in_batch(
    batch: str,
    number: int,
    subject: str,
    expected: Mapping[str, int] | None,
    headers: Mapping[str, Mapping[str, str]] | None,
) -> dict[str, str]:
    about = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
    if expected is not None and subject in expected:
        about["Nats-Expected-Last-Subject-Sequence"] = str(expected[subject])
    if headers is not None:
        about.update(headers.get(subject, {}))
    return about


async def _raw(message: Any) -> bytes:
    return bytes(message.body)


def _token(settings: Settings) -> str | None:
    return settings.nats_token.get_secret_value() if settings.nats_token else None
