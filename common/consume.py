"""Batches from a durable consumer, each message settled on its own.

A handler gets a batch and returns when the effects of all of it are durable; what it did not settle itself
is then acknowledged. An error settles one message (`Delivery.failed`) or, raised, the rest of the batch, by
the table in `common.errors`. Heartbeats keep a long batch from being delivered twice; they stop after a cap
so that a handler that hangs loses its messages to another instance.

The pull loop is ours: the client library's fetch, polled in short turns, mislays one message in fifty when
little is going on (it then arrives a whole acknowledgement time later), and a longer turn delays every batch.
A batch is what is there: one message when little is going on, a full one when a backlog is deep, and then the
next is asked for without waiting for a first message.
"""

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import anyio
import msgspec
import structlog
from anyio.abc import TaskGroup
from nats.aio.msg import Msg

from common import codec, subjects
from common.bus import Bus
from common.errors import ATTEMPTS, AskPerson, Fatal, Fate, Refused, Verdict, WeirError, verdict
from common.failures import Failures
from common.inbox import EXPIRED, HEARTBEAT, Inbox, position, status
from common.messages import Answer, Failure, Notice, Retried, Retry, now
from common.topology import ACK_WAIT, Consumer

log = structlog.get_logger()
T = TypeVar("T")

HEARTBEAT_CAP = 600.0
"""Seconds after which a batch no longer keeps its messages from other instances."""
COLLECT = 0.02
"""Seconds between the first message and asking for the rest of its batch."""
_PATIENCE = 30.0
"""Seconds one request for a first message stands on the broker."""
_IDLE_HEARTBEAT = 5.0
"""Seconds between signs of life of a standing request; two missing ones mean that it was lost."""
_REST_WITHIN = 5.0
_GRACE = ACK_WAIT
"""Seconds a batch may take to finish when the service stops."""

_SOON = 3.0
"""Seconds that a person who tries a failure again is kept waiting for what is about to be possible."""
_TRIES_AGAIN = 5

Ask = Callable[["Delivery[Any]", AskPerson], Awaitable[None]]


@dataclass(slots=True, eq=False)
class Delivery(Generic[T]):
    """One delivered message: what it says, where it stands in its stream, and how often it came."""

    message: T
    subject: str
    sequence: int
    attempt: int
    consumer: Consumer
    bus: Bus
    raw: Msg
    ask: Ask | None = None
    settled: bool = field(default=False)

    async def done(self) -> None:
        """Acknowledge: the effect is durable."""
        if not self.settled:
            self.settled = True
            await self.raw.ack()

    async def later(self, seconds: float) -> None:
        """Have it delivered again after about so many seconds; who calls says why."""
        if not self.settled:
            self.settled = True
            await self.raw.nak(delay=seconds * random.uniform(0.9, 1.1))

    async def failed(self, error: Exception) -> None:
        """Settle by the table: retry later, ask a person, park with a reason, or stop the process."""
        if self.settled:
            return
        result = verdict(error, self.attempt)
        expected = isinstance(error, WeirError)
        event = log.bind(subject=self.subject, sequence=self.sequence, attempt=self.attempt)
        match result.fate:
            case Fate.RETRY:
                report = event.info if expected else event.warning
                report("message.retried", error=error, delay=result.delay, exc_info=not expected)
                await self.later(result.delay)
            case Fate.ASK if self.ask is not None and isinstance(error, AskPerson):
                await self.ask(self, error)
                await self.done()
            case Fate.ASK | Fate.PARK:
                event.warning("message.parked", error=error, exc_info=not expected)
                await self._park(result)
            case Fate.STOP:
                await self.later(1.0)
                self.bus.stop(error if isinstance(error, WeirError) else Fatal(str(error)))

    async def _park(self, result: Verdict) -> None:
        await Failures(self.bus).record(self.consumer, self.subject, self.sequence, result)
        workspace = subjects.workspace_of(self.subject)
        if workspace is not None:
            await self.bus.notify(
                Notice(
                    workspace=workspace,
                    kind="failed",
                    at=now(),
                    why=result.why,
                    fix=result.fix,
                    subject=self.subject,
                    stream=self.consumer.stream,
                    sequence=self.sequence,
                ),
                key=f"failed-{self.consumer.stream}-{self.sequence}",
            )
        self.settled = True
        await self.raw.term()


class Redelivery(Delivery[T]):
    """A message that was given up, handled once more because a person asked; `result` says why it still fails."""

    result: Verdict | None = None

    async def done(self) -> None:
        """Its effect is durable."""
        self.settled = True

    async def later(self, seconds: float) -> None:
        """It stays among the failures: nothing brings it again by itself."""
        if not self.settled:
            self.settled = True
            self.result = Verdict(Fate.RETRY, "it cannot be done now; try again in a while", seconds)

    async def failed(self, error: Exception) -> None:
        """Settle by the table, except that it stays among the failures whatever its fate."""
        if self.settled:
            return
        result = verdict(error, self.attempt)
        log.info("message.retry_failed", subject=self.subject, sequence=self.sequence, error=error)
        if result.fate is Fate.ASK and self.ask is not None and isinstance(error, AskPerson):
            await self.ask(self, error)
            await self.done()
            return
        self.settled = True
        self.result = result
        if result.fate is Fate.STOP:
            self.bus.stop(error if isinstance(error, WeirError) else Fatal(str(error)))


