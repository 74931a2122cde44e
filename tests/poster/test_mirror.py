"""The mirror: everything once, then what changed; what vanished; what Qonto has read."""

import asyncio
from datetime import timedelta

import msgspec
import pytest

from common.buckets import Bucket
from common.messages import Mirror, Mirrored, Refusal
from services.poster.mirror import Marker
from tests.poster.desk import WS, Desk, bill, poster


async def test_the_first_pass_reads_everything_and_the_next_only_what_changed(desk: Desk) -> None:
    first = await desk.mirror()
    entries = await desk.entries()
    assert first.changed == len(entries) > 20
    assert first.entries_seq == await desk.bus.newest_sequence(desk.bus.topology.entries, f"{desk.bus.region}.entry.>")
    assert {entry.kind for entry in entries} == {"invoice", "transaction"}
    again = await desk.mirror()
    assert (again.changed, again.entries_seq) == (0, first.entries_seq)
    foreign = await desk.foreign_invoice()
    await desk.patch(foreign.id, status="to_pay")
    third = await desk.mirror()
    assert third.changed == 1
    assert third.entries_seq > first.entries_seq
    assert (await desk.entry("invoice", foreign.id)).status == "to_pay"


@pytest.mark.parametrize("filters", ["inclusive", "exclusive"])
async def test_more_than_a_page_changed_at_once_is_read_whole(desk: Desk, filters: str) -> None:
    await desk.switch(time_filters=filters, limits=False)
    await desk.control.post("/sandbox/companies", json={"seed": "other", "bills": 1})
    decisions = [await desk.create(str(number), bill(f"F-{number}")) for number in range(1, 131)]
    for decision in decisions:
        await desk.posting(decision, within=60)
    names = {one["id"] for one in await desk.invoices()}
    assert len(names) == 130
    await desk.mirror()
    assert names <= {entry.id for entry in await desk.entries("invoice")}


async def test_a_full_pass_buries_what_vanished(desk: Desk) -> None:
    await desk.mirror()
    foreign = await desk.foreign_invoice()
    await desk.control.delete(f"/sandbox/companies/{desk.realm}/qonto/supplier_invoices/{foreign.id}")
    assert (await desk.mirror()).changed == 0
    markers = Bucket(desk.bus, "markers", Marker)
    key = f"{WS}.{desk.company['organization']}.invoices"
    kept = await markers.get(key)
    assert kept is not None
    yesterday = msgspec.structs.replace(kept.value, full_at=kept.value.full_at - timedelta(days=2))
    await markers.replace(key, yesterday, kept.revision)
    assert (await desk.mirror()).changed == 1
    assert (await desk.entry("invoice", foreign.id)).deleted


async def test_without_a_connection_the_call_is_refused(idle: Desk) -> None:
    async with poster(idle.settings):
        answer = await idle.call("mirror", Mirror(workspace=WS))
    assert answer == Refusal(
        why="never connected",
        fix="connect Qonto in the console; it goes on by itself then",
        retry=True,
        reason="not-connected",
    )


async def test_a_connection_that_ended_is_named_as_the_reason(desk: Desk) -> None:
    await desk.control.delete(f"/sandbox/companies/{desk.realm}/tokens/qonto")
    assert isinstance(await desk.call("mirror", Mirror(workspace=WS)), Refusal)
    answer = await desk.call("mirror", Mirror(workspace=WS))
    assert isinstance(answer, Refusal)
    assert answer.why.startswith("it needs to be reconnected, because ")
    assert answer.fix == "reconnect Qonto in the console"
    await desk.disconnect()
    answer = await desk.call("mirror", Mirror(workspace=WS))
    assert isinstance(answer, Refusal)
    assert answer.why.startswith("disconnected by its owner")
    assert answer.reason == "not-connected"


async def test_two_calls_at_once_both_get_an_answer(desk: Desk) -> None:
    answers = await asyncio.gather(*(desk.call("mirror", Mirror(workspace=WS)) for _ in range(3)))
    assert all(isinstance(answer, Mirrored) for answer in answers)
    assert len({answer.entries_seq for answer in answers if isinstance(answer, Mirrored)}) == 1
