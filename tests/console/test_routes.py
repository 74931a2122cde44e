"""Every route, walked: a stranger, a person of another workspace and a role too low get nothing."""

import re

import httpx

from common.bus import Bus
from common.people import EVERYWHERE, People, Role
from common.settings import Settings
from services.console.access import NEEDS, PUBLIC, SIGNED_IN, Cookie
from services.console.desk.shelves import Shelves
from services.console.live import Live
from services.console.web import assembled, routed
from tests.console.stand import served, sign_in, stranger
from tests.console.test_signin import connected
from tests.puller.stand import WS

OTHER = "fictional-mill"
OPEN = {
    "/api",
    "/api/openapi.json",
    "/api/{path:str}",
    "/favicon.ico",
    "/livez",
    "/oauth/{provider:str}/callback",
    "/readyz",
    "/signin",
    "/signin/callback",
    "/signin/oidc",
    "/static/{file_path:path}",
    "/webhooks/qonto",
    "/webhooks/quickbooks",
}
"""What needs nobody: a route that joins these has to be meant to."""
WRITES = {"POST", "PUT", "PATCH", "DELETE"}
KEYS = {
    "workspace": WS,
    "provider": "quickbooks",
    "key": "9341-1",
    "sha256": "0" * 64,
    "ident": "poster.9341-1",
    "file_path": "weir.css",
    "path": "nothing",
}


def walk(bus: Bus) -> list[tuple[str, str, str]]:
    """Every route of the console: method, path, and what it says it needs."""
    app = assembled(bus, "http://127.0.0.1:8460", Cookie("http://127.0.0.1:8460", 8460), Live(bus), Shelves(bus))
    return sorted(
        (str(method), path, str(handler.opt[NEEDS]))
        for path, handler in routed(app)
        for method in getattr(handler, "http_methods", ())
    )


def address(path: str, workspace: str) -> str:
    """A path with something in the place of each parameter."""
    values = KEYS | {"workspace": workspace}
    return re.sub(r"{(\w+):\w+}", lambda part: values.get(part[1], "9341-1"), path)


async def ask(browser: httpx.AsyncClient, method: str, path: str, workspace: str = WS) -> httpx.Response:
    """The answer, or its head where it would not end."""
    async with browser.stream(method, address(path, workspace)) as answer:
        if not answer.headers.get("Content-Type", "").startswith("text/event-stream"):
            await answer.aread()
        return answer


async def test_each_route_lets_through_whom_it_says(settings: Settings, bus: Bus) -> None:
    await connected(bus, WS, OTHER)
    routes = walk(bus)
    assert {path for _method, path, needs in routes if needs == PUBLIC} == OPEN
    assert all(needs in {PUBLIC, SIGNED_IN} or "{workspace:str}" in path for _method, path, needs in routes), (
        "a role is one in the workspace of the path"
    )
    assert all(
        needs in {PUBLIC, Role.REVIEWER, Role.OWNER} or path == "/signout"
        for method, path, needs in routes
        if method in WRITES
    ), "who only looks changes nothing"

    async with (
        served(settings) as url,
        stranger(url) as nobody,
        stranger(url) as elsewhere,
        stranger(url) as low,
    ):
        await sign_in(elsewhere, bus, "Otto", {OTHER: Role.OWNER})
        for method, path, needs in routes:
            if needs == PUBLIC:
                continue
            kept = await ask(nobody, method, path)
            api = path.startswith("/api/")
            assert kept.status_code == (401 if api else 303), (method, path)
            assert api or kept.headers["Location"].startswith("/signin"), (method, path)
            if path == "/signout":
                continue
            foreign = await ask(elsewhere, method, path)
            if needs != SIGNED_IN:
                assert foreign.status_code == 404, (method, path)
                assert "fictional-lock-1" not in foreign.text, (method, path)
                # One that does not exist is told of in the same words.
                absent = await ask(elsewhere, method, path, "no-such-workspace")
                assert absent.text.replace("no-such-workspace", WS) == foreign.text, (method, path)
            else:
                assert foreign.status_code < 500, (method, path)
                assert WS not in foreign.text, (method, path)

        for role, below in ((Role.REVIEWER, Role.VIEWER), (Role.OWNER, Role.REVIEWER)):
            await People(bus).revoke("Lou")
            await sign_in(low, bus, "Lou", {WS: below})
            for method, path, needs in routes:
                if needs == role:
                    refused = await ask(low, method, path)
                    assert (refused.status_code, f"takes the role {role}" in refused.text) == (403, True), path
                    assert "fictional-lock-1" not in refused.text


async def test_what_says_nothing_is_refused_to_everybody(settings: Settings, bus: Bus) -> None:
    await connected(bus, WS)
    async with served(settings) as url, stranger(url) as browser:
        await sign_in(browser, bus, "Olive", {EVERYWHERE: Role.OWNER})
        assert (await browser.request("OPTIONS", f"/w/{WS}/connections")).status_code == 405
        assert (await browser.head(f"/w/{WS}/connections")).status_code == 200
        assert (await browser.head("/livez")).status_code == 200
