"""The console over HTTP, with the puller behind it and the QuickBooks stand-in as the provider."""

import html
import os
import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import anyio
import httpx
import pytest
from msgspec.structs import replace

from common.buckets import Bucket
from common.bus import Bus
from common.errors import UserError
from common.invitations import Invitations
from common.messages import PullState, now
from common.people import People, Role
from common.settings import Settings
from common.tenants import Connection, Pause
from services.console import app
from tests.console.stand import console, process, served, sign_in, stranger
from tests.puller.stand import WS, World, puller

CONNECTIONS = f"/w/{WS}/connections"


async def test_connecting_and_disconnecting_through_the_browser(world: World, tmp_path: Path) -> None:
    world.sandbox.switch(approve_company=world.realm)
    async with puller(world.settings), console(world.settings, tmp_path / "log") as browser:
        assert (await browser.get("/api/workspaces")).json() == {"workspaces": [], "next": None}
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
        assert again.status_code == 403
        assert "connect again" in again.text.lower()

        await world.pulled()
        (listed,) = (await browser.get("/api/workspaces")).json()["workspaces"]
        assert listed["workspace"] == WS
        assert listed["connections"]["quickbooks"]["state"] == "connected"
        assert "sealed" not in str(listed)
        assert (await browser.get("/")).headers["Location"] == f"/w/{WS}"
        assert "Your first synced bill" in (await browser.get(f"/w/{WS}")).text
        page = await browser.get(CONNECTIONS)
        assert f"/disconnect/{WS}/quickbooks" in page.text

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
        assert (gone.status_code, gone.headers["Location"]) == (303, CONNECTIONS)
        (listed,) = (await browser.get("/api/workspaces")).json()["workspaces"]
        assert listed["connections"]["quickbooks"]["state"] == "disconnected"
        page = await browser.get(CONNECTIONS)
        assert "up to date" not in page.text
        assert 'trouble">stopped<' in page.text
        assert "QuickBooks is disconnected; last read" in page.text
        for stale in (result, f"/disconnect/{WS}/quickbooks"):
            assert (await browser.get(stale)).headers["Location"] == CONNECTIONS


async def test_a_connection_is_finished_by_who_began_it(world: World, bus: Bus) -> None:
    world.sandbox.switch(approve_company=world.realm)
    async with (
        puller(world.settings),
        served(world.settings) as url,
        stranger(url) as browser,
        stranger(url) as victim,
    ):
        await sign_in(browser, bus, "Olive", {WS: Role.OWNER})
        await sign_in(victim, bus, "Otto", {"fictional-mill": Role.OWNER})
        away = await browser.get(f"/connect/{WS}/quickbooks")
        held = away.headers["Set-Cookie"]
        for part in (f"weir-{browser.base_url.port}quickbooks=", "HttpOnly", "SameSite=lax", "Max-Age=600"):
            assert part in held
        # Sent to somebody else, it would bind their company to the workspace of the sender.
        approved = (await victim.get(away.headers["Location"])).headers["Location"]
        refused = await victim.get(approved)
        assert (refused.status_code, "did not begin" in refused.text) == (403, True)
        # Nor does it count after the roles of who began were taken.
        await People(bus).grant("Olive", WS, Role.REVIEWER)
        late = await browser.get(approved)
        assert (late.status_code, "no owner" in late.text) == (400, True)
        assert await Bucket(bus, "connections", Connection).get(f"{WS}.quickbooks") is None

        await People(bus).grant("Olive", WS, Role.OWNER)
        other = await browser.get(f"/connect/{WS}/quickbooks")
        taken = await browser.get((await browser.get(other.headers["Location"])).headers["Location"])
        assert (taken.status_code, taken.headers["Location"]) == (303, f"/connected/{WS}/quickbooks")
        assert set(browser.cookies) == {f"weir-{browser.base_url.port}"}


async def test_the_pull_has_begun_when_both_are_connected(wired: Settings, bus: Bus) -> None:
    bucket = Bucket(bus, "connections", Connection)
    async with console(wired) as browser:
        for provider, other in (("qonto", "quickbooks"), ("quickbooks", None)):
            made = Connection(workspace=WS, account="fictional-1", state="connected", since=now())
            await bucket.create(f"{WS}.{provider}", made)
            page = await browser.get(f"/connected/{WS}/{provider}")
            assert ("the pull has begun" in page.text) == (other is None)
            assert (f'href="/connect/{WS}/{other}"' in page.text) == (other is not None)


