"""The self-check on a real broker: what the streams tell, who is held back, and that it is done once by effect."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import anyio

from common import subjects
from common.buckets import Bucket
from common.bus import Bus
from common.messages import Check, Decision, Entry, Notice, Policy, Posting, Ref, SelfCheck, Workspace, now
from common.settings import Settings
from services.scorer.checking import Checks
from services.scorer.history import SETTLED
from services.scorer.matching.selfcheck import GATE, WINDOW
from tests.scorer.cases import NOON, REALM, WS, bill, invoice, key, vendor
from tests.scorer.test_learning import ask, close
from tests.scorer.test_memory import VENDOR, asked
from tests.scorer.test_memory import closed as answer
from tests.scorer.test_selfcheck import decided
from tests.scorer.test_service import decision, everything, give, process, scoring

AGO = timedelta(days=40)


async def happened(bus: Bus, number: int, action: Any = "link", *, at: datetime | None = None, **more: Any) -> Decision:
    """Bill `number` of the vendor, and what was decided on it 40 days ago."""
    workspace = more.pop("workspace", WS)
    entry = f"e{number}" if action == "link" or more.get("gate") == GATE else None
    found = decided(
        action, at or now() - AGO, entry, bill=str(number), id=f"d{number}-{action}", workspace=workspace, **more
    )
    await bus.publish(subjects.decision(bus.region, workspace, found.key), found, stream=bus.topology.decisions)
    return found


async def overturned(bus: Bus, number: int, *, workspace: str = WS, gate: str = "contested") -> None:
    """A person linked the bill to another entry when the poster asked."""
    question = asked(ident=str(number), review=f"q{number}")
    await ask(bus, _of(question, workspace, gate=gate))
    told = answer("linked", "another", review=f"q{number}", bill=str(number), closed_at=now() - AGO + timedelta(days=1))
    await close(bus, _of(told, workspace))


def _of(message: Any, workspace: str, **more: Any) -> Any:
    return type(message)(
        **{**{name: getattr(message, name) for name in message.__struct_fields__}, "workspace": workspace, **more}
    )


async def past(bus: Bus, right: int, wrong: int, workspace: str = WS) -> None:
    """So many decisions on bills of the vendor that proved right, and so many that did not."""
    for number in range(right + wrong):
        await give(bus, _of(bill(str(number)), workspace))
        await happened(bus, number, workspace=workspace)
        if number >= right:
            await overturned(bus, number, workspace=workspace)


async def check(bus: Bus, workspace: str = WS) -> None:
    """Have the workspace checked now, as the broker does when it is due."""
    name = subjects.check(bus.region, workspace)
    await bus.publish(name, Check(workspace=workspace, asked_at=now()), stream=bus.topology.checks)


async def outcome(bus: Bus, workspace: str = WS, *, after: SelfCheck | None = None) -> SelfCheck:
    """The last check of a workspace, once there is one that came after another."""
    bucket = Bucket(bus, "selfchecks", SelfCheck)
    with anyio.fail_after(30):
        while True:
            kept = await bucket.get(workspace)
            if kept is not None and kept.value != after:
                return kept.value
            await anyio.sleep(0.02)


async def notices(bus: Bus) -> list[tuple[str, str, str]]:
    """Who was told what, in order."""
    return [(one.workspace, one.kind, one.why) for one in await everything(bus, bus.topology.notices, Notice)]


@asynccontextmanager
async def measured(bus: Bus, settings: Settings) -> AsyncIterator[SelfCheck]:
    """What a check of the workspace finds."""
    async with scoring(settings):
        await check(bus)
        yield await outcome(bus)


async def test_a_vendor_that_was_wrong_is_held_back_and_its_owner_told(bus: Bus, settings: Settings) -> None:
    await past(bus, 7, 2)
    async with measured(bus, settings) as found:
        assert found.held == (VENDOR,)
        assert (found.vendors[VENDOR].right, found.vendors[VENDOR].cases) == (7, 9)
        await check(bus)
        await outcome(bus, after=found)
    ((_, kind, why),) = await notices(bus)
    assert kind == "demoted"
    assert why == (
        "bills of Sluice & Sons SARL wait for you: automatic decisions for this vendor were right in 7 of 9 cases "
        "(at least 45%, target 95%)"
    )


async def test_a_vendor_comes_back_and_its_owner_is_told(bus: Bus, settings: Settings) -> None:
    await Bucket(bus, "policies", Policy).create(WS, Policy(target=0.5))
    await past(bus, 3, 1)
    async with measured(bus, settings) as low:
        assert low.held == (VENDOR,)
        for number in range(10, 16):  # a person agrees with what Weir would have done
            await give(bus, bill(str(number)))
            held = await happened(bus, number, "review", gate=GATE)
            told = answer("linked", f"e{number}", review=held.id, bill=str(number), closed_at=now())
            await ask(bus, asked(ident=str(number), review=held.id))
            await close(bus, told)
        await check(bus)
        high = await outcome(bus, after=low)
    assert (high.held, high.vendors[VENDOR].right, high.vendors[VENDOR].cases) == ((), 9, 10)
    assert [kind for _, kind, _ in await notices(bus)] == ["demoted", "restored"]
    assert "by itself again: 9 of 10 decisions were right" in (await notices(bus))[1][2]


async def test_a_workspace_is_judged_by_its_own_past(bus: Bus, settings: Settings) -> None:
    await past(bus, 1, 1)
    await past(bus, 2, 0, "other-lock")
    async with scoring(settings):
        await check(bus)
        await check(bus, "other-lock")
        mine, theirs = await outcome(bus), await outcome(bus, "other-lock")
    assert (mine.held, theirs.held) == ((VENDOR,), ())
    assert (theirs.overall.right, theirs.overall.cases) == (2, 2)
    assert {workspace for workspace, _, _ in await notices(bus)} == {WS}


async def test_what_the_streams_tell_is_told_apart(bus: Bus, settings: Settings) -> None:
    old, fresh = now() - 2 * SETTLED, now()
    for number in range(1, 9):
        await give(bus, bill(str(number), deleted=number == 7, vendor=Ref(id=str(number), name=f"Gate {number}")))
    await happened(bus, 1)  # stands
    await happened(bus, 2, at=fresh)  # too young to tell
    await happened(bus, 3, "create")  # somebody rejected in Qonto what Weir made
    await _posted(bus, 3, "created", invoice("m3", status="rejected", updated_at=old, origin=key("3")))
    await happened(bus, 4, "create")  # Weir withdrew it itself
    await _posted(bus, 4, "withdrawn", invoice("m4", status="rejected", updated_at=old, origin=key("4")))
    await happened(bus, 5, "create")  # Weir may have, and not said so yet
    await _posted(bus, 5, "created", invoice("m5", status="rejected", updated_at=now(), origin=key("5")))
    await happened(bus, 6)  # another entry, but the question was not about the match
    await overturned(bus, 6, gate="entry gone")
    await happened(bus, 7)  # the bill is gone, and with it its vendor
    await happened(bus, 8, at=now() - WINDOW - timedelta(days=1))  # too old
    async with measured(bus, settings) as found:
        assert set(found.vendors) == {f"{REALM}-3"}
        assert (found.overall.right, found.overall.cases) == (3, 4)


async def _posted(bus: Bus, number: int, outcome_: Any, entry: Entry) -> None:
    posting = Posting(
        id=f"p{number}",
        workspace=WS,
        realm=REALM,
        bill=str(number),
        decision=f"d{number}-create",
        outcome=outcome_,
        revision=1,
        posted_at=NOON,
        entry=entry.id,
    )
    await bus.publish(subjects.posting(bus.region, WS, key(str(number))), posting, stream=bus.topology.postings)
    await give(bus, entry)


async def test_several_scorers_one_of_them_killed_check_once_by_effect(bus: Bus, settings: Settings) -> None:
    await past(bus, 40, 1)
    with process(settings) as first, process(settings):
        await check(bus)
        found = await outcome(bus)
        first.send_signal(signal.SIGKILL)
        first.wait(10)
        await check(bus)
        again = await outcome(bus, after=found)
    assert found.held == again.held == (VENDOR,)
    assert [kind for _, kind, _ in await notices(bus)] == ["demoted"]


async def test_every_workspace_is_checked_each_week(bus: Bus, settings: Settings) -> None:
    workspaces = Bucket(bus, "workspaces", Workspace)
    for name in (WS, "other-lock"):
        await workspaces.create(name, Workspace(id=name, region=bus.region, created_at=NOON))
    stream, names = bus.topology.checks, f"{bus.region}.check-schedule.*"
    async with scoring(settings):
        with anyio.fail_after(30):
            while len(await bus.subjects(stream, names)) < 2:
                await anyio.sleep(0.02)
    scheduled = await bus.js.get_last_msg(stream, subjects.check_schedule(bus.region, WS))
    headers = scheduled.headers or {}
    week = timedelta(days=7).total_seconds()
    seconds = float(headers["Nats-Schedule"].removeprefix("@every ").removesuffix("s"))
    assert 0.9 * week < seconds < 1.1 * week
    assert headers["Nats-Schedule-Target"] == subjects.check(bus.region, WS)
    await Checks(bus).schedule_forgotten()
    assert (await bus.js.get_last_msg(stream, subjects.check_schedule(bus.region, WS))).seq == scheduled.seq


async def test_the_broker_brings_a_check_when_it_is_due(bus: Bus, settings: Settings, monkeypatch: Any) -> None:
    monkeypatch.setattr("services.scorer.checking.EVERY", 1.0)
    await Bucket(bus, "workspaces", Workspace).create(WS, Workspace(id=WS, region=bus.region, created_at=NOON))
    async with scoring(settings):
        first = await outcome(bus)
        assert (first.overall.cases, first.held) == (0, ())
        assert (await outcome(bus, after=first)).at > first.at


async def test_bills_of_a_vendor_held_back_wait_for_a_person(bus: Bus, settings: Settings) -> None:
    await past(bus, 7, 2)
    async with measured(bus, settings):
        await give(bus, vendor(), invoice("e21", number="F-21"))
        await give(bus, bill("21", number="F-21"), bill("22", number="F-22", total=Decimal("987.60")))
        linked, created = await decision(bus, "21"), await decision(bus, "22")
    assert (linked.action, linked.gate, linked.entry) == ("review", GATE, "e21")
    assert (created.action, created.gate, created.entry) == ("review", GATE, None)
    assert "right in 7 of 9 cases (at least 45%, target 95%)" in linked.why
    assert "right in 7 of 9 cases (at least 45%, target 95%)" in created.why
