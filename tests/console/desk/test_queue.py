"""The queue on a real broker: loaded when it is looked at, fresh whenever it is, forgotten for others."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import msgspec
import psutil
import pytest

from common import feed as feeds
from common import subjects
from common.bus import Bus
from common.errors import RetryLater, verdict
from common.failures import Failures
from services.console.desk.listing import Query
from services.console.desk.queue import Queue, queues
from services.console.desk.shelf import Shelf
from tests.conftest import RunningBroker
from tests.console.desk.asking import WS, answer, ask, close, closing, question, resolved


@asynccontextmanager
async def running(shelf: Shelf[Queue]) -> AsyncIterator[Shelf[Queue]]:
    """A shelf at work."""
    async with anyio.create_task_group() as group:
        group.start_soon(shelf.run)
        yield shelf
        await shelf.stop()


def keys(queue: Queue) -> list[str]:
    return [row.bill.key for row in queue.page(Query()).rows]


async def test_what_was_said_a_moment_ago_is_seen(bus: Bus) -> None:
    first, second = question("1"), question("2")
    await ask(bus, first)
    await ask(bus, second, "refused")
    async with running(queues(bus)) as shelf:
        seen = await shelf.look(WS, within=10)
        assert (seen.loading, seen.behind) == (False, None)
        queue = seen.picture
        assert keys(queue) == ["9-1", "9-2"]
        given = await answer(bus, first, resolved(first, by="Ida Imaginary"))
        await shelf.look(WS)
        row = queue.row("9-1")
        assert row is not None
        assert row.given is not None
        assert row.given.by == "Ida Imaginary"
        assert [one.bill.key for one in queue.alike("9-1")] == []  # another bill wants the same entry
        await close(bus, closing(first, "rejected"), rejects=given)
        await close(bus, closing(second, "refused", by="A. Tester"))
        await shelf.look(WS)
        assert keys(queue) == ["9-1"]
        assert queue.row("9-2") is None
        row = queue.row("9-1")
        assert row is not None
        assert row.given is None


async def test_a_bill_whose_answer_was_given_up_is_to_be_decided_again(bus: Bus) -> None:
    asked = question()
    await ask(bus, asked)
    queue, failures = Queue(bus, WS), Failures(bus)
    given = await answer(bus, asked, resolved(asked, by="Ida Imaginary"))
    name = subjects.review(bus.region, "resolved", WS, "9-1")
    await failures.record(bus.topology.answers, name, given, verdict(ValueError("it breaks"), attempt=9))
    assert await queue.read(5)
    row = queue.row("9-1")
    assert row is not None
    assert row.given is None
    assert [one.bill.key for one in queue.alike("9-1")] == ["9-1"]
    kept = await failures.get(WS, "answers.9-1")
    assert kept is not None
    await failures.resolve(kept, "tried again")
    assert await queue.read(5)
    row = queue.row("9-1")
    assert row is not None
    assert row.given is not None
    await queue.close()


async def test_a_message_that_cannot_be_read_leaves_the_others(bus: Bus) -> None:
    await ask(bus, question("1"))
    name = f"{bus.region}.review.requested.{WS}.9-2"
    await bus.publish(name, {"type": "review.requested.1"}, stream=bus.topology.reviews)
    await ask(bus, question("3"))
    async with running(queues(bus)) as shelf:
        assert keys((await shelf.look(WS, within=10)).picture) == ["9-1", "9-3"]


async def test_what_takes_longer_is_loaded_in_the_background(bus: Bus) -> None:
    names = [f"{bus.region}.review.requested.{WS}.9-{number}" for number in range(2500)]
    for start in range(0, len(names), 500):
        page = [(name, question(name.rpartition("-")[2])) for name in names[start : start + 500]]
        await bus.publish_page(bus.topology.reviews, page)
    async with running(queues(bus)) as shelf:
        seen = await shelf.look(WS, within=0)
        assert seen.loading
        assert seen.picture.size < len(names)
        with anyio.fail_after(20):
            while (await shelf.look(WS, within=0)).loading:
                await anyio.sleep(0.02)
        assert (await shelf.look(WS)).picture.size == len(names)


async def test_others_workspaces_are_apart_and_those_not_looked_at_are_forgotten(bus: Bus) -> None:
    for workspace, count in (("one", 3), ("two", 2), ("three", 1)):
        for number in range(count):
            await ask(bus, msgspec.structs.replace(question(str(number)), workspace=workspace))
    async with running(queues(bus, most=4)) as shelf:
        one = (await shelf.look("one", within=10)).picture
        assert one.size == 3
        two = (await shelf.look("two", within=10)).picture
        assert two.size == 2
        assert (await shelf.look("three", within=10)).picture.size == 1
        assert (await shelf.look("two", within=10)).picture is two
        again = (await shelf.look("one", within=10)).picture
        assert again is not one
        assert again.size == 3


async def test_a_broker_that_does_not_answer_is_said_and_what_was_read_stays(
    bus: Bus, broker: RunningBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask(bus, question("1"))
    async with running(queues(bus)) as shelf:
        seen = await shelf.look(WS, within=10)
        monkeypatch.setattr(feeds, "PUBLISH_TIMEOUT", 0.3)
        process = psutil.Process(broker.pid)
        process.suspend()
        try:
            while process.status() != psutil.STATUS_STOPPED:
                await anyio.sleep(0.01)
            assert await shelf.look(WS) is seen
            assert (seen.loading, keys(seen.picture)) == (False, ["9-1"])
            assert seen.behind is not None
            assert "no answer" in seen.behind
        finally:
            process.resume()
        await ask(bus, question("2"))
        with anyio.fail_after(20):
            while keys(seen.picture) != ["9-1", "9-2"]:
                await shelf.look(WS, within=1)
        assert seen.behind is None


async def test_a_queue_of_a_stream_that_is_not_there_says_so(bus: Bus) -> None:
    await bus.js.delete_stream(bus.topology.reviews)
    queue = Queue(bus, WS)
    with pytest.raises(RetryLater):
        await queue.read(within=1)
    async with running(queues(bus)) as shelf:
        seen = await shelf.look(WS, within=0.2)
        assert seen.loading
        assert seen.behind is not None