Handler = Callable[[Sequence[Delivery[T]]], Awaitable[None]]
Unreadable = Callable[[Delivery[Any], Exception], Awaitable[None]]
"""Tells the sender that a message cannot be read; it is acknowledged then. Without it, it is parked."""


def batches(
    bus: Bus,
    consumer: Consumer,
    type_: type[T],
    handle: Handler[T],
    *,
    size: int = 200,
    collect: float = COLLECT,
    ahead: int = 0,
    ask: Ask | None = None,
    unreadable: Unreadable | None = None,
) -> None:
    """Feed `handle` with up to `size` messages of `consumer` at a time, decoded as `type_`.

    `collect` seconds pass between a first message and asking for what is there beside it; 0 where one message
    must not wait. `ahead` batches may be begun while an earlier one is not finished: `handle` runs for them at
    the same time, and is called in the order in which they came.
    """

    pull = Pull(bus, consumer, type_, handle, size, collect, ahead, ask, unreadable)
    bus.add_task(pull.run, pull.stop)
    bus.answers(subjects.retry(bus.region, consumer.name), Retry, pull.retry)


class Pull(Generic[T]):
    """Reads one durable: wait for a first message, take what else is there, hand it over, again.

    Only the request for a single message ever stands on the broker, so a slow batch holds no further
    messages whose time is already running.
    """

    def __init__(
        self,
        bus: Bus,
        consumer: Consumer,
        type_: type[T],
        handle: Handler[T],
        size: int,
        collect: float,
        ahead: int,
        ask: Ask | None,
        unreadable: Unreadable | None,
    ) -> None:
        self._bus = bus
        self._consumer = consumer
        self._type = type_
        self._handle = handle
        self._size = size
        self._collect = collect
        self._room = anyio.Semaphore(1 + ahead)
        self._turn = anyio.Semaphore(1 + ahead)
        self._ask_person = ask
        self._unreadable = unreadable
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{consumer.stream}.{consumer.name}"
        self._working = anyio.CancelScope()
        self._stopping = False
        self._stopped = anyio.Event()
        self._waiting: anyio.CancelScope | None = None

    async def run(self) -> None:
        """Pull until `stop`."""
        self._bus.after_reconnect(self._ask_anew)
        try:
            async with Inbox(self._bus.client) as inbox:
                with self._working:
                    async with anyio.create_task_group() as group:
                        await self._read(inbox, group)
        finally:
            self._stopped.set()

    async def _read(self, inbox: Inbox, group: TaskGroup) -> None:
        backlog = False
        while True:
            await self._room.acquire()
            if self._stopping:
                return
            messages = await self._rest(inbox, self._size) if backlog else await self._batch(inbox)
            backlog = len(messages) >= self._size
            if messages:
                group.start_soon(self._deliver, messages)
            else:
                self._room.release()

    async def stop(self) -> None:
        """Take no further messages and wait for what is in hand; what takes longer is left for another instance."""
        self._stopping = True
        self._ask_anew()
        with anyio.move_on_after(_GRACE) as patience:
            await self._stopped.wait()
        if patience.cancelled_caught:
            log.warning("pull.left_unfinished", consumer=self._consumer.name)
            self._working.cancel()
            with anyio.move_on_after(_REST_WITHIN):
                await self._stopped.wait()

    def _ask_anew(self) -> None:
        """Give up waiting on the present request; the loop makes another, or ends."""
        if self._waiting is not None:
            self._waiting.cancel()

    async def _batch(self, inbox: Inbox) -> list[Msg]:
        """A first message and what is there beside it; nothing if none came for a while, or the service stops."""
        first = await self._first(inbox)
        if first is None:
            return []
        if self._collect:
            await anyio.sleep(self._collect)
        return [first, *await self._rest(inbox, self._size - 1)]

    async def _first(self, inbox: Inbox) -> Msg | None:
        """Wait for a message; None after a while, or when the service stops."""
        with anyio.CancelScope() as waiting:
            self._waiting = waiting
            return await self._any(inbox)
        return None

    async def _any(self, inbox: Inbox) -> Msg | None:
        seconds = {"expires": _PATIENCE, "idle_heartbeat": _IDLE_HEARTBEAT}
        wanted = {"batch": 1, **{name: int(value * 1e9) for name, value in seconds.items()}}
        reply = await inbox.ask(self._next, wanted)
        while (message := await inbox.next(2 * _IDLE_HEARTBEAT + 1)) is not None:
            word = status(message)
            if word is None:
                return message
            if message.subject == reply and word != HEARTBEAT:
                if word != EXPIRED:
                    log.warning("pull.refused", consumer=self._consumer.name, status=word)
                    await anyio.sleep(1)
                break
        return None

    async def _rest(self, inbox: Inbox, count: int) -> list[Msg]:
        """What else is there right now, up to `count` messages."""
        if count <= 0:
            return []
        reply = await inbox.ask(self._next, {"batch": count, "no_wait": True})
        found, _ = await inbox.gather(reply, count, within=_REST_WITHIN)
        return found

    async def _deliver(self, messages: Sequence[Msg]) -> None:
        try:
            await self._hand_over(messages)
        finally:
            self._room.release()

    async def _hand_over(self, messages: Sequence[Msg]) -> None:
        good: list[Delivery[T]] = []
        for raw in messages:
            at = position(raw)
            delivery: Delivery[Any] = Delivery(
                message=None,
                subject=raw.subject,
                sequence=at.stream,
                attempt=at.attempt,
                consumer=self._consumer,
                bus=self._bus,
                raw=raw,
                ask=self._ask_person,
            )
            try:
                delivery.message = codec.decode(raw.data, self._type)
            except (msgspec.MsgspecError, ValueError) as error:
                await self._cannot_read(delivery, msgspec.ValidationError(str(error)))
            else:
                good.append(delivery)
        if good:
            async with self._turn:
                await _settle(good, self._handle)

    async def retry(self, asked: Retry) -> Answer:
        """Handle the message of a failure once more, in turn with the batches, and say what came of it."""
        failures = Failures(self._bus)
        kept = await failures.get(asked.workspace, asked.id)
        if kept is None or kept.message.stage != self._consumer.name:
            raise Refused(f"{asked.workspace} has no failure {asked.id}", fix="`weir failures` lists those there are")
        if kept.message.resolved_at is not None:
            return Retried(failure=kept.message)
        how = (await failures.overtaken([kept.message])).get(kept.message.subject)
        if how is not None:
            return Retried(failure=await failures.resolve(kept, how))
        if not kept.message.retryable:
            raise Refused(f"{asked.id} cannot be tried again: its message is gone", fix=kept.message.fix)
        message = await failures.message(kept.message)
        if message is None:
            return Retried(failure=await failures.resolve(kept, "a newer version took its place"))
        result = await self._handle_again(kept.message, message)
        for _ in range(_TRIES_AGAIN):
            if result is None or result.fate is not Fate.RETRY or result.delay > _SOON:
                break
            await anyio.sleep(result.delay)
            result = await self._handle_again(kept.message, message)
        log.info(
            "failure.retried", failure=asked.id, workspace=asked.workspace, by=asked.by, still=result and result.why
        )
        if result is None:
            return Retried(failure=await failures.resolve(kept, f"tried again by {asked.by}"))
        return Retried(failure=await failures.again(kept, result))

    async def _handle_again(self, failure: Failure, data: bytes) -> Verdict | None:
        """Why the message still fails, or None if it was handled."""
        delivery: Redelivery[Any] = Redelivery(
            message=None,
            subject=failure.subject,
            sequence=failure.sequence,
            attempt=ATTEMPTS,
            consumer=self._consumer,
            bus=self._bus,
            raw=Msg(_client=self._bus.client, subject=failure.subject, data=data),
            ask=self._ask_person,
        )
        try:
            delivery.message = codec.decode(data, self._type)
        except (msgspec.MsgspecError, ValueError) as error:
            await self._cannot_read(delivery, msgspec.ValidationError(str(error)))
            return delivery.result
        try:
            async with self._turn:
                await self._handle([delivery])
        except Exception as error:  # noqa: BLE001 (the table decides; nothing is swallowed)
            await delivery.failed(error)
        return delivery.result

    async def _cannot_read(self, delivery: Delivery[Any], error: Exception) -> None:
        if self._unreadable is None:
            await delivery.failed(error)
            return
        try:
            await self._unreadable(delivery, error)
        except Exception as again:  # noqa: BLE001 (the table decides; nothing is swallowed)
            await delivery.failed(again)
        else:
            await delivery.done()


async def _settle(deliveries: list[Delivery[T]], handle: Handler[T]) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(_heartbeat, deliveries)
        try:
            await handle(deliveries)
        except Exception as error:  # noqa: BLE001 (the table decides; nothing is swallowed)
            for delivery in deliveries:
                await delivery.failed(error)
        else:
            for delivery in deliveries:
                await delivery.done()
        group.cancel_scope.cancel()


async def _heartbeat(deliveries: Sequence[Delivery[Any]]) -> None:
    with anyio.move_on_after(HEARTBEAT_CAP):
        while True:
            await anyio.sleep(ACK_WAIT / 3)
            for delivery in deliveries:
                if not delivery.settled:
                    await delivery.raw.in_progress()
