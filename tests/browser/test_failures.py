"""What failed, seen and tried again in a real browser, with a real poster behind it."""

import re

from playwright.async_api import Locator, Page, expect

from common import subjects
from common.failures import Failures
from common.messages import Failure, now
from common.people import Role
from tests.browser.conftest import PHONE, SignedIn, accessible, fits
from tests.browser.posting import console, desk, idle, sandbox
from tests.browser.screens import pictures
from tests.poster.desk import WS, Desk, bill

__all__ = ["console", "desk", "idle", "sandbox"]

REJECTED = '{"errors":[{"code":"invalid","detail":"no such file"}]}'


async def failed(desk: Desk, *numbers: str) -> None:
    """Bills whose documents Qonto rejects, each once."""
    for number in numbers:
        there = len(await Failures(desk.bus).standing(WS))

        async def one_more(before: int = there) -> bool:
            return len(await Failures(desk.bus).standing(WS)) == before + 1

        await desk.fault("status", "/bulk$", status=400, body=REJECTED)
        await desk.create(number, bill(f"F-{number}"))
        await desk.until(one_more)


async def lonely(desk: Desk) -> None:
    """A failure of a service that does not run."""
    failure = Failure(
        id=f"lessons.{desk.realm}-1",
        workspace=WS,
        stage="lessons",
        record=f"{desk.realm}-1",
        why="the answer cannot be read",
        first_seen=now(),
        last_seen=now(),
        attempts=1,
        subject=f"{desk.bus.region}.review.closed.{WS}.{desk.realm}-1",
        stream=desk.bus.topology.reviews,
        sequence=1,
        retryable=True,
    )
    name = subjects.failure(desk.bus.region, WS, failure.stage, failure.record)
    await desk.bus.publish(name, failure, stream=desk.bus.topology.failures)


async def slowly_clicked(page: Page, button: Locator) -> None:
    """A click in whose middle the list moves: a person's press and release are a tenth of a second apart."""
    box = await button.bounding_box()
    assert box is not None
    await page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    await page.mouse.down()
    async with page.expect_response("**/failures/list") as moved:
        await page.evaluate("htmx.trigger('#failures', 'sse:failures')")
    await (await moved.value).finished()
    await page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))")
    await page.mouse.up()


async def test_what_failed_is_tried_again_and_leaves_the_list(desk: Desk, signed_in: SignedIn) -> None:
    await failed(desk, "1", "2")
    async with (
        signed_in("Rita", {WS: Role.REVIEWER}) as page,
        signed_in("Vera", {WS: Role.VIEWER}, dark=True, viewport=PHONE) as onlooker,
    ):
        await page.get_by_role("link", name="Failures", exact=True).click()
        await expect(page.get_by_text("2 failures stand")).to_be_visible()
        await expect(page.get_by_text("no such file")).to_have_count(2)
        await expect(page.get_by_role("link", name="bill 1")).to_have_attribute("href", f"/w/{WS}/bills/{desk.realm}-1")
        await accessible(page)
        await pictures(page, "failures")
        await onlooker.goto(re.sub("(/w/[^/]+).*", r"\1/failures", page.url))
        await expect(onlooker.get_by_text("2 failures stand")).to_be_visible()
        await expect(onlooker.get_by_role("button", name="Try")).to_have_count(0)
        await fits(onlooker)
        await accessible(onlooker)

        # The same again, and it says so; then it succeeds, and leaves everybody's list.
        await desk.fault("status", "/bulk$", status=400, body=REJECTED)
        await slowly_clicked(page, page.get_by_role("button", name=f"Try poster.{desk.realm}-1 again"))
        await expect(page.get_by_role("status")).to_contain_text("still fails")
        await expect(page.get_by_text("given up 2 times")).to_be_visible()
        await page.get_by_role("button", name=f"Try poster.{desk.realm}-1 again").click()
        await expect(page.get_by_role("status")).to_contain_text("is over: tried again by Rita")
        await expect(page.get_by_text("1 failure stands")).to_be_visible()
        await expect(onlooker.get_by_text("1 failure stands")).to_be_visible()

        # All that is left, by the keyboard.
        await failed(desk, "3")
        await expect(page.get_by_text("2 failures stand")).to_be_visible()
        await page.keyboard.press("a")
        await expect(page.get_by_role("status")).to_contain_text("2 of 2 succeeded")
        await expect(page.get_by_role("heading", name="Nothing has failed")).to_be_visible()
        await expect(onlooker.get_by_role("heading", name="Nothing has failed")).to_be_visible()
        await accessible(page)

        # Who would have to do it does not run: it says who, and how to start it.
        await lonely(desk)
        await page.get_by_role("button", name="Try lessons").click()
        told = page.get_by_role("status")
        await expect(told).to_contain_text("The scorer, which would try it again, does not answer")
        await expect(told).to_contain_text("Start it (weir scorer)")
    assert len(await desk.invoices()) == 3
