"""The mirror: everything once, then what changed; what vanished; what Qonto has read."""

import asyncio
from datetime import timedelta
from decimal import Decimal

import msgspec
import pytest

from common import subjects
from common.buckets import Bucket, Documents
from common.messages import Document, Entry, Mirror, Mirrored, Refusal, ReviewRequested, now
from services.poster.lists import Marker
from services.poster.readback import differences
from tests.poster.desk import WS, Desk, bill, pdf_saying, poster


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
    markers = Bucket(desk.bus, "markers", Marker)
    key = f"{WS}.{desk.company['organization']}.invoices"
    kept = await markers.get(key)
    assert kept is not None
    blind = msgspec.structs.replace(kept.value, total=None, full_at=kept.value.full_at - timedelta(days=2))
    await markers.replace(key, blind, kept.revision)
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


async def analyzed(desk: Desk, ident: str) -> Entry:
    """The entry once Qonto has read it and the mirror has seen that."""

    async def found() -> Entry | None:
        await desk.mirror()
        entry = await desk.entry("invoice", ident)
        return entry if entry.analyzed_at is not None else None

    result: Entry = await desk.until(found)
    return result


async def reviews(desk: Desk, ident: str) -> list[ReviewRequested]:
    name = subjects.review(desk.bus.region, "requested", WS, f"{desk.realm}-{ident}")
    return await desk.history(name, ReviewRequested)


async def test_a_reading_that_contradicts_the_bill_raises_one_review(desk: Desk) -> None:
    await desk.switch(ocr_delay=0.0)
    data = pdf_saying("Invoice", "Invoice number: F-999", "Total: 150.00 EUR")
    name = await Documents(desk.bus).put(data)
    document = Document(sha256=name, name="a.pdf", content_type="application/pdf", size=len(data), attachable="1")
    posting = await desk.posting(await desk.create("1", bill(), documents=(document,)))
    await analyzed(desk, str(posting.entry))
    review = await desk.asked("1", "read-back differs")
    assert "150.00" in review.why
    assert "F-999" in review.why
    assert review.candidates[0].entry == posting.entry
    await desk.mirror()
    assert len(await reviews(desk, "1")) == 1


async def test_drawn_documents_and_their_successors_raise_none(desk: Desk) -> None:
    await desk.switch(ocr_delay=0.0, ocr="misreads")
    bodies = [bill(), bill(total="144.00"), bill("PL/3", "99.99", currency="PLN")]
    for body in bodies:
        posting = await desk.posting(await desk.create("1", body))
        await analyzed(desk, str(posting.entry))
    assert await reviews(desk, "1") == []


def test_what_was_not_read_contradicts_nothing() -> None:
    entry = Entry(
        workspace=WS, organization="o", id="E", kind="invoice", status="to_review", updated_at=now(),
        has_duplicates=True,
    )  # fmt: skip
    assert differences(bill(), entry, drawn=False, first=False) == []
    assert differences(bill(), entry, drawn=True, first=True) == ["Qonto takes it for a duplicate"]
    read = msgspec.structs.replace(entry, amount=Decimal("120.00"), currency="USD", number="f 100")
    assert differences(bill(), read, drawn=False, first=False) == ["currency USD instead of EUR"]
