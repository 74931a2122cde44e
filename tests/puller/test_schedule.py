"""When a workspace is pulled: by the broker's clock, never stopped by others, never for ever, never too often."""

import itertools
from datetime import datetime, timedelta

import pytest

from common import policies
from common.buckets import Bucket
from common.messages import Backfill, Connected, Disconnect, Done, Policy, PullState, Rewind, now
from services.puller import schedule, ticks
from tests.puller.stand import WS, World, puller, until

pytestmark = pytest.mark.usefixtures("swift")

OTHER = "imaginary-quarry"


async def begun(world: World, workspace: str = WS) -> datetime | None:
    """When the newest pull of a workspace began."""
    kept = await Bucket(world.bus, "pulls", PullState).get(workspace)
    return None if kept is None else kept.value.began_at


async def scheduled(world: World) -> list[str]:
    """The workspaces that will be pulled by themselves."""
    names = await world.bus.subjects(world.bus.topology.pulls, f"{world.bus.region}.schedule.*")
    return [name.rpartition(".")[2] for name in names]


@pytest.mark.parametrize("wrong", [timedelta(days=-31), timedelta(days=31)])
async def test_a_clock_of_ours_that_is_wrong_pulls_as_often_as_a_right_one(
    world: World, monkeypatch: pytest.MonkeyPatch, wrong: timedelta
) -> None:
    monkeypatch.setattr(schedule, "now", lambda: now() + wrong)
    async with puller(world.settings.model_copy(update={"pull_every": 2})):
        await world.first_pull()
        begins: list[datetime] = []

        async def three_more() -> bool:
            at = await begun(world)
            assert at is not None
            if not begins or begins[-1] != at:
                begins.append(at)
            return len(begins) == 4

        await until(three_more, 40)
    gaps = [later - earlier for earlier, later in itertools.pairwise(begins[1:])]
    assert min(gaps) > timedelta(seconds=0.9)


async def test_a_policy_says_how_often_its_workspace_is_pulled(world: World) -> None:
    await policies.store(world.bus, WS, None, Policy(version=2, pull_every=5))
    async with puller(world.settings):
        await world.first_pull()
    kept = await Bucket(world.bus, "pulls", PullState).get(WS)
    assert kept is not None
    assert kept.value.next_at is not None
    assert timedelta(minutes=4) < kept.value.next_at - kept.value.began_at < timedelta(minutes=6)


async def test_the_last_tick_of_a_disconnected_workspace_ends_its_schedule(world: World) -> None:
    async with puller(world.settings.model_copy(update={"pull_every": 2})):
        await world.first_pull()
        assert await scheduled(world) == [WS]
        assert await world.bus.call(world.subject("disconnect"), Disconnect(workspace=WS)) == Done()

        async def ended() -> bool:
            return not await scheduled(world)

        await until(ended, 20)
        assert isinstance(await world.connect(), Connected)
        await world.pulled()
        assert await scheduled(world) == [WS]


async def test_a_slow_company_does_not_hold_up_the_others(world: World) -> None:
    slow = world.realm
    async with puller(world.settings):
        await world.first_pull()
        world.realm = world.sandbox.company(bills=0)
        assert isinstance(await world.connect(OTHER), Connected)
        await world.pulled()
        before, slow_before = await begun(world, OTHER), await begun(world)
        world.sandbox.fault(f"/{slow}/cdc", "delay", seconds=8)
        await world.tick()

        async def slow_began() -> bool:
            return await begun(world) != slow_before

        await until(slow_began)
        await world.tick(OTHER)

        async def other_ended() -> bool:
            kept = await Bucket(world.bus, "pulls", PullState).get(OTHER)
            assert kept is not None
            state = kept.value
            return state.began_at != before and state.finished_at is not None and state.finished_at >= state.began_at

        await until(other_ended)
        assert (await world.state()).finished_at < (await begun(world))  # type: ignore[operator]
        await world.pulled()


async def test_a_pull_that_hangs_is_given_up_and_done_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with puller(world.settings):
        await world.first_pull()
        monkeypatch.setattr(ticks, "LONGEST", 1.0)
        before = (await world.state()).finished_at
        world.sandbox.fault("/cdc", "delay", seconds=60)
        await world.tick()

        async def over() -> bool:
            return (await world.state()).finished_at != before

        await until(over, 30)
        assert (await world.state()).failing is None


async def test_what_keeps_failing_is_told_once_and_tried_at_the_next_scheduled_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticks, "ATTEMPTS", 3)
    monkeypatch.setattr(ticks, "backoff", lambda _failures: 0.1)
    monkeypatch.setattr("common.http.ATTEMPTS", 1)
    async with puller(world.settings):
        await world.first_pull()
        reached = await world.marker("Bill")
        nonsense = "<html>what QuickBooks never says</html>"
        world.sandbox.fault("/(cdc|query)", "status", status=200, body=nonsense, times=1000)
        world.sandbox.count()
        await world.pull()
        assert (await world.state()).failures == 3
        assert sum(world.sandbox.calls().values()) == 3
        assert await scheduled(world) == [WS]
        await world.pull()
        assert (await world.state()).failures == 4
        assert [notice.kind for notice in await world.notices()].count("pull-failed") == 1
        assert await world.marker("Bill") == reached
        world.sandbox.control.delete("/sandbox/faults").raise_for_status()
        await world.pull()
        assert (await world.state()).failures == 0
        assert (await world.state()).failing is None


@pytest.mark.parametrize("verb", ["backfill", "rewind"])
async def test_reaching_back_during_a_first_pull_reads_all_of_it(world: World, verb: str) -> None:
    world.realm = world.sandbox.company(bills=0)
    for days in (40, 1):
        world.sandbox.crowd(world.realm, "Bill", 5, at=(now() - timedelta(days=days)).isoformat())
    bills = world.sandbox.bills(world.realm)
    settings = world.settings.model_copy(update={"backfill_from": (now() - timedelta(days=5)).date()})
    async with puller(settings):
        world.sandbox.fault("/query", "delay", seconds=1.0, times=8, skip=4)
        assert isinstance(await world.connect(), Connected)

        async def reading() -> bool:
            return bool(await world.records("vendor"))

        await until(reading)
        since = now() - timedelta(days=100)
        asked = Backfill(workspace=WS, since=since) if verb == "backfill" else Rewind(workspace=WS, to=since)
        assert await world.bus.call(world.subject(verb), asked) == Done()
        await world.pulled()
        assert (await world.records("bill")).keys() == bills.keys()


async def test_a_backfill_from_a_later_date_skips_nothing_of_an_unfinished_first_pull(world: World) -> None:
    world.realm = world.sandbox.company(bills=0)
    world.sandbox.crowd(world.realm, "Bill", 5, at=(now() - timedelta(days=40)).isoformat())
    bills = world.sandbox.bills(world.realm)
    async with puller(world.settings):
        world.sandbox.fault("/query", "delay", seconds=1.0, times=8, skip=4)
        assert isinstance(await world.connect(), Connected)

        async def reading() -> bool:
            return bool(await world.records("vendor"))

        await until(reading)
        later = Backfill(workspace=WS, since=now() - timedelta(days=1))
        assert await world.bus.call(world.subject("backfill"), later) == Done()
        await world.pulled()
        assert (await world.records("bill")).keys() == bills.keys()
