"""What QuickBooks leaves open makes no difference: every position of every switch ends with the same records.

The switches of the stand-in stand for the open points of the API; the names are theirs.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import anyio
import httpx
import pytest

from common.messages import Bill, now
from services.puller import ticks
from services.puller.quickbooks import Company
from tests.puller.stand import World, differences, puller, until

pytestmark = pytest.mark.usefixtures("swift")

PDF = b"%PDF-1.4 fictional"
DAY = 86_400


def unpaid(world: World) -> list[str]:
    """Bills that nothing is linked to."""
    bills = world.sandbox.bills(world.realm)
    return [ident for ident in sorted(bills, key=int) if not bills[ident].get("LinkedTxn")]


def a_days_work(world: World, said: str = "edited") -> None:
    """Bills made, edited, paid and deleted, files added and taken away, a vendor put out of use."""
    books, realm = world.sandbox, world.realm
    edited, gone, paid, filed, *_ = unpaid(world)
    _, vendor, *_ = books.objects(realm, "Vendor")
    books.patch(f"{realm}/quickbooks/bill/{edited}", {"PrivateNote": said})
    books.delete(f"{realm}/quickbooks/bill/{gone}")
    books.post(f"{realm}/quickbooks/bill/{paid}/pay", json={})
    books.patch(f"{realm}/quickbooks/vendor/{vendor}", {"Active": False})
    *_, taken = books.objects(realm, "Attachable")
    books.delete(f"{realm}/quickbooks/attachable/{taken}")
    books.attach(realm, filed, PDF + said.encode())
    line = {
        "Amount": 12.5,
        "DetailType": "AccountBasedExpenseLineDetail",
        "AccountBasedExpenseLineDetail": {"AccountRef": {"value": "60"}},
    }
    draft = {"VendorRef": books.bills(realm)[edited]["VendorRef"], "Line": [line], "PrivateNote": said}
    made = books.post(f"{realm}/quickbooks/bill", json=draft)["Bill"]["Id"]
    books.attach(realm, made, PDF + b" of the new one")


def a_small_company(world: World, bills: int = 8) -> None:
    """A company whose bills were all made in one second, an hour ago."""
    world.realm = world.sandbox.company(bills=0)
    for entity, count in (("Bill", bills), ("Attachable", 4), ("VendorCredit", 2)):
        world.sandbox.crowd(world.realm, entity, count, at=(now() - timedelta(hours=1)).isoformat())


async def memo(world: World, ident: str) -> str | None:
    body = (await world.bill(ident)).message.body
    assert isinstance(body, Bill)
    return body.memo


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"changed_since": "exclusive", "capture_empty": "left_out", "attach_touches_bill": True},
        {"capture_attachables": False, "start_zero": "accept"},
    ],
    ids=["one way", "the other", "no capture of attachments"],
)
async def test_either_way_records_are_what_quickbooks_holds(world: World, switches: dict[str, Any]) -> None:
    world.sandbox.switch(**switches)
    a_small_company(world)
    async with puller(world.settings):
        await world.first_pull()
        assert await differences(world) == []
        a_days_work(world)
        await world.pull()
        assert await differences(world) == []
        before = await world.last_sequence()
        world.sandbox.count()
        await world.pull()
        # Where attachments are not captured, their window is read.
        assert world.sandbox.spent() == (2 if "capture_attachables" in switches else 1)
        assert await world.last_sequence() == before


async def test_attachments_that_are_not_captured_are_compared_once_a_day(world: World) -> None:
    world.sandbox.switch(capture_attachables=False)
    a_small_company(world)
    one, two, *_ = unpaid(world)

    async def held() -> set[str]:
        return {
            document.attachable
            for item in (await world.records("bill")).values()
            for document in item.message.documents
        }

    async def after(change: Callable[[], None], calls: int) -> None:
        change()
        world.sandbox.count()
        await world.pull()
        assert world.sandbox.spent() == calls, world.sandbox.calls()

    def delete_one() -> None:
        world.sandbox.delete(f"{world.realm}/quickbooks/attachable/{files.pop()}")

    def a_day_later() -> None:
        world.sandbox.switch(clock_offset=DAY)

    for bill in (one, two):
        world.sandbox.attach(world.realm, bill, PDF + bill.encode())
    files = sorted(world.sandbox.objects(world.realm, "Attachable"))
    first, second = files[-1], files[-2]
    async with puller(world.settings):
        await world.first_pull()
        await world.pull()
        # Captured without them, and their window.
        await after(delete_one, 2)
        assert first in await held()
        # A token that expired, the company read once a day, asked in vain for attachments, their ids, the one gone.
        await after(a_day_later, 2 + 1 + 2 + 3)
        assert first not in await held()
        await after(delete_one, 2 + 2)  # and the tax codes
        assert second in await held()
        world.sandbox.switch(capture_attachables=True, clock_offset=2 * DAY)
        await world.pull()
        assert second not in await held()
        await world.pull()  # tax codes
        assert await differences(world) == []
        await after(lambda: None, 1)


@pytest.mark.parametrize("order", ["numeric", "lexical"])
async def test_ids_may_be_sorted_either_way(world: World, order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticks, "Company", partial(Company, size=15))
    world.sandbox.switch(id_order=order)
    a_small_company(world, 30)  # ids of one and two digits, more than a page of them in one second
    assert {len(ident) for ident in world.sandbox.bills(world.realm)} >= {1, 2}
    async with puller(world.settings):
        await world.first_pull()
        assert await differences(world) == []
        a_days_work(world)
        await world.set_marker("deletions", until=now() - timedelta(days=40))
        world.sandbox.count()
        await world.pull()
        assert "/v3/company/{id}/cdc 200" not in world.sandbox.calls()
        assert await differences(world) == []


async def test_capture_may_refuse_what_is_too_old_in_any_words(world: World) -> None:
    a_small_company(world)
    async with puller(world.settings):
        await world.first_pull()
        for times, code in enumerate(("500", "5020", "4000"), start=1):
            # Too old by their clock, not by ours: we ask, and are refused.
            world.sandbox.switch(capture_too_old=code, clock_offset=times * 40 * DAY)
            a_days_work(world, code)
            world.sandbox.count()
            await world.pull()
            assert world.sandbox.calls()["/v3/company/{id}/cdc 400"] >= 1
            assert await differences(world) == []


async def test_a_link_that_expired_on_the_way_is_asked_for_anew(world: World) -> None:
    a_small_company(world)
    bill, *_ = unpaid(world)

    async def on_the_way() -> bool:
        return not world.sandbox.control.get("/sandbox/faults").json()["faults"]

    async with puller(world.settings):
        await world.first_pull()
        for times, (status, link) in enumerate([(403, "bare"), (404, "quoted"), (400, "bare"), (410, "quoted")]):
            world.sandbox.switch(expired_link=status, download_link=link)
            world.sandbox.attach(world.realm, bill, PDF + link.encode() + b"%d" % status)
            world.sandbox.fault("/attachments/", "delay", seconds=0.5)
            world.sandbox.count()
            await world.tick()
            await until(on_the_way)
            world.sandbox.switch(clock_offset=1000 * (times + 1))
            await world.pulled()
            calls = world.sandbox.calls()
            refused = [count for call, count in calls.items() if "/attachments/" in call and call.endswith(f"{status}")]
            assert (sum(refused), calls["/v3/company/{id}/download/{id} 200"]) == (1, 1)
        assert await differences(world) == []
        assert [notice.kind for notice in await world.notices()] == ["connected", *["pulled"] * 5]


async def test_what_the_index_shows_late_comes_late_and_is_not_passed(world: World) -> None:
    a_small_company(world)
    async with puller(world.settings):
        world.sandbox.switch(query_lag=1000)
        early = unpaid(world)[-1]
        world.sandbox.patch(f"{world.realm}/quickbooks/bill/{early}", {"PrivateNote": "late"})
        await world.first_pull()
        assert await memo(world, early) != "late"
        a_days_work(world, "later")
        before = await world.last_sequence()
        await world.pull()
        assert await world.last_sequence() == before
        world.sandbox.switch(query_lag=0, clock_offset=1001)
        await world.pull()
        assert await memo(world, early) == "late"
        assert await differences(world) == []


@asynccontextmanager
async def crowded(world: World) -> AsyncIterator[None]:
    """Somebody else uses up what the company allows, until the puller has felt it."""
    token = world.sandbox.post(f"{world.realm}/tokens", json={"side": "quickbooks"})["access_token"]
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
    query = {"query": "SELECT COUNT(*) FROM Bill"}
    world.sandbox.count()
    async with httpx.AsyncClient(base_url=world.sandbox.url, headers=headers, trust_env=False) as somebody:

        async def full() -> None:
            """Return once a call was refused."""
            with anyio.fail_after(20):
                while (await somebody.get(f"/v3/company/{world.realm}/query", params=query)).status_code == 200:
                    pass

        await full()
        yield
        with anyio.fail_after(20):
            while "/v3/company/{id}/cdc 429" not in world.sandbox.calls():
                await full()


async def test_throttled_in_any_shape_with_or_without_a_word_when_to_come_again(world: World) -> None:
    world.sandbox.switch(limits=True)
    a_small_company(world)
    edited, *_ = unpaid(world)
    async with puller(world.settings):
        await world.first_pull()
        for shape in ("xml", "Fault", "fault"):
            for told in (True, False):
                world.sandbox.switch(throttle_shape=shape, retry_after=told)
                world.sandbox.patch(f"{world.realm}/quickbooks/bill/{edited}", {"PrivateNote": f"{shape} {told}"})
                async with crowded(world):
                    await world.tick()
                await world.pulled(20)
                assert await memo(world, edited) == f"{shape} {told}"
        world.sandbox.switch(limits=False)
        assert await differences(world) == []
        assert "pull-failed" not in [notice.kind for notice in await world.notices()]


@pytest.mark.parametrize("mode", ["grace_24h", "dead_at_once", "reuse_revokes_family"])
async def test_tokens_that_rotate_at_every_use_are_never_used_twice(world: World, mode: str) -> None:
    # A token that lives less than five minutes is renewed before every use.
    world.sandbox.switch(rotate_after=0, access_lifetime=200, old_token=mode)
    a_small_company(world)
    async with puller(world.settings):
        await world.first_pull()
        a_days_work(world)
        await world.pull()
        traffic = world.sandbox.traffic(world.realm)
        assert traffic["refreshes"] >= 10
        assert (traffic["stale_refreshes"], traffic["revocations"]) == (0, 0)
        assert await differences(world) == []
        # An answer that is lost after the old token died: the old one is all there is, and is tried once.
        world.sandbox.fault("/tokens/bearer", "drop_after")
        a_days_work(world, "again")
        await world.pull()
        kinds = [notice.kind for notice in await world.notices()]
        assert world.sandbox.traffic(world.realm)["stale_refreshes"] == 1
        assert kinds.count("needs-reconnect") == (0 if mode == "grace_24h" else 1)
        if mode != "grace_24h":
            await world.first_pull()
        assert await differences(world) == []
