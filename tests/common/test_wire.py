"""Bodies of both providers become messages with every amount, date, id and reference intact."""

import contextlib
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common import codec, qonto, quickbooks
from common.messages import Bill, BillPayment, Company, Document, Refusal, TaxCode, Vendor, VendorCredit
from common.subjects import RecordKey
from common.wire import WireError, money, read

US_BILL = b"""{"DueDate":"2026-04-08","VendorAddr":{"Id":"40","Line1":"1 Fictional Quay","Line2":"Shed 4",
"City":"Nowhere","CountrySubDivisionCode":"CA","PostalCode":"94303","Lat":"INVALID","Long":"INVALID"},
"Balance":205.00,"domain":"QBO","sparse":false,"Id":"126","SyncToken":"5","MetaData":{"CreateTime":
"2026-04-08T13:10:36-07:00","LastModifiedByRef":{"value":"9341457021722234"},"LastUpdatedTime":
"2026-05-05T03:14:55-07:00"},"TxnDate":"2026-04-08","CurrencyRef":{"value":"USD","name":"United States Dollar"},
"PrivateNote":"rush","SalesTermRef":{"value":"3"},"LinkedTxn":[{"TxnId":"118","TxnType":"BillPaymentCheck"}],
"Line":[{"Id":"1","LineNum":1,"Description":"Sluice pump","Amount":80.00,"LinkedTxn":[{"TxnId":"26","TxnType":
"ReimburseCharge","TxnLineId":"2"}],"DetailType":"ItemBasedExpenseLineDetail","ItemBasedExpenseLineDetail":
{"BillableStatus":"NotBillable","ItemRef":{"value":"11","name":"Pump"},"UnitPrice":10,"Qty":8,"TaxCodeRef":
{"value":"NON"},"CustomerRef":{"value":"7","name":"Imaginary Mills"}},"CustomExtensions":[]},
{"Id":"2","LineNum":2,"Amount":125.00,"DetailType":"AccountBasedExpenseLineDetail","AccountBasedExpenseLineDetail":
{"AccountRef":{"value":"14","name":"Miscellaneous"},"TaxCodeRef":{"value":"NON"}}}],
"VendorRef":{"value":"46","name":"Sluice & Sons"},"APAccountRef":{"value":"33","name":"Accounts Payable (A/P)"},
"TotalAmt":205.00,"V4IDPseudonym":"unknown field"}"""

EU_BILL = b"""{"Id":"9","SyncToken":"0","MetaData":{"CreateTime":"2026-10-25T01:30:00-07:00","LastUpdatedTime":
"2026-10-25T01:30:00-07:00"},"DocNumber":"F-2026/007","TxnDate":"2026-10-24","CurrencyRef":{"value":"GBP"},
"ExchangeRate":1.1525,"GlobalTaxCalculation":"TaxInclusive","VendorRef":{"value":"46"},
"Line":[{"Id":"1","Amount":400.00,"DetailType":"AccountBasedExpenseLineDetail","AccountBasedExpenseLineDetail":
{"AccountRef":{"value":"1"},"TaxCodeRef":{"value":"9"},"TaxInclusiveAmt":420.00}}],
"TxnTaxDetail":{"TotalTax":20.00,"TaxLine":[{"Amount":20.00,"DetailType":"TaxLineDetail","TaxLineDetail":
{"TaxRateRef":{"value":"17"},"PercentBased":true,"TaxPercent":5,"NetAmountTaxable":400.00}}]},
"TotalAmt":420.00,"Balance":0}"""


def bill(raw: bytes) -> Bill:
    body = quickbooks.normalize("Bill", raw).body
    assert isinstance(body, Bill)
    return body


