"""What moves in a workspace, as server-sent events: pages ask anew for the part whose topic they hear.

An event says only which topic moved. It is a hint: what a page shows comes from where it always comes from, and
an event that was missed while a connection was down is made up for by `opened`, the first of each connection.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager

import anyio
from litestar.response.sse import ServerSentEventMessage
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from common.bus import Bus
from common.history import messages
from services.console.problem import Problem
from services.console.turns import Turns

Allowed = Callable[[], Awaitable[bool]]

EVERY = 0.5
"""Seconds between two rounds of events: a pull that moves a thousand bills is not a thousand events."""
HEARTBEAT = 15.0
"""Seconds without an event after which a comment keeps proxies from closing the connection."""
STREAMS = 20
"""Streams that one person may have open: a browser opens one for each workspace that its tabs show."""

OPENED = "opened"
"""The first event of each connection."""
TOPICS = (OPENED, "connections", "decisions", "failures", "policy", "postings", "pulls", "reviews")
"""Every event there is."""


def topics(bus: Bus, workspace: str) -> Mapping[str, str]:
    """The topic of each subject that can move something in a workspace."""
    region = bus.region
    return {
        f"{region}.review.*.{workspace}.*": "reviews",
        f"{region}.decision.{workspace}.*": "decisions",
        f"{region}.posting.{workspace}.*": "postings",
        f"{region}.failure.{workspace}.>": "failures",
        f"$KV.{bus.topology.bucket('connections')}.{workspace}.*": "connections",
        f"$KV.{bus.topology.bucket('pulls')}.{workspace}": "pulls",
        f"$KV.{bus.topology.bucket('policies')}.{workspace}": "policy",
    }


_STILL_HERE = ServerSentEventMessage(comment="still here", data=None)


class _Reader:
    """One open stream: the topics that moved since it told of any, and that some did."""

    def __init__(self) -> None:
        self.moved: set[str] = set()
        self.stirred = anyio.Event()

    def told(self) -> list[str]:
        """The topics that moved, which counts anew from here on."""
        moved, self.moved, self.stirred = sorted(self.moved), set(), anyio.Event()
        return moved


class _Place:
    """What is heard of one workspace, once for all who read it; subscriptions by subject."""

    def __init__(self) -> None:
        self.readers: list[_Reader] = []
        self.subscriptions: dict[str, Subscription] = {}
        self.lock = anyio.Lock()

    def hearing(self, topic: str) -> Callable[[Msg], Awaitable[None]]:
        """What a message says to the readers: only that its topic moved."""

        async def hear(_message: Msg) -> None:
            for reader in self.readers:
                reader.moved.add(topic)
                reader.stirred.set()

        return hear


class Live:
    """The open streams of this process; a workspace's subjects are subscribed to once, whoever reads."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._places: dict[str, _Place] = {}
        self._turns = Turns(STREAMS)
        self._closing = anyio.Event()
        bus.after_reconnect(self._stir)

    def _stir(self) -> None:
        """Let every reader look: what moved while the broker was away was heard by nobody."""
        for place in self._places.values():
            for reader in place.readers:
                reader.moved.update(TOPICS[1:])
                reader.stirred.set()

    def close(self) -> None:
        """End every stream: the process stops, and browsers come back to the next one by themselves."""
        self._closing.set()

    def admit(self, person: str) -> None:
        """Problem unless a person may open one more stream."""
        if not self._turns.free(person):
            why = "You have as many streams open as may be kept up to date."
            raise Problem(429, "Too many pages", why, "Close some of them.")

    async def events(
        self, workspace: str, person: str, allowed: Allowed
    ) -> AsyncGenerator[ServerSentEventMessage, None]:
        """The events of a workspace, until the process stops or the `person` is `allowed` no more.

        Of more streams than a person may have the last ends at once; `admit` says so before.
        """
        async with aclosing(self._rounds(workspace, person, allowed)) as rounds:
            async for moved in rounds:
                if not moved:
                    yield _STILL_HERE
                for topic in moved:
                    yield ServerSentEventMessage(event=topic, data="")

    async def reviews(
        self, workspace: str, person: str, after: int | None, allowed: Allowed
    ) -> AsyncGenerator[ServerSentEventMessage, None]:
        """Every message about the reviews of a workspace, named after its step, with its sequence as id.

        Begins behind the sequence `after`, or with what comes after the first event, which says so. Nothing is left
        out: the broker only stirs the reading, what is told is read from the stream. It ends as `events` does.
        """
        stream, pattern = self._bus.topology.reviews, f"{self._bus.region}.review.*.{workspace}.*"
        last = await self._bus.newest_sequence(stream, pattern) if after is None else after
        async with aclosing(self._rounds(workspace, person, allowed)) as rounds:
            async for moved in rounds:
                if OPENED in moved:
                    yield ServerSentEventMessage(event=OPENED, id=last, data="")
                if moved and not {OPENED, "reviews"}.isdisjoint(moved):
                    async for message in messages(self._bus, stream, pattern, since=last + 1):
                        last = int(message.seq or last)
                        step = (message.subject or "").split(".")[2]
                        yield ServerSentEventMessage(event=step, id=last, data=message.data)
                else:
                    yield _STILL_HERE

    async def _rounds(self, workspace: str, person: str, allowed: Allowed) -> AsyncGenerator[list[str], None]:
        """The topics that moved: OPENED first, then as they move; none where only a heartbeat is due."""
        with self._turns.taken(person) as may:
            if not may:
                return
            async with self._reading(workspace) as reader:
                yield [OPENED]
                while await self._wait(reader.stirred):
                    if not await allowed():
                        return
                    yield reader.told()
                    await self._pause()

    @asynccontextmanager
    async def _reading(self, workspace: str) -> AsyncIterator[_Reader]:
        """One more reader of a workspace; the last of them takes the subscriptions along."""
        place, reader, client = self._places.setdefault(workspace, _Place()), _Reader(), self._bus.client
        place.readers.append(reader)
        try:
            async with place.lock:
                for subject, topic in topics(self._bus, workspace).items():
                    if subject not in place.subscriptions:
                        place.subscriptions[subject] = await client.subscribe(subject, cb=place.hearing(topic))
                await client.flush()
            yield reader
        finally:
            place.readers.remove(reader)
            if not place.readers:
                del self._places[workspace]
                with anyio.CancelScope(shield=True):
                    for subscription in place.subscriptions.values():
                        await subscription.unsubscribe()

    async def _wait(self, stirred: anyio.Event) -> bool:
        """Until something moved or a heartbeat is due; whether to go on."""
        async with anyio.create_task_group() as group:

            async def first(event: anyio.Event) -> None:
                await event.wait()
                group.cancel_scope.cancel()

            group.start_soon(first, stirred)
            group.start_soon(first, self._closing)
            await anyio.sleep(HEARTBEAT)
            group.cancel_scope.cancel()
        return not self._closing.is_set()

    async def _pause(self) -> None:
        with anyio.move_on_after(EVERY):
            await self._closing.wait()
