"""People decide in a real browser, with everything behind the console at work."""

import re
from collections import Counter
from decimal import Decimal

import anyio
import pytest
from playwright.async_api import Locator, Page, expect

from common import answering, subjects
from common.buckets import Bucket
from common.bus import Bus
from common.messages import Entry, Policy, ReviewRequested
from common.people import Role
from tests.browser.conftest import PHONE, SignedIn, accessible, fits
from tests.browser.screens import pictures
from tests.browser.test_today import approve
from tests.browser.whole import Whole, console, whole

__all__ = ["console", "whole"]

WS = "fictional-lock"
REVIEWS = f"/w/{WS}/reviews"
BILLS = 40
LONG = 45_000
"""Milliseconds for what a first pull brings to wait, and for what Qonto has to show."""


async def connected(whole: Whole, page: Page) -> None:
    """Both accounts, through the providers' own pages; every bill waits, because nothing is small enough."""
    await Bucket(whole.bus, "policies", Policy).create(WS, Policy(version=2, amount_cap=Decimal(0)))
    company = await whole.company(bills=BILLS)
    for provider in ("quickbooks", "qonto"):
        await page.goto(f"{whole.console}/connect/{WS}/{provider}")
        await approve(page, company["name"])
        await expect(page.get_by_role("heading", name=re.compile("is connected"))).to_be_visible()


async def questions(bus: Bus) -> dict[str, ReviewRequested]:
    """What waits, by record key, once every bill does."""
    pattern = f"{bus.region}.review.*.{WS}.*"
    with anyio.fail_after(60):
        while len(names := await bus.subjects(bus.topology.reviews, pattern)) < BILLS:
            await anyio.sleep(0.1)
    found = {name.rpartition(".")[2]: await answering.asked(bus, WS, name.rpartition(".")[2]) for name in names}
    return {key: one.question for key, one in found.items() if one is not None}


def alike(asked: dict[str, ReviewRequested], sure: list[str]) -> list[str]:
    """The bills of the supplier that has most of those that are sure."""
    suppliers = Counter(asked[key].summary.vendor.id for key in sure)
    ((most, count),) = suppliers.most_common(1)
    assert count > 1
    return [key for key in sure if asked[key].summary.vendor.id == most]


def toast(page: Page) -> Locator:
    """Where it is said what became of the last answer."""
    return page.locator("#toast")


async def became(page: Page, words: str) -> None:
    """Wait until that is said."""
    await expect(toast(page)).to_contain_text(words, timeout=LONG)