def test_a_bill_of_a_company_without_vat() -> None:
    got = quickbooks.normalize("Bill", US_BILL)
    assert (got.id, got.sync_token, got.deleted) == ("126", "5", False)
    assert got.updated_at == datetime(2026, 5, 5, 10, 14, 55, tzinfo=UTC)
    body = bill(US_BILL)
    assert (body.total, body.balance, body.tax, body.paid) == (Decimal(205), Decimal(205), None, False)
    assert (body.vendor.id, body.vendor.name) == ("46", "Sluice & Sons")
    assert (body.issued_on, body.due_on, body.number) == (date(2026, 4, 8), date(2026, 4, 8), None)
    assert body.vendor_address is not None
    assert body.vendor_address.lines == ("1 Fictional Quay", "Shed 4")
    assert [(link.id, link.kind) for link in body.links] == [("118", "BillPaymentCheck")]
    pump, other = body.lines
    assert (pump.amount, pump.quantity, pump.unit_price) == (Decimal(80), Decimal(8), Decimal(10))
    assert (pump.item, pump.customer, pump.links[0].line_id) != (None, None, None)
    assert other.account is not None
    assert (other.account.id, other.account.name) == ("14", "Miscellaneous")
    assert (body.terms, body.payable_account) != (None, None)


def test_a_bill_with_vat_in_another_currency() -> None:
    body = bill(EU_BILL)
    assert (body.number, body.currency, body.exchange_rate) == ("F-2026/007", "GBP", Decimal("1.1525"))
    assert [body.total, body.tax, body.net, body.balance] == [420, 20, 400, 0]
    assert body.paid
    assert [body.lines[0].amount, body.lines[0].gross] == [400, 420]
    assert [body.tax_lines[0].percent, body.tax_lines[0].net, body.tax_lines[0].amount] == [5, 400, 20]


def test_the_autumn_hour_that_comes_twice_is_told_apart() -> None:
    later = EU_BILL.replace(b"-07:00", b"-08:00")
    first, second = (quickbooks.normalize("Bill", raw).updated_at for raw in (EU_BILL, later))
    assert first is not None
    assert second is not None
    assert (second - first).total_seconds() == 3600


def test_the_home_currency_stands_in_where_none_is_named() -> None:
    raw = EU_BILL.replace(b'"CurrencyRef":{"value":"GBP"},', b"")
    assert quickbooks.normalize("Bill", raw, home_currency="EUR").body.currency == "EUR"  # type: ignore[union-attr]
    assert bill(raw).currency == quickbooks.NO_CURRENCY


amounts = st.decimals(0, 10**12, places=2, allow_nan=False)


@given(total=amounts, tax=amounts, rate=st.decimals("0.0001", 1000, places=6), line=amounts)
def test_amounts_survive_to_the_cent(total: Decimal, tax: Decimal, rate: Decimal, line: Decimal) -> None:
    raw = (
        b'{"Id":"1","VendorRef":{"value":"1"},"TotalAmt":%s,"Balance":%s,"ExchangeRate":%s,"CurrencyRef":'
        b'{"value":"EUR"},"Line":[{"Amount":%s}],"TxnTaxDetail":{"TotalTax":%s}}'
        % tuple(str(value).encode() for value in (total, total, rate, line, tax))
    )
    body = bill(raw)
    assert (body.total, body.exchange_rate, body.lines[0].amount, body.tax) == (total, rate, line, tax)
    assert msgspec.json.decode(msgspec.json.encode(body), type=Bill) == body


@given(amounts)
def test_the_same_content_has_the_same_hash_however_it_was_written(amount: Decimal) -> None:
    shapes = {str(amount), str(amount.quantize(Decimal("0.0001"))), f"{amount.normalize():f}"}
    hashes = {
        quickbooks.content_hash(bill(b'{"Id":"1","VendorRef":{"value":"1"},"TotalAmt":%s}' % shape.encode()))
        for shape in shapes
    }
    assert len({money(Decimal(shape)) for shape in shapes}) == len(hashes) == 1


def test_what_changes_the_hash_and_what_does_not() -> None:
    body = bill(US_BILL)
    document = Document(sha256="a" * 64, name="x.pdf", content_type="application/pdf", size=1, attachable="5")
    moved = quickbooks.normalize("Bill", US_BILL.replace(b'"SyncToken":"5"', b'"SyncToken":"6"')).body
    plain = quickbooks.content_hash(body)
    assert quickbooks.content_hash(moved) == plain
    assert len({plain, quickbooks.content_hash(body, (document,)), quickbooks.content_hash(body, deleted=True)}) == 3


