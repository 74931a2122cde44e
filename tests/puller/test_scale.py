"""Companies of any size: windows of every length, what change data capture cuts off, and what all that costs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import httpx
import pytest

from common import codec, subjects
from common.bus import Bus
from common.connections import Connection
from common.messages import AccountClaim, Connected, PullState, Tick, Workspace, now
from tests.puller.stand import WS, World, differences, puller, until

pytestmark = pytest.mark.usefixtures("swift")

BEHIND = -7200
"""Seconds the stand-in's clock stands beside ours, so that it shows whose clock counts."""
HOUR = timedelta(hours=1)
CROWD = 1000
"""Objects in an answer of change data capture that was cut off."""


def budget(bills: int, files: int = 0) -> int:
    """Calls that reading so many bills may cost: a page holds a thousand objects, and there are six entities."""
    return bills * 6 // 1000 + files + 10


async def published_once(world: World) -> bool:
    """Whether no record took the place of another."""
    state = (await world.bus.js.stream_info(world.bus.topology.records)).state
    return bool(state.last_seq == state.messages)


def on_their_clock(moment: datetime) -> datetime:
    """A moment as the stand-in's clock shows it, in whole seconds."""
    return (moment + timedelta(seconds=BEHIND)).astimezone(UTC).replace(microsecond=0)


@pytest.mark.parametrize(
    "bills, seconds, files",
    [(0, 0, 0), (1, 0, 0), (999, 5000, 0), (1000, 5000, 0), (1001, 5000, 60), (3000, 0, 0)],
)
async def test_a_window_of_any_length_is_read_whole_once_and_in_few_calls(
    world: World, bills: int, seconds: int, files: int
) -> None:
    world.sandbox.switch(clock_offset=BEHIND)
    world.realm = world.sandbox.company(bills=0)
    begins = (on_their_clock(now()) - timedelta(seconds=seconds) - HOUR).isoformat()
    if bills:
        world.sandbox.crowd(world.realm, "Bill", bills, at=begins, spread=seconds)
    if files:
        world.sandbox.crowd(world.realm, "Attachable", files, at=begins)
    async with puller(world.settings):
        world.sandbox.count()
        began = on_their_clock(now())
        await world.first_pull()
        assert world.sandbox.spent() <= budget(bills, files)
        for name in ("Vendor", "Attachable", "Bill", "deletions"):
            marker = await world.marker(name)
            assert marker.quiet
            assert marker.until is not None
            assert began <= marker.until <= on_their_clock(now()), name
        assert len(await world.records("bill")) == bills
        world.sandbox.count()
        await world.pull()
        assert world.sandbox.spent() == 1
    assert await differences(world) == []
    assert await published_once(world)


@asynccontextmanager
async def states(world: World) -> AsyncIterator[list[PullState]]:
    """How pulling stood, as it was written down during the block."""
    seen: list[PullState] = []
    store = await world.bus.js.key_value(world.bus.topology.bucket("pulls"))
    watcher = await store.watch(WS)

    async def note() -> None:
        nonlocal seen
        async for entry in watcher:
            seen += [codec.decode(entry.value, PullState)] if entry is not None and entry.value else []

    async with anyio.create_task_group() as group:
        group.start_soon(note)
        yield seen
        group.cancel_scope.cancel()
    await watcher.stop()  # type: ignore[no-untyped-call]


