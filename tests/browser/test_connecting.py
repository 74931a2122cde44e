"""Connecting and disconnecting in a real browser, with the puller and the QuickBooks stand-in behind it."""

import re

from playwright.async_api import expect

from tests.browser.conftest import SignedIn, accessible
from tests.puller.stand import WS, World, puller


async def test_books_are_connected_given_back_and_connected_again(world: World, signed_in: SignedIn) -> None:
    world.sandbox.switch(approve_company=world.realm)
    async with puller(world.settings), signed_in() as page:
        await page.get_by_label("New workspace").fill(WS)
        await page.get_by_role("button", name="Connect QuickBooks").click()
        await expect(page.get_by_role("heading", name="QuickBooks is connected")).to_be_visible()
        await accessible(page)
        await page.get_by_role("link", name="All connections").click()
        await expect(page.get_by_text("Poster does not run")).to_have_count(0)
        await expect(page.get_by_text("Scorer does not run")).to_be_visible()
        await expect(page.get_by_text("up to date")).to_be_visible()
        await accessible(page)

        await page.get_by_role("link", name="Disconnect QuickBooks").click()
        await expect(page.get_by_role("heading", name="What stays")).to_be_visible()
        await accessible(page)
        await page.get_by_role("button", name="Disconnect QuickBooks").click()
        books = page.get_by_role("region", name="QuickBooks")
        await expect(books.get_by_text("disconnected", exact=True)).to_be_visible()
        await page.get_by_role("link", name="Connect QuickBooks").click()
        await expect(page.get_by_role("heading", name="QuickBooks is connected")).to_be_visible()
        await page.keyboard.press("g")
        await page.keyboard.press("c")
        await expect(page).to_have_url(re.compile(f"/w/{WS}/connections$"))
        await page.get_by_role("button", name="Pull now").click()
        await expect(page.get_by_text("up to date")).to_be_visible()
