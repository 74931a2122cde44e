"""The scorer on a real broker: decisions, redelivery after a kill, several instances, bad messages."""

import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from decimal import Decimal
from typing import Any

import anyio
import msgspec
import pytest

from common import subjects
from common.buckets import Bucket
from common.bus import Bus
from common.messages import Claim, Decision, Entry, Notice, Policy, Record, ReviewRequested
from common.settings import Settings
from services.scorer import app
from tests.conftest import ROOT, environment
from tests.scorer.cases import NOON, WS, bill, invoice, key, vendor


async def give(bus: Bus, *messages: Record | Entry) -> int:
    """Publish records and entries; the sequence of the last entry."""
    names, sequence = bus.topology, 0
    for message in messages:
        if isinstance(message, Entry):
            subject = subjects.entry(bus.region, message.workspace, message.kind, message.id)
            sequence = await bus.publish(subject, message, stream=names.entries)
        else:
            subject = subjects.record(bus.region, message.workspace, message.kind, message.key)
            await bus.publish(subject, message, stream=names.records)
    return sequence


async def decision(bus: Bus, ident: str, workspace: str = WS, *, content: str = "h") -> Decision:
    """The newest decision on this version of a bill, once there is one."""
    subject = subjects.decision(bus.region, workspace, key(ident))
    with anyio.fail_after(30):
        while True:
            found = await bus.newest(bus.topology.decisions, subject, Decision)
            if found is not None and found.message.record_hash == content:
                return found.message
            await anyio.sleep(0.05)


async def everything(bus: Bus, stream: str, type_: Any) -> list[Any]:
    """All messages a stream holds."""
    state = (await bus.js.stream_info(stream)).state
    found = [await bus.js.get_msg(stream, number) for number in range(1, state.last_seq + 1)]
    return [msgspec.json.decode(message.data or b"", type=type_) for message in found]


async def settled(bus: Bus) -> None:
    """Wait until the scorer has acknowledged everything it was given."""
    names = bus.topology
    newest = await bus.newest_sequence(names.records, names.scorer.subject)
    with anyio.fail_after(40):
        while True:
            info = await bus.js.consumer_info(names.records, names.scorer.name)
            # What was stored just now may not count as pending yet.
            delivered = info.delivered is not None and info.delivered.stream_seq >= newest
            if delivered and not info.num_pending and not info.num_ack_pending:
                return
            await anyio.sleep(0.05)


@asynccontextmanager
async def scoring(settings: Settings) -> AsyncIterator[Bus]:
    """A scorer in this process."""
    bus = Bus(settings, "scorer")
    app.build(bus)
    async with anyio.create_task_group() as group:
        group.start_soon(bus.run)
        with anyio.fail_after(15):
            await bus.started.wait()
        try:
            yield bus
        finally:
            bus.stop()


