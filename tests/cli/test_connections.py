"""`weir connections`, `pull`, `backfill`, `rewind` as a person uses them, against a running puller."""

import subprocess
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from common import codec, subjects
from common.buckets import Bucket
from common.bus import Bus
from common.lease import held
from common.messages import (
    LISTED,
    Backfill,
    Connected,
    Done,
    PullState,
    Refusal,
    Rewind,
    Workspace,
    now,
)
from common.settings import READS_WARN_AT
from common.tenants import tenant
from common.ticks import ask_for_pull
from services.cli import pull as pulling
from services.puller.progress import Progress
from tests.cli.test_errors import plain, weir
from tests.conftest import environment
from tests.puller.stand import WS, World, puller, running_sandbox, sandbox, until, wired, world

__all__ = ["running_sandbox", "sandbox", "wired", "world"]


async def run(world: World, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The command line beside the puller of this test."""
    variables = environment(world.settings, COLUMNS="100", **more)
    return await anyio.to_thread.run_sync(
        lambda: weir(*arguments, cwd=Path(world.settings.data_dir), variables=variables)
    )


async def said(world: World, *arguments: str, **more: str) -> str:
    ended = await run(world, *arguments, **more)
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
        shown = await said(world, "connections")
        assert "paused  " in shown
        assert "waits  QuickBooks is paused; last read " in shown
        assert "→ renew it in QuickBooks" in shown
        world.sandbox.delete(f"{world.realm}/tokens/quickbooks")
        world.sandbox.access(world.realm, "open")
        await run(world, "pull", WS)
        shown = await said(world, "connections")
        assert "needs-reconnect  " in shown
        assert "stopped  QuickBooks is to be reconnected; last read " in shown
        assert "up to date" not in shown
        ended = await run(world, "pull", WS)
        assert ended.returncode == 2
        assert "needs-reconnect" in ended.stderr
        assert "→ reconnect QuickBooks in the console" in ended.stderr


async def test_what_waits_for_qonto_says_to_connect_it(world: World) -> None:
    world.qonto_connected = False
    async with puller(world.settings):
        await world.first_pull()
        ended = await run(world, "pull", WS)
        assert ended.returncode == 1
        why = "Qonto is not connected: never connected"
        assert f"{why} → connect Qonto in the console; it goes on by itself then" in ended.stderr
        shown = await said(world, "connections")
        assert f"waits  {why}" in shown
        assert "→ connect Qonto in the console" in shown
        assert "failing" not in shown
        assert (await world.state()).waits_for == "qonto"
        world.qonto_connected = True
        # What held up the last pull is not taken for the outcome of this one.
        assert "40 bills published" in await said(world, "pull", WS)
        assert (await world.state()).waits_for is None


async def test_the_providers_own_next_step_is_kept(world: World) -> None:
    async with puller(world.settings):
        await world.first_pull()
        world.sandbox.access(world.realm, "no-rights")
        await world.pull()
        assert "→ have an administrator of the company reconnect QuickBooks" in await said(world, "connections", WS)
        world.sandbox.access(world.realm, "open")
        assert isinstance(await world.connect(), Connected)
        await world.pulled()
        assert "administrator" not in await said(world, "connections", WS)


async def test_what_is_left_out_is_shown_until_it_is_mended(world: World) -> None:
    async with puller(world.settings):
        await world.first_pull()
        damaged, other, gone, *_ = [
            ident for ident, bill in sorted(world.sandbox.bills(world.realm).items()) if not bill.get("LinkedTxn")
        ]
        world.sandbox.patch(f"{world.realm}/quickbooks/bill/{damaged}", {"PrivateNote": "edited"})
        world.sandbox.damage(world.realm, "bill", damaged, code="4002", reads=False, lists=True)
        world.sandbox.attach(world.realm, other, b"", "empty one.pdf")
        world.sandbox.attach(world.realm, gone, b"", "of a deleted bill.pdf")
        words = f"left out: Bill {damaged}, attachment 'empty one.pdf' of bill {other}, "
        mended = "→ open it in QuickBooks and save it again"
        for shown in (await said(world, "pull", WS), await said(world, "connections", WS)):
            assert words in shown
            assert mended in shown
        world.sandbox.delete(f"{world.realm}/quickbooks/bill/{damaged}/poison")
        world.sandbox.patch(f"{world.realm}/quickbooks/bill/{damaged}", {"PrivateNote": "saved again"})
        world.sandbox.delete(f"{world.realm}/quickbooks/bill/{gone}")
        shown = await said(world, "pull", WS)
        assert f"left out: attachment 'empty one.pdf' of bill {other} →" in shown
        assert (await world.marker("Bill")).damaged == ()


async def test_much_that_is_left_out_is_counted(bus: Bus) -> None:
    texts = [f"Bill {number}" for number in range(1, LISTED + 4)]
    for many, last in ((LISTED, f"Bill {LISTED}"), (LISTED + 3, "4 more")):
        await Progress(bus, WS, "9341").ended({}, now(), texts[:many])
        kept = await Bucket(bus, "pulls", PullState).get(WS)
        assert kept is not None
        assert (len(kept.value.left_out), kept.value.left_out[-1]) == (LISTED, last)


def test_a_state_of_an_earlier_version_can_be_read() -> None:
    state = codec.decode(b'{"realm":"1","began_at":"2026-01-31T00:00:00Z","backfilling":true}', PullState)
    assert not state.first


async def test_reads_are_those_of_the_plan(world: World) -> None:
    async with puller(world.settings):
        await world.first_pull()
    mine = (await said(world, "connections")).partition(" metered this month")[0].rpartition(" ")[2]
    await world.bus.count(subjects.metered(world.bus.region, "quickbooks", now()), 1000)  # a workspace forgotten since
    total = int(mine) + 1000
    assert f": {total:,} of 500,000 (" in await said(world, "connections")
    included = int(total / READS_WARN_AT[0])
    warning = "Intuit may stop answering"
    assert warning in await said(world, "connections", WS, WEIR_QUICKBOOKS_MONTHLY_READS=str(included))
    assert warning not in await said(world, "connections", WS, WEIR_QUICKBOOKS_MONTHLY_READS=str(included + 2))


async def test_pull_waits_for_its_end_and_says_what_came_of_it(world: World) -> None:
    async with puller(world.settings):
        await world.first_pull()
        bill, *_ = sorted(world.sandbox.bills(world.realm))
        world.sandbox.patch(f"{world.realm}/quickbooks/bill/{bill}", {"PrivateNote": "edited"})
        assert "1 bill published" in await said(world, "pull", WS)
        assert "nothing new" in await said(world, "pull", WS)
        for at_once in ("--now", "--no-wait"):
            assert "pull asked for" in await said(world, "pull", WS, at_once)


async def test_a_pull_that_runs_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulling, "BEGINS_WITHIN", 3.0)
    async with puller(world.settings):
        await world.first_pull()
        before = await world.state()
        world.sandbox.fault("/cdc", "delay", seconds=3.5)
        await world.tick()
        await until(lambda: held(world.bus, f"pull.{WS}"))
        await until(lambda: _begun_since(world, before))
        runs = await tenant(world.bus, WS)
        await ask_for_pull(world.bus, WS, "asked")
        await pulling._watch(world.bus, runs)
        assert runs.pull is not None
        assert (await world.state()).began_at > runs.pull.began_at
        await world.pulled()
    monkeypatch.setattr(pulling, "BEGINS_WITHIN", 0.2)
    with pytest.raises(pulling.NotPulled, match="nobody has begun"):
        await pulling._watch(world.bus, await tenant(world.bus, WS))


async def _begun_since(world: World, before: PullState) -> bool:
    return (await world.state()).began_at != before.began_at


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
        shown = await said(world, "backfill", WS, "--from", "2020-01-01")
        assert "reading what changed since 2020-01-01 00:00 UTC" in shown
        assert f"{WS}: {len(bills) - len(first)} bills" in shown
        after = await world.records("bill")
        assert after.keys() == bills.keys()
        assert all(after[ident].sequence == item.sequence for ident, item in first.items())
        ahead = (now() + timedelta(days=2)).date().isoformat()
        ended = await run(world, "backfill", WS, "--from", ahead)
        assert ended.returncode == 2
        assert f"{ahead} 00:00 UTC is in the future; name a date that is past" in ended.stderr
        before = await world.last_sequence()
        at_once = await said(world, "rewind", WS, "--to", "2020-01-01", "--no-wait")
        assert "again from 2020-01-01 00:00 UTC; `weir connections` shows how far it is" in at_once
        assert "published" not in at_once
        await world.pulled()
        again = [item for item in (await world.records("bill")).values() if item.sequence > before]
        assert len(again) == len(bills)


async def test_where_first_pulls_begin_moves_only_back_once_something_was_read(world: World) -> None:
    async def asked(since: datetime) -> date | None:
        answer = await world.bus.call(world.subject("backfill"), Backfill(workspace=WS, since=since))
        assert answer == Done()
        kept = await Bucket(world.bus, "workspaces", Workspace).get(WS)
        assert kept is not None
        return kept.value.backfill_from

    beginning = date(2010, 1, 1)
    midnight = datetime(beginning.year, beginning.month, beginning.day, tzinfo=UTC)
    async with puller(world.settings.model_copy(update={"backfill_from": beginning})):
        await world.first_pull()
        assert await asked(midnight + timedelta(days=1)) == beginning
        east = timezone(timedelta(hours=2))
        assert await asked((midnight + timedelta(hours=-1)).astimezone(east)) == beginning - timedelta(days=1)
        assert await asked(midnight) == beginning - timedelta(days=1)


async def test_what_cannot_be_read_again_says_why(world: World) -> None:
    ahead = now() + timedelta(days=2)
    async with puller(world.settings):
        await world.first_pull()
        for to, why, fix in (
            (ahead, f"to: {ahead:%Y-%m-%d %H:%M} UTC is in the future", "name a date that is past"),
            (datetime(2026, 1, 31), "to: 2026-01-31 00:00:00 has no zone", "add one, such as Z or +01:00"),  # noqa: DTZ001
            (
                datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
                "to: 0001-01-01T00:00:00+14:00 is too long ago",
                "name 2000-01-01 or later: QuickBooks has nothing older",
            ),
        ):
            answer: Any = await world.bus.call(world.subject("rewind"), Rewind(workspace=WS, to=to))
            assert answer == Refusal(why=why, fix=fix)


@pytest.mark.parametrize(
    "command, words",
    [
        ("pull", "do not wait for its end"),
        ("rewind", "Nothing is posted twice"),
        ("backfill", "Later first pulls"),
        ("demo", "Exits 1 if a law is broken"),
        ("puller", "Read QuickBooks."),
    ],
)
def test_a_command_explains_itself_whole(command: str, words: str, tmp_path: Path) -> None:
    ended = weir(command, "--help", cwd=tmp_path, variables=plain(COLUMNS="100"))
    assert ended.returncode == 0
    assert words in " ".join(ended.stdout.split())
