"""From the link in the terminal to the workspaces, in a real browser."""

import re
from contextlib import AsyncExitStack
from pathlib import Path

from msgspec.structs import replace
from playwright.async_api import expect

from common import embedded
from common.buckets import Bucket
from common.bus import Bus
from common.messages import now
from common.people import Role
from common.settings import Settings
from common.tenants import Connection
from tests.browser.conftest import PHONE, SignedIn, accessible, fits
from tests.browser.screens import pictures
from tests.console.stand import PERSON, process
from tests.puller.stand import WS


async def test_a_link_leads_to_the_workspaces_and_what_moves_shows(signed_in: SignedIn, bus: Bus) -> None:
    async with signed_in() as page:
        await expect(page).to_have_url(re.compile("/workspaces$"))
        await expect(page.get_by_text("No workspace yet")).to_be_visible()
        await expect(page.get_by_text(PERSON)).to_be_visible()
        await accessible(page)
        await pictures(page, "workspaces")

        connections = Bucket(bus, "connections", Connection)
        made = Connection(
            workspace=WS, account="fictional-1", name="Fictional Lock Ltd", state="connected", since=now()
        )
        await connections.create(f"{WS}.quickbooks", made)
        await page.get_by_role("link", name="Weir", exact=True).click()
        await expect(page).to_have_url(re.compile(f"/w/{WS}$"))
        await page.get_by_role("link", name="Connections", exact=True).click()
        await expect(page).to_have_url(re.compile(f"/w/{WS}/connections$"))
        await expect(page.get_by_text("Fictional Lock Ltd (fictional-1)")).to_be_visible()
        await accessible(page)

        # The other side is connected elsewhere: the page shows it by itself.
        await expect(page.get_by_role("link", name="Disconnect")).to_have_count(1)
        async with page.expect_request("**/connections/state") as asked:
            await connections.create(f"{WS}.qonto", made)
        assert "x-unasked" in (await asked.value).headers  # no session goes on for it
        await expect(page.get_by_role("link", name="Disconnect")).to_have_count(2)

        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        await accessible(page)
        await pictures(page, "sign-in")


async def test_a_phone_in_the_dark_shows_a_viewer_no_more_than_is_theirs(signed_in: SignedIn, bus: Bus) -> None:
    for workspace in (WS, "fictional-mill"):
        made = Connection(workspace=workspace, account=f"{workspace}-1", state="connected", since=now())
        await Bucket(bus, "connections", Connection).create(f"{workspace}.quickbooks", made)
    async with signed_in("Vera", {WS: Role.VIEWER}, dark=True, viewport=PHONE) as page:
        await page.get_by_role("link", name="Connections", exact=True).click()
        await expect(page).to_have_url(re.compile(f"/w/{WS}/connections$"))
        await expect(page.get_by_text("fictional-mill")).to_have_count(0)
        await expect(page.get_by_role("link", name="Disconnect")).to_have_count(0)
        await fits(page)
        await accessible(page)
        # Keys lead on: `g` and a letter.
        await page.goto(page.url.replace(f"/w/{WS}/connections", f"/connected/{WS}/quickbooks"))
        await page.keyboard.press("g")
        await page.keyboard.press("c")
        await expect(page).to_have_url(re.compile(f"/w/{WS}/connections$"))


async def test_a_page_says_that_weir_is_gone_and_comes_back_with_it(
    signed_in: SignedIn, settings: Settings, bus: Bus, tmp_path: Path
) -> None:
    bucket, port = Bucket(bus, "connections", Connection), embedded.free_port()
    made = Connection(workspace=WS, account="fictional-1", state="connected", since=now())
    kept = await bucket.create(f"{WS}.quickbooks", made)
    lost = "The connection to Weir is lost"
    async with AsyncExitStack() as stack:
        async with process(settings, tmp_path / "log", port=port) as url:
            page = await stack.enter_async_context(signed_in(at=url, troubled=True))
            await expect(page.get_by_text("fictional-1")).to_be_visible()
            await expect(page.get_by_text(lost)).to_be_hidden()
        await expect(page.get_by_text(lost)).to_be_visible()
        await accessible(page)
        await bucket.replace(f"{WS}.quickbooks", replace(made, name="Fictional Lock Ltd"), kept)
        async with process(settings, tmp_path / "log", port=port):
            # Shown again, the page hears of what it missed.
            await expect(page.get_by_text("Fictional Lock Ltd")).to_be_visible(timeout=20_000)
            await expect(page.get_by_text(lost)).to_be_hidden()
            await stack.aclose()


async def test_many_tabs_share_one_stream(signed_in: SignedIn, bus: Bus) -> None:
    bucket = Bucket(bus, "connections", Connection)
    made = Connection(workspace=WS, account="fictional-1", state="connected", since=now())
    kept = await bucket.create(f"{WS}.quickbooks", made)
    async with signed_in() as first:
        await expect(first.get_by_text("fictional-1")).to_be_visible()
        tabs = [await first.context.new_page() for _ in range(7)]  # one more than a browser has connections
        for tab in tabs:
            await tab.goto(first.url)
        await bucket.replace(f"{WS}.quickbooks", replace(made, name="Fictional Lock Ltd"), kept)
        for tab in (first, *tabs):
            await expect(tab.get_by_text("Fictional Lock Ltd")).to_be_visible()
        await first.goto("about:blank")
        await bucket.put(f"{WS}.quickbooks", replace(made, name="Fictional Mill Ltd"))
        for tab in tabs:
            await expect(tab.get_by_text("Fictional Mill Ltd")).to_be_visible()
