"""One object that is not what it should be is told and left out; everything beside it is published."""

import json
from datetime import timedelta
from typing import Any

import pytest

from common.messages import Bill, now
from tests.puller.stand import World, puller, until
from tests.puller.test_damaged import a_day_later, few_recent_bills

pytestmark = pytest.mark.usefixtures("swift")

MALFORMED: dict[str, dict[str, Any]] = {
    "no head": {"domain": "QBO"},
    "no time": {"Id": "999", "TotalAmt": 1.0, "VendorRef": {"value": "1"}, "Line": []},
    "no id": {"MetaData": {"LastUpdatedTime": "2026-01-02T03:04:05-08:00"}},
    "an id that is none": {"Id": "9.*\r\n>", "MetaData": {"LastUpdatedTime": "2026-01-02T03:04:05-08:00"}},
    "a time before all time": {"Id": "999", "MetaData": {"LastUpdatedTime": "0001-01-01T00:00:00+14:00"}},
    "a number for an id": {"Id": 999, "MetaData": {"LastUpdatedTime": "2026-01-02T03:04:05-08:00"}},
}


def on_the_wire(world: World, bill: str, **changes: Any) -> dict[str, Any]:
    """A bill as QuickBooks shows it, changed."""
    item = world.sandbox.bills(world.realm)[bill]
    return {**item, "TotalAmt": float(item["TotalAmt"]), "Balance": float(item["Balance"]), **changes}


async def memo(world: World, bill: str) -> str | None:
    body = (await world.bill(bill)).message.body
    assert isinstance(body, Bill)
    return body.memo


@pytest.mark.parametrize("malformed", MALFORMED.values(), ids=MALFORMED.keys())
@pytest.mark.parametrize("captured", [True, False], ids=["captured", "on a page"])
async def test_what_is_malformed_hides_nobody(world: World, malformed: dict[str, Any], captured: bool) -> None:
    recent = few_recent_bills(world)
    async with puller(recent):
        await world.first_pull()
        bill, *_ = sorted(world.sandbox.bills(world.realm))
        at = (now() + timedelta(seconds=5)).isoformat(timespec="seconds")
        good = on_the_wire(world, bill, PrivateNote="news", Line=[], MetaData={"LastUpdatedTime": at})
        if captured:
            body: dict[str, Any] = {"CDCResponse": [{"QueryResponse": [{"Bill": [malformed, good]}]}]}
            world.sandbox.fault("/cdc", "status", status=200, body=json.dumps({**body, "time": at}), times=1)
        else:
            world.sandbox.fault("/cdc", "status", status=400, body='{"Fault":{"Error":[{"code":"500"}]}}', times=2)
            for _ in range(7):  # the time, then six windows, that of bills last; each takes what it asked for
                body = {"QueryResponse": {"Bill": [malformed, good]}}
                world.sandbox.fault("/query", "status", status=200, body=json.dumps({**body, "time": at}), times=1)
        await world.tick()

        async def come() -> bool:
            return await memo(world, bill) == "news"

        await until(come)
        world.sandbox.control.delete("/sandbox/faults").raise_for_status()
        await world.pulled()
        assert (await world.state()).failing is None
        (told,) = [notice.why for notice in await world.notices() if notice.kind == "failed"]
        assert "was left out" in told


@pytest.mark.parametrize("newest", [0, 1], ids=["newest first", "newest last"])
async def test_of_an_answer_that_gives_an_object_twice_the_newest_counts(world: World, newest: int) -> None:
    recent = few_recent_bills(world)
    async with puller(recent):
        await world.first_pull()
        bill, *_ = sorted(world.sandbox.bills(world.realm))
        times = [(now() + timedelta(seconds=later)).isoformat(timespec="seconds") for later in (5, 6)]
        twice = [
            on_the_wire(world, bill, PrivateNote=said, Line=[], MetaData={"LastUpdatedTime": at})
            for said, at in zip(("old", "new"), times, strict=True)
        ]
        body = {"CDCResponse": [{"QueryResponse": [{"Bill": twice if newest else twice[::-1]}]}], "time": times[0]}
        world.sandbox.fault("/cdc", "status", status=200, body=json.dumps(body), times=1)
        await world.pull()
        assert (await world.state()).failing is None
        assert await memo(world, bill) == "new"


async def test_what_is_malformed_is_shown_and_tried_again_every_day(world: World) -> None:
    recent = few_recent_bills(world)
    async with puller(recent):
        await world.first_pull()
        bill, *_ = sorted(world.sandbox.bills(world.realm))
        at = (now() + timedelta(seconds=5)).isoformat(timespec="seconds")
        bad = on_the_wire(world, bill, DueDate="", PrivateNote="news", Line=[], MetaData={"LastUpdatedTime": at})
        body = {"CDCResponse": [{"QueryResponse": [{"Bill": [bad]}]}], "time": at}
        world.sandbox.fault("/cdc", "status", status=200, body=json.dumps(body), times=1)
        await world.pull()
        read = json.dumps({"Bill": bad, "time": at})
        world.sandbox.fault(f"/bill/{bill}", "status", status=200, body=read, times=1)
        for _ in range(2):
            assert (await world.state()).left_out == (f"Bill {bill}",)
            assert (await world.marker("Bill")).damaged == (bill,)
            await a_day_later(world)
            await world.pull()
        assert (await world.state()).left_out == ()
        assert len([notice for notice in await world.notices() if notice.kind == "failed"]) == 1


async def test_a_bill_larger_than_the_broker_takes_is_told_and_holds_up_nobody(world: World) -> None:
    recent = few_recent_bills(world)
    async with puller(recent):
        await world.first_pull()
        good, big, *_ = sorted(world.sandbox.bills(world.realm))
        at = (now() + timedelta(seconds=5)).isoformat(timespec="seconds")
        line = {
            "Amount": 1.0,
            "Description": "x" * 4000,  # the most QuickBooks takes
            "DetailType": "AccountBasedExpenseLineDetail",
            "AccountBasedExpenseLineDetail": {"AccountRef": {"value": "60"}},
        }
        lines = [{"Id": str(n), "LineNum": n, **line} for n in range(1, world.bus.client.max_payload // 4000 + 1)]
        changed: list[Any] = [
            on_the_wire(world, good, PrivateNote="news", Line=[], MetaData={"LastUpdatedTime": at}),
            on_the_wire(world, big, PrivateNote="news", Line=lines, MetaData={"LastUpdatedTime": at}),
        ]
        body = {"CDCResponse": [{"QueryResponse": [{"Bill": changed}]}], "time": at}
        world.sandbox.fault("/cdc", "status", status=200, body=json.dumps(body), times=1)
        await world.pull()
        state = await world.state()
        assert (state.failing, state.left_out) == (None, (f"Bill {big}",))
        assert await memo(world, good) == "news"
        (told,) = [notice for notice in await world.notices() if notice.kind == "failed"]
        assert "max_payload" in f"{told.fix}"
        await a_day_later(world)  # by now it has fewer lines
        await world.pull()
        assert (await world.state()).left_out == ()
