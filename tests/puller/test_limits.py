"""The limits of QuickBooks hold for all instances together, and what Intuit meters is counted."""

import time

import anyio
import httpx
import pytest
import structlog

from common import subjects, topology
from common.bus import Bus
from common.errors import RetryLater
from common.messages import now
from common.settings import Settings
from common.topology import PACE
from services.puller.limits import Meter, Pace, keep_within_limits
from tests.puller.stand import WS, Sandbox, World, puller

REALM = "9130000000000000001"


async def test_two_instances_share_what_a_second_allows(bus: Bus, settings: Settings) -> None:
    other = Bus(settings, "puller")
    await other.connect()
    passed: list[float] = []

    async def work(pace: Pace) -> None:
        for _ in range(6):
            await pace.wait(REALM)
            passed.append(time.monotonic())

    async with anyio.create_task_group() as group:
        for pace in (Pace(bus), Pace(bus), Pace(other), Pace(other)):
            group.start_soon(work, pace)
    await other.close()
    assert len(passed) == 24
    # Less than the second, since an answer may reach us later than the one after it.
    assert max(sum(start <= one < start + 0.5 for one in passed) for start in passed) <= PACE["second"]


async def test_a_minute_allows_so_many_and_companies_do_not_share(bus: Bus) -> None:
    stream = bus.topology.pace("minute")
    subject = subjects.pace(bus.region, "minute", "quickbooks", REALM)
    assert all([await bus.admit(stream, subject) for _ in range(PACE["minute"])])
    assert not await bus.admit(stream, subject)
    assert await bus.admit(stream, subjects.pace(bus.region, "minute", "quickbooks", "9130000000000000002"))
    waited = True
    with anyio.move_on_after(0.5):
        await Pace(bus).wait(REALM)
        waited = False
    assert waited


async def test_without_a_word_from_the_broker_nothing_is_sent(wired: Settings, sandbox: Sandbox) -> None:
    nowhere = Bus(wired.model_copy(update={"region": "tnowhere"}), "puller")
    await nowhere.connect()
    sandbox.count()
    async with httpx.AsyncClient(base_url=sandbox.url) as client:
        keep_within_limits(client, nowhere)
        with pytest.raises(RetryLater):
            await client.get(f"/v3/company/{REALM}/query")
        assert sandbox.calls() == {}
        assert (await client.get("/.well-known/openid_configuration")).status_code == 200
    await nowhere.close()


async def test_reads_are_metered_as_the_provider_counts_them(world: World) -> None:
    async with puller(world.settings):
        world.sandbox.count()
        await world.first_pull()
        seen = world.sandbox.calls()
    calls = sum(
        count for name, count in seen.items() if name.startswith("/v3/company/") and name.rpartition(" ")[2] == "200"
    )
    month = subjects.meter(world.bus.region, "quickbooks", now(), WS)
    metered = (await world.bus.counted(world.bus.topology.meters, f"{world.bus.region}.meter.>"))[month]
    assert metered == calls  # the one that proves whose grant it is included
    assert (await world.bus.counted(world.bus.topology.meters, f"{world.bus.region}.meter.>"))[
        subjects.metered(world.bus.region, "quickbooks", now())
    ] == metered


async def test_what_the_broker_does_not_take_is_counted_later(bus: Bus) -> None:
    meter = Meter(bus)
    await meter.count(WS)
    await bus.js.delete_stream(bus.topology.meters)
    await meter.count(WS)
    await topology.ensure(bus.js, bus.topology)
    await meter.count(WS)
    counted = await bus.counted(bus.topology.meters, f"{bus.region}.meter.>")
    assert list(counted.values()) == [2, 2]  # of the new stream: what was owed, and the new one


async def test_the_operator_is_warned_once_when_the_plans_reads_run_out(settings: Settings) -> None:
    small = Bus(settings.model_copy(update={"quickbooks_monthly_reads": 10}), "puller")
    await small.connect()
    await topology.ensure(small.js, small.topology)
    meter = Meter(small)
    with structlog.testing.capture_logs() as said:
        for _ in range(12):
            await meter.count(WS)
    await small.close()
    assert [entry["reads"] for entry in said if entry["event"] == "puller.reads_run_out"] == [8, 9, 10]


async def test_a_first_pull_keeps_the_pace_quickbooks_allows(world: World) -> None:
    world.sandbox.switch(limits=True)
    world.sandbox.count()
    async with puller(world.settings):
        await world.first_pull()
        for _ in range(4):
            await world.pull()
    assert not [call for call in world.sandbox.calls() if call.endswith("429")]
