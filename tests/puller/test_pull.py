"""Pulls against the QuickBooks stand-in over HTTP and a real broker."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from msgspec.structs import replace

from common.buckets import Bucket
from common.messages import Bill, Company, Done, RecordKind, Refusal, Rewind, TaxCode, Vendor, Workspace, now
from services.puller.pull import SOME
from services.puller.records import Records, deleted
from services.puller.window import Window
from tests.puller.stand import ENTRIES_SEQ, WS, World, differences, puller, until

pytestmark = pytest.mark.usefixtures("swift")

ACTIVE = "WHERE Active IN (true, false)"
KINDS: tuple[tuple[RecordKind, str, str], ...] = (
    ("vendor", "Vendor", ACTIVE),
    ("customer", "Customer", ACTIVE),
    ("billpayment", "BillPayment", ""),
    ("vendorcredit", "VendorCredit", ""),
    ("taxcode", "TaxCode", ACTIVE),
    ("company", "CompanyInfo", ""),
)


async def test_a_first_pull_holds_all_that_quickbooks_has(world: World) -> None:
    async with puller(world.settings):
        await world.first_pull()
    bills = world.sandbox.bills(world.realm)
    records = await world.records("bill")
    assert records.keys() == bills.keys()
    for ident, stored in records.items():
        body = stored.message.body
        assert isinstance(body, Bill)
        assert (body.total, body.balance) == (Decimal(bills[ident]["TotalAmt"]), Decimal(bills[ident]["Balance"]))
        assert stored.message.entries_seq == ENTRIES_SEQ
        assert stored.message.sync_token == bills[ident]["SyncToken"]
    for kind, entity, where in KINDS:
        found = await world.records(kind)
        assert found.keys() == world.sandbox.objects(world.realm, entity, where).keys(), kind
        assert max(item.sequence for item in found.values()) < min(item.sequence for item in records.values())
    files = {
        (reference["EntityRef"]["value"], ident)
        for ident, file in world.sandbox.objects(world.realm, "Attachable").items()
        for reference in file.get("AttachableRef", [])
        if file.get("FileName") and reference["EntityRef"]["type"].lower() == "bill"
    }
    assert files
    assert files == {
        (ident, document.attachable) for ident, item in records.items() for document in item.message.documents
    }
    codes = [item.message.body for item in (await world.records("taxcode")).values()]
    assert any(isinstance(code, TaxCode) and code.rates and code.rates[0].percent is not None for code in codes)
    (company,) = (await world.records("company")).values()
    assert isinstance(company.message.body, Company)
    assert company.message.body.home_currency
    assert world.mirrored == [WS]
    notice = (await world.notices())[-1]
    assert (notice.kind, notice.counts["bill"]) == ("pulled", len(bills))
    kept = await Bucket(world.bus, "workspaces", Workspace).get(WS)
    assert kept is not None
    assert kept.value.realm == world.realm


async def test_a_quiet_pull_costs_one_call_and_publishes_nothing(world: World) -> None:
    async with puller(world.settings):
        await world.first_pull()
        before, notices = await world.last_sequence(), len(await world.notices())
        world.sandbox.count()
        await world.pull()
    assert world.sandbox.calls() == {"/v3/company/{id}/cdc 200": 1}
    assert await world.last_sequence() == before
    assert len(await world.notices()) == notices


async def test_what_is_read_once_a_day_is_spread_over_two_pulls(world: World) -> None:
    async with puller(world.settings):
        await world.first_pull()
        day = timedelta(days=1, minutes=1)
        for name in ("CompanyInfo", "TaxCode"):
            until = (await world.marker(name)).until
            assert until is not None
            await world.set_marker(name, until=until - day)
        spent = []
        for _ in range(3):
            world.sandbox.count()
            await world.pull()
            spent.append(world.sandbox.spent())
        assert spent == [3, 3, 1]
        for name in ("CompanyInfo", "TaxCode"):
            assert (await world.marker(name)).until > now() - timedelta(hours=1)  # type: ignore[operator]


async def test_what_changed_is_published_and_nothing_else(world: World) -> None:
    async with puller(world.settings):
        await world.first_pull()
        before = await world.last_sequence()
        vendors = world.sandbox.objects(world.realm, "Vendor", ACTIVE)
        edited, gone, *_ = [
            ident for ident, bill in sorted(world.sandbox.bills(world.realm).items()) if not bill.get("LinkedTxn")
        ]
        vendor = sorted(vendors)[0]
        world.sandbox.patch(f"{world.realm}/quickbooks/bill/{edited}", {"PrivateNote": "edited"})
        world.sandbox.patch(f"{world.realm}/quickbooks/vendor/{vendor}", {"Active": False})
        world.sandbox.delete(f"{world.realm}/quickbooks/bill/{gone}")
        line = {
            "Amount": 12.5,
            "DetailType": "AccountBasedExpenseLineDetail",
            "AccountBasedExpenseLineDetail": {"AccountRef": {"value": "1"}},
        }
        draft = {"VendorRef": {"value": sorted(vendors)[1]}, "Line": [line]}
        made = world.sandbox.post(f"{world.realm}/quickbooks/bill", json=draft)
        await world.pull()
        bills = await world.records("bill")
        new = made["Bill"]["Id"] if "Bill" in made else made["Id"]
        changed = {ident for ident, item in bills.items() if item.sequence > before}
        assert changed == {edited, gone, new}
        body = bills[edited].message.body
        assert isinstance(body, Bill)
        assert body.memo == "edited"
        assert bills[gone].message.deleted
        assert bills[gone].message.body is not None
        inactive = (await world.records("vendor"))[vendor].message.body
        assert isinstance(inactive, Vendor)
        assert not inactive.active
        before = await world.last_sequence()
        await world.pull()
        assert await world.last_sequence() == before


async def test_a_deletion_that_another_puller_published_meanwhile_is_not_published_again(world: World) -> None:
    async with puller(world.settings):
        await world.first_pull()
        gone, stored = sorted((await world.records("bill")).items())[3]
        world.sandbox.delete(f"{world.realm}/quickbooks/bill/{gone}")
        world.sandbox.fault(f"/bill/{gone}", "delay", seconds=1)
        await world.tick()

        async def asked() -> bool:
            """Whether the puller waits for QuickBooks to say that the bill is gone."""
            return not world.sandbox.control.get("/sandbox/faults").json()["faults"]

        await until(asked)
        records = Records(world.bus, WS, world.realm)
        await records.publish([deleted(stored.message)], {gone: stored})
        published = await world.last_sequence()
        await world.pulled()
        assert await world.last_sequence() == published


async def test_a_deletion_older_than_capture_reaches_is_found_by_comparing_ids(world: World) -> None:
    world.sandbox.switch(clock_offset=-40 * 86_400)
    async with puller(world.settings):
        await world.first_pull()
        known = await world.records("bill")
        world.sandbox.switch(clock_offset=0)
        gone = sorted(known)[3]
        world.sandbox.delete(f"{world.realm}/quickbooks/bill/{gone}")
        world.sandbox.count()
        await world.pull()
        after = await world.records("bill")
        assert [ident for ident, item in after.items() if item.message.deleted] == [gone]
        assert "/v3/company/{id}/cdc 200" not in world.sandbox.calls()
        assert (await world.marker("deletions")).until > now() - timedelta(minutes=1)  # type: ignore[operator]


async def test_a_rewind_publishes_again_what_changed_since(world: World) -> None:
    async with puller(world.settings):
        await world.first_pull()
        before, bills = await world.last_sequence(), await world.records("bill")
        times = sorted(item.message.updated_at for item in bills.values() if item.message.updated_at)
        middle = times[len(times) // 2]
        assert isinstance(await world.bus.call(world.subject("rewind"), Rewind(workspace=WS, to=middle)), Done)
        await world.pulled()
        again = {ident for ident, item in (await world.records("bill")).items() if item.sequence > before}
        assert again == {ident for ident, item in bills.items() if item.message.updated_at >= middle}  # type: ignore[operator]
        assert not (await world.marker("Bill")).republish
        before = await world.last_sequence()
        await world.pull()
        assert await world.last_sequence() == before
        refusal = await world.bus.call(world.subject("rewind"), Rewind(workspace=WS, to=now() + timedelta(hours=1)))
        assert isinstance(refusal, Refusal)


async def test_markers_that_stand_before_all_there_is_stop_no_pull(world: World) -> None:
    async with puller(world.settings):
        await world.first_pull()
        bill, *_ = sorted(world.sandbox.bills(world.realm))
        world.sandbox.patch(f"{world.realm}/quickbooks/bill/{bill}", {"PrivateNote": "edited"})
        for name in ("Bill", "Vendor", "Attachable"):
            await world.set_marker(name, window=Window(since=datetime(24, 1, 1, tzinfo=UTC)))
        await world.set_marker("deletions", until=datetime(1, 1, 1, tzinfo=UTC))
        bucket = Bucket(world.bus, "workspaces", Workspace)
        kept = await bucket.get(WS)
        assert kept is not None
        await bucket.put(WS, replace(kept.value, backfill_from=date(24, 1, 1)))
        await world.pull()
        assert (await world.state()).failing is None
        assert (await world.marker("Bill")).quiet
        assert await differences(world) == []


async def test_slices_end_between_some_bills_and_the_rest_follows(world: World) -> None:
    world.realm = world.sandbox.company(bills=260)
    async with puller(world.settings, seconds=0.0):
        await world.first_pull()
    assert (await world.records("bill")).keys() == world.sandbox.bills(world.realm).keys()
    parts = [notice for notice in await world.notices() if notice.kind == "pulled"]
    assert len(parts) >= 2
    assert max(notice.counts.get("bill", 0) for notice in parts) <= SOME
    assert parts[0].why.startswith("a part")
    assert sum(notice.counts.get("bill", 0) for notice in parts) == 260
    assert (await world.bus.js.stream_info(world.bus.topology.records)).state.last_seq == sum(
        sum(notice.counts.values()) for notice in parts
    )
