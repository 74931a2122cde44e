"""A policy tried out and set in a real browser, with a real scorer that says what it would change."""

import re
from decimal import Decimal

import pytest
from playwright.async_api import Page, expect

from common import policies
from common.buckets import Bucket
from common.bus import Bus
from common.messages import Company, Decision, Policy, Vendor, now
from common.people import Role
from common.settings import Settings
from common.tenants import Connection
from services.scorer.app import build
from tests.browser.conftest import PHONE, SignedIn, accessible, fits
from tests.browser.posting import console, idle, sandbox
from tests.browser.screens import pictures
from tests.poster.desk import WS, Desk, bill
from tests.puller.stand import running

__all__ = ["console", "idle", "sandbox"]


@pytest.fixture
async def decided(idle: Desk, bus: Bus) -> Desk:
    """A company whose bills a scorer has decided on; nobody posts."""
    made = Connection(workspace=WS, account=idle.realm, name="Fictional Lock Ltd", state="connected", since=now())
    await Bucket(bus, "connections", Connection).create(f"{WS}.quickbooks", made)
    for ident, name in (("7", "Imaginary Quarry Ltd"), ("8", "Märchen Mühle GmbH"), ("9", "Imaginary Kiln")):
        await idle.put(ident, "vendor", Vendor(name=name, active=True, tax_identifier=None))
    await idle.put("1", "company", Company(name="Fictional Lock Ltd", home_currency="EUR"))
    for number, total in (("1", "120.00"), ("2", "5400.00"), ("3", "9600.00")):
        await idle.record(number, bill(f"F-{number}", total))
    return idle


async def all_decided(desk: Desk) -> None:
    async def three() -> bool:
        names = await desk.bus.subjects(desk.bus.topology.decisions, f"{desk.bus.region}.decision.{WS}.*")
        found = await desk.bus.latest(desk.bus.topology.decisions, names, Decision)
        return len(found) == 3

    await desk.until(three)


async def to_policy(page: Page) -> None:
    await page.goto(re.sub("(/w/[^/]+).*", r"\1/policy", page.url))
    await expect(page.get_by_role("heading", name="Policy", level=1)).to_be_visible()


async def test_it_is_tried_out_and_of_two_who_save_nobody_loses_anything(
    decided: Desk, settings: Settings, signed_in: SignedIn
) -> None:
    async with signed_in("Rita", {WS: Role.REVIEWER}, viewport=PHONE, dark=True) as phone:
        await to_policy(phone)
        await expect(phone.get_by_label("Largest amount")).to_be_disabled()
        await expect(phone.get_by_role("button", name="See what it would change")).to_have_count(0)
        await fits(phone)
        await accessible(phone)
    scorer = Bus(settings, "scorer")
    build(scorer)
    async with signed_in("Olive") as page:
        await to_policy(page)
        await page.get_by_label("Must prove right").fill("91")
        await page.get_by_label("Must prove right").press("Enter")
        await expect(page.get_by_text("What it would change is not known")).to_be_visible()
        await expect(page.locator("#preview").get_by_text("weir scorer")).to_be_visible()
    async with (
        running(scorer),
        signed_in("Olive") as page,
        signed_in("Otto", {WS: Role.OWNER}) as other,
    ):
        await all_decided(decided)
        await to_policy(page)
        await to_policy(other)
        await accessible(page)

        # What cannot be read is said where it stands.
        await page.get_by_label("Currency of the amount").fill("EUR")
        await page.get_by_role("button", name="See what it would change").click()
        await expect(page.get_by_role("alert")).to_contain_text("there is no cap")

        # A cap and a vendor found by name; what they would change shows before anything is set.
        await page.get_by_label("Largest amount").fill("5 000")
        await page.get_by_role("searchbox", name=re.compile("Never posted")).fill("marchen")
        await page.get_by_role("checkbox", name="Märchen Mühle GmbH 8").check()
        await page.get_by_role("button", name="See what it would change").click()
        await expect(page.get_by_role("heading", name="What it would have changed")).to_be_visible()
        await expect(page.get_by_text("Of 3 decided bills")).to_be_visible()
        await expect(page.locator(".whatif details summary").first).to_contain_text("2 created → for a person")
        await expect(page.get_by_role("link", name="Imaginary Quarry Ltd").first).to_have_attribute(
            "href", re.compile(f"/w/{WS}/bills/{decided.realm}-[23]")
        )
        await accessible(page)
        await pictures(page, "policy")
        assert await policies.present(decided.bus, WS) is None
        await page.get_by_role("button", name="Save version 2").click()
        await expect(page.get_by_text("Version 2 is set.")).to_be_visible()
        await expect(page.get_by_text("8 (Märchen Mühle GmbH)")).to_be_visible()

        # The other has the old form open, is told at once, and loses nothing.
        await expect(other.get_by_text("Olive has set version 2 meanwhile")).to_be_visible()
        await other.get_by_label("Largest amount").fill("100")
        await other.get_by_label("Must prove right").fill("90")
        await other.get_by_role("button", name="See what it would change").click()
        await expect(other.get_by_role("heading", name="Olive set version 2 meanwhile")).to_be_visible()
        await expect(other.get_by_text("You both changed Largest amount")).to_be_visible()
        await accessible(other)
        await other.get_by_role("button", name="Save version 3").click()
        await expect(other.get_by_text("Version 3 is set.")).to_be_visible()
        kept = await policies.present(decided.bus, WS)
        assert kept is not None
        assert kept.value == Policy(
            version=3,
            amount_cap=Decimal(100),
            cap_currency="EUR",
            target=0.9,
            blocked_vendors=("8",),
            by="Otto",
        )
