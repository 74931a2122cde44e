"""From an empty installation to bills that stand in Qonto, and what Today says on the way, in a real browser."""

import re

import pytest
from playwright.async_api import Page, expect

from common.people import Role
from tests.browser.conftest import PHONE, SignedIn, accessible, fits
from tests.browser.screens import pictures
from tests.browser.whole import Whole, console, whole

__all__ = ["console", "whole"]

WS = "fictional-lock"
LONG = 45_000
"""Milliseconds for what a first pull brings to stand in Qonto."""

SWAPPED = """() => new Promise((done) => {
  document.addEventListener("htmx:afterSettle", done, { once: true });
  htmx.trigger("#state", "sse:postings");
}).then(() => true)"""
"""Something moves, and the page has shown it."""


async def approve(page: Page, company: str) -> None:
    """On the provider's own page, as a person does."""
    await page.get_by_role("radio", name=company).check()
    await page.get_by_role("button", name="Approve").click()


@pytest.mark.timeout(300)
async def test_from_nothing_to_the_first_synced_bill_and_back(whole: Whole, signed_in: SignedIn) -> None:
    company = await whole.company(bills=20)
    async with signed_in() as page:
        await expect(page.get_by_text("No workspace yet")).to_be_visible()
        await page.get_by_label("New workspace").fill(WS)
        await page.keyboard.press("Enter")
        await approve(page, company["name"])
        await expect(page.get_by_role("heading", name="QuickBooks is connected")).to_be_visible()

        # One thing is next, and Today says which.
        await page.keyboard.press("g")
        await page.keyboard.press("t")
        await expect(page).to_have_url(re.compile(f"/w/{WS}$"))
        step = page.locator("[aria-current=step]")
        await expect(step.get_by_role("heading", name="Connect Qonto")).to_be_visible()
        await accessible(page)
        await pictures(page, "first-run")
        await step.get_by_role("link", name="Connect Qonto").click()
        await approve(page, company["name"])
        await page.get_by_role("link", name="Watch the first bills").click()

        # All that follows shows by itself.
        verified = page.locator(".verified .many")
        await expect(verified).not_to_have_text("0", timeout=LONG)
        await expect(page.get_by_role("heading", name="Your first synced bill")).to_have_count(0)
        await expect(page.get_by_text("up to date")).to_be_visible(timeout=LONG)
        await expect(page.get_by_text("none").first).to_be_visible()
        await accessible(page)
        await pictures(page, "today")

        await page.get_by_role("link", name="30 days").click()
        await expect(page.get_by_role("link", name="30 days")).to_have_attribute("aria-current", "true")
        await expect(verified).not_to_have_text("0")
        await page.get_by_text("As a table").click()
        await page.evaluate(SWAPPED)
        await expect(page.get_by_role("columnheader", name="For review")).to_be_visible()
        await accessible(page)

        async with signed_in("Vera", {WS: Role.VIEWER}, viewport=PHONE, dark=True) as onlooker:
            await expect(onlooker.locator(".verified .many")).not_to_have_text("0")
            await expect(onlooker.get_by_role("button", name="Pull now")).to_have_count(0)
            await fits(onlooker)
            await accessible(onlooker)

            # Disconnected, and everybody sees whose turn it is; then connected again.
            await page.get_by_role("link", name="Connections", exact=True).click()
            await expect(page.get_by_role("link", name=re.compile("Disconnect QuickBooks"))).to_be_visible()
            await pictures(page, "connections")
            await page.get_by_role("link", name=re.compile("Disconnect QuickBooks")).click()
            await expect(page.get_by_role("heading", name="What stays")).to_be_visible()
            await pictures(page, "disconnect")
            await page.get_by_role("button", name="Disconnect QuickBooks").click()
            await expect(onlooker.get_by_text("QuickBooks is disconnected").first).to_be_visible()
            await expect(onlooker.get_by_text("an owner")).to_be_visible()
            await page.goto(f"{whole.console}/w/{WS}")
            await expect(page.get_by_role("button", name="Pull now")).to_have_count(0)
            await page.locator(".duties").get_by_role("link", name="Connections").click()
            await page.get_by_role("link", name=re.compile("Connect QuickBooks")).click()
            await approve(page, company["name"])
            await page.get_by_role("link", name="Watch the first bills").click()
            await expect(onlooker.get_by_text("QuickBooks is disconnected")).to_have_count(0)

        # A pull is asked for by one key, and a new bill comes through.
        await expect(page.get_by_text("up to date")).to_be_visible(timeout=LONG)
        before = await page.locator("time").first.get_attribute("datetime")
        await page.keyboard.press("p")
        await expect(page.locator(f'.numbers time:not([datetime="{before}"])').first).to_be_visible(timeout=LONG)
