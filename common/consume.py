"""Batches from a durable consumer, each message settled on its own.

A handler gets a batch and returns when the effects of all of it are durable; what it did not settle itself
is then acknowledged. An error settles one message (`Delivery.failed`) or, raised, the rest of the batch, by
the table in `common.errors`. Heartbeats keep a long batch from being delivered twice; they stop after a cap
so that a handler that hangs loses its messages to another instance.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import anyio
import msgspec
import structlog
from faststream.nats import JStream, PullSub
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
COLLECT = 0.2
"""Seconds to fill a batch: the price in latency when little is going on."""

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
                await self.raw.nak(delay=result.delay)
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


@dataclass(frozen=True, slots=True)
class _Unreadable:
    delivery: Delivery[Any]
    error: Exception


Handler = Callable[[Sequence[Delivery[T]]], Awaitable[None]]


def batches(
    bus: Bus, consumer: Consumer, type_: type[T], handle: Handler[T], *, size: int = 200, ask: Ask | None = None
) -> None:
    """Feed `handle` with up to `size` messages of `consumer` at a time, decoded as `type_`."""

    async def deliver(deliveries: list[Delivery[T] | _Unreadable]) -> None:
        good: list[Delivery[T]] = []
        for item in deliveries:
            if isinstance(item, _Unreadable):
                await item.delivery.failed(item.error)
            else:
                good.append(item)
        if good:
            await _settle(good, handle)

    bus.broker.subscriber(
        consumer.subject,
        durable=consumer.name,
        stream=JStream(consumer.stream, declare=False),
        pull_sub=PullSub(batch_size=size, timeout=COLLECT, batch=True),
        codec=_BatchCodec(bus, consumer, type_, ask),
    )(deliver)


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


class _BatchCodec:
    """FastStream's hook for decoding a batch; what cannot be read is kept apart instead of failing all."""

    def __init__(self, bus: Bus, consumer: Consumer, type_: type[Any], ask: Ask | None) -> None:
        self._bus = bus
        self._consumer = consumer
        self._type = type_
        self._ask = ask

    async def decode_batch(self, message: Any) -> list[Any]:
        return [self._decode(raw) for raw in message.raw_message]

    def _decode(self, raw: Msg) -> Delivery[Any] | _Unreadable:
        delivery: Delivery[Any] = Delivery(
            message=None,
            subject=raw.subject,
            sequence=raw.metadata.sequence.stream,
            attempt=raw.metadata.num_delivered or 1,
            consumer=self._consumer,
            bus=self._bus,
            raw=raw,
            ask=self._ask,
        )
        try:
            delivery.message = codec.decode(raw.data, self._type)
        except (msgspec.MsgspecError, ValueError) as error:
            return _Unreadable(delivery, msgspec.ValidationError(str(error)))
        return delivery

    async def decode(self, message: Any) -> Any:
        raise NotImplementedError("batches only")

    async def encode(self, message: Any, serializer: Any = None) -> tuple[bytes, str | None]:
        raise NotImplementedError("handlers publish through the bus")

    async def encode_batch(self, messages: Any, serializer: Any = None) -> list[tuple[bytes, str | None]]:
        raise NotImplementedError("handlers publish through the bus")
