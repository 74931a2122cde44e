"""Batches from a durable consumer, each message settled on its own.

A handler gets a batch and returns when the effects of all of it are durable; what it did not settle itself
is then acknowledged. An error settles one message (`Delivery.failed`) or, raised, the rest of the batch, by
the table in `common.errors`. Heartbeats keep a long batch from being delivered twice; they stop after a cap
so that a handler that hangs loses its messages to another instance.

The pull loop is ours: the client library's fetch, polled in short turns, mislays one message in fifty when
little is going on (it then arrives a whole acknowledgement time later), and a longer turn delays every batch.
"""

import contextlib
import math
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import anyio
import msgspec
import nats.errors
import structlog
from nats.aio.msg import Msg

from common import codec, subjects
from common.bus import Bus
from common.errors import AskPerson, Fatal, Fate, WeirError, verdict
from common.messages import Notice, now
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
                self.settled = True
                await self.raw.nak(delay=result.delay * random.uniform(0.9, 1.1))
            case Fate.ASK if self.ask is not None and isinstance(error, AskPerson):
                await self.ask(self, error)
                await self.done()
            case Fate.ASK | Fate.PARK:
                event.warning("message.parked", error=error, exc_info=not expected)
                await self._park(result.why, result.fix)
            case Fate.STOP:
                self.settled = True
                await self.raw.nak(delay=1)
                self.bus.stop(error if isinstance(error, WeirError) else Fatal(str(error)))

    async def _park(self, why: str, fix: str | None) -> None:
        workspace = subjects.workspace_of(self.subject)
        if workspace is not None:
            await self.bus.notify(
                Notice(
                    workspace=workspace,
                    kind="failed",
                    at=now(),
                    why=why,
                    fix=fix,
                    subject=self.subject,
                    stream=self.consumer.stream,
                    sequence=self.sequence,
                ),
                key=f"failed-{self.consumer.stream}-{self.sequence}",
            )
        self.settled = True
        await self.raw.term()


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
    ask: Ask | None = None,
    unreadable: Unreadable | None = None,
) -> None:
    """Feed `handle` with up to `size` messages of `consumer` at a time, decoded as `type_`."""

    pull = Pull(bus, consumer, type_, handle, size, ask, unreadable)
    bus.add_task(pull.run, pull.stop)


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
        ask: Ask | None,
        unreadable: Unreadable | None,
    ) -> None:
        self._bus = bus
        self._consumer = consumer
        self._type = type_
        self._handle = handle
        self._size = size
        self._ask_person = ask
        self._unreadable = unreadable
        self._working = anyio.CancelScope()
        self._stopping = False
        self._stopped = anyio.Event()
        self._waiting: anyio.CancelScope | None = None
        self._requests = 0
        self._send, self._arrived = anyio.create_memory_object_stream[Msg](math.inf)

    async def run(self) -> None:
        """Pull until `stop`."""
        self._bus.after_reconnect(self._ask_anew)
        inbox = self._bus.client.new_inbox()
        subscription = await self._bus.client.subscribe(f"{inbox}.*", cb=self._send.send)
        try:
            while not self._stopping:
                first = await self._first(inbox)
                if first is not None:
                    await anyio.sleep(COLLECT)
                    with anyio.CancelScope() as self._working:
                        await self._deliver([first, *await self._rest(inbox)])
        finally:
            self._stopped.set()
            with anyio.CancelScope(shield=True), contextlib.suppress(nats.errors.Error):  # the broker may be gone
                await subscription.unsubscribe()
            self._send.close()
            self._arrived.close()

    async def stop(self) -> None:
        """Take no further messages and wait for the batch in hand; what takes longer is left for another instance."""
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

    async def _first(self, inbox: str) -> Msg | None:
        """Wait for a message; None after a while, or when the service stops."""
        with anyio.CancelScope() as waiting:
            self._waiting = waiting
            return await self._any(inbox)
        return None

    async def _any(self, inbox: str) -> Msg | None:
        reply = await self._request(inbox, batch=1, expires=_PATIENCE, idle_heartbeat=_IDLE_HEARTBEAT)
        while (message := await self._next(2 * _IDLE_HEARTBEAT + 1)) is not None:
            status = _status(message)
            if status is None:
                return message
            if message.subject == reply and status != _HEARTBEAT:
                if status != _EXPIRED:
                    log.warning("pull.refused", consumer=self._consumer.name, status=status)
                    await anyio.sleep(1)
                break
        return None

    async def _rest(self, inbox: str) -> list[Msg]:
        """What else is there right now, up to the size of a batch."""
        found: list[Msg] = []
        if self._size <= 1:
            return found
        reply = await self._request(inbox, batch=self._size - 1, no_wait=True)
        while len(found) < self._size - 1:
            message = await self._next(_REST_WITHIN)
            if message is None or (_status(message) is not None and message.subject == reply):
                break
            if _status(message) is None:
                found.append(message)
        return found

    async def _request(self, inbox: str, *, batch: int, no_wait: bool = False, **seconds: float) -> str:
        """Ask for messages; the subject that the broker's word on this very request comes to."""
        self._requests += 1
        reply = f"{inbox}.{self._requests}"
        wanted: dict[str, Any] = {"batch": batch, **{name: int(value * 1e9) for name, value in seconds.items()}}
        if no_wait:
            wanted["no_wait"] = True
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._consumer.stream}.{self._consumer.name}"
        await self._bus.client.publish(subject, msgspec.json.encode(wanted), reply=reply)
        return reply

    async def _next(self, seconds: float) -> Msg | None:
        with anyio.move_on_after(seconds):
            return await self._arrived.receive()
        return None

    async def _deliver(self, messages: Sequence[Msg]) -> None:
        good: list[Delivery[T]] = []
        for raw in messages:
            delivery: Delivery[Any] = Delivery(
                message=None,
                subject=raw.subject,
                sequence=raw.metadata.sequence.stream,
                attempt=raw.metadata.num_delivered or 1,
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
            await _settle(good, self._handle)

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


_HEARTBEAT, _EXPIRED = "100", "408"


def _status(message: Msg) -> str | None:
    """The broker's word about a request; None for a message of the stream."""
    return (message.headers or {}).get("Status") if not message.data else None


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
