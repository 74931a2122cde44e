"""A real Chromium in front of a real console process. Without a browser these tests fail, they do not skip."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright, expect

from common.bus import Bus
from common.invitations import Invitations, address
from common.people import EVERYWHERE, People, Role
from common.settings import Settings
from tests.console.stand import PERSON, process
from tests.puller.stand import running_sandbox, sandbox, wired, world

__all__ = ["running_sandbox", "sandbox", "wired", "world"]

QUIET = (
    "--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --disable-dev-shm-usage --hide-scrollbars"
).split()
PHONE = {"width": 390, "height": 844}
PATIENCE = 20_000
"""Milliseconds a page may take to show what is expected."""
expect.set_options(timeout=PATIENCE)

SignedIn = Callable[..., AbstractAsyncContextManager[Page]]


@pytest.fixture(scope="session")
def running_chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Debian's Chromium, without a window, for the whole session; where it listens."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    assert path, "no Chromium; `make test` installs it where apt is, elsewhere set CHROMIUM to the program"
    folder: Path = tmp_path_factory.mktemp("chromium")
    port = folder / "DevToolsActivePort"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [path, "--headless=new", "--remote-debugging-port=0", f"--user-data-dir={folder}", *QUIET, "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        ready = time.monotonic() + 60
        while not port.exists() or "\n" not in port.read_text():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < ready, "Chromium did not start"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port.read_text().splitlines()[0]}"
        os.killpg(process.pid, signal.SIGKILL)  # nothing of it is kept
        process.wait(10)


@pytest.fixture
async def chromium(running_chromium: str) -> AsyncIterator[Browser]:
    """The browser, as this test speaks with it."""
    async with async_playwright() as playwright:
        yield await playwright.chromium.connect_over_cdp(running_chromium)


@pytest.fixture
async def console(wired: Settings, bus: Bus, tmp_path: Path) -> AsyncIterator[str]:
    """A console of this test's region, with the stand-in of QuickBooks as the provider; its address."""
    assert bus.region  # the buckets exist
    providers = {"WEIR_QUICKBOOKS_AUTHORIZE_URL": wired.quickbooks_authorize_url}
    async with process(wired, tmp_path / "console.log", providers) as url:
        yield url


@pytest.fixture
def signed_in(chromium: Browser, console: str, bus: Bus) -> SignedIn:
    """`async with signed_in() as page:` — a browser of its own, signed in by a link as a person would.

    `person` and `roles` say who it is (by workspace; default: the owner of everything), `viewport` how wide the
    screen is, `dark` its colours, `at` another console than this test's. At the end the page must have logged no error
    and broken no rule of its CSP, unless it is to be `troubled`.
    """

    @asynccontextmanager
    async def browsing(
        person: str = PERSON,
        roles: dict[str, Role] | None = None,
        *,
        at: str = console,
        dark: bool = False,
        troubled: bool = False,
        **more: object,
    ) -> AsyncIterator[Page]:
        for workspace, role in (roles or {EVERYWHERE: Role.OWNER}).items():
            await People(bus).grant(person, workspace, role)
        options = {
            "color_scheme": "dark" if dark else "light",
            "locale": "en-GB",
            "timezone_id": "Europe/Paris",
            **more,
        }
        context: BrowserContext = await chromium.new_context(**options)  # type: ignore[arg-type]
        context.set_default_timeout(PATIENCE)
        page = await context.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text) if _at_fault(message, console) else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        await page.goto(address(at, await Invitations(bus).make(person)))
        await page.get_by_role("button", name="Sign in").click()
        await page.wait_for_url(lambda url: "/signin" not in url)
        yield page
        await context.close()
        assert troubled or said == []

    return browsing


def _at_fault(message: ConsoleMessage, console: str) -> bool:
    """Whether it tells of an error of our own: not of a provider's page, nor that a service does not run."""
    url = message.location["url"]
    ours = url.startswith(console) or not url.startswith("http")
    return message.type == "error" and ours and "the server responded with a status of 503" not in message.text


async def accessible(page: Page) -> None:
    """Fail if axe finds anything serious on the page as it stands."""
    found = (await Axe().run(page)).response["violations"]
    serious = [
        f"{one['id']}: {one['help']}: {[node['html'] for node in one['nodes']]}"
        for one in found
        if one["impact"] in {"serious", "critical"}
    ]
    assert serious == []


async def fits(page: Page) -> None:
    """Fail if the page is wider than its screen."""
    assert await page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), page.url
