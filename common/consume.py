"""Batches from a durable consumer, each message settled on its own.

A handler gets a batch and returns when the effects of all of it are durable; what it did not settle itself
is then acknowledged. An error settles one message (`Delivery.failed`) or, raised, the rest of the batch, by
the table in `common.errors`. Heartbeats keep a long batch from being delivered twice; they stop after a cap
so that a handler that hangs loses its messages to another instance. A message that ends its process, or hangs, each
time it comes is given up in the end, see `common.inhand`.

The pull loop is ours: the client library's fetch, polled in short turns, mislays one message in fifty when
little is going on (it then arrives a whole acknowledgement time later), and a longer turn delays every batch.
A batch is what is there: one message when little is going on, a full one when a backlog is deep, and then the
next is asked for without waiting for a first message.
"""

import math
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from typing import Any, Generic, TypeVar

import anyio
import msgspec
import nats.errors
import structlog
from anyio.abc import TaskGroup
from nats.aio.msg import Msg

from common import codec, metrics, provenance, subjects, tracing
from common.bus import Bus
from common.delivery import Ask, Delivery, Redelivery
from common.errors import (
    ATTEMPTS,
    Fate,
    Refused,
    RetryLater,
    Verdict,
)
from common.failures import Failures
from common.inbox import EXPIRED, HEARTBEAT, Inbox, position, status
from common.inhand import ALONE, SUSPECT, InHand
from common.messages import Answer, Failure, Retried, Retry
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

_IDLE, _BUSY = 3 * _PATIENCE, HEARTBEAT_CAP + 3 * _PATIENCE
"""Seconds after which the loop is taken for stuck: while it waits for a message, and for a batch to be finished."""

_SOON = 3.0
"""Seconds that a person who tries a failure again is kept waiting for what is about to be possible."""
_TRIES_AGAIN = 5


class Overdue(RetryLater):
    """A batch took too long."""


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
    within: float = math.inf,
    told_at: int | None = None,
) -> None:
    """Feed `handle` with up to `size` messages of `consumer` at a time, decoded as `type_`.

    `collect` seconds pass between a first message and asking for what is there beside it; 0 where one message
    must not wait. `ahead` batches may be begun while an earlier one is not finished: `handle` runs for them at
    the same time, and is called in the order in which they came. What is not finished `within` so many seconds is
    cancelled and comes again. What is put off for the `told_at`-th time is told: it stands among the failures while
    it goes on being tried.
    """

    pull = Pull(bus, consumer, type_, handle, size, collect, ahead, ask, unreadable, within=within, told_at=told_at)
    bus.add_task(pull.run, pull.stop)
    bus.health.turns(pull)
    bus.health.needs(f"the durable {consumer.name} of {consumer.stream}", pull.durable)
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
        *,
        within: float,
        told_at: int | None,
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
        self._within = within
        self._told_at = told_at
        self._in_hand = InHand(bus, consumer)
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{consumer.stream}.{consumer.name}"
        self._working = anyio.CancelScope()
        self._stopping = False
        self._stopped = anyio.Event()
        self._waiting: anyio.CancelScope | None = None
        self._turned = time.monotonic()
        self._busy = False

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

    async def durable(self) -> None:
        """Ask the broker for the durable: an error if it is not there, or does not answer."""
        await self._bus.js.consumer_info(self._consumer.stream, self._consumer.name)

    @property
    def stuck(self) -> str | None:
        """What is wrong if the loop has not turned for longer than anything it waits for may take."""
        age, most = time.monotonic() - self._turned, _BUSY if self._busy else _IDLE
        return f"taking messages of {self._consumer.name} has stood still for {age:.0f} s" if age > most else None

    async def _read(self, inbox: Inbox, group: TaskGroup) -> None:
        backlog = False
        while True:
            self._busy, self._turned = True, time.monotonic()
            await self._room.acquire()
            self._busy, self._turned = False, time.monotonic()
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
                told_at=self._told_at,
            )
            try:
                if self._consumer.stream in self._bus.topology.guarded:
                    provenance.check(raw.headers, self._consumer.stream)
                delivery.message = codec.decode(raw.data, self._type)
            except Refused as error:
                await delivery.failed(error)
            except (msgspec.MsgspecError, ValueError) as error:
                await self._cannot_read(delivery, msgspec.ValidationError(str(error)))
            else:
                good.append(delivery)
        if good:
            async with self._turn, anyio.create_task_group() as group:
                group.start_soon(_heartbeat, good)
                try:
                    for company in await self._companies(good):
                        await self._settle(company)
                except Exception as error:  # noqa: BLE001 (the table decides; nothing is swallowed)
                    for delivery in good:
                        await delivery.failed(error)
                group.cancel_scope.cancel()

    async def _companies(self, deliveries: list[Delivery[T]]) -> list[list[Delivery[T]]]:
        """Who is handled together: all, but for those that were in hand when a process ended. What ended several
        alone is given up.
        """
        suspects = [delivery.sequence for delivery in deliveries if delivery.attempt >= SUSPECT]
        left = await self._in_hand.left(suspects) if suspects else {}
        alone: list[Delivery[T]] = []
        for delivery in deliveries:
            if left.get(delivery.sequence, 0) >= ALONE:
                why = f"handled alone {left[delivery.sequence]} times, it was never finished"
                fix = f"look for its cause in the log of {self._bus.service}, then retry it"
                await delivery.failed(Refused(why, fix=fix))
            elif delivery.sequence in left:
                alone.append(delivery)
        rest = [delivery for delivery in deliveries if delivery.sequence not in left]
        return [company for company in (rest, *([one] for one in alone)) if company]

    async def _settle(self, deliveries: list[Delivery[T]]) -> None:
        suspects = [delivery.sequence for delivery in deliveries if delivery.attempt >= SUSPECT]
        note = self._in_hand.noted(suspects) if suspects else nullcontext()
        try:
            async with note:
                await self._handled(deliveries)
        except Exception as error:  # noqa: BLE001 (the table decides; nothing is swallowed)
            for delivery in deliveries:
                await delivery.failed(error)

    async def _handled(self, deliveries: list[Delivery[T]]) -> None:
        """Handle and settle them; Overdue if it takes longer than it may."""
        stage = self._consumer.name
        about = deliveries[0].about if len(deliveries) == 1 else {}
        with (
            anyio.move_on_after(self._within) as patience,
            structlog.contextvars.bound_contextvars(**about),
            metrics.BATCHES.labels(stage).time(),
            tracing.span(f"{stage}.batch", {"messages": len(deliveries)}, kind="consumer", root=True),
        ):
            try:
                await self._handle(deliveries)
            except Exception as error:  # noqa: BLE001 (the table decides; nothing is swallowed)
                for delivery in deliveries:
                    await delivery.failed(error)
            else:
                for delivery in deliveries:
                    await delivery.done()
        if patience.cancelled_caught:
            raise Overdue(f"it was not finished within {self._within:g} s")

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


async def _heartbeat(deliveries: Sequence[Delivery[Any]]) -> None:
    with anyio.move_on_after(HEARTBEAT_CAP):
        while True:
            await anyio.sleep(ACK_WAIT / 3)
            for delivery in deliveries:
                if not delivery.settled:
                    try:
                        await delivery.raw.in_progress()
                    except nats.errors.Error as error:  # the broker is away; what is in hand may come again
                        log.info("message.heartbeat_lost", subject=delivery.subject, error=error)
