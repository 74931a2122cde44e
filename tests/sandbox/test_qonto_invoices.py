"""Supplier invoices: the bulk call and its pairs, replays, OCR, the list, and the status table."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sandbox.document import draw
from services.sandbox.qonto.bulk import gathered
from services.sandbox.qonto.reading import Piece, Reading, interpret, read_document
from tests.sandbox.desk import Company, Desk, until

FILE, KEY = "supplier_invoices[][file]", "supplier_invoices[][idempotency_key]"
Change = Callable[[dict[str, Any]], dict[str, Any]]


def recipe(**more: Any) -> dict[str, Any]:
    return {
        "layout": 0, "language": "fr", "color": [28, 78, 128], "supplier": "Moulin Rêveur SARL",
        "address": ["1 rue Nulle", "France"], "vat": "FR12999123456", "iban": "", "buyer": ["Parapluies"],
        "number": "F-2026-0042", "issued": "2026-03-05", "due": "2026-04-04", "currency": "EUR",
        "lines": [{"text": "Toile", "quantity": 1, "unit": "1500.00", "net": "1500.00"}], "net": "1500.00",
        "taxes": [{"rate": "5.5", "amount": "82.50"}], "total": "1582.50", "credit": False, **more,
    }  # fmt: skip


def pdf(**more: Any) -> bytes:
    return draw(recipe(**more))


def bulk(company: Company, *parts: tuple[str, Any]) -> dict[str, Any]:
    response = company.qonto("POST", "/v2/supplier_invoices/bulk", files=list(parts))
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def test_upload_is_kept_as_sent(company: Company) -> None:
    answer = company.upload(
        ("QBO-1-2-r1__x.pdf", b"%PDF-1", "k-1"),
        ("QBO-1-3-r1__y.pdf", b"%PDF-2", "k-2"),
        source="integration",
        meta='{"connector":"quickbooks"}',
        skip_attachment_matcher="true",
    )
    first, second = answer["supplier_invoices"]
    assert answer["errors"] == []
    assert (first["file_name"], second["file_name"]) == ("QBO-1-2-r1__x.pdf", "QBO-1-3-r1__y.pdf")
    assert (first["status"], first["source"], first["meta"]) == (
        "to_review",
        "integration",
        {"connector": "quickbooks"},
    )
    assert first["analyzed_at"] is None
    found = company.invoices(query="QBO-1-2-", query_fields="file_name")
    assert [one["id"] for one in found] == [first["id"]]
    assert company.invoices(**{"filter[attachment_id]": second["attachment_id"]})[0]["id"] == second["id"]


def test_key_first_pairs_work_too(company: Company) -> None:
    pairs = [(KEY, (None, "a")), (FILE, ("a.pdf", b"%PDF", "application/pdf")), (KEY, (None, "b")),
             (FILE, ("b.pdf", b"%PDF", "application/pdf"))]  # fmt: skip
    assert len(bulk(company, *pairs)["supplier_invoices"]) == 2


def test_grouped_parts_make_broken_items(company: Company) -> None:
    answer = bulk(
        company,
        (FILE, ("a.pdf", b"%PDF", "application/pdf")),
        (FILE, ("b.pdf", b"%PDF", "application/pdf")),
        (KEY, (None, "a")),
        (KEY, (None, "b")),
    )
    assert [one["file_name"] for one in answer["supplier_invoices"]] == ["b.pdf"]
    assert [error["code"] for error in answer["errors"]] == ["required", "invalid"]


@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_strict_pairs_always_gather(key_first: list[bool]) -> None:
    """One order throughout gives one item each; a change of order is what breaks."""
    parts: list[tuple[str, Any]] = []
    for position in range(len(key_first)):
        pair = [(FILE, position), (KEY, f"k{position}")]
        parts += reversed(pair) if key_first[0] else pair
    assert gathered(parts, indexed=False) == [
        {"file": position, "idempotency_key": f"k{position}"} for position in range(len(key_first))
    ]


def test_wrong_items_are_told_by_their_key(company: Company, desk: Desk) -> None:
    parts = [
        (FILE, ("good.pdf", b"%PDF", "application/pdf")), (KEY, (None, "good")),
        (FILE, ("bad.docx", b"PK", "application/msword")), (KEY, (None, "bad")),
        (FILE, ("large.pdf", b"%" * (10 * 1024 * 1024 + 1), "application/pdf")), (KEY, (None, "large")),
    ]  # fmt: skip
    answer = bulk(company, *parts)
    assert [one["file_name"] for one in answer["supplier_invoices"]] == ["good.pdf"]
    assert answer["errors"][0] == {
        "code": "invalid",
        "detail": "File is too large or wrong content type",
        "source": {"pointer": "/supplier_invoices/idempotency_key/bad"},
    }
    desk.turn(pointer="key_file")
    again = bulk(company, *parts[2:4])
    assert again["errors"][0]["source"]["pointer"] == "/supplier_invoices/idempotency_key/bad/file"


def test_limits_of_the_request(company: Company, desk: Desk) -> None:
    many = [(f"{n}.pdf", b"%PDF", f"n{n}") for n in range(21)]
    assert company.upload(*many)["errors"][0]["code"] == "limit_reached"
    assert len(company.upload(*many[:20])["supplier_invoices"]) == 20
    desk.turn(over_twenty="400")
    parts = [
        part for name, content, key in many for part in ((FILE, (name, content, "application/pdf")), (KEY, (None, key)))
    ]
    refused = company.qonto("POST", "/v2/supplier_invoices/bulk", files=parts)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (400, "limit_reached")
    heavy = [(FILE, ("a.pdf", b"%" * 8_000_000, "application/pdf")), (KEY, (None, "h"))]
    assert company.qonto("POST", "/v2/supplier_invoices/bulk", files=heavy * 2).status_code == 413
    as_json = company.qonto("POST", "/v2/supplier_invoices/bulk", json={"supplier_invoices": []})
    assert as_json.status_code == 400


@pytest.mark.parametrize(
    "field, value", [("source", "dropbox"), ("meta", "{}"), ("meta", '{"other":"x"}'), ("skip_attachment_matcher", "1")]
)
def test_wrong_fields_refuse_the_whole(company: Company, field: str, value: str) -> None:
    parts = [(FILE, ("a.pdf", b"%PDF", "application/pdf")), (KEY, (None, "k")), (field, (None, value))]
    refused = company.qonto("POST", "/v2/supplier_invoices/bulk", files=parts)
    assert (refused.status_code, refused.json()["errors"][0]["source"]["pointer"]) == (400, f"/{field}")


@pytest.mark.parametrize(
    "mode, soon, late", [("a", "same", "new"), ("b", "none", "new"), ("c", "error", "new"), ("d", "same", "same")]
)
def test_four_ways_to_replay_a_key(company: Company, desk: Desk, mode: str, soon: str, late: str) -> None:
    desk.turn(replay=mode)
    first = company.upload(("a.pdf", b"%PDF", "key"))["supplier_invoices"][0]["id"]

    def outcome() -> str:
        answer = company.upload(("a.pdf", b"%PDF", "key"))
        if answer["errors"]:
            assert answer["errors"][0]["code"] == "invalid"
            return "error"
        made = answer["supplier_invoices"]
        return "none" if not made else "same" if made[0]["id"] == first else "new"

    assert outcome() == soon
    desk.turn(clock_offset=1801)
    assert outcome() == late


def test_attachment_first_then_invoice(company: Company) -> None:
    files = {"file": ("QBO-9.pdf", b"%PDF-9", "application/pdf")}
    missing = company.qonto("POST", "/v2/attachments", files=files)
    assert missing.status_code == 400
    key = {"X-Qonto-Idempotency-Key": "one"}
    made = company.qonto("POST", "/v2/attachments", files=files, headers=key).json()
    assert company.qonto("POST", "/v2/attachments", files=files, headers=key).json() == made
    ident = made["attachment"]["id"]
    invoice = bulk(company, ("supplier_invoices[][attachment_id]", (None, ident)), (KEY, (None, "k")))
    assert (invoice["supplier_invoices"][0]["attachment_id"], invoice["supplier_invoices"][0]["file_name"]) == (
        ident,
        "QBO-9.pdf",
    )
    by_id, by_file = ("supplier_invoices[][attachment_id]", (None, ident)), (FILE, ("x.pdf", b"%", "application/pdf"))
    both = bulk(company, by_id, by_file, (KEY, (None, "k2")))
    assert both["errors"][0]["code"] == "invalid"


def test_attachment_links(company: Company, desk: Desk) -> None:
    ident = company.upload(("a.pdf", b"%PDF-a", "k"))["supplier_invoices"][0]["attachment_id"]
    shown = company.qonto("GET", f"/v2/attachments/{ident}").json()["attachment"]
    assert (shown["file_name"], shown["file_size"], shown["file_content_type"]) == ("a.pdf", "6", "application/pdf")
    assert desk.http.get(shown["url"]).content == b"%PDF-a"
    assert desk.http.get(shown["url"], headers={"Authorization": "Bearer x"}).status_code == 400
    desk.turn(clock_offset=1801)
    assert desk.http.get(shown["url"]).status_code == 403


@pytest.mark.parametrize("language", ["en", "fr", "de", "nl", "es", "it"])
@pytest.mark.parametrize("layout", [0, 1, 2, 3])
def test_reads_every_layout_and_language(language: str, layout: int) -> None:
    found = read_document(pdf(language=language, layout=layout, currency="GBP", credit=False))
    assert (found.supplier, found.number) == ("Moulin Rêveur SARL", "F-2026-0042")
    assert (found.issued, found.due) == (date(2026, 3, 5), date(2026, 4, 4))
    assert (found.total, found.net, found.tax, found.currency) == (
        Decimal("1582.50"), Decimal("1500.00"), Decimal("82.50"), "GBP",
    )  # fmt: skip
    assert (found.category, found.vat_number) == ("INVOICE", "FR12999123456")
    assert read_document(pdf(language=language, layout=layout, credit=True)).category == "CREDIT_NOTE"


def test_reads_a_name_over_two_lines_and_values_below_their_labels() -> None:
    found = interpret(
        [
            Piece(50, 780, 300, 794, "Heinzelmann Gebäudedienste UG"),
            Piece(50, 753, 250, 772, "(haftungsbeschränkt)"),
            Piece(50, 730, 120, 738, "1 Traumweg"),
            Piece(400, 780, 450, 795, "INVOICE"),
            Piece(400, 740, 450, 748, "Invoice no."),
            Piece(400, 726, 450, 735, "RE-77"),
            Piece(400, 700, 470, 708, "Date: March 5, 2026"),
            Piece(400, 500, 440, 508, "Total"),
            Piece(500, 500, 560, 508, "PLN 1,234.50"),
        ]
    )
    assert (found.supplier, found.number) == ("Heinzelmann Gebäudedienste UG (haftungsbeschränkt)", "RE-77")
    assert (found.issued, found.total, found.currency) == (date(2026, 3, 5), Decimal("1234.50"), "PLN")


def test_what_is_no_pdf_reads_as_nothing() -> None:
    assert read_document(b"%PDF-1.7 broken") == Reading()
    assert read_document(b"") == Reading()


def test_upload_is_read_in_the_background(company: Company, desk: Desk) -> None:
    desk.turn(ocr_delay=0.3)
    ident = company.upload(("x.pdf", pdf(), "k"))["supplier_invoices"][0]["id"]
    assert company.invoice(ident)["supplier_name"] is None
    read = company.read_by_ocr(ident)
    assert read["supplier_name"] == "Moulin Rêveur SARL"
    assert read["invoice_number"] == "F-2026-0042"
    assert read["total_amount"] == {"value": "1582.50", "currency": "EUR"}
    assert (read["issue_date"], read["due_date"], read["is_attachment_invoice"]) == ("2026-03-05", "2026-04-04", True)
    assert read["updated_at"] >= read["analyzed_at"] > read["created_at"]
    assert read["has_duplicates"] is False


def test_doubles_are_flagged_on_both(company: Company) -> None:
    one = company.upload(("x.pdf", pdf(), "k1"))["supplier_invoices"][0]["id"]
    company.read_by_ocr(one)
    same_number = company.upload(("y.pdf", pdf(layout=2), "k2"))["supplier_invoices"][0]["id"]
    assert company.read_by_ocr(same_number)["has_duplicates"] is True
    assert company.invoice(one)["has_duplicates"] is True
    listed = company.invoices(**{"filter[document_type]": "duplicates"})
    assert {one, same_number} <= {invoice["id"] for invoice in listed}


def test_ocr_can_fail_and_misread(company: Company, desk: Desk) -> None:
    desk.turn(ocr="misreads")
    wrong = company.read_by_ocr(company.upload(("x.pdf", pdf(), "k1"))["supplier_invoices"][0]["id"])
    assert wrong["total_amount"]["value"] == "1500.00"
    desk.turn(ocr="fails")
    empty = company.read_by_ocr(company.upload(("y.pdf", pdf(number="Z-1"), "k2"))["supplier_invoices"][0]["id"])
    assert (empty["supplier_name"], empty["attachment_category"]) == (None, "UNKNOWN")


def test_matcher_pays_from_the_one_fitting_transaction(company: Company, desk: Desk) -> None:
    desk.turn(auto_match=True)
    account = company.made["bank_account"]
    found = company.qonto("GET", "/v2/transactions", params={"bank_account_id": account, "side": "debit"}).json()
    taken = {one["transaction_id"] for invoice in company.invoices() for one in invoice["matched_transactions"]}
    amounts = [one["local_amount"] for one in found["transactions"]]
    free = next(
        one for one in found["transactions"] if one["id"] not in taken and amounts.count(one["local_amount"]) == 1
    )
    content = pdf(total=f"{free['local_amount']:.2f}", currency=free["local_currency"])
    skipped = company.upload(("x.pdf", content, "k1"), skip_attachment_matcher="true")["supplier_invoices"][0]["id"]
    assert company.read_by_ocr(skipped)["status"] == "to_review"
    matched = company.read_by_ocr(company.upload(("y.pdf", content, "k2"))["supplier_invoices"][0]["id"])
    assert (matched["status"], matched["matched_transactions"][0]["transaction_id"]) == ("paid", free["id"])


def test_list_pages_sorts_and_counts(company: Company) -> None:
    every = company.invoices(sort_by="created_at:asc")
    response = company.qonto(
        "GET", "/v2/supplier_invoices", params={"per_page": 3, "page": 2, "sort_by": "created_at:asc"}
    )
    page = response.json()
    assert [one["id"] for one in page["supplier_invoices"]] == [one["id"] for one in every[3:6]]
    pages = -(-len(every) // 3)
    assert page["meta"] == {
        "current_page": 2,
        "next_page": 3,
        "prev_page": 1,
        "total_pages": pages,
        "total_count": len(every),
        "per_page": 3,
    }
    assert company.invoices(page=str(pages + 50)) == []
    assert company.qonto("GET", "/v2/supplier_invoices").json()["meta"]["per_page"] == 25
    for wrong in ({"per_page": 101}, {"page": 0}, {"sort_by": "iban:asc"}, {"filter[status]": "gone"}, {"query": "x"}):
        assert company.qonto("GET", "/v2/supplier_invoices", params=wrong).status_code == 400


@pytest.mark.parametrize(
    "params, fits",
    [
        ({"filter[status][]": ["paid", "to_pay"]}, lambda one: one["status"] in ("paid", "to_pay")),
        ({"filter[matched_transactions]": "true"}, lambda one: bool(one["matched_transactions"])),
        ({"filter[exclude_credit_notes]": "true"}, lambda one: not one["is_credit_note"]),
        ({"filter[due_date]": "missing_date"}, lambda one: one["due_date"] is None),
        ({"filter[issue_date_from]": "2026-06-01"}, lambda one: (one["issue_date"] or "") >= "2026-06-01"),
        (
            {"filter[payable_amount]": "lte:500.00:EUR"},
            lambda one: (
                one["payable_amount"] is not None
                and one["payable_amount"]["currency"] == "EUR"
                and Decimal(one["payable_amount"]["value"]) <= 500
            ),
        ),
        ({"query": "A", "query_fields": "supplier_name"}, lambda one: "a" in (one["supplier_name"] or "").lower()),
    ],
)
def test_filters(company: Company, params: dict[str, Any], fits: Callable[[dict[str, Any]], bool]) -> None:
    every = company.invoices()
    assert {one["id"] for one in company.invoices(**params)} == {one["id"] for one in every if fits(one)}


def test_time_filters_include_their_ends_or_not(company: Company, desk: Desk) -> None:
    moment = company.invoices(sort_by="updated_at:asc")[4]["updated_at"]
    params = {"filter[updated_at_from]": moment, "filter[updated_at_to]": moment}
    assert len(company.invoices(**params)) >= 1
    desk.turn(time_filters="exclusive")
    assert company.invoices(**params) == []


ALLOWED = {
    "mark_as_paid": {"to_review", "to_approve", "pending", "awaiting_payment", "to_pay", "archived", "paid"},
    "unmark_as_paid": {"paid"},
    "reject": {"to_review", "to_approve", "awaiting_payment"},
}
STATUSES = ["to_review", "to_approve", "to_pay", "awaiting_payment", "pending", "scheduled", "paid", "archived",
            "rejected", "discarded"]  # fmt: skip


@pytest.mark.parametrize("call", sorted(ALLOWED))
def test_status_table(company: Company, call: str) -> None:
    ident = company.invoices()[0]["id"]
    today = datetime.now(UTC).date().isoformat()
    body = {
        "mark_as_paid": {"supplier_invoice": {"payment_date": today}},
        "reject": {"supplier_invoice": {"declined_note": "Duplicate"}},
    }.get(call, {})
    becomes = {"mark_as_paid": "paid", "unmark_as_paid": "to_review", "reject": "rejected"}[call]
    for status in STATUSES:
        company.act("PATCH", f"/qonto/supplier_invoices/{ident}", json={"status": status})
        answer = company.qonto("POST", f"/v2/supplier_invoices/{ident}/{call}", json=body)
        if status in ALLOWED[call]:
            assert (answer.status_code, answer.json()["status"], answer.json()["id"]) == (200, becomes, ident)
        else:
            assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "invalid_transition")


def test_payment_date_comes_and_goes(company: Company) -> None:
    ident = company.invoices(**{"filter[status]": "to_review"})[0]["id"]
    paid = company.qonto(
        "POST", f"/v2/supplier_invoices/{ident}/mark_as_paid", json={"supplier_invoice": {"payment_date": "2026-01-02"}}
    ).json()
    assert paid["payment_date"] == "2026-01-02"
    assert company.qonto("POST", f"/v2/supplier_invoices/{ident}/unmark_as_paid").json()["payment_date"] is None
    future = (datetime.now(UTC).date() + timedelta(days=10)).isoformat()
    for wrong in (future, "soon"):
        body = {"supplier_invoice": {"payment_date": wrong}}
        assert company.qonto("POST", f"/v2/supplier_invoices/{ident}/mark_as_paid", json=body).status_code == 400


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_what_does_not_exist_is_the_gateways_404(company: Company, method: str) -> None:
    ident = company.invoices()[0]["id"]
    answer = company.qonto(method, f"/v2/supplier_invoices/{ident}")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/plain; charset=utf-8")
    assert "x-tyk-trace-id" in answer.headers
    assert "x-request-id" not in answer.headers


def test_deleted_in_the_app_is_an_application_404(company: Company) -> None:
    ident = company.invoices()[0]["id"]
    company.act("DELETE", f"/qonto/supplier_invoices/{ident}")
    answer = company.qonto("GET", f"/v2/supplier_invoices/{ident}")
    assert (answer.status_code, answer.json()["errors"][0]["source"]) == (404, {"parameter": "id"})
    assert company.qonto("GET", "/v2/supplier_invoices/not-an-id").status_code == 400


def transactions(company: Company, **params: Any) -> list[dict[str, Any]]:
    account = {"bank_account_id": company.made["bank_account"]}
    response = company.qonto("GET", "/v2/transactions", params={**account, **params})
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["transactions"]
    return found


def test_transactions_filter_and_hide_what_is_not_completed(company: Company) -> None:
    every = transactions(company, **{"status[]": ["completed", "pending", "declined"]})
    assert {one["id"] for one in transactions(company)} == {one["id"] for one in every if one["status"] == "completed"}
    cards = transactions(company, **{"operation_type[]": "card"})
    assert cards
    assert all(one["operation_type"] == "card" for one in cards)
    settled = [one["settled_at"] for one in transactions(company)]
    assert settled == sorted(settled, reverse=True)
    recent = transactions(company, settled_at_from=settled[5])
    assert [one["settled_at"] for one in recent] == settled[:6]
    assert company.qonto("GET", "/v2/transactions").status_code == 422


def test_files_of_a_transaction_come_late(company: Company, desk: Desk) -> None:
    desk.turn(transaction_attachment_delay=0.2)
    ident = transactions(company)[0]["id"]
    url, key = f"/v2/transactions/{ident}/attachments", {"X-Qonto-Idempotency-Key": "t-1"}
    files = {"file": ("a.pdf", b"%PDF-t", "application/pdf")}
    for _ in range(2):
        sent = company.qonto("POST", url, files=files, headers=key)
        assert (sent.status_code, sent.content) == (200, b"")
    assert company.qonto("GET", url).json()["attachments"] == []
    shown = until(lambda: company.qonto("GET", url).json()["attachments"])
    assert [one["file_name"] for one in shown] == ["a.pdf"]
    with_files = transactions(company, with_attachments="true", **{"includes[]": "attachments"})
    assert [(one["id"], one["attachments"][0]["id"]) for one in with_files] == [(ident, shown[0]["id"])]
    assert company.qonto("DELETE", f"{url}/{shown[0]['id']}").status_code == 200
    assert company.qonto("GET", url).json()["attachments"] == []