def test_a_deleted_stub_has_no_body() -> None:
    stub = b'{"status":"Deleted","domain":"QBO","Id":"979","MetaData":{"LastUpdatedTime":"2026-05-05T03:14:55-07:00"}}'
    got = quickbooks.normalize("Bill", stub)
    assert (got.id, got.deleted, got.body) == ("979", True, None)


def test_other_entities() -> None:
    vendor = quickbooks.normalize("Vendor", b'{"Id":"5","DisplayName":"Sluice","Active":false,"WebAddr":{}}').body
    assert vendor == Vendor(name="Sluice", active=False)
    payment = quickbooks.normalize(
        "BillPayment",
        b'{"Id":"7","VendorRef":{"value":"5"},"TotalAmt":10.50,"TxnDate":"2026-05-01","CurrencyRef":{"value":"EUR"},'
        b'"PayType":"Check","CheckPayment":{"BankAccountRef":{"value":"35","name":"Bank"}},'
        b'"Line":[{"Amount":10.50,"LinkedTxn":[{"TxnId":"9","TxnType":"Bill"}]}]}',
    ).body
    assert isinstance(payment, BillPayment)
    assert (payment.paid_on, payment.payments[0].links[0].id) == (date(2026, 5, 1), "9")
    credit = quickbooks.normalize(
        "VendorCredit", b'{"Id":"8","VendorRef":{"value":"5"},"TotalAmt":3,"Balance":0}', home_currency="EUR"
    ).body
    assert isinstance(credit, VendorCredit)
    assert [credit.total, credit.balance] == [3, 0]


def test_a_tax_code_carries_its_purchase_rates_only() -> None:
    rate = quickbooks.tax_rate(b'{"Id":"17","Name":"20%","RateValue":20}')
    raw = (
        b'{"Id":"9","Name":"20.0% S","SalesTaxRateList":{"TaxRateDetail":[{"TaxRateRef":{"value":"1"}}]},'
        b'"PurchaseTaxRateList":{"TaxRateDetail":[{"TaxRateRef":{"value":"17"}},{"TaxRateRef":{"value":"99"}}]}}'
    )
    body = quickbooks.tax_code(raw, {"17": rate}).body
    assert isinstance(body, TaxCode)
    assert [(one.id, one.percent) for one in body.rates] == [("17", Decimal(20)), ("99", None)]


def test_the_company_joins_two_objects() -> None:
    body = quickbooks.company(
        b'{"Id":"1","CompanyName":"Imaginary Mills","Country":"FR","Email":{}}',
        b'{"CurrencyPrefs":{"HomeCurrency":{"value":"EUR"},"MultiCurrencyEnabled":true},'
        b'"AccountingInfoPrefs":{"BookCloseDate":"2026-03-31"}}',
    ).body
    assert isinstance(body, Company)
    assert (body.home_currency, body.multicurrency, body.books_closed_on) == ("EUR", True, date(2026, 3, 31))


def test_a_file_hangs_on_bills_written_either_way() -> None:
    got = quickbooks.attachable(
        b'{"Id":"200900000000000008541","FileName":"a.pdf","Size":3,"AttachableRef":['
        b'{"EntityRef":{"type":"Bill","value":"1"}},{"EntityRef":{"type":"bill","value":"2"}},'
        b'{"EntityRef":{"type":"Invoice","value":"3"}},{}]}'
    )
    assert (got.id, got.bills) == ("200900000000000008541", ("1", "2"))


