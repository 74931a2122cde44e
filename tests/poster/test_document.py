"""Which document stands for a bill, and that a drawn one says exactly what the bill says."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pypdfium2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.buckets import Documents
from common.messages import Address, BillLine, Company, Document, Link, Record, Ref, TaxLine, Vendor
from services.poster.document import shown
from services.poster.render import money, pdf
from tests.poster.desk import BUYER, VENDOR, Desk, bill, pdf_saying

AT = datetime(2026, 3, 1, tzinfo=UTC)


def record(body: Any = None, **changes: Any) -> Record:
    values = {"workspace": "w", "realm": "9130", "id": "145", "kind": "bill", "content_hash": "h", "pulled_at": AT}
    return Record(**{**values, "body": body or bill(), **changes})


def text(data: bytes) -> str:
    document = pypdfium2.PdfDocument(data)
    try:
        return "\n".join(page.get_textpage().get_text_range() for page in document)
    finally:
        document.close()


def test_a_drawn_document_says_what_the_bill_says() -> None:
    body = bill(
        "FV/2026/03-118",
        "1476.00",
        vendor=Ref(id="7", name="Zażółć Gęślą Fictional Sp. z o.o."),
        tax=Decimal("276.00"),
        tax_lines=(
            TaxLine(amount=Decimal("230.00"), net=Decimal(1000), percent=Decimal("23.0")),
            TaxLine(amount=Decimal("46.00"), net=Decimal(920), percent=Decimal("5")),
        ),
        lines=(BillLine(description="Λογισμικό – café £", amount=Decimal(1200), quantity=Decimal(12)),),
    )
    vendor = Vendor(
        name="Z", tax_identifier="PL0000000000", address=Address(lines=("ul. Zmyślona 12",), city="Wrocław")
    )
    data = pdf(record(body), vendor, BUYER)
    said = text(data)
    for part in (
        "Zażółć Gęślą Fictional Sp. z o.o.", "Invoice number", "FV/2026/03-118", "Invoice date", "2026-03-01",
        "Due date", "2026-03-31", "Société Exemple SAS", "Λογισμικό – café £", "€1,200.00", "Subtotal", "VAT 23%",
        "€230.00", "VAT 5%", "€46.00", "Total", "€1,476.00", "ul. Zmyślona 12", "PL0000000000",
        "QuickBooks bill 145, company 9130",
    ):  # fmt: skip
        assert part in said, part
    document = pypdfium2.PdfDocument(data)
    assert "quickbooks-bill:145" in document.get_metadata_dict()["Keywords"]
    document.close()


def test_the_same_bill_gives_the_same_bytes_whoever_draws_it_when() -> None:
    body = bill()
    assert pdf(record(body), VENDOR, BUYER) == pdf(
        record(body, pulled_at=datetime(2027, 1, 1, tzinfo=UTC)), VENDOR, BUYER
    )


def test_many_lines_go_over_several_pages_with_the_total_on_the_last() -> None:
    lines = tuple(BillLine(description=f"Item {number} " + "x" * 120, amount=Decimal(1)) for number in range(60))
    document = pypdfium2.PdfDocument(pdf(record(bill(lines=lines)), None, None))
    assert len(document) > 1
    assert "€120.00" in document[len(document) - 1].get_textpage().get_text_range()
    document.close()


def test_a_masked_tax_number_is_not_printed() -> None:
    vendor = Vendor(name="V", tax_identifier="XXXXXX3456")
    assert "3456" not in text(pdf(record(), vendor, Company(name="B")))


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=80), st.text(max_size=40), st.decimals(0, 10**9, places=2))
def test_any_text_can_be_drawn(name: str, number: str, total: Decimal) -> None:
    body = bill(number, vendor=Ref(id="7", name=name), lines=(BillLine(description=name * 20, amount=total),))
    assert pdf(record(msgspec.structs.replace(body, total=total)), None, None).startswith(b"%PDF-")


@pytest.mark.parametrize(
    "value,currency,printed",
    [
        ("1234.5", "EUR", "€1,234.50"),
        ("-3", "GBP", "-£3.00"),
        ("1234.5", "PLN", "PLN 1,234.50"),
        ("1234", "JPY", "JPY 1,234"),
        ("1.2345", "KWD", "KWD 1.234"),
    ],
)
def test_amounts_are_printed_in_their_currency(value: str, currency: str, printed: str) -> None:
    assert money(Decimal(value), currency) == printed


def test_only_what_the_document_shows_counts_as_a_change() -> None:
    before = shown(record())
    quiet: dict[str, Any] = {
        "balance": Decimal(0),
        "memo": "private",
        "exchange_rate": Decimal("1.1"),
        "links": (Link(id="90", kind="BillPaymentCheck"),),
        "payable_account": Ref(id="33"),
    }
    assert shown(record(bill(**quiet))) == before
    loud: list[dict[str, Any]] = [
        {"number": "F-101"},
        {"issued_on": date(2026, 3, 2)},
        {"due_on": None},
        {"currency": "USD"},
        {"lines": ()},
        {"vendor": Ref(id="7", name="Imaginary Quarry GmbH")},
    ]
    assert len({shown(record(bill(**change))) for change in loud} | {before}) == len(loud) + 1
    paper = Document(sha256="a", name="a", content_type="application/pdf", size=10, attachable="1")
    assert shown(record(documents=(paper,))) == shown(record(bill("F-9"), documents=(paper,))) != before
    assert shown(record(deleted=True)) is None


def test_another_chosen_document_is_a_change_and_one_passed_over_is_none() -> None:
    scan = Document(sha256="a", name="scan.pdf", content_type="application/pdf", size=90_000, attachable="1")
    terms = Document(sha256="b", name="Terms.pdf", content_type="application/pdf", size=90_000, attachable="2")
    invoice = Document(sha256="c", name="F-100.pdf", content_type="application/pdf", size=90_000, attachable="3")
    assert shown(record(documents=(scan,))) == shown(record(documents=(scan, terms))) == "a"
    assert shown(record(documents=(scan, terms, invoice))) == "c"


async def test_the_posting_says_why_it_was_this_file(desk: Desk) -> None:
    files = [("Delivery note F-100.pdf", pdf_saying("Delivered")), ("Invoice F-100.pdf", pdf_saying("Invoice F-100"))]
    store = Documents(desk.bus)
    hashes = [await store.put(data) for _, data in files]
    documents = tuple(
        Document(sha256=sha256, name=name, content_type="application/pdf", size=len(data), attachable=str(number))
        for number, (sha256, (name, data)) in enumerate(zip(hashes, files, strict=True))
    )
    posting = await desk.posting(await desk.create("1", bill(), documents=documents))
    assert await desk.uploaded(posting.entry) == files[1][1]
    assert posting.why is not None
    assert posting.why.startswith("of 2 files Invoice F-100.pdf (its name has the bill's number")
    assert "not Delivery note F-100.pdf (" in posting.why
