"""One object that QuickBooks cannot give hides nobody else, is told, and comes when it is mended."""

from datetime import timedelta

import pytest

from common.messages import Bill, now
from common.settings import Settings
from tests.puller.stand import World, puller

pytestmark = pytest.mark.usefixtures("swift")


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
            await a_day_later(world)
            await world.pull()
        assert len([notice for notice in await world.notices() if notice.kind == "failed"]) == 1
        assert bad not in await world.records("bill")
        world.sandbox.delete(f"{world.realm}/quickbooks/bill/{bad}/poison")
        await world.pull()
        assert bad not in await world.records("bill")
        await a_day_later(world)
        await world.pull()
        assert bad in await world.records("bill")
        assert (await world.marker("Bill")).damaged == ()


async def a_day_later(world: World, entity: str = "Bill") -> None:
    """Make it a day since what is damaged was tried."""
    marker = await world.marker(entity)
    assert marker.tried_at is not None
    await world.set_marker(entity, tried_at=marker.tried_at - timedelta(days=1))


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


async def failures(world: World) -> list[str]:
    return [notice.why for notice in await world.notices() if notice.kind == "failed"]


@pytest.mark.parametrize("lists", [True, False])
@pytest.mark.parametrize("entity", ["TaxCode", "TaxRate"])
async def test_a_damaged_tax_code_stops_no_bill_and_stays_as_it_was(world: World, entity: str, lists: bool) -> None:
    recent = few_recent_bills(world)
    codes = world.sandbox.objects(world.realm, "TaxCode")
    bad = next(ident for ident in sorted(world.sandbox.objects(world.realm, entity)) if ident.isdigit())
    async with puller(recent):
        await world.first_pull()
        before = await world.records("taxcode")
        assert before.keys() == codes.keys()
        world.sandbox.damage(world.realm, entity.lower(), bad, code="4002", reads=False, lists=lists)
        world.sandbox.crowd(world.realm, "Bill", 1)
        for _ in range(2):
            await world.set_marker("TaxCode", until=now() - timedelta(days=1))
            await world.pull()
        assert (await world.records("bill")).keys() == world.sandbox.bills(world.realm).keys()
        assert {ident: item.message.body for ident, item in (await world.records("taxcode")).items()} == {
            ident: item.message.body for ident, item in before.items()
        }
        assert len(await failures(world)) == 1
        (told,) = (await world.state()).left_out
        assert entity in told
        world.sandbox.delete(f"{world.realm}/quickbooks/{entity.lower()}/{bad}/poison")
        await world.set_marker("TaxCode", until=now() - timedelta(days=1))
        await world.pull()
        assert (await world.state()).left_out == ()


@pytest.mark.parametrize("entity", ["TaxCode", "TaxRate"])
async def test_a_tax_code_damaged_from_the_first_stops_no_bill(world: World, entity: str) -> None:
    recent = few_recent_bills(world)
    codes = world.sandbox.objects(world.realm, "TaxCode").keys()
    bad = next(ident for ident in sorted(world.sandbox.objects(world.realm, entity)) if ident.isdigit())
    world.sandbox.damage(world.realm, entity.lower(), bad, code="4002", reads=False, lists=True)
    async with puller(recent):
        await world.first_pull()
        assert (await world.records("bill")).keys() == world.sandbox.bills(world.realm).keys()
        assert (await world.records("taxcode")).keys() == codes - ({bad} if entity == "TaxCode" else set())


async def test_a_damaged_attachment_comes_to_its_bill_when_it_is_mended(world: World) -> None:
    recent = few_recent_bills(world).model_copy(update={"pull_overlap": 0})
    bill, *_ = sorted(world.sandbox.bills(world.realm))
    world.sandbox.crowd(world.realm, "Attachable", 1, at=(now() - timedelta(hours=2)).isoformat())
    (bad,) = world.sandbox.objects(world.realm, "Attachable")
    reference = {"EntityRef": {"type": "Bill", "value": bill}}
    world.sandbox.patch(f"{world.realm}/quickbooks/attachable/{bad}", {"AttachableRef": [reference]})
    world.sandbox.switch(clock_offset=5)  # seconds later, however quick we are: times of QuickBooks are whole ones
    world.sandbox.damage(world.realm, "attachable", bad, code="4002", reads=False, lists=True)
    async with puller(recent):
        await world.first_pull()
        assert (await world.state()).left_out == (f"Attachable {bad}",)
        await a_day_later(world, "Attachable")
        await world.pull()
        world.sandbox.delete(f"{world.realm}/quickbooks/attachable/{bad}/poison")
        await world.pull()
        assert (await world.bill(bill)).message.documents == ()
        await a_day_later(world, "Attachable")
        await world.pull()
        assert [document.attachable for document in (await world.bill(bill)).message.documents] == [bad]
        assert len(await failures(world)) == 1
        assert (await world.state()).left_out == ()