@pytest.mark.long
async def test_a_large_company_is_read_in_slices_that_show_how_far_they_are(world: World) -> None:
    bills = 25_000
    world.realm = world.sandbox.company(bills=0)
    made = world.sandbox.crowd(world.realm, "Bill", bills, spread=20 * 86_400)
    async with states(world) as seen, puller(world.settings, seconds=4.0):
        world.sandbox.count()
        assert isinstance(await world.connect(), Connected)
        await world.pulled(110)
        assert world.sandbox.spent() <= budget(bills)
        parts = [notice for notice in await world.notices() if notice.kind == "pulled"]
        assert len(parts) >= 3
        assert {notice.why for notice in parts[:-1]} == {"a part; the rest follows"}
        assert sum(notice.counts.get("bill", 0) for notice in parts) == bills

        async def ended() -> bool:
            return bool(seen) and seen[-1].finished_at is not None

        await until(ended)
    pages = [state for state in seen if state.entity == "Bill"]
    assert len(pages) >= bills // CROWD
    assert all(state.first and state.finished_at is None for state in pages)
    reached = [state.read_until for state in pages if state.read_until is not None]
    assert len(reached) == len(pages)
    assert reached == sorted(reached)
    assert reached[0] < reached[-1]
    counted = [state.counts["bill"] for state in pages]
    assert counted == sorted(counted)
    assert seen[-1].counts["bill"] == bills
    assert seen[-1].entity is None
    assert seen[-1].next_at is not None
    pattern = f"{world.bus.region}.record.{WS}.bill.*"
    found = {name.rpartition("-")[2] for name in await world.bus.subjects(world.bus.topology.records, pattern)}
    assert found == {str(ident) for ident in range(int(made["first"]), int(made["last"]) + 1)}
    assert await published_once(world)


def captured(world: World, since: datetime) -> list[dict[str, Any]]:
    """What change data capture tells of bills and attachments."""
    token = world.sandbox.post(f"{world.realm}/tokens", json={"side": "quickbooks"})["access_token"]
    answer = httpx.get(
        f"{world.sandbox.url}/v3/company/{world.realm}/cdc",
        params={
            "entities": "Vendor,Customer,BillPayment,VendorCredit,Bill,Attachable",
            "changedSince": f"{since:%FT%TZ}",
        },
        headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
        trust_env=False,
    )
    answer.raise_for_status()
    (told,) = answer.json()["CDCResponse"]
    return [
        item for page in told["QueryResponse"] for found in page.values() if isinstance(found, list) for item in found
    ]


async def test_more_changes_than_capture_holds_are_found_by_window_and_deletions_by_id(world: World) -> None:
    world.realm = world.sandbox.company(bills=0)
    earlier = (now() - HOUR).isoformat()
    for entity, count in (("Bill", 60), ("VendorCredit", 3), ("Attachable", 20)):
        world.sandbox.crowd(world.realm, entity, count, at=earlier)
    async with puller(world.settings):
        await world.first_pull()
        began = now()
        kept = world.sandbox.bills(world.realm)
        files = world.sandbox.objects(world.realm, "Attachable")
        gone, removed = sorted(kept)[:5], sorted(files)[-2:]
        credit, *_ = world.sandbox.objects(world.realm, "VendorCredit")
        world.sandbox.crowd(world.realm, "Bill", CROWD, at=began.isoformat(), spread=1)
        world.sandbox.patch(f"{world.realm}/quickbooks/bill/{sorted(kept)[-1]}", {"PrivateNote": "edited"})
        for ident in gone:
            world.sandbox.delete(f"{world.realm}/quickbooks/bill/{ident}")
        for ident in removed:
            world.sandbox.delete(f"{world.realm}/quickbooks/attachable/{ident}")
        world.sandbox.delete(f"{world.realm}/quickbooks/vendorcredit/{credit}")
        told = captured(world, began - timedelta(seconds=5))
        assert len(told) == CROWD
        assert not {item["Id"] for item in told if item.get("status") == "Deleted"} & {*gone, *removed}
        await world.pull()
        bills = await world.records("bill")
        assert [ident for ident in sorted(bills) if bills[ident].message.deleted] == gone
        assert (await world.records("vendorcredit"))[credit].message.deleted
        assert await differences(world) == []


async def test_a_deletion_that_is_none_is_not_believed(world: World) -> None:
    async with puller(world.settings):
        await world.first_pull()
        before = await world.last_sequence()
        world.sandbox.switch(phantom_deletes=2)
        for _ in range(2):
            await world.pull()
        assert world.sandbox.control.get("/sandbox/switches").json()["phantom_deletes"] == 0
        assert await world.last_sequence() == before
        assert await differences(world) == []


