"""Companies of any size: windows of every length, what change data capture cuts off, and what that costs."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from common import codec, subjects
from common.buckets import Bucket
from common.messages import Bill, Connected, PullState, Record, Tick, Workspace, now
from common.settings import Settings
from tests.puller.stand import WS, World, differences, puller, until

BEHIND = -7200
"""Seconds the stand-in's clock stands beside ours, so that it shows whose clock counts."""


def budget(bills: int, files: int = 0) -> int:
    """Calls that reading so many bills may cost: a page holds a thousand objects, of six entities."""
    return bills * 6 // 1000 + files + 10


async def once(world: World) -> bool:
    """Whether each record was published just once."""
    state = (await world.bus.js.stream_info(world.bus.topology.records)).state
    return state.last_seq == state.messages


@pytest.mark.parametrize(
    "bills, seconds, files",
    [
        (0, 0, 0),
        (1, 0, 0),
        (999, 5000, 0),
        (1000, 5000, 0),
        (1001, 5000, 60),
        (3000, 0, 0),
    ],
)
async def test_a_window_of_any_length_is_read_whole_and_once(
    world: World, bills: int, seconds: int, files: int
) -> None:
    world.sandbox.switch(clock_offset=BEHIND)
    world.realm = world.sandbox.company(bills=0)
    if bills:
        world.sandbox.crowd(world.realm, "Bill", bills, spread=seconds)
    if files:
        world.sandbox.crowd(world.realm, "Attachable", files)
    async with puller(world.settings):
        began = whole(now() + timedelta(seconds=BEHIND))
        world.sandbox.count()
        await world.first_pull()
        assert world.sandbox.spent() <= budget(bills, files)
        marker = await world.marker("Bill")
        assert marker.quiet
        assert marker.until is not None
        assert began <= marker.until <= now() + timedelta(seconds=BEHIND)
        assert await once(world)
        assert len(await world.records("bill")) == bills
        world.sandbox.count()
        await world.pull()
        assert world.sandbox.spent() == 1
    assert await differences(world) == []
    assert await once(world)


def whole(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(microsecond=0)


async def test_a_large_company_is_read_in_slices_that_show_how_far_they_are(world: World) -> None:
    bills = 25_000
    world.realm = world.sandbox.company(bills=0)
    t=time.time()
    world.sandbox.crowd(world.realm, "Bill", bills, spread=20 * 86_400)
    print("crowd", time.time()-t)
    t=time.time()
    async with puller(world.settings, seconds=2.0):
        world.sandbox.count()
        assert isinstance(await world.connect(), Connected)
        await world.pulled(90)
        print("pull", time.time()-t, world.sandbox.spent(), world.sandbox.calls())
    t=time.time()
    assert await differences(world) == []
    print("diff", time.time()-t)
    for n in await world.notices(): print(n.why, n.counts, n.at)
