"""What the broker sends in answer to requests, gathered without a task or a time-out for each message."""

import contextlib
from collections import deque
from types import TracebackType
from typing import Any, NamedTuple, Self

import anyio
import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

HEARTBEAT, END, NO_MESSAGES, EXPIRED = "100", "204", "404", "408"

_SHORT = 9
"""Words of an acknowledgement's subject that names neither domain nor account."""


def status(message: Msg) -> str | None:
    """The broker's word about a request; None for a message of a stream."""
    return (message.headers or {}).get("Status") if not message.data else None


class Position(NamedTuple):
    """Where a delivered message stands in its stream and among what its consumer delivered; how often it came."""

    stream: int
    consumer: int
    attempt: int


def position(message: Msg) -> Position:
    """What the broker says about a delivered message in the subject that takes its acknowledgement.

    That is `$JS.ACK`, then where an account is named the domain and the account, then stream, consumer and numbers
    (see "JetStream wire API reference" of the NATS documentation). The client library's `metadata` says the same,
    but makes an instant of the time for every message, which costs as much as reading a bill.
    """
    words = message.reply.split(".")
    first = 4 if len(words) == _SHORT else 6
    attempt, stream, consumer = words[first : first + 3]
    return Position(int(stream), int(consumer), int(attempt))


def published_at(message: Msg) -> float | None:
    """When the stream took a delivered message, in seconds since 1970; None for one that no consumer delivered."""
    words = message.reply.split(".")
    return int(words[-2]) / 1e9 if len(words) >= _SHORT else None


class Inbox:
    """A subject of our own that answers come to; one reader."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._subject = client.new_inbox()
        self._subscription: Subscription | None = None
        self._messages: deque[Msg] = deque()
        self._came = anyio.Event()
        self._requests = 0

    async def open(self) -> None:
        """Let the broker know the subject."""
        self._subscription = await self._client.subscribe(f"{self._subject}.*", cb=self._take)

    async def close(self) -> None:
        """Take no more answers."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with anyio.CancelScope(shield=True), contextlib.suppress(nats.errors.Error):  # the broker may be gone
                await subscription.unsubscribe()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _take(self, message: Msg) -> None:
        self._messages.append(message)
        self._came.set()

    async def ask(self, subject: str, request: Any) -> str:
        """Send a request as JSON; the subject that the broker's word on this very request comes to."""
        self._requests += 1
        reply = f"{self._subject}.{self._requests}"
        await self._client.publish(subject, msgspec.json.encode(request), reply=reply)
        return reply

    async def next(self, seconds: float) -> Msg | None:
        """The next message, whatever it answers; None if there is none in time."""
        if not self._messages:
            await self._wait(seconds)
        return self._messages.popleft() if self._messages else None

    async def _wait(self, seconds: float) -> None:
        """Until something comes, or so long."""
        self._came = anyio.Event()
        with anyio.move_on_after(seconds):
            await self._came.wait()

    async def gather(self, reply: str, count: float, *, within: float) -> tuple[list[Msg], Msg | None]:
        """Up to `count` messages, and the broker's last word on the request `reply`.

        None for that word means that all `count` came, or nothing more for `within` seconds.
        """
        found: list[Msg] = []
        while len(found) < count:
            if not self._messages:
                await self._wait(within)
                if not self._messages:
                    break
            message = self._messages.popleft()
            word = status(message)
            if word is None:
                found.append(message)
            elif message.subject == reply and word != HEARTBEAT:
                return found, message
        return found, None