async def test_a_damaged_attachment_of_a_late_bill_stops_nobody(world: World) -> None:
    recent = few_recent_bills(world).model_copy(update={"pull_overlap": 0})
    late, edited, *_ = sorted(world.sandbox.bills(world.realm))
    world.sandbox.attach(world.realm, late, b"%PDF-1.4 fictional")
    (bad,) = world.sandbox.objects(world.realm, "Attachable")
    tomorrow = (now() + timedelta(days=1)).date()
    async with puller(recent.model_copy(update={"backfill_from": tomorrow})):
        await world.first_pull()
        world.sandbox.damage(world.realm, "attachable", bad, code="4002", reads=False, lists=True)
        world.sandbox.switch(clock_offset=5)
        for ident in (late, edited):
            world.sandbox.patch(f"{world.realm}/quickbooks/bill/{ident}", {"PrivateNote": "edited"})
        await world.pull()
        assert (await world.state()).failing is None
        assert (await world.records("bill")).keys() == {late, edited}
        assert len(await failures(world)) == 1
        world.sandbox.delete(f"{world.realm}/quickbooks/attachable/{bad}/poison")
        await a_day_later(world, "Attachable")
        await world.pull()
        assert [document.attachable for document in (await world.bill(late)).message.documents] == [bad]


@pytest.mark.parametrize("lists", [True, False])
async def test_comparing_ids_goes_around_what_cannot_be_listed(world: World, lists: bool) -> None:
    recent = few_recent_bills(world)
    async with puller(recent):
        await world.first_pull()
        bad, gone, *_ = sorted(world.sandbox.bills(world.realm))
        world.sandbox.damage(world.realm, "bill", bad, code="4002", reads=False, lists=lists)
        world.sandbox.delete(f"{world.realm}/quickbooks/bill/{gone}")
        await world.set_marker("deletions", until=now() - timedelta(days=40))
        await world.pull()
        assert (await world.state()).failing is None
        bills = await world.records("bill")
        assert [ident for ident, item in bills.items() if item.message.deleted] == [gone]
        assert (await world.marker("deletions")).until > now() - timedelta(minutes=5)  # type: ignore[operator]


async def test_what_has_not_even_an_id_is_tried_again_by_its_second(world: World) -> None:
    recent = few_recent_bills(world)
    bad = sorted(world.sandbox.bills(world.realm))[4]
    world.sandbox.damage(world.realm, "bill", bad, code="4002", reads=False, lists=False)
    async with puller(recent):
        await world.first_pull()
        await a_day_later(world)
        await world.pull()
        assert len(await failures(world)) == 1
        (told,) = (await world.state()).left_out
        assert "a Bill last changed at" in told
        world.sandbox.delete(f"{world.realm}/quickbooks/bill/{bad}/poison")
        await a_day_later(world)
        await world.pull()
        assert bad in await world.records("bill")
        assert (await world.marker("Bill")).seconds == ()
        assert (await world.state()).left_out == ()


async def test_what_is_found_both_by_its_id_and_by_its_second_is_published_once(world: World) -> None:
    world.realm = world.sandbox.company(bills=0)
    world.sandbox.crowd(world.realm, "Bill", 4, at=(now() - timedelta(hours=3)).isoformat())  # all in one second
    bills = sorted(world.sandbox.bills(world.realm))
    for ident, lists in ((bills[1], True), (bills[2], False)):
        world.sandbox.damage(world.realm, "bill", ident, code="4002", reads=False, lists=lists)
    async with puller(world.settings.model_copy(update={"backfill_from": (now() - timedelta(days=1)).date()})):
        await world.first_pull()
        assert (await world.marker("Bill")).damaged == (bills[1],)
        assert (await world.marker("Bill")).seconds
        for ident in bills[1:3]:
            world.sandbox.delete(f"{world.realm}/quickbooks/bill/{ident}/poison")
        await a_day_later(world)
        await world.pull()
        assert (await world.state()).failing is None
        assert sorted(await world.records("bill")) == bills
        assert (await world.state()).left_out == ()


async def test_a_pull_that_fails_does_not_use_up_the_days_try(world: World) -> None:
    recent = few_recent_bills(world)
    bad, *_ = sorted(world.sandbox.bills(world.realm))
    world.sandbox.damage(world.realm, "bill", bad, code="4002", reads=False, lists=True)
    async with puller(recent):
        await world.first_pull()
        world.sandbox.delete(f"{world.realm}/quickbooks/bill/{bad}/poison")
        await a_day_later(world)
        await world.set_marker("TaxCode", until=now() - timedelta(days=1))
        world.qonto_connected = False
        await world.pull()
        assert bad not in await world.records("bill")
        world.qonto_connected = True
        await world.pull()
        assert bad in await world.records("bill")