@contextmanager
def process(settings: Settings) -> Iterator["subprocess.Popen[bytes]"]:
    """A scorer in a process of its own, stopped at the end if it still runs."""
    started = subprocess.Popen(
        [sys.executable, "-m", "services.scorer"],
        cwd=ROOT,
        env=environment(settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield started
    finally:
        started.kill()
        started.wait(10)


async def test_a_bill_is_linked_created_or_asked_about(bus: Bus, settings: Settings) -> None:
    reached = await give(bus, invoice(), vendor())
    async with scoring(settings):
        other = bill("2", number="F-2026-2000", total=Decimal("77.10"))
        asked = bill("3", number="F-2026-3000", total=Decimal("55.00"), lines=())
        records = [msgspec.structs.replace(record, entries_seq=reached) for record in (bill(), other, asked)]
        await give(bus, *records)
        linked, created, held = [await decision(bus, ident) for ident in ("1", "2", "3")]
        await settled(bus)
    assert (linked.action, linked.entry, linked.entry_kind) == ("link", "e1", "invoice")
    assert (linked.record_hash, linked.entries_seq, linked.bill, linked.realm) == ("h", reached, "1", "9")
    assert created.action == "create"
    assert held.action == "review"
    (review,) = await everything(bus, bus.topology.reviews, ReviewRequested)
    assert (review.bill, review.workspace, review.score) == ("3", WS, held.score)
    assert review.summary.total == Decimal("55.00")


async def test_a_refusal_can_be_seen_and_a_deleted_bill_is_withdrawn(bus: Bus, settings: Settings) -> None:
    poor = bill("5", number=None, issued_on=None, due_on=None, total=Decimal(0), lines=())
    async with scoring(settings):
        await give(bus, vendor(), poor, bill("6", deleted=True))
        assert (await decision(bus, "5")).action == "refuse"
        assert (await decision(bus, "6")).action == "withdraw"
    stored = await bus.newest(bus.topology.reviews, f"{bus.region}.review.refused.{WS}.{key('5')}", ReviewRequested)
    assert stored is not None


async def test_claims_and_policy_of_the_workspace_count(bus: Bus, settings: Settings) -> None:
    await Bucket(bus, "claims", Claim).create(f"{WS}.invoice-e1", Claim(bill=key("99"), at=NOON))
    await Bucket(bus, "policies", Policy).create(WS, Policy(version=4, review_vendors=("8",)))
    await give(bus, invoice(), vendor(), vendor("8"))
    async with scoring(settings):
        await give(bus, bill(), bill("2", number="Q-7700", total=Decimal("64.00"), vendor={"id": "8", "name": "Quay"}))
        contested, held = await decision(bus, "1"), await decision(bus, "2")
    assert (contested.action, contested.gate) == ("review", "contested")
    assert (held.action, held.gate, held.policy_version) == ("review", "policy", 4)


async def test_a_bill_waits_for_the_entries_it_was_pulled_with(bus: Bus, settings: Settings) -> None:
    first = await give(bus, invoice("x", number="Z-1", amount=Decimal(5)), vendor())
    async with scoring(settings):
        # The record says that Qonto held one more entry than the stream has yet.
        await give(bus, msgspec.structs.replace(bill(), entries_seq=first + 1))
        with anyio.move_on_after(1.5):
            await decision(bus, "1")
            pytest.fail("decided before the entry was there")
        assert await give(bus, invoice()) == first + 1
        assert (await decision(bus, "1")).action == "link"


async def test_a_workspace_does_not_see_another(bus: Bus, settings: Settings) -> None:
    await give(bus, msgspec.structs.replace(invoice(), workspace="other-lock"), vendor())
    async with scoring(settings):
        await give(bus, bill())
        found = await decision(bus, "1")
    assert (found.action, found.candidates) == ("create", ())


async def test_what_was_decided_is_decided_alike_again(bus: Bus, settings: Settings) -> None:
    await give(bus, invoice(), vendor(), bill())
    async with scoring(settings):
        first = await decision(bus, "1")
    await give(bus, bill())
    async with scoring(settings):
        await settled(bus)
        second = await decision(bus, "1")
    assert (first.id, first.action, first.entry, first.score) == (second.id, second.action, second.entry, second.score)


async def test_a_killed_scorer_loses_nothing_and_decides_alike(bus: Bus, settings: Settings) -> None:
    count = 600
    entries = [invoice(f"e{n}", number=f"F-{n:05}", amount=Decimal(100 + n)) for n in range(count)]
    records = [bill(str(n), number=f"F-{n:05}", total=Decimal(100 + n)) for n in range(count)]
    names = bus.topology
    page = [(subjects.entry(bus.region, WS, one.kind, one.id), one) for one in entries]
    reached = await bus.publish_page(names.entries, page)
    await give(bus, vendor())
    records = [msgspec.structs.replace(record, entries_seq=reached) for record in records]
    await bus.publish_page(names.records, [(subjects.record(bus.region, WS, "bill", one.key), one) for one in records])
    with process(settings) as first:
        with anyio.fail_after(30):
            while not await bus.newest_sequence(names.decisions, f"{bus.region}.decision.{WS}.>"):
                assert first.poll() is None
                await anyio.sleep(0.01)
        first.send_signal(signal.SIGKILL)
        first.wait(10)
    with process(settings), process(settings):
        await settled(bus)
    decisions = await everything(bus, names.decisions, Decision)
    by_bill: dict[str, set[tuple[str, str, str | None]]] = {}
    for one in decisions:
        by_bill.setdefault(one.bill, set()).add((one.id, one.action, one.entry))
    assert {bill_id: {(action, entry) for _, action, entry in found} for bill_id, found in by_bill.items()} == {
        str(n): {("link", f"e{n}")} for n in range(count)
    }
    assert all(len(found) == 1 for found in by_bill.values())


async def test_a_bill_without_a_body_spoils_only_itself(bus: Bus, settings: Settings) -> None:
    empty = Record(workspace=WS, realm="9", id="66", kind="bill", content_hash="h", pulled_at=NOON)
    await give(bus, vendor(), empty, bill("1", number="A-1"), bill("2", number="A-2"))
    async with scoring(settings):
        assert (await decision(bus, "1")).action == "create"
        assert (await decision(bus, "2")).action == "create"
        # It is no silent loss either: it is tried again, or its owner was told.
        told = await bus.newest(bus.topology.notices, f"{bus.region}.notice.{WS}", Notice)
        waiting = await bus.js.consumer_info(bus.topology.records, bus.topology.scorer.name)
        assert (told is not None and told.message.kind == "failed") or waiting.num_ack_pending == 1


async def test_a_message_nobody_can_read_does_not_stop_a_workspace(bus: Bus, settings: Settings) -> None:
    names = bus.topology
    await give(bus, invoice(), vendor())
    # The newest entry and the newest vendor are of a kind this version does not know.
    await bus.publish(f"{bus.region}.entry.{WS}.invoice.new-kind", {"type": "entry.9"}, stream=names.entries)
    await give(bus, bill())
    await bus.publish(f"{bus.region}.record.{WS}.vendor.9-77", {"type": "record.9"}, stream=names.records)
    async with scoring(settings):
        assert (await decision(bus, "1")).action == "link"


async def test_a_stop_signal_ends_the_process_in_good_order(bus: Bus, settings: Settings) -> None:
    await give(bus, invoice(), vendor(), bill())
    with process(settings) as running:
        await decision(bus, "1")
        running.send_signal(signal.SIGTERM)
        with anyio.fail_after(20):
            while running.poll() is None:
                await anyio.sleep(0.05)
        assert running.returncode == 0
    await settled(bus)