@pytest.mark.timeout(300)
async def test_people_decide(whole: Whole, signed_in: SignedIn) -> None:
    async with signed_in("Olive", troubled=True) as page, signed_in("Otto", {WS: Role.REVIEWER}) as other:
        await connected(whole, page)
        asked = await questions(whole.bus)
        sure = [key for key, one in asked.items() if one.candidates and one.candidates[0].score > 0.9]
        recurring = alike(asked, sure)
        sure = [key for key in sure if key not in recurring]
        free = [key for key, one in asked.items() if not one.candidates]
        assert len(sure) > 3
        assert len(free) > 1

        # The list, by keyboard alone: to the first row, into it, and one key decides.
        await page.goto(f"{whole.console}{REVIEWS}?sort=score&descending=1")
        await expect(page.locator(".summary")).to_contain_text(f"{len(asked)} bills wait")
        await accessible(page)
        await pictures(page, "reviews", full=False)
        await page.keyboard.press("j")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="The bill in QuickBooks")).to_be_visible()
        await accessible(page)
        await pictures(page, "review", full=False)
        first = page.url
        await page.keyboard.press("c")
        await page.wait_for_url(lambda url: url.partition("?")[0] != first.partition("?")[0])  # the next one shows
        await became(page, "linked, and Qonto shows it")
        await page.keyboard.press("u")
        await became(page, "It waits for you again")

        # Two people look at one bill: the second is told who was faster, and can no longer decide.
        contested = sure[0]
        for one in (page, other):
            await one.goto(f"{whole.console}{REVIEWS}/{contested}")
            await expect(one.get_by_role("button", name=re.compile("^Confirm"))).to_be_visible()
        await other.keyboard.press("c")
        await became(other, "linked, and Qonto shows it")
        await expect(page.locator("#standing")).to_contain_text("Otto linked it")
        await expect(page.get_by_role("button", name=re.compile("^Confirm"))).to_be_hidden()
        await page.evaluate("document.querySelector('#decide').requestSubmit(document.querySelector('[data-key=n]'))")
        await expect(page.get_by_role("alert")).to_contain_text("Otto")

        # Any entry of Qonto is found and pinned; a new one created; a bill refused with a reason.
        pinned = sure[1]
        best = asked[pinned].candidates[0]
        name = subjects.entry(whole.bus.region, WS, best.kind, best.entry)
        entry = (await whole.bus.latest(whole.bus.topology.entries, [name], Entry))[name].message
        await page.goto(f"{whole.console}{REVIEWS}/{pinned}")
        await page.keyboard.press("f")
        await page.keyboard.type(entry.number or str(entry.amount))
        await expect(page.locator(".hits li").first).to_be_visible()
        await accessible(page)
        await pictures(page, "find", full=False)
        await page.keyboard.press("Escape")  # once, whatever was typed: the keys decide again
        await expect(page.locator("#find")).to_be_hidden()
        await page.keyboard.press("f")
        await page.locator(".hits li").filter(has_text=entry.counterparty or "").first.get_by_role("button").click()
        await became(page, "linked, and Qonto shows it")
        await page.goto(f"{whole.console}{REVIEWS}/{free[0]}")
        await page.keyboard.press("n")
        await became(page, "created, and Qonto shows it")
        await page.goto(f"{whole.console}{REVIEWS}/{free[1]}")
        await page.keyboard.press("r")
        await page.keyboard.type("never ordered")
        await page.keyboard.press("Enter")
        await became(page, "refused, nothing was posted")

        # One is chosen, all that are alike are proposed with it, and what will be done is shown before it is done.
        await page.goto(f"{whole.console}{REVIEWS}")
        await page.locator(f"#choose-{recurring[0]}").check()
        await page.keyboard.press("b")
        await expect(page.locator(".bulk tbody tr").nth(1)).to_be_visible()
        several = await page.locator(".bulk tbody tr").count()
        await accessible(page)
        await pictures(page, "bulk", full=False)
        await page.get_by_role("button", name=re.compile("Confirm")).click()
        await expect(page.locator(".outcomes .good")).to_have_count(several, timeout=LONG)

        # The record tells all of it, and takes it back.
        await page.goto(f"{whole.console}/w/{WS}/bills/{pinned}")
        await expect(page.locator(".timeline")).to_contain_text("Olive")
        await expect(page.locator("#now + p")).to_contain_text("verified")
        await accessible(page)
        await pictures(page, "record", full=False)
        await page.get_by_text("Undo…").click()
        await page.get_by_role("textbox", name="Why").fill("wrong supplier")
        await page.get_by_role("button", name="Undo it").click()
        await became(page, "It waits for you again")

        # Who only looks sees the same on a phone, and cannot decide.
        async with signed_in("Vera", {WS: Role.VIEWER}, viewport=PHONE, dark=True) as viewer:
            for path in (REVIEWS, f"{REVIEWS}/{sure[2]}", f"/w/{WS}/bills/{pinned}"):
                await viewer.goto(f"{whole.console}{path}")
                await fits(viewer)
                await accessible(viewer)
                await expect(viewer.locator("[name=choice]")).to_have_count(0)
        async with signed_in("Rita", {WS: Role.REVIEWER}, viewport=PHONE) as reviewer:
            for path in (REVIEWS, f"{REVIEWS}/{sure[2]}"):
                await reviewer.goto(f"{whole.console}{path}")
                await expect(reviewer.get_by_role("article").or_(reviewer.locator("tbody tr")).first).to_be_visible()
                await fits(reviewer)
            await reviewer.get_by_role("button", name="Confirm", exact=False).first.click()
            await became(reviewer, "linked, and Qonto shows it")
