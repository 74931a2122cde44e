"""The console over HTTP, with the puller behind it and the QuickBooks stand-in as the provider."""

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import anyio
import httpx
import pytest

from common import embedded
from common.errors import UserError
from common.settings import Settings
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
        landed = await browser.get(back.headers["Location"])
        assert landed.status_code == 200
        assert world.realm in landed.text
        again = await browser.get(back.headers["Location"])
        assert again.status_code == 400
        assert "connect again" in again.text

        await world.pulled()
        (listed,) = (await browser.get("/api/workspaces")).json()["workspaces"]
        assert listed["workspace"] == WS
        assert listed["connections"]["quickbooks"]["state"] == "connected"
        assert "sealed" not in str(listed)
        page = await browser.get("/")
        assert f"/disconnect/{WS}/quickbooks" in page.text
        assert "<script" not in page.text

        gone = await browser.post(f"/disconnect/{WS}/quickbooks", headers={"Sec-Fetch-Site": "same-origin"})
        assert (gone.status_code, gone.headers["Location"]) == (303, "/")
        (listed,) = (await browser.get("/api/workspaces")).json()["workspaces"]
        assert listed["connections"]["quickbooks"]["state"] == "disconnected"


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
        assert (await browser.get("/connect/Not.A.Workspace/quickbooks")).status_code == 400
        assert (await browser.get(f"/connect/{WS}/elsewhere")).status_code == 404
        absent = await browser.get(f"/connect/{WS}/qonto")
        assert absent.status_code == 503
        assert "does not answer" in absent.text
        for headers in (
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Origin": "https://elsewhere.example"},
            {"Origin": "null"},
        ):
            foreign = await browser.post(f"/disconnect/{WS}/quickbooks", headers=headers)
            assert foreign.status_code == 403, headers
        rebound = await browser.get("/", headers={"Host": "elsewhere.example"})
        assert rebound.status_code == 421
        policy = (await browser.get("/")).headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert (await browser.get("/static/weir.css")).status_code == 200


async def test_it_listens_on_loopback_only(settings: Settings) -> None:
    with pytest.raises(UserError, match="WEIR_CONSOLE_HOST"):
        await app.serve(settings.model_copy(update={"console_host": "0.0.0.0"}))  # noqa: S104 (must be refused)
