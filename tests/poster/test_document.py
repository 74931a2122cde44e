"""Which document stands for a bill, and that a drawn one says exactly what the bill says."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from common.buckets import Documents
from common.messages import Document, Link, Record, Ref
from services.poster.document import shown
from services.poster.render import pdf
from tests.poster.desk import BUYER, VENDOR, Desk, bill, pdf_saying

AT = datetime(2026, 3, 1, tzinfo=UTC)


def record(body: Any = None, **changes: Any) -> Record:
    values = {"workspace": "w", "realm": "9130", "id": "145", "kind": "bill", "content_hash": "h", "pulled_at": AT}
    return Record(**{**values, "body": body or bill(), **changes})


def test_the_same_bill_gives_the_same_bytes_whoever_draws_it_when() -> None:
    body = bill()
    assert pdf(record(body), VENDOR, BUYER) == pdf(
        record(body, pulled_at=datetime(2027, 1, 1, tzinfo=UTC)), VENDOR, BUYER
    )


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