async def test_what_needs_a_person_says_what_to_do(wired: Settings, bus: Bus) -> None:
    bucket = Bucket(bus, "connections", Connection)
    made = Connection(
        workspace=WS, account="fictional-1", name="Fictional Lock Ltd", state="needs-reconnect", since=now()
    )
    kept = await bucket.create(f"{WS}.quickbooks", made)
    async with console(wired) as browser:
        page = (await browser.get(CONNECTIONS)).text
        assert "Fictional Lock Ltd (fictional-1)" in page
        assert f'href="/connect/{WS}/quickbooks">Reconnect<span' in page
        # The account stays the workspace's own until somebody disconnects it.
        assert (await browser.get(f"/disconnect/{WS}/quickbooks")).status_code == 200
        pause = Pause(why="the company's QuickBooks subscription has ended", fix="Renew it")
        await bucket.replace(f"{WS}.quickbooks", replace(made, state="connected", paused=pause), kept)
        page = (await browser.get(CONNECTIONS)).text
        assert 'trouble">paused<' in page
        assert 'subscription has ended<span class="fix">Renew it<' in page
        assert f"/connect/{WS}/quickbooks" not in page


async def test_how_pulling_stands_is_said_as_in_the_terminal(wired: Settings, bus: Bus) -> None:
    made = Connection(workspace=WS, account="fictional-1", state="connected", since=now())
    await Bucket(bus, "connections", Connection).create(f"{WS}.quickbooks", made)
    pulls = Bucket(bus, "pulls", PullState)
    running = PullState(
        realm="fictional-1", began_at=now(), entity="Bill", read_until=now(), counts={"bill": 3}, first=True
    )
    ended = PullState(realm="fictional-1", began_at=now(), finished_at=now())
    why = "Qonto is not connected: never connected"
    async with console(wired) as browser:
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
            assert words in html.unescape((await browser.get(CONNECTIONS)).text), words


async def test_a_write_is_taken_from_our_own_pages_only(wired: Settings, bus: Bus) -> None:
    assert bus.region  # the buckets exist
    async with console(wired) as browser:
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
        assert forged.status_code == 403
        assert (await browser.get("/oauth/quickbooks/callback")).status_code == 400
        asked = httpx.URL((await browser.get(f"/connect/{WS}/quickbooks")).headers["Location"]).params
        denied = await browser.get(
            "/oauth/quickbooks/callback", params={"state": asked["state"], "error": "<script>alert(1)</script>"}
        )
        assert denied.status_code == 400
        assert "<script>" not in denied.text
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
        for host in ("elsewhere.example", "["):
            assert (await browser.get("/", headers={"Host": host})).status_code == 421
        policy = (await browser.get("/")).headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        for linked in re.findall(r'<link [^>]*href="([^"]+)"', lost.text):
            assert (await browser.get(linked)).status_code == 200, linked
        for icon in ("/static/favicon.svg", "/favicon.ico"):
            assert (await browser.get(icon)).headers["Content-Type"].startswith("image/svg+xml")


async def test_off_loopback_it_listens_with_a_provider_and_tls_only(settings: Settings) -> None:
    oidc = {"console_oidc_issuer": "https://identity.example", "console_url": "https://weir.example"}
    everywhere = "0.0.0.0"  # noqa: S104 (what may not be listened on without them)
    for missing, named in (
        ({}, "WEIR_CONSOLE_OIDC_ISSUER"),
        ({"console_url": "https://weir.example"}, "WEIR_CONSOLE_BEHIND_PROXY"),
        ({"console_behind_proxy": True}, "WEIR_CONSOLE_URL"),
        ({**oidc, "console_url": "http://127.0.0.1:8460"}, "WEIR_CONSOLE_URL"),
        (oidc, "WEIR_CONSOLE_OIDC_CLIENT_ID"),
        ({**oidc, "console_oidc_client_id": "weir"}, "WEIR_CONSOLE_OIDC_CLIENT_SECRET"),
    ):
        with pytest.raises(UserError, match=named):
            await app.serve(settings.model_copy(update={"console_host": everywhere, "console_port": 0, **missing}))


async def test_started_in_a_terminal_it_prints_the_link(settings: Settings, bus: Bus, tmp_path: Path) -> None:
    assert bus.region  # the buckets exist
    ours, theirs = os.openpty()
    async with process(settings, tmp_path / "log", terminal=theirs) as url, stranger(url) as browser:
        printed = await anyio.to_thread.run_sync(os.read, ours, 4096)
        link = printed.decode().split()[-1]
        assert link.startswith(f"{url}/signin?link=")
        entered = await browser.post("/signin", data={"link": link.partition("link=")[2]})
        assert (entered.status_code, entered.headers["Location"]) == (303, "/")
        assert link.partition("link=")[2] not in (tmp_path / "log").read_text()
    os.close(ours)
    os.close(theirs)


async def test_over_tls_the_cookie_is_bound_to_the_host(settings: Settings, bus: Bus) -> None:
    await People(bus).grant("Olive", WS, Role.VIEWER)
    async with (
        served(settings, console_url="https://weir.example") as url,
        stranger(url) as one,
    ):
        one.headers["Host"] = "weir.example"
        entered = await one.post("/signin", data={"link": await Invitations(bus).make("Olive")})
        assert entered.headers["Set-Cookie"].startswith("__Host-weir=")
        assert "; Secure" in entered.headers["Set-Cookie"]
        assert "Domain" not in entered.headers["Set-Cookie"]
