"""The mirror: everything once, then what changed; what vanished; what Qonto has read."""

import asyncio
from collections.abc import Iterable
from datetime import timedelta

import msgspec
import pytest

from common.buckets import Bucket
from common.messages import Entry, Mirror, Mirrored, Refusal, now
from services.poster import qonto
from services.poster.comparison import Reached
from services.poster.entries import Entries
from services.poster.lists import Marker
from services.poster.unread import Watched
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
async def test_more_than_a_page_created_at_once_is_read_whole(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, filters: str
) -> None:
    await desk.switch(time_filters=filters)
    await desk.mirror()
    decisions = [await desk.create(str(number), bill(f"F-{number}")) for number in range(1, 14)]
    for decision in decisions:
        await desk.posting(decision, within=60)
    names = {one["id"] for one in await desk.invoices()}
    assert len(names) == 13
    for entry in await desk.entries("invoice"):
        if entry.id in names:  # the poster told of them itself: the mirror is to find them alone
            await desk.bus.js.purge_stream(desk.bus.topology.entries, subject=Entries(desk.bus).subject(entry))
    monkeypatch.setattr(qonto, "PER_PAGE", 4)
    await desk.mirror()
    assert names <= {entry.id for entry in await desk.entries("invoice")}


async def _delete(desk: Desk, ident: str) -> None:
    await desk.control.delete(f"/sandbox/companies/{desk.realm}/qonto/supplier_invoices/{ident}")


async def test_what_vanished_is_buried_by_the_next_pass(desk: Desk) -> None:
    await desk.mirror()
    foreign = await desk.foreign_invoice()
    await _delete(desk, foreign.id)
    # One that is new hides the loss in the total, not in what explains the total.
    await desk.posting(await desk.create("1"))
    await desk.mirror()
    assert (await desk.entry("invoice", foreign.id)).deleted


async def test_once_a_day_everything_is_compared_whatever_the_totals_say(desk: Desk) -> None:
    await desk.mirror()
    foreign = await desk.foreign_invoice()
    await _delete(desk, foreign.id)
    await _compare_next_time(desk)
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


async def _compare_next_time(desk: Desk) -> None:
    """Let the next pass compare everything, whatever the totals say."""
    markers = Bucket(desk.bus, "markers", Marker)
    kept = await markers.get(f"{WS}.{desk.company['organization']}.invoices")
    assert kept is not None
    blind = msgspec.structs.replace(kept.value, total=None, full_at=kept.value.full_at - timedelta(days=2))
    await markers.replace(kept.key, blind, kept.revision)


async def test_a_comparison_that_was_cut_short_goes_on_where_it_was(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qonto, "PER_PAGE", 4)
    await desk.mirror()
    by_change = sorted(await desk.entries("invoice"), key=lambda entry: entry.updated_at)
    early, late = by_change[1], by_change[-6]
    assert len(by_change) > 20
    for entry in (early, late):
        await _delete(desk, entry.id)
    await _compare_next_time(desk)
    published, pages = Entries.publish, 0

    async def dying(self: Entries, entries: Iterable[Entry]) -> int:
        nonlocal pages
        pages += 1
        if pages == 6:
            raise RuntimeError("killed")
        return await published(self, entries)

    with monkeypatch.context() as patch:
        patch.setattr(Entries, "publish", dying)
        assert isinstance(await desk.call("mirror", Mirror(workspace=WS)), Refusal)
    lists = "GET /v2/supplier_invoices"
    assert (await desk.entry("invoice", early.id)).deleted
    assert not (await desk.entry("invoice", late.id)).deleted
    reached = Bucket(desk.bus, "markers", Reached)
    key = f"{WS}.{desk.company['organization']}.compared-invoice"
    assert await reached.get(key) is not None
    before = (await desk.calls())[lists]
    await desk.mirror()
    assert (await desk.entry("invoice", late.id)).deleted
    assert (await desk.calls())[lists] - before < len(by_change) / 4
    assert await reached.get(key) is None
    assert {entry.id for entry in await desk.entries("invoice") if entry.deleted} == {early.id, late.id}


async def test_a_list_that_qonto_does_not_give_is_asked_for_once_a_day(desk: Desk) -> None:
    await desk.mirror()
    await _compare_next_time(desk)
    await desk.fault("status", "/supplier_invoices$", method="GET", status=404, skip=1, times=1, body="{}")
    await desk.mirror()
    lists = "GET /v2/supplier_invoices"
    before = (await desk.calls())[lists]
    await desk.mirror()
    assert (await desk.calls())[lists] == before + 1


async def test_what_another_organization_has_is_not_taken_for_vanished(desk: Desk) -> None:
    await desk.mirror()
    before = await desk.entries("invoice")
    await desk.disconnect()
    made = await desk.control.post("/sandbox/companies", json={"seed": "other", "bills": 5})
    desk.company = made.json()
    await desk.connect()
    await desk.mirror()
    await _compare_next_time(desk)
    asked = (await desk.calls()).get("GET /v2/supplier_invoices/{id}", 0)
    await desk.mirror()
    assert (await desk.calls()).get("GET /v2/supplier_invoices/{id}", 0) == asked
    there = {entry.id: entry for entry in await desk.entries("invoice")}
    assert {entry.organization for entry in there.values()} > {desk.company["organization"]}
    assert not any(there[entry.id].deleted for entry in before)


async def test_what_qonto_denied_once_and_shows_again_is_there_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.mirror()
    monkeypatch.setattr(qonto, "PER_PAGE", 5)
    oldest = min(await desk.entries("invoice"), key=lambda entry: entry.updated_at)
    watched = {oldest.id: Watched(due=now())}
    await Bucket(desk.bus, "markers", dict[str, Watched]).put(f"{WS}.{desk.company['organization']}.unread", watched)
    await desk.fault("status", f"/supplier_invoices/{oldest.id}$", method="GET", status=404, body="{}")
    await desk.mirror()
    assert (await desk.entry("invoice", oldest.id)).deleted
    await _compare_next_time(desk)
    await desk.mirror()
    assert await desk.entry("invoice", oldest.id) == oldest
