"""The console over HTTP, with the puller behind it and the QuickBooks stand-in as the provider."""

import html
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import anyio
import httpx
import pytest
from msgspec.structs import replace

from common import embedded
from common.buckets import Bucket
from common.bus import Bus
from common.errors import UserError
from common.messages import PullState, now
from common.settings import Settings
from common.tenants import Connection, Pause
from services.console import app
from tests.conftest import environment
from tests.puller.stand import WS, World, puller, until


@asynccontextmanager
async def console(settings: Settings, log: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A console in a process of its own; a browser that follows nothing by itself."""
    port = embedded.free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: ASYNC220 (starting takes no time worth awaiting)
            [sys.executable, "-m", "services.console"],
            env=environment(settings, WEIR_CONSOLE_PORT=str(port), WEIR_LOG_FORMAT="json"),
            stderr=output,
        )
    try:

        async def ready() -> bool:
            return f'"url": "http://127.0.0.1:{port}"' in await anyio.Path(log).read_text()

        await until(ready, 20)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as browser:
            yield browser
        process.terminate()
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()


async def test_connecting_and_disconnecting_through_the_browser(world: World, tmp_path: Path) -> None:
    world.sandbox.switch(approve_company=world.realm)
    async with puller(world.settings), console(world.settings, tmp_path / "log") as browser:
        assert (await browser.get("/api/workspaces")).json() == {"workspaces": []}
        chosen = await browser.get("/connect", params={"workspace": WS, "provider": "quickbooks"})
        assert chosen.headers["Location"] == f"/connect/{WS}/quickbooks"
        away = await browser.get(chosen.headers["Location"])
        assert away.status_code == 302
        asked = dict(parse_qsl(urlsplit(away.headers["Location"]).query))
        assert asked["scope"] == "com.intuit.quickbooks.accounting"
        assert asked["redirect_uri"] == f"{browser.base_url}/oauth/quickbooks/callback"

        back = await browser.get(away.headers["Location"])
        assert "code=" in back.headers["Location"]
        taken = await browser.get(back.headers["Location"])
        result = f"/connected/{WS}/quickbooks"
        assert (taken.status_code, taken.headers["Location"]) == (303, result)
        for _reload in range(2):
            landed = await browser.get(result)
            assert landed.status_code == 200
            assert f"({world.realm})" in landed.text  # after the company's name
            assert f'href="/connect/{WS}/qonto"' in landed.text
            assert "the pull has begun" not in landed.text
            assert "No bill is read before both are connected." in landed.text
        again = await browser.get(back.headers["Location"])
        assert again.status_code == 400
        assert "connect again" in again.text.lower()

        await world.pulled()
        (listed,) = (await browser.get("/api/workspaces")).json()["workspaces"]
        assert listed["workspace"] == WS
        assert listed["connections"]["quickbooks"]["state"] == "connected"
        assert "sealed" not in str(listed)
        page = await browser.get("/")
        assert f"/disconnect/{WS}/quickbooks" in page.text
        assert "<script" not in page.text

        asked_first = await browser.get(f"/disconnect/{WS}/quickbooks")
        assert asked_first.headers["Referrer-Policy"] == "same-origin"
        shown = re.sub(r"\s+", " ", page.text)
        assert 'good">connected<' in shown
        assert "good until" in shown
        assert 'good">up to date<' in shown
        assert "40 bills" in shown
        assert "metered this month" in shown
        assert "Disconnect QuickBooks?" in asked_first.text
        assert listed["connections"]["quickbooks"]["name"] in html.unescape(asked_first.text)
        (listed,) = (await browser.get("/api/workspaces")).json()["workspaces"]
        assert listed["connections"]["quickbooks"]["state"] == "connected"

        # As Chromium sends the form.
        sent = {"Sec-Fetch-Site": "same-origin", "Origin": str(browser.base_url).rstrip("/")}
        gone = await browser.post(f"/disconnect/{WS}/quickbooks", headers=sent)
        assert (gone.status_code, gone.headers["Location"]) == (303, "/")
        (listed,) = (await browser.get("/api/workspaces")).json()["workspaces"]
        assert listed["connections"]["quickbooks"]["state"] == "disconnected"
        page = await browser.get("/")
        assert "up to date" not in page.text
        assert 'trouble">stopped<' in page.text
        assert "QuickBooks is disconnected; last read" in page.text
        for stale in (result, f"/disconnect/{WS}/quickbooks"):
            assert (await browser.get(stale)).headers["Location"] == "/"


async def test_the_pull_has_begun_when_both_are_connected(wired: Settings, bus: Bus, tmp_path: Path) -> None:
    bucket = Bucket(bus, "connections", Connection)
    async with console(wired, tmp_path / "log") as browser:
        for provider, other in (("qonto", "quickbooks"), ("quickbooks", None)):
            made = Connection(workspace=WS, account="fictional-1", state="connected", since=now())
            await bucket.create(f"{WS}.{provider}", made)
            page = await browser.get(f"/connected/{WS}/{provider}")
            assert ("the pull has begun" in page.text) == (other is None)
            assert (f'href="/connect/{WS}/{other}"' in page.text) == (other is not None)


async def test_what_needs_a_person_says_what_to_do(wired: Settings, bus: Bus, tmp_path: Path) -> None:
    bucket = Bucket(bus, "connections", Connection)
    made = Connection(
        workspace=WS, account="fictional-1", name="Fictional Lock Ltd", state="needs-reconnect", since=now()
    )
    kept = await bucket.create(f"{WS}.quickbooks", made)
    async with console(wired, tmp_path / "log") as browser:
        page = (await browser.get("/")).text
        assert "Fictional Lock Ltd (fictional-1)" in page
        assert f'href="/connect/{WS}/quickbooks">Reconnect<' in page
        # The account stays the workspace's own until somebody disconnects it.
        assert (await browser.get(f"/disconnect/{WS}/quickbooks")).status_code == 200
        pause = Pause(why="the company's QuickBooks subscription has ended", fix="Renew it")
        await bucket.replace(f"{WS}.quickbooks", replace(made, state="connected", paused=pause), kept)
        page = (await browser.get("/")).text
        assert 'trouble">paused<' in page
        assert 'subscription has ended<span class="fix">Renew it<' in page
        assert f"/connect/{WS}/quickbooks" not in page


async def test_how_pulling_stands_is_said_as_in_the_terminal(wired: Settings, bus: Bus, tmp_path: Path) -> None:
    made = Connection(workspace=WS, account="fictional-1", state="connected", since=now())
    await Bucket(bus, "connections", Connection).create(f"{WS}.quickbooks", made)
    pulls = Bucket(bus, "pulls", PullState)
    running = PullState(
        realm="fictional-1", began_at=now(), entity="Bill", read_until=now(), counts={"bill": 3}, first=True
    )
    ended = PullState(realm="fictional-1", began_at=now(), finished_at=now())
    why = "Qonto is not connected: never connected"
    async with console(wired, tmp_path / "log") as browser:
        for state, words in (
            (None, 'trouble">waits<'),
            (running, 'good">running<'),
            (running, "3 bills so far"),
            (replace(running, failing=why, fix="connect Qonto", waits_for="qonto"), 'trouble">waits<'),
            (
                replace(running, failing=why, fix="connect Qonto", waits_for="qonto"),
                f'{why}<span class="fix">connect Qonto<',
            ),
            (replace(running, failing="HTTP 502"), 'trouble">failing<'),
            (replace(ended, left_out=("Bill 2",)), "left out: Bill 2 → open it in QuickBooks and save it again"),
            (replace(ended, realm="another", left_out=("Bill 2",)), "no pull has begun yet"),
        ):
            if state is not None:
                await pulls.put(WS, state)
            assert words in html.unescape((await browser.get("/")).text), words


async def test_a_write_is_taken_from_our_own_pages_only(wired: Settings, bus: Bus, tmp_path: Path) -> None:
    assert bus.region  # the buckets exist
    async with console(wired, tmp_path / "log") as browser:
        ours = str(browser.base_url).rstrip("/")
        for headers in (
            {"Sec-Fetch-Site": "same-origin", "Origin": ours},
            {"Sec-Fetch-Site": "same-origin", "Origin": "null"},
            {"Origin": ours},
            {},
        ):
            passed = await browser.post(f"/disconnect/{WS}/elsewhere", headers=headers)
            assert passed.status_code == 404, headers
        for headers in (
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "cross-site", "Origin": ours},
            {"Sec-Fetch-Site": "same-site", "Origin": ours},
            {"Origin": "https://elsewhere.example"},
            {"Origin": "null"},
        ):
            foreign = await browser.post(f"/disconnect/{WS}/elsewhere", headers=headers)
            assert foreign.status_code == 403, headers
            assert "another site" in foreign.text
            assert foreign.headers["Content-Type"].startswith("text/html")


async def test_what_is_refused_says_why(world: World, tmp_path: Path) -> None:
    async with puller(world.settings), console(world.settings, tmp_path / "log") as browser:
        forged = await browser.get("/oauth/quickbooks/callback", params={"state": "0" * 48, "code": "x"})
        assert forged.status_code == 400
        assert (await browser.get("/oauth/quickbooks/callback")).status_code == 400
        denied = await browser.get(
            "/oauth/quickbooks/callback", params={"state": "<b>", "error": "<script>alert(1)</script>"}
        )
        assert denied.status_code == 400
        assert "<script" not in denied.text
        for name in ("Not.A.Workspace", "", "x" * 41):
            unnamed = await browser.get("/connect", params={"workspace": name, "provider": "quickbooks"})
            assert unnamed.status_code == 400
            assert "Workspace names use 1 to 40 of a-z, 0-9 and -." in unnamed.text
        assert (await browser.get("/disconnect/nobody/quickbooks")).status_code == 404
        lost = await browser.get("/nope")
        assert lost.status_code == 404
        assert "Weir has no page at this address." in lost.text
        unfit = await browser.post("/connect")
        assert (unfit.status_code, "GET" in unfit.headers["Allow"]) == (405, True)
        assert (await browser.get(f"/connect/{WS}/elsewhere")).status_code == 404
        absent = await browser.get(f"/connect/{WS}/qonto")
        assert absent.status_code == 503
        assert "does not answer" in absent.text
        rebound = await browser.get("/", headers={"Host": "elsewhere.example"})
        assert rebound.status_code == 421
        policy = (await browser.get("/")).headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        for linked in re.findall(r'<link [^>]*href="([^"]+)"', lost.text):
            assert (await browser.get(linked)).status_code == 200, linked
        for icon in ("/static/favicon.svg", "/favicon.ico"):
            assert (await browser.get(icon)).headers["Content-Type"].startswith("image/svg+xml")


async def test_it_listens_on_loopback_only(settings: Settings) -> None:
    with pytest.raises(UserError, match="WEIR_CONSOLE_HOST"):
        await app.serve(settings.model_copy(update={"console_host": "0.0.0.0"}))  # noqa: S104 (must be refused)
