"""What moves in a workspace: heard once for all who read it, and of nobody more than may be."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path

import anyio
import psutil

from common import embedded, subjects
from common.bus import Bus
from common.people import EVERYWHERE, Role
from common.settings import Settings, load
from services.console import live as lives
from services.console.live import OPENED, STREAMS, Live
from tests.console.stand import served, sign_in, stranger
from tests.console.test_signin import connected
from tests.puller.stand import WS


async def allowed() -> bool:
    return True


@asynccontextmanager
async def reading(live: Live, person: str = "Olive") -> AsyncIterator[AsyncIterator[str | None]]:
    """The names of the events of a stream that is open."""
    async with aclosing(live.events(WS, person, allowed)) as events:
        names = (one.event async for one in events)
        assert await anext(names) == OPENED
        yield names


async def test_readers_share_what_is_heard_and_the_last_takes_it_along(bus: Bus) -> None:
    live, before = Live(bus), len(bus.client._subs)
    async with reading(live) as one:
        once = len(bus.client._subs)
        assert once == before + len(lives.topics(bus, WS))
        async with reading(live, "Ida") as other:
            assert len(bus.client._subs) == once
            await bus.client.publish(subjects.decision(bus.region, WS, "9-1"), b"{}")
            with anyio.fail_after(10):
                assert (await anext(one), await anext(other)) == ("decisions", "decisions")
        assert len(bus.client._subs) == once
        await bus.client.publish(subjects.posting(bus.region, WS, "9-1"), b"{}")
        with anyio.fail_after(10):
            assert await anext(one) == "postings"
    assert len(bus.client._subs) == before


async def test_readers_look_again_when_the_broker_was_away(tmp_path: Path) -> None:
    async with embedded.broker(tmp_path) as broker:
        bus = Bus(load(nats_url=broker.url, nats_token=broker.token, region="eu"), "console")
        await bus.connect()
        live = Live(bus)
        async with reading(live) as one:
            for server in psutil.Process(broker.process.pid).children():
                server.kill()
            with anyio.fail_after(20):
                assert "reviews" in {await anext(one) for _ in lives.TOPICS[1:]}
        await bus.close()


async def test_a_person_has_so_many_streams_and_no_more(settings: Settings, bus: Bus) -> None:
    await connected(bus, WS)
    async with served(settings) as url, stranger(url) as browser, AsyncExitStack() as stack:
        await sign_in(browser, bus, "Olive", {EVERYWHERE: Role.VIEWER})
        address = f"/w/{WS}/live"
        streams = [await stack.enter_async_context(browser.stream("GET", address)) for _ in range(STREAMS)]
        lines = [one.aiter_lines() for one in streams]
        with anyio.fail_after(15):
            assert [await anext(one) for one in lines] == [f"event: {OPENED}"] * STREAMS
            assert (await browser.get(address)).status_code == 429
            await streams[0].aclose()
            status = 429
            while status == 429:  # until it is noticed that the page was closed
                async with browser.stream("GET", address) as again:
                    status = again.status_code
            assert status == 200
