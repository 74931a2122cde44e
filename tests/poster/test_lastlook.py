"""The last look before an upload: what is Weir's own is adopted, what somebody else put there is asked about."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from common.buckets import Bucket
from common.messages import Candidate, Decision, Entry, ReviewResolved, now
from services.poster.lastlook import same_document
from services.poster.ledger import Page
from tests.poster.desk import WS, Desk, bill
from tests.poster.test_plan import entry


async def meanwhile(desk: Desk, **shown: Any) -> Entry:
    """A person put the document of a plain bill into Qonto; it was read there, and the mirror has it."""
    there = await desk.foreign_invoice()
    read = {"invoice_number": "F-100", "supplier_name": "Imaginary Quarry", **shown}
    total = {"value": read.pop("total", "120.00"), "currency": "EUR"}
    await desk.patch(there.id, total_amount=total, **read)
    return there


@pytest.fixture
async def seen(desk: Desk) -> tuple[Desk, Decision]:
    """A decision to create that knew all that was in Qonto by then, not yet published."""
    await desk.mirror()
    record, sequence = await desk.record("1", bill())
    known = await desk.bus.newest_sequence(desk.bus.topology.entries, f"{desk.bus.region}.entry.{WS}.>")
    decision = Decision(
        id="create", workspace=WS, realm=desk.realm, bill="1", action="create", score=0.9, why="a test says so",
        record_hash=record.content_hash, record_seq=sequence, entries_seq=known, policy_version=1,
        model_version="test", decided_at=now(),
    )  # fmt: skip
    return desk, decision


async def test_what_somebody_uploaded_after_the_decision_goes_to_a_person(seen: tuple[Desk, Decision]) -> None:
    desk, decision = seen
    there = await meanwhile(desk)
    await desk.mirror()
    await desk.redeliver(decision)
    review = await desk.asked("1", "already in Qonto")
    assert there.id in review.why
    assert [(one.entry, one.alike) for one in review.candidates] == [(there.id, True)]
    assert await desk.invoices("1") == []
    kept = await desk.page("1")
    assert kept is not None
    assert kept.value.state == "withdrawn"
    await desk.answer("1", ReviewResolved(review=review.review, action="link", entry=there.id, by="A. Tester"))
    assert (await desk.closed("1", review.review)).outcome == "linked"
    assert await desk.invoices("1") == []


async def test_a_person_may_have_it_uploaded_all_the_same(seen: tuple[Desk, Decision]) -> None:
    desk, decision = seen
    await meanwhile(desk)
    await desk.mirror()
    await desk.redeliver(decision)
    review = await desk.asked("1", "already in Qonto")
    await desk.answer("1", ReviewResolved(review=review.review, action="create", by="A. Tester"))
    assert (await desk.closed("1", review.review)).outcome == "created"
    assert len(await desk.live("1")) == 1


@pytest.mark.parametrize(
    "shown", [{"invoice_number": "F-101"}, {"total": "120.01"}, {"supplier_name": "Sample Windmills"}]
)
async def test_what_differs_holds_nothing_up(seen: tuple[Desk, Decision], shown: dict[str, Any]) -> None:
    desk, decision = seen
    await meanwhile(desk, **shown)
    await desk.mirror()
    await desk.redeliver(decision)
    assert (await desk.posting(decision)).outcome == "created"


async def test_what_people_turned_down_holds_nothing_up(seen: tuple[Desk, Decision]) -> None:
    desk, decision = seen
    there = await meanwhile(desk)
    await desk.mirror()
    other = Candidate(entry=there.id, kind="invoice", score=0.1, fields={}, turned_down=True)
    await desk.redeliver(msgspec.structs.replace(decision, candidates=(other,)))
    assert (await desk.posting(decision)).outcome == "created"


async def test_what_the_decision_knew_holds_nothing_up(seen: tuple[Desk, Decision]) -> None:
    """The scorer weighed it and decided to create: that is not asked again."""
    desk, decision = seen
    await meanwhile(desk)
    await desk.mirror()
    known = await desk.bus.newest_sequence(desk.bus.topology.entries, f"{desk.bus.region}.entry.{WS}.>")
    decision = msgspec.structs.replace(decision, entries_seq=known)
    await desk.redeliver(decision)
    assert (await desk.posting(decision)).outcome == "created"


async def test_a_lost_ledger_makes_no_second_entry_however_qonto_searches(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No page, no mirror, and a search that finds nothing: what was uploaded is found in Qonto's list."""

    async def nothing(*_: Any) -> list[Entry]:
        return []

    monkeypatch.setattr("services.poster.qonto.Qonto.named", nothing, raising=False)
    first = await desk.posting(await desk.create("1"))
    kept = await desk.page("1")
    assert kept is not None
    await Bucket(desk.bus, "idempotency", Page).delete(kept.key, kept.revision)
    await desk.switch(clock_offset=7200)  # and the key is forgotten
    second = await desk.posting(await desk.create("1"))
    assert (second.outcome, second.entry) == ("created", first.entry)
    assert len(await desk.invoices("1")) == 1


async def test_after_a_lost_ledger_an_entry_that_says_otherwise_is_not_taken_for_the_bill_of_today(desk: Desk) -> None:
    """It has the number of the revision that is about to be uploaded, and shows another version of the bill."""
    await desk.switch(ocr_delay=0.0)
    first = await desk.posting(await desk.create("1"))
    kept = await desk.page("1")
    assert kept is not None
    await Bucket(desk.bus, "idempotency", Page).delete(kept.key, kept.revision)

    async def read() -> bool:
        [invoice] = await desk.invoices("1")
        return invoice["total_amount"] is not None

    await desk.until(read)
    second = await desk.posting(await desk.create("1", bill(total="144.00")))
    assert (second.outcome, second.revision, second.replaced) == ("superseded", 2, first.entry)
    assert [one["id"] for one in await desk.live("1")] == [second.entry]


def test_all_that_tells_a_document_must_be_there_and_agree() -> None:
    shape = {"number": "f 100", "amount": Decimal("120.00"), "currency": "EUR", "counterparty": "IMAGINARY QUARRY"}
    assert same_document(bill(), entry(**shape))
    for name, other in {
        "number": "F-101",
        "amount": Decimal("120.01"),
        "currency": "USD",
        "counterparty": "Sample Windmills",
        "status": "rejected",
        "deleted": True,
        "origin": "9-1",
    }.items():
        assert not same_document(bill(), entry(**{**shape, name: other})), name
    for name in shape:
        assert not same_document(bill(), entry(**{**shape, name: None})), name
    assert not same_document(bill(number=None), entry(**shape))  # type: ignore[arg-type]
