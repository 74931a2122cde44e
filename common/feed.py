"""One stream's messages on a subject, read in pages whenever they are asked for, from the first to the newest.

Nothing arrives by itself: who keeps a picture of a stream asks for what is new before it is shown, which costs one
short question however much the stream holds. What a reconnection swallows is noticed by the broker's own count and
read again, so that every message is taken once, in the order of the stream.
"""

import contextlib
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from common.bus import PUBLISH_TIMEOUT, Bus
from common.errors import RetryLater
from common.inbox import NO_MESSAGES, Inbox, position, status
from common.pace import Pace

_PAGE = 1000
"""Messages asked for at once."""
_PAGE_BYTES = 16_000_000
_SLICE = 200
"""Messages taken together, which costs less than each by itself, before whatever else waits may run."""
_FORGOTTEN_AFTER = 300.0
"""Seconds after which the broker forgets how far an idle feed was read; the feed itself knows."""


@dataclass
class Feed:
    """What becomes of the messages of `stream` on `subject`, and how far they were read.

    `take` gets some at a time, in their order, in the turns of `pace`. `reached` is the sequence of the newest message
    taken; with `since` the first one is the first from then on, with `headers_only` bodies
    stay where they are.
    """

    bus: Bus
    stream: str
    subject: str
    take: Callable[[Sequence[Msg]], None]
    pace: Pace = field(default_factory=Pace)
    since: datetime | None = None
    reached: int = 0
    headers_only: bool = False
    _inbox: Inbox | None = None
    _next: str | None = None
    _consumer: str | None = None
    _delivered: int = 0

    async def read(self, within: float) -> bool:
        """Take what the stream holds now; False if there is more to come after `within` seconds.

        RetryLater if the broker does not answer; what was taken until then stays taken.
        """
        until = time.monotonic() + within
        while not await self.page():
            if time.monotonic() > until:
                return False
        return True

    async def page(self) -> bool:
        """Take some of what is new; whether that was all. RetryLater if the broker does not answer."""
        fresh = self._next is None
        if not self.bus.client.is_connected:
            raise RetryLater("the broker cannot be reached")
        try:
            messages, word = await self._ask()
        except nats.errors.Error as error:
            self._next = None
            raise RetryLater(f"{self.stream} does not answer ({error!r})") from error
        async with self.pace:
            for start in range(0, len(messages), _SLICE):
                together = messages[start : start + _SLICE]
                following = self._following(together)
                if following:
                    self.take(together[:following])
                    self._delivered += following
                    self.reached = position(together[following - 1]).stream
                if following < len(together):
                    self._next = None  # a reconnection swallowed something: go on behind what was read
                    return False
                await self.pace.rest()
        if word == NO_MESSAGES:
            return True
        if word is not None or not messages:
            self._next = None  # the broker does not know the consumer any more, or cut the page at its size
            if not messages and (fresh or word is None):
                raise RetryLater(f"{self.stream} gives nothing to read ({word or 'no answer'})")
        return False

    async def close(self) -> None:
        """Stop reading, and let the broker forget the consumer; one that it is not told of it forgets by itself."""
        inbox, self._inbox, self._next = self._inbox, None, None
        if inbox is not None:
            await inbox.close()
        consumer, self._consumer = self._consumer, None
        if consumer is not None and self.bus.client.is_connected:
            with contextlib.suppress(nats.errors.Error, nats.js.errors.APIError):
                await self.bus.js.delete_consumer(self.stream, consumer)

    async def _ask(self) -> tuple[list[Msg], str | None]:
        """A page, and the broker's word where it holds less than that."""
        if self._inbox is None:
            inbox = Inbox(self.bus.client)
            await inbox.open()
            self._inbox = inbox
        if self._next is None:
            self._next = await self._consume()
        reply = await self._inbox.ask(self._next, {"batch": _PAGE, "max_bytes": _PAGE_BYTES, "no_wait": True})
        messages, word = await self._inbox.gather(reply, _PAGE, within=PUBLISH_TIMEOUT)
        return messages, status(word) if word is not None else None

    def _following(self, messages: Sequence[Msg]) -> int:
        """How many of these messages follow on what was delivered, each on the one before it.

        One of a consumer from before does not: the acknowledgement of a message names who delivered it.
        """
        ours = f".{self.stream}.{self._consumer}."
        last = self._delivered + len(messages)
        if position(messages[-1]).consumer == last and all(ours in message.reply for message in messages):
            return len(messages)  # a consumer counts up: nothing is missing where so many came
        for count, message in enumerate(messages):
            if ours not in message.reply or position(message).consumer != self._delivered + count + 1:
                return count
        return len(messages)

    async def _consume(self) -> str:
        """A consumer that begins behind what was read; where it is asked for messages."""
        dated = self.since is not None and not self.reached
        config = ConsumerConfig(
            name=uuid.uuid4().hex,  # with a name the filter is part of what permissions look at
            deliver_policy=DeliverPolicy.BY_START_TIME if dated else DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=None if dated else self.reached + 1,
            opt_start_time=self.since if dated else None,
            filter_subject=self.subject,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=_FORGOTTEN_AFTER,
            headers_only=self.headers_only or None,
            mem_storage=True,
            num_replicas=1,
        )
        made = await self.bus.js.add_consumer(self.stream, config)
        self._delivered = 0
        self._consumer = str(made.name)
        return f"$JS.API.CONSUMER.MSG.NEXT.{self.stream}.{made.name}"


async def held(bus: Bus, stream: str, subject: str, since: datetime | None = None) -> AsyncGenerator[Msg, None]:
    """What a stream holds on `subject`, oldest first; what comes while it is read too. RetryLater as in `Feed.read`."""
    came: list[Msg] = []
    feed = Feed(bus, stream, subject, came.extend, since=since)
    try:
        ended = False
        while not ended:
            ended = await feed.page()
            for message in came:
                yield message
            came.clear()
    finally:
        await feed.close()