@pytest.mark.parametrize(
    "raw, field",
    [
        (b'{"VendorRef":{"value":"1"},"TotalAmt":1}', "Id"),
        (b'{"Id":"1","TotalAmt":1}', "VendorRef"),
        (b'{"Id":"1","VendorRef":{"value":"1"},"TotalAmt":"lots"}', "TotalAmt"),
        (b'{"Id":"1","VendorRef":{"value":"1"},"TotalAmt":1,"TxnDate":"soon"}', "TxnDate"),
        (b'{"Id":"1","VendorRef":{"value":"1"},"TotalAmt":1,"Line":[{"Amount":{}}]}', r"Line\[0\].Amount"),
        (b"not json", "malformed"),
    ],
)
def test_a_broken_bill_names_its_field(raw: bytes, field: str) -> None:
    with pytest.raises(WireError, match=field):
        quickbooks.normalize("Bill", raw)


@pytest.mark.parametrize("value", ['"NaN"', '"sNaN"', '"Infinity"', "1e30", "-1e400", "1000000000000000000"])
@pytest.mark.parametrize("field", ['"TotalAmt":205.00', '"Balance":205.00', '"Qty":8', '"Amount":125.00'])
def test_what_is_no_number_is_no_amount(field: str, value: str) -> None:
    name = field.partition(":")[0]
    with pytest.raises(WireError, match="is no amount"):
        bill(US_BILL.replace(field.encode(), f"{name}:{value}".encode()))


