"""A feed takes every message of its subject once, in the order of the stream, whatever happens to its connection."""

from collections.abc import Sequence
from datetime import timedelta

import anyio
import pytest
from nats.aio.msg import Msg

from common import feed as feeds
from common.bus import Bus
from common.errors import RetryLater
from common.feed import Feed
from common.inbox import position
from common.messages import now

WS = "fictional-lock"


def reader(bus: Bus, taken: list[int], **more: object) -> Feed:
    """A feed of one workspace's notices that notes the sequences it takes."""

    def take(messages: Sequence[Msg]) -> None:
        taken.extend(position(message).stream for message in messages)

    return Feed(bus, bus.topology.notices, f"{bus.region}.notice.{WS}", take, **more)  # type: ignore[arg-type]


async def say(bus: Bus, count: int, workspace: str = WS) -> list[int]:
    """Publish so many messages; their sequences."""
    name = f"{bus.region}.notice.{workspace}"
    return [await bus.publish(name, {"number": number}, stream=bus.topology.notices) for number in range(count)]


async def test_pages_are_read_until_there_is_no_more(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "_PAGE", 4)
    monkeypatch.setattr(feeds, "_SLICE", 3)
    taken: list[int] = []
    feed = reader(bus, taken)
    assert await feed.read(within=5)
    assert taken == []
    first = await say(bus, 5)
    await say(bus, 3, "elsewhere")
    first += await say(bus, 4)
    assert await feed.page() is False
    assert taken == first[:4]
    assert await feed.read(within=5)
    assert taken == first
    assert feed.reached == first[-1]
    assert await feed.read(within=0)
    await feed.close()
    names = [info.name for info in await bus.js.consumers_info(bus.topology.notices)]
    assert names == []
    later = await say(bus, 1)
    assert await feed.read(within=5)  # whoever reads on after all begins behind what was read
    assert taken == first + later
    await feed.close()


async def test_what_comes_while_it_reads_is_taken_once(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "_PAGE", 3)
    taken: list[int] = []
    feed = reader(bus, taken)
    said: list[int] = []

    async def write() -> None:
        for _ in range(20):
            said.extend(await say(bus, 2))

    async with anyio.create_task_group() as group:
        group.start_soon(write)
        for _ in range(10):
            await feed.read(within=0.01)
    assert await feed.read(within=5)
    assert taken == said
    await feed.close()


async def test_a_consumer_that_the_broker_forgot_is_made_anew(bus: Bus) -> None:
    taken: list[int] = []
    feed = reader(bus, taken)
    said = await say(bus, 3)
    assert await feed.read(within=5)
    for info in await bus.js.consumers_info(bus.topology.notices):
        await bus.js.delete_consumer(bus.topology.notices, info.name)
    said += await say(bus, 2)
    with anyio.fail_after(20):
        while taken != said:
            await feed.read(within=5)
    await feed.close()


async def test_what_a_lost_connection_swallowed_is_read_again(bus: Bus) -> None:
    taken: list[int] = []
    feed = reader(bus, taken)
    said = await say(bus, 3)
    assert await feed.read(within=5)
    said += await say(bus, 5)
    # The consumer delivers to somebody who is gone: what it counted on we never saw.
    stolen = bus.client.new_inbox()
    lost = await bus.client.subscribe(stolen)
    await bus.client.publish(str(feed._next), b'{"batch":2,"no_wait":true}', reply=stolen)
    await lost.next_msg(timeout=5)
    await lost.unsubscribe()
    with anyio.fail_after(20):
        while taken != said:
            await feed.read(within=5)
    await feed.close()


async def test_it_can_begin_at_an_instant(bus: Bus) -> None:
    await say(bus, 2)
    since = now()
    said = await say(bus, 2)
    taken: list[int] = []
    feed = reader(bus, taken, since=since)
    assert await feed.read(within=5)
    assert taken == said
    await feed.close()
    taken.clear()
    ahead = reader(bus, taken, since=now() + timedelta(hours=1))
    assert await ahead.read(within=5)
    assert taken == []
    await ahead.close()


async def test_a_stream_that_is_not_there_says_so(bus: Bus) -> None:
    await bus.js.delete_stream(bus.topology.notices)
    with pytest.raises(RetryLater, match=f"{bus.topology.notices} does not answer"):
        await reader(bus, []).read(within=1)
