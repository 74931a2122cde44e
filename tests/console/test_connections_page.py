"""The page of connections: what runs, what ends soon, what went wrong last, and pulling now."""

import html
import re
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

from pydantic import SecretStr

from common import embedded, subjects
from common.buckets import Bucket
from common.bus import Bus
from common.messages import Notice, Tick, now
from common.people import Role
from common.settings import Settings
from common.tenants import Connection
from tests.console.stand import console, sign_in, stranger
from tests.puller.stand import WS, running, until

PAGE = f"/w/{WS}/connections"


def words(page: str) -> str:
    """What a page says, without its markup."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", "", page)))


async def test_it_says_how_all_stands_and_what_to_do(settings: Settings, bus: Bus) -> None:
    ends = now() + timedelta(days=3)
    made = Connection(workspace=WS, account="fictional-1", state="connected", since=now(), hard_expires_at=ends)
    await Bucket(bus, "connections", Connection).create(f"{WS}.quickbooks", made)
    await bus.notify(Notice(workspace=WS, kind="expires-soon", at=now(), why="access ends", fix="reconnect QuickBooks"))
    puller = Bus(settings, "puller")
    async with running(puller), console(settings) as browser:
        page = (await browser.get(PAGE)).text
        said = words(page)
        for expected in (
            "Poster does not run. Nothing is posted to Qonto",
            "Scorer does not run.",
            "Start it: weir poster, or",
            f"{ends:%Y-%m-%d %H:%M} UTC: reconnect before",
            "0 of 500,000 with all other workspaces",
            f"{browser.base_url}/webhooks/quickbooks",
            "QuickBooks cannot reach this machine",
            "expires-soon access endsreconnect QuickBooks",
        ):
            assert expected in said, expected
        assert "Puller does not run" not in said
        assert f'datetime="{ends.isoformat()}"' in page
        part = await browser.get(f"{PAGE}/state")
        assert "<html" not in part.text
        assert "Poster does not run" in part.text


async def test_a_reviewer_pulls_now(settings: Settings, bus: Bus) -> None:
    made = Connection(workspace=WS, account="fictional-1", state="connected", since=now())
    await Bucket(bus, "connections", Connection).create(f"{WS}.quickbooks", made)
    async with console(settings) as owner, stranger(str(owner.base_url)) as browser:
        await sign_in(browser, bus, "Rita", {WS: Role.REVIEWER})
        assert "Pull now" in (await browser.get(PAGE)).text
        asked = await browser.post(f"/w/{WS}/pull")
        assert (asked.status_code, asked.headers["Location"]) == (303, PAGE)
        tick = await bus.newest(bus.topology.pulls, subjects.pull(bus.region, WS), Tick)
        assert tick is not None
        assert tick.message.reason == "asked"
        await sign_in(browser, bus, "Rita", {WS: Role.VIEWER})
        assert "Pull now" not in (await browser.get(PAGE)).text


async def test_disconnecting_says_what_stops_and_what_stays(settings: Settings, bus: Bus) -> None:
    bucket = Bucket(bus, "connections", Connection)
    for provider in ("quickbooks", "qonto"):
        made = Connection(workspace=WS, account=f"{provider}-1", state="connected", since=now())
        await bucket.create(f"{WS}.{provider}", made)
    async with console(settings) as browser:
        books = words((await browser.get(f"/disconnect/{WS}/quickbooks")).text)
        bank = words((await browser.get(f"/disconnect/{WS}/qonto")).text)
        assert "No bill of this workspace is read any more" in books
        assert "Nothing is posted to Qonto" in bank
        for said in (books, bank):
            assert "What stays" in said
            assert "posts nothing twice" in said
        stopped = await browser.post(f"/disconnect/{WS}/qonto")
        assert (stopped.status_code, "Start it (weir poster)" in words(stopped.text)) == (503, True)


async def test_without_its_broker_it_says_so(settings: Settings, tmp_path: Path) -> None:
    port, token = embedded.free_port(), "fictional-token"
    own = settings.model_copy(update={"nats_url": f"nats://127.0.0.1:{port}", "nats_token": SecretStr(token)})
    async with AsyncExitStack() as stack:
        async with embedded.broker(tmp_path / "broker", port, token):
            browser = await stack.enter_async_context(console(own, tmp_path / "log"))
            assert (await browser.get("/readyz")).text == "ok"

        async def noticed() -> bool:
            return (await browser.get("/readyz")).status_code == 503

        await until(noticed)
        assert (await browser.get("/livez")).status_code == 200
        page = await browser.get("/workspaces")
        assert (page.status_code, "does not answer" in page.text) == (503, True)
        assert (await browser.get("/api/workspaces")).json()["error"] == "Not just now"
        async with embedded.broker(tmp_path / "broker", port, token):

            async def back() -> bool:
                return (await browser.get("/workspaces")).status_code == 200

            await until(back)
            await stack.aclose()