@pytest.mark.parametrize("value", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-08:00"])
def test_an_instant_outside_of_the_calendar_is_refused(value: str) -> None:
    with pytest.raises(WireError, match="calendar"):
        quickbooks.normalize("Bill", US_BILL.replace(b"2026-05-05T03:14:55-07:00", value.encode()))


def test_pages_and_changes() -> None:
    empty = quickbooks.query_page(b'{"QueryResponse":{},"time":"2026-05-05T03:15:13.193-07:00"}', "Bill")
    assert (empty.objects, empty.time.tzinfo) == ((), UTC)
    full = quickbooks.query_page(
        b'{"QueryResponse":{"Bill":[{"Id":"1"},{"Id":"2"}],"startPosition":1,"maxResults":2,"totalCount":2},'
        b'"time":"2026-05-05T03:15:13.193-07:00"}',
        "Bill",
    )
    assert (len(full.objects), full.total) == (2, 2)
    changes = quickbooks.changes(
        b'{"CDCResponse":[{"QueryResponse":[{"Bill":[{"Id":"1"},{"status":"Deleted","Id":"2"}],"startPosition":1,'
        b'"maxResults":2},{},{"":[],"Vendor":[{"Id":"3"}]}]}],"time":"2026-05-05T03:15:13.193-07:00"}'
    )
    assert (changes.total, sorted(changes.objects)) == (3, ["Bill", "Vendor"])


FAULTS: list[tuple[int, bytes, str, str]] = [
    (400, b'{"Fault":{"Error":[{"Message":"Object Not Found","Detail":"d","code":"610"}]}}', "610", "Object"),
    (401, b'{"fault":{"error":[{"message":"m","detail":"Token expired","code":"3200"}],"type":"A"}}', "3200", "m"),
    (429, b'<IntuitResponse><Error code="003001"><Message>Throttle</Message></Error>', "3001", "Throttle"),
    (401, b'{"code":"AuthenticationFailed","type":"INPUT","detail":"Malformed"}', "AuthenticationFailed", "HTTP 401"),
    (400, b'{"error":"invalid_grant"}', "", "invalid_grant"),
    (502, b"<html><title>502 Bad Gateway</title></html>", "", "HTTP 502"),
    (500, b"", "", "HTTP 500"),
    (500, b"[1,2]", "", "HTTP 500"),
]  # fmt: skip


@pytest.mark.parametrize("status, body, code, words", FAULTS)
def test_every_shape_of_error_is_read(status: int, body: bytes, code: str, words: str) -> None:
    fault = quickbooks.fault(status, body)
    assert (fault.status, fault.code) == (status, code)
    assert words in str(fault)


@given(st.binary(max_size=200))
@example(b'{"a":"\xff"}')
@example(b'{"\xff":1}')
@example(b"[" * 100_000)
@example(b'{"unknown":' + b"[" * 100_000)
def test_whatever_cannot_be_read_ends_in_the_one_error(body: bytes) -> None:
    for type_ in (object, list[str], dict[str, msgspec.Raw], Refusal):
        with contextlib.suppress(msgspec.MsgspecError):
            codec.decode(body, type_)
        with contextlib.suppress(WireError):
            read(body, type_, "a body")


@given(st.integers(200, 599), st.binary(max_size=200))
@example(400, b'"\xff"')
@example(400, b'{"\xff":{}}')
def test_no_body_breaks_the_reading_of_errors(status: int, body: bytes) -> None:
    assert quickbooks.fault(status, body).status == status
    assert isinstance(qonto.problems(status, body), tuple)


_WORDS = st.sampled_from(["Fault", "fault", "Error", "error", "code", "Message", "message", "Detail", "type"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS | st.text(max_size=3), inner, max_size=4),
)


@given(st.integers(200, 599), _JSON)
def test_any_json_is_read_as_an_error(status: int, body: Any) -> None:
    fault = quickbooks.fault(status, json.dumps(body).encode())
    assert fault.status == status
    assert str(fault).startswith(f"HTTP {status}")


def test_json_of_any_depth_is_read_as_an_error() -> None:
    assert quickbooks.fault(502, b"[" * 100_000).code == ""


@pytest.mark.parametrize("kind, code", [("AUTHENTICATION", "3200"), ("AUTHENTICATION", "x"), ("x", "3200")])
def test_what_is_said_of_a_token_is_not_kept(kind: str, code: str) -> None:
    error = {"message": "m", "detail": "Token expired: eyJfictional", "code": code}
    body = json.dumps({"fault": {"error": [error], "type": kind}}).encode()
    assert "eyJ" not in repr(quickbooks.fault(401, body))


def test_a_fault_under_http_200_is_an_error() -> None:
    with pytest.raises(quickbooks.FaultError) as caught:
        quickbooks.query_page(b'{"Fault":{"Error":[{"Message":"m","code":"4002"}]},"time":"x"}', "Bill")
    assert caught.value.fault.code == "4002"


INVOICE: dict[str, Any] = {
    "id": "0b7c2b0e-0000-4000-8000-000000000001",
    "organization_id": "org-1",
    "status": "to_review",
    "source_type": "direct_upload",
    "updated_at": "2026-05-05T03:14:55.123+02:00",
    "created_at": "2026-05-05T01:14:55Z",
    "file_name": "QBO-9130350000000001-126-r2__Sluice-F-7.pdf",
    "attachment_id": "att-1",
    "supplier_name": "Sluice & Sons",
    "invoice_number": "F-7",
    "total_amount": {"value": "420.00", "currency": "GBP"},
    "total_amount_excluding_taxes": {"value": "400.00", "currency": "GBP"},
    "issue_date": "2026-10-24",
    "due_date": None,
    "declined_note": "",
    "has_duplicates": False,
    "matched_transactions": [{"subject_id": "s", "subject_type": "transfer", "transaction_id": "t-1"}],
    "brand_new_field": {"x": 1},
}


def test_a_supplier_invoice_becomes_an_entry() -> None:
    entry = qonto.invoice(msgspec.json.encode(INVOICE), "ws")
    assert [entry.amount, entry.currency, entry.net_amount, entry.number] == [420, "GBP", 400, "F-7"]
    assert (entry.origin, entry.revision) == ("9130350000000001-126", 2)
    assert (entry.issued_on, entry.due_on, entry.matched) == (date(2026, 10, 24), None, ("t-1",))
    assert entry.updated_at == datetime(2026, 5, 5, 1, 14, 55, 123000, tzinfo=UTC)
    old = qonto.invoice(
        msgspec.json.encode({**INVOICE, "matched_transactions": ["t-2"], "file_name": "scan.pdf"}), "ws"
    )
    assert (old.matched, old.origin, old.live) == (("t-2",), None, True)


def test_an_unread_invoice_has_only_what_it_must() -> None:
    names = ("id", "updated_at")
    entry = qonto.invoice(msgspec.json.encode({name: INVOICE[name] for name in names}), "ws")
    assert (entry.amount, entry.counterparty, entry.analyzed_at) == (None, None, None)


def test_a_transaction_becomes_an_entry() -> None:
    entry = qonto.transaction(
        b'{"id":"t","amount":12.1,"amount_cents":1210,"currency":"EUR","local_amount":10.50,"local_currency":"GBP",'
        b'"side":"debit","status":"completed","updated_at":"2026-05-05T03:14:55.000Z","settled_at":null,'
        b'"emitted_at":"2026-05-04T23:30:00.000Z","label":"SLUICE","reference":"F-7","transfer":'
        b'{"counterparty_account_number":"FR76","counterparty_account_number_format":"IBAN"},"attachment_ids":["a"]}',
        "ws",
        "org",
    )
    assert (entry.amount, entry.local_amount, entry.local_currency) == (Decimal("12.10"), Decimal("10.50"), "GBP")
    assert (entry.issued_on, entry.paid_on, entry.iban, entry.side) == (date(2026, 5, 4), None, "FR76", "debit")


@given(
    st.text("0123456789", min_size=1, max_size=19),
    st.text("0123456789", min_size=1, max_size=10),
    st.integers(1, 999),
    st.text(max_size=200),
    st.one_of(st.none(), st.text(max_size=40)),
)
def test_a_file_name_says_its_bill_whatever_the_supplier_is_called(
    realm: str, ident: str, revision: int, vendor: str, number: str | None
) -> None:
    name = qonto.file_name(RecordKey(realm, ident), revision, vendor, number)
    assert len(name) <= qonto.FILE_NAME_LIMIT
    assert name.isascii()
    assert not set(name) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    assert qonto.parse_file_name(name) == (RecordKey(realm, ident), revision)


@pytest.mark.parametrize("name", [None, "", "invoice.pdf", "QBO-1.pdf", "xQBO-1-2-r1__a.pdf", "QBO-1-2-rx__a.pdf"])
def test_other_peoples_files_are_not_ours(name: str | None) -> None:
    assert qonto.parse_file_name(name) is None


PROBLEMS: list[tuple[int, bytes, str]] = [
    (400, b'{"errors":[{"code":"invalid","detail":"too large","source":{"pointer":"/a"}}]}', "invalid: too large"),
    (422, b'{"errors":{"message":"Not found"},"trace_id":"x"}', "422: Not found"),
    (403, b'{"message":"Forbidden","trace_id":"x"}', "403: Forbidden"),
    (403, b"<html><body>Staging token <b>missing</b></body></html>", "403: Staging token missing"),
    (404, b"404 page not found", "404: 404 page not found"),
]  # fmt: skip


@pytest.mark.parametrize("status, body, words", PROBLEMS)
def test_every_shape_of_problem_is_read(status: int, body: bytes, words: str) -> None:
    assert [str(problem) for problem in qonto.problems(status, body)] == [words]


@pytest.mark.parametrize("tail", ["", "/file"])
def test_a_bulk_answer_tells_which_upload_failed(tail: str) -> None:
    answer = qonto.uploaded(
        b'{"supplier_invoices":[],"errors":[{"code":"invalid","detail":"d","source":{"pointer":'
        b'"/supplier_invoices/idempotency_key/k-1%s"}}]}' % tail.encode()
    )
    assert (answer.invoices, answer.problems[0].idempotency_key) == ((), "k-1")


def test_lists_and_single_objects_in_both_wrappings() -> None:
    page = qonto.page(
        b'{"supplier_invoices":[{"id":"1"}],"meta":{"next_page":2,"total_count":57}}', "supplier_invoices"
    )
    assert (len(page.items), page.next_page, page.total) == (1, 2, 57)
    wrapped, bare = b'{"supplier_invoice":{"id":"1"}}', b'{"id":"1"}'
    assert bytes(qonto.single(wrapped, "supplier_invoice")) == bytes(qonto.single(bare, "supplier_invoice"))
    with pytest.raises(WireError, match="supplier_invoices"):
        qonto.page(b"{}", "supplier_invoices")