async def test_a_bill_that_came_and_went_between_two_pulls_is_nothing(world: World) -> None:
    async with puller(world.settings):
        await world.first_pull()
        before, notices = await world.last_sequence(), len(await world.notices())
        detail = {"AccountRef": {"value": "1"}}
        line = {
            "Amount": 12.5, "DetailType": "AccountBasedExpenseLineDetail", "AccountBasedExpenseLineDetail": detail,
        }  # fmt: skip
        vendor, *_ = world.sandbox.objects(world.realm, "Vendor")
        draft = {"VendorRef": {"value": vendor}, "Line": [line]}
        made = world.sandbox.post(f"{world.realm}/quickbooks/bill", json=draft)["Bill"]["Id"]
        world.sandbox.attach(world.realm, made, b"%PDF-1.4 fictional")
        world.sandbox.delete(f"{world.realm}/quickbooks/bill/{made}")
        await world.pull()
        assert made not in await world.records("bill")
        assert await world.last_sequence() == before
        assert len(await world.notices()) == notices
        assert await differences(world) == []


IDLE = 10_000


async def idle_workspaces(world: World) -> None:
    """So many connected workspaces whose next pull is an hour away."""
    bus, at = world.bus, now()
    due = f"@at {at + HOUR:%Y-%m-%dT%H:%M:%SZ}"

    async def put(bucket: str, key: str, value: Any) -> None:
        await bus.client.publish(f"$KV.{bus.topology.bucket(bucket)}.{key}", codec.encode(value))

    for number in range(IDLE):
        workspace, realm = f"idle-{number:05}", f"91300000000000{number:05}"
        await put("workspaces", workspace, Workspace(id=workspace, region=bus.region, created_at=at, realm=realm))
        await put("accounts", f"quickbooks.{realm}", AccountClaim(workspace=workspace, at=at))
        connection = Connection(workspace=workspace, account=realm, state="connected", since=at)
        await put("connections", f"{workspace}.quickbooks", connection)
        await bus.client.publish(
            subjects.schedule(bus.region, workspace),
            codec.encode(Tick(workspace=workspace, reason="schedule", asked_at=at)),
            headers={"Nats-Schedule": due, "Nats-Schedule-Target": subjects.pull(bus.region, workspace)},
        )

    async def stored() -> bool:
        names = [bus.topology.pulls, *(f"KV_{bus.topology.bucket(name)}" for name in ("accounts", "connections"))]
        return all([(await bus.js.stream_info(name)).state.messages >= IDLE for name in names])

    await until(stored)


def sent(bus: Bus) -> int:
    """Messages this connection has sent to the broker."""
    return int(bus.client.stats["out_msgs"])


async def test_workspaces_that_nobody_pulls_cost_nothing(world: World) -> None:
    async with puller(world.settings) as service:
        alone = sent(service)
        await world.first_pull()
        before = sent(service)
        await world.pull()
        quiet = sent(service) - before
    await idle_workspaces(world)
    async with puller(world.settings) as service:
        # Starting, idling and pulling cost what they cost with one workspace.
        assert sent(service) <= alone + 20
        before, heard = sent(service), service.client.stats["in_msgs"]

        async def sign_of_life() -> bool:
            """The broker's, about every five seconds while a request for ticks stands."""
            return bool(service.client.stats["in_msgs"] > heard)

        await until(sign_of_life)
        assert sent(service) <= before + 20
        before = sent(service)
        await world.pull()
        # Requests for ticks are renewed meanwhile; one message per idle workspace would be thousands.
        assert sent(service) - before <= quiet + 30
    assert len(await world.bus.subjects(world.bus.topology.pulls, f"{world.bus.region}.schedule.*")) == IDLE + 1
