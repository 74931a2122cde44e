"""One object that QuickBooks cannot give hides nobody else, is told, and comes when it is mended."""

from datetime import timedelta

import pytest

from common.messages import Bill, now
from common.settings import Settings
from tests.puller.stand import World, puller


def few_recent_bills(world: World) -> Settings:
    """A company of few bills, and settings that read back a day or two: so few halvings."""
    world.realm = world.sandbox.company(bills=0)
    # Older than the overlap: a pull reads these again only if it is told to.
    world.sandbox.crowd(world.realm, "Bill", 9, spread=4, at=(now() - timedelta(hours=3)).isoformat())
    return world.settings.model_copy(update={"backfill_from": (now() - timedelta(days=1)).date()})


@pytest.fixture(autouse=True)
def _little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.puller.quickbooks.BROKEN_WAITS", (0.05, 0.1))


@pytest.mark.parametrize("code, lists", [("4002", True), ("4002", False), ("10000", True)])
async def test_a_damaged_bill_is_left_out_and_the_rest_goes_on(world: World, code: str, lists: bool) -> None:
    recent = few_recent_bills(world)
    bills = world.sandbox.bills(world.realm)
    bad = sorted(bills)[4]
    world.sandbox.damage(world.realm, "bill", bad, code=code, reads=False, lists=lists)
    async with puller(recent):
        await world.first_pull()
        assert (await world.records("bill")).keys() == bills.keys() - {bad}
        assert (await world.marker("Bill")).quiet
        (told,) = [notice for notice in await world.notices() if notice.kind == "failed"]
        assert code in told.why
        assert "save it again" in (told.fix or "")
        if lists:
            assert f"Bill {bad} was left out" in told.why
            assert (await world.marker("Bill")).damaged == (bad,)
        world.sandbox.patch(f"{world.realm}/quickbooks/bill/{bad}", {"PrivateNote": "saved again"})
        await world.pull()
        body = (await world.bill(bad)).message.body
        assert isinstance(body, Bill)
        assert body.memo == "saved again"


async def test_a_damaged_page_is_read_object_by_object_if_each_can_be_read(world: World) -> None:
    recent = few_recent_bills(world)
    world.sandbox.crowd(world.realm, "Bill", 300)  # all in one second
    bills = world.sandbox.bills(world.realm)
    moments = [bill["MetaData"]["LastUpdatedTime"] for bill in bills.values()]
    crowded = max(set(moments), key=moments.count)
    bad = [ident for ident, bill in bills.items() if bill["MetaData"]["LastUpdatedTime"] == crowded][137]
    world.sandbox.damage(world.realm, "bill", bad, code="4002", reads=True, lists=True)
    async with puller(recent):
        world.sandbox.count()
        await world.first_pull()
        assert (await world.records("bill")).keys() == bills.keys()
        assert not [notice for notice in await world.notices() if notice.kind == "failed"]
        spent = world.sandbox.calls()
    refused = sum(count for name, count in spent.items() if name == "/v3/company/{id}/query 400")
    assert refused <= 2 * (18 + 10)  # halvings of two days, then of the 300


async def test_what_is_damaged_is_tried_again_every_day_and_told_once(world: World) -> None:
    recent = few_recent_bills(world)
    bad, *_ = sorted(world.sandbox.bills(world.realm))
    world.sandbox.damage(world.realm, "bill", bad, code="4002", reads=False, lists=True)
    async with puller(recent):
        await world.first_pull()
        for _ in range(2):
            await forget_the_day(world)
            await world.pull()
        assert len([notice for notice in await world.notices() if notice.kind == "failed"]) == 1
        assert bad not in await world.records("bill")
        world.sandbox.delete(f"{world.realm}/quickbooks/bill/{bad}/poison")
        await world.pull()
        assert bad not in await world.records("bill")
        await forget_the_day(world)
        await world.pull()
        assert bad in await world.records("bill")
        assert (await world.marker("Bill")).damaged == ()


async def forget_the_day(world: World) -> None:
    """Make the daily part of a pull due."""
    marker = await world.marker("TaxCode")
    assert marker.until is not None
    await world.set_marker("TaxCode", until=now() - timedelta(days=1))


async def test_a_damaged_object_stops_neither_capture_nor_deletions(world: World) -> None:
    async with puller(world.settings):
        await world.first_pull()
        bad, gone, edited, *_ = [
            ident for ident, bill in sorted(world.sandbox.bills(world.realm).items()) if not bill.get("LinkedTxn")
        ]
        for ident in (bad, edited):
            world.sandbox.patch(f"{world.realm}/quickbooks/bill/{ident}", {"PrivateNote": "edited"})
        world.sandbox.damage(world.realm, "bill", bad, code="4002", reads=False, lists=True)
        world.sandbox.delete(f"{world.realm}/quickbooks/bill/{gone}")
        await world.pull()
        bills = await world.records("bill")
        assert bills[gone].message.deleted
        assert not bills[bad].message.deleted
        body = bills[edited].message.body
        assert isinstance(body, Bill)
        assert body.memo == "edited"


async def test_while_quickbooks_is_unwell_nothing_is_taken_for_damaged(world: World) -> None:
    broken = '{"Fault":{"Error":[{"Message":"An application error has occurred","code":"10000"}],"type":"SystemFault"}}'
    async with puller(world.settings.model_copy(update={"pull_overlap": 2})):
        await world.first_pull()
        reached = (await world.marker("Bill")).until
        world.sandbox.patch(
            f"{world.realm}/quickbooks/bill/{sorted(world.sandbox.bills(world.realm))[0]}", {"PrivateNote": "edited"}
        )
        world.sandbox.fault("/(query|cdc)", "status", status=500, body=broken, times=1000)
        await world.pull()
        notice = (await world.notices())[-1]
        assert notice.kind == "pull-failed"
        assert "10000" in notice.why
        assert (await world.marker("Bill")).until == reached
        assert (await world.state()).failing
        world.sandbox.control.delete("/sandbox/faults").raise_for_status()
        await world.pull()
        assert (await world.state()).failing is None
        assert not [notice for notice in await world.notices() if notice.kind == "failed"]
