"""What Qonto read is compared with the bill: one question for what differs, closed when nothing differs any more."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common import subjects
from common.buckets import Documents
from common.messages import Document, Entry, Ref, ReviewClosed, ReviewRequested, ReviewResolved, Vendor
from services.poster import readback
from services.poster.reading import alike, compared, same_name, same_number
from services.poster.reviews import READ_BACK
from tests.poster.desk import WS, Desk, bill, pdf_saying

AT = datetime(2026, 4, 2, tzinfo=UTC)
GOOD = ("Imaginary Quarry Ltd", "Invoice", "Invoice number: F-100", "Total: 120.00 EUR")
WRONG = ("Imaginary Quarry Ltd", "Invoice", "Invoice number: F-999", "Total: 150.00 EUR")


@pytest.fixture
async def quick(desk: Desk) -> Desk:
    """A desk whose Qonto reads at once."""
    await desk.switch(ocr_delay=0.0)
    return desk


SAYING = cache(pdf_saying)
"""The same bytes for the same words."""


async def paper(desk: Desk, *lines: str) -> tuple[Document, ...]:
    data = SAYING(*lines)
    name = await Documents(desk.bus).put(data)
    return (Document(sha256=name, name="a.pdf", content_type="application/pdf", size=len(data), attachable="1"),)


async def read(desk: Desk, ident: str | None) -> Entry:
    """The entry once Qonto has read it and the mirror has seen that."""

    async def found() -> Entry | None:
        await desk.mirror()
        entry = await desk.entry("invoice", str(ident))
        return entry if entry.analyzed_at is not None else None

    return await desk.until(found)


async def reviews(desk: Desk, ident: str) -> list[ReviewRequested]:
    name = subjects.review(desk.bus.region, "requested", WS, f"{desk.realm}-{ident}")
    return await desk.history(name, ReviewRequested)


async def closings(desk: Desk, ident: str) -> list[tuple[str, str | None]]:
    name = subjects.review(desk.bus.region, "closed", WS, f"{desk.realm}-{ident}")
    return [(one.outcome, one.why) for one in await desk.history(name, ReviewClosed)]


async def disputed(desk: Desk, ident: str = "1", *lines: str) -> tuple[Entry, ReviewRequested]:
    """A bill whose document Qonto read otherwise, and the question about it."""
    posting = await desk.posting(await desk.create(ident, bill(), documents=await paper(desk, *(lines or WRONG))))
    return await read(desk, posting.entry), await desk.asked(ident, READ_BACK)


async def test_what_differs_is_asked_field_by_field_and_once(quick: Desk) -> None:
    entry, review = await disputed(quick)
    assert "amount: Qonto has 150.00, the bill 120.00" in review.why
    assert "number: Qonto has F-999, the bill F-100" in review.why
    assert "supplier" not in review.why
    own = review.candidates[0]
    assert own.entry == entry.id
    assert {name: (one.score, one.bill, one.entry) for name, one in own.fields.items()} == {
        "amount": (0.0, "120.00", "150.00"),
        "currency": (1.0, "EUR", "EUR"),
        "reference": (0.0, "F-100", "F-999"),
        "name": (1.0, "Imaginary Quarry Ltd", "Imaginary Quarry Ltd"),
    }
    await quick.patch(entry.id, status="to_approve")
    await quick.mirror()
    await quick.mirror()
    assert len(await reviews(quick, "1")) == 1
    assert await closings(quick, "1") == []


async def test_what_agrees_is_not_asked_about_drawn_or_not(quick: Desk) -> None:
    own = await quick.posting(await quick.create("1", bill(), documents=await paper(quick, *GOOD)))
    drawn = await quick.posting(await quick.create("2", bill("PL/3", "99.99", currency="PLN")))
    changed = await quick.posting(await quick.create("2", bill("PL/3", "199.99", currency="PLN")))
    for posting in (own, changed):
        assert (await read(quick, posting.entry)).amount is not None
    assert changed.replaced == drawn.entry
    assert await reviews(quick, "1") == await reviews(quick, "2") == []


async def test_a_drawn_document_that_qonto_misreads_is_asked_about(quick: Desk) -> None:
    await quick.switch(ocr="misreads")
    posting = await quick.posting(await quick.create("1"))
    await read(quick, posting.entry)
    assert "amount: Qonto has 100.00, the bill 120.00" in (await quick.asked("1", READ_BACK)).why


async def test_a_failed_reading_is_asked_about(quick: Desk) -> None:
    await quick.switch(ocr="fails")
    posting = await quick.posting(await quick.create("1"))
    await read(quick, posting.entry)
    assert (await quick.asked("1", READ_BACK)).why.endswith("differently: Qonto could not read the document")


async def test_a_document_taken_for_no_invoice_is_asked_about(quick: Desk) -> None:
    lines = ("Imaginary Quarry Ltd", "Receipt", "Reference: F-100", "Total: 120.00 EUR")
    _, review = await disputed(quick, "1", *lines)
    assert review.why.endswith("differently: kind: Qonto takes it for a receipt")


async def test_a_document_never_read_is_asked_about_after_a_day(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await desk.switch(ocr_delay=1e6)
    posting = await desk.posting(await desk.create("1"))
    await desk.mirror()
    assert await reviews(desk, "1") == []
    monkeypatch.setattr(readback, "PATIENCE", timedelta(0))
    await desk.mirror()
    review = await desk.asked("1", READ_BACK)
    assert "Qonto has not read the document since " in review.why
    await desk.mirror()
    assert len(await reviews(desk, "1")) == 1
    await desk.switch(ocr_delay=0.0, clock_offset=2e6)
    await read(desk, posting.entry)
    assert (await desk.closed("1", review.review)).why == "Qonto now has what the bill says"


async def test_a_question_is_closed_when_somebody_corrects_qonto_and_asked_anew_when_it_differs_again(
    quick: Desk,
) -> None:
    entry, first = await disputed(quick)
    right = {"total_amount": {"value": "120.00", "currency": "EUR"}, "invoice_number": "F-100"}
    wrong = {"total_amount": {"value": "150.00", "currency": "EUR"}, "invoice_number": "F-999"}
    await quick.patch(entry.id, **right)
    await quick.mirror()
    closed = await quick.closed("1", first.review)
    assert (closed.outcome, closed.why) == ("superseded", "Qonto now has what the bill says")
    await quick.patch(entry.id, **wrong)
    await quick.mirror()
    second = (await reviews(quick, "1"))[-1]
    assert second.review != first.review
    assert second.why == first.why
    await quick.patch(entry.id, total_amount=right["total_amount"])
    await quick.mirror()
    assert (await quick.closed("1", second.review)).why == "something else differs now"
    assert "amount" not in (await reviews(quick, "1"))[-1].why


async def test_a_question_is_closed_when_the_bill_is_corrected(quick: Desk) -> None:
    entry, review = await disputed(quick)
    document = await paper(quick, *WRONG)
    posting = await quick.posting(await quick.create("1", bill("F-999", "150.00"), documents=document))
    assert (posting.outcome, posting.entry) == ("unchanged", entry.id)
    assert (await quick.closed("1", review.review)).why == "Qonto now has what the bill says"


async def test_a_question_outlives_decisions_that_change_nothing_and_ends_with_its_entry(quick: Desk) -> None:
    entry, review = await disputed(quick)
    document = await paper(quick, *WRONG)
    posting = await quick.posting(await quick.create("1", bill(memo="private"), documents=document))
    assert posting.outcome == "unchanged"
    assert await closings(quick, "1") == []
    posting = await quick.posting(await quick.create("1", bill(), documents=await paper(quick, *GOOD)))
    assert (posting.outcome, posting.replaced) == ("superseded", entry.id)
    closed = await quick.closed("1", review.review)
    assert (closed.outcome, closed.why) == ("superseded", "its entry no longer stands for the bill")
    await read(quick, posting.entry)
    assert len(await reviews(quick, "1")) == 1


async def test_a_question_is_closed_when_somebody_rejects_the_entry_in_qonto(quick: Desk) -> None:
    entry, review = await disputed(quick)
    await quick.patch(entry.id, status="rejected")
    await quick.mirror()
    assert (await quick.closed("1", review.review)).why == "its entry no longer stands for the bill"


async def test_a_person_lets_it_stand(quick: Desk) -> None:
    entry, review = await disputed(quick)
    await quick.answer("1", ReviewResolved(review=review.review, action="create", by="A. Tester"))
    closed = await quick.closed("1", review.review)
    assert (closed.outcome, closed.entry) == ("created", entry.id)
    await quick.patch(entry.id, status="to_approve")
    await quick.mirror()
    assert [one["id"] for one in await quick.live("1")] == [entry.id]
    assert len(await reviews(quick, "1")) == 1


async def test_a_person_takes_it_back(quick: Desk) -> None:
    entry, review = await disputed(quick)
    await quick.answer("1", ReviewResolved(review=review.review, action="refuse", by="A. Tester"))
    assert (await quick.closed("1", review.review)).outcome == "refused"
    posting = await quick.posting(review.review, bill="1")
    assert posting.outcome == "withdrawn"
    assert await quick.live("1") == []
    [rejected] = await quick.invoices("1")
    assert (rejected["id"], rejected["declined_note"]) == (entry.id, "Taken back by A. Tester")
    await quick.mirror()
    assert len(await closings(quick, "1")) == 1
    later = await quick.create("1", bill(memo="private"), documents=await paper(quick, *WRONG))
    assert (await quick.posting(later)).outcome == "unchanged"
    assert await quick.live("1") == []
    mended = await quick.posting(await quick.create("1", bill(), documents=await paper(quick, *GOOD)))
    assert (mended.outcome, mended.revision) == ("created", 2)


async def test_the_same_file_on_two_bills_is_told_of_both(quick: Desk) -> None:
    document = await paper(quick, *GOOD)
    one = await quick.posting(await quick.create("1", bill(), documents=document))
    await read(quick, one.entry)
    assert await reviews(quick, "1") == []
    two = await quick.posting(await quick.create("2", bill("F-2"), documents=document))
    await read(quick, two.entry)
    second = await quick.asked("2", READ_BACK)
    assert "number: Qonto has F-100, the bill F-2" in second.why
    assert f"the same as F-100 of Imaginary Quarry Ltd (bill {quick.realm}-1, entry {one.entry})" in second.why
    assert [candidate.entry for candidate in second.candidates] == [two.entry, one.entry]
    await quick.mirror()
    assert f"bill {quick.realm}-2, entry {two.entry}" in (await quick.asked("1", READ_BACK)).why
    assert [len(await quick.live(ident)) for ident in ("1", "2")] == [1, 1]


def entry(**changes: Any) -> Entry:
    values: dict[str, Any] = {"organization": "o", "id": "E", "kind": "invoice", "status": "to_review"}
    read = {"amount": Decimal("120.00"), "currency": "EUR", "number": "F-100", "counterparty": "Imaginary Quarry"}
    return Entry(**{"workspace": WS, "updated_at": AT, "revision": 1, **values, **read, **changes})


@pytest.mark.parametrize(
    "changes,differs",
    [
        ({}, ()),
        ({"number": None, "currency": None, "counterparty": None}, ()),
        ({"amount": Decimal("120")}, ()),
        ({"amount": None}, ("amount: Qonto has none, the bill 120.00 EUR",)),
        ({"amount": Decimal("12.00")}, ("amount: Qonto has 12.00, the bill 120.00",)),
        ({"currency": "USD"}, ("currency: Qonto has USD, the bill EUR",)),
        ({"counterparty": "Other AG"}, ("supplier: Qonto has Other AG, the bill Imaginary Quarry Ltd",)),
        ({"issued_on": date(2026, 3, 2)}, ("date: Qonto has 2026-03-02, the bill 2026-03-01",)),
        ({"due_on": date(2026, 4, 1)}, ("due date: Qonto has 2026-04-01, the bill 2026-03-31",)),
        ({"credit_note": True}, ("kind: Qonto takes it for a credit note",)),
        ({"category": "INVOICE"}, ()),
        ({"category": "SOMETHING_NEW"}, ()),
        ({"category": "CARD_RECEIPT"}, ("kind: Qonto takes it for a card receipt",)),
        ({"has_duplicates": True}, ("duplicate: Qonto takes it for one, and does not say of what",)),
        ({"has_duplicates": True, "revision": 2}, ()),
    ],
)
def test_each_difference_is_said_in_its_own_words(changes: dict[str, Any], differs: tuple[str, ...]) -> None:
    assert compared(bill(), None, entry(**changes)).differs == differs


def test_the_same_vat_number_speaks_for_the_supplier_whatever_the_name() -> None:
    vendor = Vendor(name="Imaginary Quarry Ltd", tax_identifier="FR 40 303 265 045")
    other = entry(counterparty="Other AG", vat_number="FR40303265045")
    assert compared(bill(), vendor, other).differs == ()
    known = msgspec.structs.replace(vendor, company_name="Other SA")
    assert compared(bill(), known, entry(counterparty="Other")).differs == ()


@pytest.mark.parametrize(
    "ours,theirs,same",
    [
        ("F-100", "f 100", True),
        ("INV-000123", "123", True),
        ("0042", "42", True),
        ("A-VERY-LONG-NUMBER-123", "A-VERY-LONG-NUMBER-123/4567", True),
        ("F-100", "F-1001", False),
        ("A-12", "B-12", False),
        ("F-100", "F-999", False),
        ("Rechnung", "Facture", False),
    ],
)
def test_numbers_are_compared_as_people_write_them(ours: str, theirs: str, same: bool) -> None:
    assert same_number(ours, theirs) is same
    assert same_number(theirs, ours) is same or len(ours) > 20


@pytest.mark.parametrize(
    "ours,theirs,same",
    [
        ("Imaginary Quarry Ltd", "IMAGINARY QUARRY LIMITED", True),
        ("Société Générale d'Éléphants", "SOCIETE GENERALE", True),
        ("Müller & Söhne GmbH", "Mueller und Soehne", True),
        ("Imaginary Quarry", "Imag1nary Ouarry", True),
        ("東京架空株式会社", "Tokyo Fictional", True),
        ("الاتحاد", "االتحاد", True),
        ("Imaginary Quarry Ltd", "Other Ltd", False),
        ("Alpha GmbH", "Beta GmbH & Co. KG", False),
    ],
)
def test_names_are_compared_by_what_they_mean(ours: str, theirs: str, same: bool) -> None:
    assert same_name(ours, theirs) is same


@given(st.text(max_size=30), st.text(max_size=30))
@example("cabcbcacc", "cacbccc")
def test_comparing_is_symmetric_and_everything_is_like_itself(one: str, two: str) -> None:
    assert same_name(one, one)
    assert same_number(one, one)
    assert same_name(one, two) == same_name(two, one)
    assert alike(entry(number=one, counterparty=two), entry(number=one, counterparty=two)) == bool(one)


def test_the_bill_of_another_supplier_name_in_quickbooks_is_compared_with_all_its_names() -> None:
    vendor = Vendor(name="Quarry", company_name="Imaginary Stones SARL", print_name="Stones")
    body = bill(vendor=Ref(id="7", name="Quarry"))
    assert compared(body, vendor, entry(counterparty="Stones")).differs == ()
    assert compared(body, None, entry(counterparty="Stones")).differs != ()
