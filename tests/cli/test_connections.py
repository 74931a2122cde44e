"""`weir connections`, `pull`, `backfill`, `rewind` as a person uses them, against a running puller."""

import subprocess
from datetime import date, timedelta
from pathlib import Path

import anyio
import msgspec

from common.messages import Connected, now
from tests.cli.test_errors import weir
from tests.conftest import environment
from tests.puller.stand import WS, World, puller, running_sandbox, sandbox, wired, world

__all__ = ["running_sandbox", "sandbox", "wired", "world"]


async def run(world: World, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line beside the puller of this test."""
    variables = environment(world.settings, COLUMNS="100")
    return await anyio.to_thread.run_sync(
        lambda: weir(*arguments, cwd=Path(world.settings.data_dir), variables=variables)
    )


async def said(world: World, *arguments: str) -> str:
    ended = await run(world, *arguments)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


async def test_nothing_connected_says_what_to_do(world: World) -> None:
    assert "connect one in the console" in await said(world, "connections")
    ended = await run(world, "pull", WS)
    assert ended.returncode == 2
    assert "not known here" in ended.stderr


async def test_a_person_sees_what_is_connected_and_how_it_stands(world: World) -> None:
    async with puller(world.settings):
        await world.first_pull()
        shown = await said(world, "connections")
        name = next(item["name"] for item in world.sandbox.companies() if item["realm"] == world.realm)
        for words in (
            WS,
            f"{name} ({world.realm})",
            "connected  ",
            "good until",
            "40 bills",
            "next ",
            "not connected",
        ):
            assert words in shown
        reads = sum(count for call, count in world.sandbox.calls().items() if "/v3/company" in call)
        assert f"of {world.settings.quickbooks_monthly_reads:,}" in shown
        one = msgspec.json.decode(await said(world, "connections", WS, "--json"))["workspaces"][0]
        assert 0 < one["reads"] <= reads
        assert one["connections"]["quickbooks"]["account"] == world.realm
        assert "sealed" not in one["connections"]["quickbooks"]
        assert one["pull"]["counts"]["bill"] == 40
        world.sandbox.access(world.realm, "lapsed")
        ended = await run(world, "pull", WS)
        assert ended.returncode == 1
        assert "subscription has ended" in ended.stderr
        assert "paused" in await said(world, "connections")
        world.sandbox.delete(f"{world.realm}/tokens/quickbooks")
        world.sandbox.access(world.realm, "open")
        await run(world, "pull", WS)
        assert "needs-reconnect" in await said(world, "connections")
        ended = await run(world, "pull", WS)
        assert ended.returncode == 2
        assert "needs-reconnect" in ended.stderr


async def test_pull_waits_for_its_end_and_says_what_came_of_it(world: World) -> None:
    async with puller(world.settings):
        await world.first_pull()
        bill, *_ = sorted(world.sandbox.bills(world.realm))
        world.sandbox.patch(f"{world.realm}/quickbooks/bill/{bill}", {"PrivateNote": "edited"})
        assert "1 bill published" in await said(world, "pull", WS)
        assert "nothing new" in await said(world, "pull", WS)
        assert "pull asked for" in await said(world, "pull", WS, "--now")


async def test_without_a_puller_nobody_is_kept_waiting(world: World) -> None:
    async with puller(world.settings):
        await world.first_pull()
    ended = await run(world, "rewind", WS, "--to", "2026-01-01")
    assert ended.returncode == 2
    assert "is `weir puller` running?" in ended.stderr


async def test_a_backfill_brings_what_is_older_and_publishes_nothing_twice(world: World) -> None:
    bills = world.sandbox.bills(world.realm)
    changed = sorted(bill["MetaData"]["LastUpdatedTime"][:10] for bill in bills.values())
    middle = changed[len(changed) // 2]
    settings = world.settings.model_copy(update={"backfill_from": date.fromisoformat(middle)})
    async with puller(settings):
        assert isinstance(await world.connect(), Connected)
        await world.pulled()
        first = await world.records("bill")
        assert 0 < len(first) < len(bills)
        await said(world, "backfill", WS, "--from", "2020-01-01")
        await world.pulled()
        after = await world.records("bill")
        assert after.keys() == bills.keys()
        assert all(after[ident].sequence == item.sequence for ident, item in first.items())
        ahead = (now() + timedelta(days=2)).date().isoformat()
        ended = await run(world, "backfill", WS, "--from", ahead)
        assert ended.returncode == 2
        assert "past" in ended.stderr
        before = await world.last_sequence()
        await said(world, "rewind", WS, "--to", "2020-01-01")
        await world.pulled()
        again = [item for item in (await world.records("bill")).values() if item.sequence > before]
        assert len(again) == len(bills)
