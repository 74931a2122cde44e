"""`weir score`: files in, one decision per bill out; what cannot be read is named and costs only itself."""

import codecs
import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import UserError
from services.scorer.matching.judge import Judge
from services.scorer.offline.score import score
from tests.conftest import ROOT

BILL: dict[str, Any] = {
    "Id": "145",
    "SyncToken": "0",
    "DocNumber": "F-2026-1001",
    "TxnDate": "2026-05-01",
    "DueDate": "2026-05-31",
    "VendorRef": {"value": "7", "name": "Sluice & Sons SARL"},
    "CurrencyRef": {"value": "EUR", "name": "Euro"},
    "Line": [{"Id": "1", "Amount": 100.0, "DetailType": "AccountBasedExpenseLineDetail"}],
    "TxnTaxDetail": {"TotalTax": 20.0},
    "TotalAmt": 120.0,
    "Balance": 120.0,
    "MetaData": {"CreateTime": "2026-05-01T10:00:00-07:00", "LastUpdatedTime": "2026-05-01T10:00:00-07:00"},
}
INVOICE: dict[str, Any] = {
    "id": "018f0000-0000-7000-8000-000000000001",
    "organization_id": "018f0000-0000-7000-8000-00000000000a",
    "status": "to_review",
    "source_type": "email",
    "attachment_id": "018f0000-0000-7000-8000-00000000000b",
    "file_name": "scan.pdf",
    "created_at": "2026-05-02T09:00:00.000Z",
    "updated_at": "2026-05-02T09:00:00.000Z",
    "supplier_name": "SLUICE & SONS",
    "invoice_number": "F-2026-1001",
    "issue_date": "2026-05-01",
    "due_date": None,
    "total_amount": {"value": "120.00", "currency": "EUR"},
    "is_credit_note": False,
    "matched_transactions": [],
}
PAYMENT: dict[str, Any] = {
    "id": "018f0000-0000-7000-8000-000000000002",
    "transaction_id": "lock-1-transaction-1",
    "amount": 89.9,
    "amount_cents": 8990,
    "side": "debit",
    "operation_type": "transfer",
    "currency": "EUR",
    "local_amount": 89.9,
    "local_currency": "EUR",
    "label": "FLOODGATE WORKS",
    "status": "completed",
    "reference": "F-9",
    "emitted_at": "2026-05-20T09:00:00.000Z",
    "settled_at": "2026-05-20T09:00:00.000Z",
    "updated_at": "2026-05-20T09:00:00.000Z",
}


def lines(path: Path, *objects: Any) -> Path:
    """A file of JSON lines; a string is written as it is."""
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in objects))
    return path


class Scored(NamedTuple):
    """What `weir score` wrote, said on standard error, and ended with."""

    decisions: list[dict[str, Any]]
    said: str
    code: int


def scored(capsys: pytest.CaptureFixture[str], *, bills: Path, entries: Path, **options: Any) -> Scored:
    """What `weir score` makes of these files."""
    code = score(bills=bills, entries=entries, **options)
    written = capsys.readouterr()
    return Scored([json.loads(line) for line in written.out.splitlines()], written.err, code)


def decisions(capsys: pytest.CaptureFixture[str], **files: Path) -> list[dict[str, Any]]:
    """The decisions alone."""
    return scored(capsys, **files).decisions


def without(whole: dict[str, Any], field: str) -> str:
    """An object that lacks a field."""
    return json.dumps({name: value for name, value in whole.items() if name != field})


def _utf8(text: bytes) -> bytes:
    return text


def _marked(text: bytes) -> bytes:
    return codecs.BOM_UTF8 + text


def _utf16(text: bytes) -> bytes:
    return text.decode().encode("utf-16")


def _crlf(text: bytes) -> bytes:
    return text.replace(b"\n", b"\r\n")


def _blank(text: bytes) -> bytes:
    return b"\n \r\n" + text.rstrip(b"\n")


def test_one_decision_per_bill_in_the_order_of_the_bills(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = {**BILL, "Id": "146", "DocNumber": "F-2026-1002", "TotalAmt": 77.0, "TxnDate": "2026-01-01"}
    bills = lines(tmp_path / "bills.jsonl", {"Bill": other, "time": "2026-05-05T00:00:00.000-07:00"}, "", BILL)
    entries = lines(tmp_path / "entries.jsonl", {"supplier_invoice": INVOICE}, PAYMENT)
    first, second = decisions(capsys, bills=bills, entries=entries)
    assert (first["bill"], second["bill"]) == ("146", "145")
    assert second["decision"] == "link"
    assert second["score"] > 0.99
    assert first["decision"] in {"create", "review"}
    best = second["candidates"][0]
    assert best["entry"] == INVOICE["id"]
    assert best["score"] == second["score"]
    assert best["fields"] == {"name": 1.0, "amount": 1.0, "date": 1.0, "currency": 1.0, "reference": 1.0}
    assert second["why"]


def test_what_is_missing_is_null(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = {name: value for name, value in INVOICE.items() if name not in {"invoice_number", "issue_date"}}
    bills, entries = lines(tmp_path / "b", BILL), lines(tmp_path / "e", bare)
    (found,) = decisions(capsys, bills=bills, entries=entries)
    fields = found["candidates"][0]["fields"]
    assert fields["reference"] is None
    assert fields["date"] is None
    assert found["decision"] in {"link", "review"}


def test_vendors_and_policy_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bills, entries = lines(tmp_path / "b", BILL), lines(tmp_path / "e")
    (free,) = decisions(capsys, bills=bills, entries=entries)
    assert free["decision"] == "create"
    inactive = lines(tmp_path / "v", {"Id": "7", "DisplayName": "Sluice & Sons SARL", "Active": False})
    (asked,) = decisions(capsys, bills=bills, entries=entries, vendors=inactive)
    assert asked["decision"] in {"review", "refuse"}
    (capped,) = decisions(capsys, bills=bills, entries=entries, policy=lines(tmp_path / "p", {"amount_cap": "100"}))
    assert (capped["decision"], capped["gate"]) == ("review", "policy")


@pytest.mark.parametrize(
    "bad, names",
    [
        ("{not json", []),
        ("[1, 2]", ["[0]", "[1]"]),
        ('{"Bill": 5}', []),
        (json.dumps({**BILL, "TotalAmt": "much"}), ["TotalAmt"]),
        (json.dumps({**BILL, "TxnDate": "yesterday"}), ["TxnDate"]),
        (without(BILL, "Id"), ["Id"]),
        (json.dumps({**BILL, "TotalAmt": "NaN"}), ["TotalAmt", "finite"]),
        (json.dumps({**BILL, "TotalAmt": float("nan")}), ["TotalAmt", "NaN"]),
        (json.dumps({**BILL, "ExchangeRate": float("-inf")}), ["ExchangeRate", "Infinity"]),
        (json.dumps({**BILL, "TotalAmt": 0}).replace('"TotalAmt": 0', '"TotalAmt": 1e999'), ["TotalAmt"]),
        (json.dumps({**BILL, "Line": [{"Amount": 1}, {"Amount": 1e30}]}), ["Line[1].Amount"]),
        (json.dumps({**BILL, "DueDate": "0001-01-01"}), ["DueDate", "no day"]),
        (json.dumps({**BILL, "MetaData": {"LastUpdatedTime": "0001-01-01T00:00:00+14:00"}}), ["LastUpdatedTime"]),
        (json.dumps({**BILL, "Id": "\u00b2"}), ["Id"]),
        ('{"Bill":' * 5000, []),
        ("[" * 100_000, []),
    ],
)
def test_a_bad_bill_is_named_and_the_rest_is_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bad: str, names: list[str]
) -> None:
    bills, entries = lines(tmp_path / "bills.jsonl", BILL, bad), lines(tmp_path / "entries.jsonl", INVOICE)
    found = scored(capsys, bills=bills, entries=entries)
    assert found.code == 2
    assert [one["bill"] for one in found.decisions] == ["145"]
    assert found.decisions[0]["decision"] == "link"
    assert all(name in found.said for name in ["bills.jsonl, line 2", *names])
    assert "report it" not in found.said
    assert len(found.said.splitlines()) == max(1, len([name for name in names if name.startswith("[")]))


@pytest.mark.parametrize(
    "bad, names",
    [
        ("nonsense", []),
        ('{"transaction": 5}', []),
        ('{"supplier_invoice": [{}]}', ["supplier_invoice[0]", "id"]),
        (json.dumps({**INVOICE, "total_amount": {"value": "a lot", "currency": "EUR"}}), ["total_amount"]),
        (json.dumps({**INVOICE, "total_amount": {"value": "1e400", "currency": "EUR"}}), ["total_amount.value"]),
        (json.dumps({**INVOICE, "issue_date": "soon"}), ["issue_date"]),
        (json.dumps({**INVOICE, "issue_date": "9999-12-31"}), ["issue_date"]),
        (json.dumps({**INVOICE, "id": ""}), ["id"]),
        (json.dumps({**PAYMENT, "amount": None}), ["amount"]),
        (json.dumps({**PAYMENT, "local_amount": "-Infinity", "local_currency": "USD"}), ["local_amount"]),
    ],
)
def test_a_bad_entry_is_named_and_the_rest_is_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bad: str, names: list[str]
) -> None:
    bills, entries = lines(tmp_path / "bills.jsonl", BILL), lines(tmp_path / "entries.jsonl", bad, INVOICE)
    found = scored(capsys, bills=bills, entries=entries)
    assert (found.code, found.decisions[0]["decision"]) == (2, "link")
    assert all(name in found.said for name in ["entries.jsonl, line 1", *names])
    assert len(found.said.splitlines()) == 1


def test_one_bad_object_of_an_answer_costs_only_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    middle: dict[str, Any] = {"Id": "9", "TxnDate": 5}
    page = {"QueryResponse": {"Bill": [BILL, middle, {**BILL, "Id": "147"}], "maxResults": 3}}
    bills, entries = lines(tmp_path / "b", page), lines(tmp_path / "e", INVOICE)
    found = scored(capsys, bills=bills, entries=entries)
    assert ([one["bill"] for one in found.decisions], found.code) == (["145", "9", "147"], 0)
    middle |= {"VendorRef": {"value": "7"}, "TotalAmt": 5}
    found = scored(capsys, bills=lines(tmp_path / "b", page), entries=entries)
    assert ([one["bill"] for one in found.decisions], found.code) == (["145", "147"], 2)
    assert "line 1, QueryResponse.Bill[1]: Bill 9" in found.said


@pytest.mark.parametrize(
    "wrapped",
    [
        {"Bill": BILL, "time": "2026-05-05T00:00:00.000-07:00"},
        {"QueryResponse": {"Bill": [BILL], "startPosition": 1, "maxResults": 1}, "time": "2026-05-05T00:00:00Z"},
        {"CDCResponse": [{"QueryResponse": [{"Vendor": [{"Id": "7"}]}, {"Bill": [BILL]}, {}]}]},
        {"BatchItemResponse": [{"Bill": BILL, "bId": "1"}]},
        [BILL],
    ],
)
def test_bills_are_found_in_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str], wrapped: Any) -> None:
    bills, entries = lines(tmp_path / "b", wrapped), lines(tmp_path / "e", INVOICE)
    found = scored(capsys, bills=bills, entries=entries)
    assert ([one["decision"] for one in found.decisions], found.code, found.said) == (["link"], 0, "")


@pytest.mark.parametrize(
    "wrapped",
    [
        {"supplier_invoice": INVOICE},
        {"supplier_invoices": [INVOICE], "meta": {"total_count": 1}},
        [{"transactions": [PAYMENT]}, {"supplier_invoices": [INVOICE]}],
    ],
)
def test_entries_are_found_in_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str], wrapped: Any) -> None:
    bills, entries = lines(tmp_path / "b", BILL), lines(tmp_path / "e", wrapped)
    found = scored(capsys, bills=bills, entries=entries)
    assert (found.decisions[0]["entry"], found.code) == (INVOICE["id"], 0)


def test_a_transaction_under_its_name_needs_no_sign_of_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    payment = {"id": "t", "amount": 120, "currency": "EUR", "label": "SLUICE & SONS F-2026-1001"}
    bills, entries = lines(tmp_path / "b", BILL), lines(tmp_path / "e", {"transaction": payment})
    (found,) = scored(capsys, bills=bills, entries=entries).decisions
    assert (found["candidates"][0]["entry"], found["candidates"][0]["kind"]) == ("t", "transaction")


@pytest.mark.parametrize(
    "missing, named",
    [
        ({"VendorRef": None}, ["VendorRef"]),
        ({"VendorRef": {}}, ["VendorRef"]),
        ({"VendorRef": {"value": ""}}, ["VendorRef"]),
        ({"TotalAmt": None}, ["TotalAmt"]),
        ({"VendorRef": None, "TotalAmt": None}, ["VendorRef", "TotalAmt"]),
    ],
)
def test_a_bill_that_lacks_what_scoring_needs_is_refused_and_told_what(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], missing: dict[str, Any], named: list[str]
) -> None:
    bare = {name: value for name, value in {**BILL, **missing}.items() if value is not None}
    bills, entries = lines(tmp_path / "b", bare, {**BILL, **missing, "Id": "146"}), lines(tmp_path / "e", INVOICE)
    found = scored(capsys, bills=bills, entries=entries)
    assert (found.code, found.said) == (0, "")
    for one in found.decisions:
        assert (one["decision"], one["gate"], one["candidates"]) == ("refuse", "incomplete", [])
        assert all(name in one["why"] for name in [*named, "export whole Bill objects"])


def test_fields_that_are_null_count_as_absent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bills = lines(tmp_path / "b", {**BILL, "Line": None, "TxnTaxDetail": None, "MetaData": None, "DueDate": None})
    found = scored(capsys, bills=bills, entries=lines(tmp_path / "e", INVOICE))
    assert (found.decisions[0]["decision"], found.code) == ("link", 0)


def test_of_a_bill_that_comes_again_the_newest_version_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newer = {**BILL, "TotalAmt": 90.0, "MetaData": {"LastUpdatedTime": "2026-06-01T00:00:00Z"}}
    other = {**BILL, "Id": "9", "DocNumber": "X-77", "TotalAmt": 3.0}
    entries = lines(tmp_path / "e", {**INVOICE, "total_amount": {"value": "90.00", "currency": "EUR"}})
    for order in ([BILL, other, newer], [newer, other, BILL]):
        found = scored(capsys, bills=lines(tmp_path / "b", *order), entries=entries)
        assert [one["bill"] for one in found.decisions] == ["145", "9"]
        assert found.decisions[0]["candidates"][0]["fields"]["amount"] == 1.0
        assert "bill 145" in found.said
        assert found.code == 0


def test_of_an_entry_that_comes_again_the_newest_version_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = {**INVOICE, "status": "rejected", "updated_at": "2026-06-01T00:00:00Z"}
    bills = lines(tmp_path / "b", BILL)
    for order in ([INVOICE, gone], [gone, INVOICE]):
        found = scored(capsys, bills=bills, entries=lines(tmp_path / "e", *order))
        assert (found.decisions[0]["candidates"], found.code) == ([], 0)
        assert INVOICE["id"] in found.said


def test_a_deleted_bill_is_withdrawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bills = lines(tmp_path / "b", {"Id": "5", "status": "Deleted", "domain": "QBO"})
    (found,) = scored(capsys, bills=bills, entries=lines(tmp_path / "e", INVOICE)).decisions
    assert found["decision"] == "withdraw"


def test_an_entry_that_weir_made_is_known_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = {**INVOICE, "file_name": "QBO-9341457021722202-145-r1__Sluice-F-2026-1001.pdf"}
    (found,) = scored(capsys, bills=lines(tmp_path / "b", BILL), entries=lines(tmp_path / "e", made)).decisions
    assert "already made an entry" in found["why"]


@pytest.mark.parametrize("encode", [_utf8, _marked, _utf16, _crlf, _blank, gzip.compress], ids=lambda one: one.__name__)
def test_files_come_in_all_encodings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], encode: Callable[[bytes], bytes]
) -> None:
    bills, entries = lines(tmp_path / "b", BILL), lines(tmp_path / "e", {**INVOICE, "supplier_name": "Slüice & Sons"})
    for path in (bills, entries):
        path.write_bytes(encode(path.read_bytes()))
    found = scored(capsys, bills=bills, entries=entries)
    assert ([one["decision"] for one in found.decisions], found.code, found.said) == (["link"], 0, "")


def test_what_comes_before_the_damage_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bills, entries = lines(tmp_path / "b", BILL), lines(tmp_path / "e", INVOICE, PAYMENT)
    entries.write_bytes(gzip.compress(entries.read_bytes())[:-8])
    found = scored(capsys, bills=bills, entries=entries)
    assert (found.decisions[0]["decision"], found.code) == ("link", 2)
    assert "damaged" in found.said


def test_a_line_without_an_end_is_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.scorer.offline.lines.LONGEST", 1000)
    bills = lines(tmp_path / "b", {**BILL, "PrivateNote": "x" * 5000}, {**BILL, "Id": "146"})
    found = scored(capsys, bills=bills, entries=lines(tmp_path / "e", INVOICE))
    assert ([one["bill"] for one in found.decisions], found.code) == (["146"], 2)
    assert "line 1: longer than 1,000 bytes" in found.said


def test_a_file_without_bills_or_currency_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries = lines(tmp_path / "e", INVOICE)
    found = scored(capsys, bills=lines(tmp_path / "b"), entries=entries)
    assert (found.decisions, found.code) == ([], 0)
    assert "no bill in it" in found.said
    bills = lines(tmp_path / "b", json.loads(without(BILL, "CurrencyRef")))
    assert "--home-currency" in scored(capsys, bills=bills, entries=entries).said
    found = scored(capsys, bills=bills, entries=entries, home_currency="EUR")
    assert (found.decisions[0]["decision"], found.said) == ("link", "")
    with pytest.raises(UserError, match="home-currency"):
        score(bills=bills, entries=entries, home_currency="euro")


@pytest.mark.parametrize("step", ["prepare", "decide"])
def test_a_fault_of_the_scorer_costs_one_bill_and_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    sound = getattr(Judge, step)

    def faulty(judge: Judge, keys: str | list[str]) -> Any:
        if "0-146" in keys:
            raise ZeroDivisionError("by nothing")
        return sound(judge, keys)

    monkeypatch.setattr(Judge, step, faulty)
    bills, entries = lines(tmp_path / "b", {**BILL, "Id": "146", "TotalAmt": 9}, BILL), lines(tmp_path / "e", INVOICE)
    found = scored(capsys, bills=bills, entries=entries)
    assert [one["bill"] for one in found.decisions] == ["146", "145"]
    assert (found.decisions[0]["decision"], found.decisions[0]["gate"], found.code) == ("refuse", "unforeseen", 2)
    assert found.decisions[1]["decision"] == "link"
    assert "bill 146" in found.said
    assert "ZeroDivisionError: by nothing" in found.said


def test_terminals_are_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bills = lines(tmp_path / "b\x1b[2J", "{")
    assert "\x1b" not in scored(capsys, bills=bills, entries=lines(tmp_path / "e")).said


FIELDS = sorted({*BILL, *INVOICE, *PAYMENT, "ExchangeRate", "status", "matched_transactions", "transfer"})
NUMBERS = st.one_of(
    st.integers(),
    st.floats(allow_nan=True),
    st.decimals().map(str),
    st.sampled_from([1e15, -1e15, 1e308, "1e999999", "-1E+40", "sNaN", "0.1", -120.0, "1e-999999"]),
)
TEXTS = st.one_of(
    st.text(),
    st.text(alphabet="0123456789 -:TZ./", max_size=25),
    st.dates().map(str),
    st.datetimes().map(lambda one: one.isoformat() + "+14:00"),
    st.sampled_from(["Deleted", "debit", "EUR", "&", "\x00", "\u0130", "GmbH", "QBO-1-145-r1__x.pdf", "²"]),
)
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["value", "name", "currency", "Amount", "LastUpdatedTime"]), inner, max_size=3),
    ),
    max_leaves=4,
)


def mutated(whole: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """Objects like `whole` with a few fields replaced by anything."""
    changes = st.dictionaries(st.sampled_from([*sorted(whole), *FIELDS]), ANYTHING, min_size=1, max_size=3)
    written = changes.map(lambda change: json.dumps({**whole, **change}, ensure_ascii=False))
    return st.builds(lambda text, code: text.encode(code, "replace"), written, st.sampled_from(["utf-8", "latin-1"]))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bad_bills=st.lists(st.one_of(st.binary(), mutated({**BILL, "Id": "9"})), max_size=4),
    bad_entries=st.lists(st.one_of(st.binary(), mutated(INVOICE | {"id": "i"}), mutated(PAYMENT)), max_size=4),
    bad_vendors=st.lists(st.one_of(st.binary(), mutated({"Id": "8", "DisplayName": "Weir Bank"})), max_size=2),
    cut=st.integers(0, 40),
)
def test_no_input_whatever_stops_it_and_good_lines_are_scored(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    bad_bills: list[bytes],
    bad_entries: list[bytes],
    bad_vendors: list[bytes],
    cut: int,
) -> None:
    good_bill, good_entry = json.dumps(BILL).encode(), json.dumps(INVOICE).encode()
    files = []
    for name, bad, good in (
        ("bills", bad_bills, good_bill),
        ("entries", bad_entries, good_entry),
        ("vendors", bad_vendors, b'{"Id": "7", "DisplayName": "Sluice & Sons SARL"}'),
    ):
        # Cut lines are damaged JSON; the first is a good one, so that bytes that look like a mark decide nothing.
        rest = [line[: len(line) - cut] if position % 2 else line for position, line in enumerate(bad)]
        (tmp_path / name).write_bytes(b"\n".join([good, *rest]) + b"\n")
        files.append(tmp_path / name)
    found = scored(capsys, bills=files[0], entries=files[1], vendors=files[2])
    assert found.decisions[0]["bill"] == "145"
    assert found.code == (2 if ", line " in found.said else 0)
    assert "report it" not in found.said
    told = {one["decision"] for one in found.decisions}
    assert told <= {"link", "create", "review", "refuse", "withdraw"}
    if not bad_bills and not bad_entries:
        assert found.decisions[0]["decision"] == "link"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bills=st.binary(), entries=st.binary(), truth=st.binary(), mark=st.sampled_from([b"", b"\x1f\x8b\x08", b"\xff\xfe"])
)
def test_files_of_noise_are_told_line_by_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bills: bytes, entries: bytes, truth: bytes, mark: bytes
) -> None:
    for name, content in (("b", mark + bills), ("e", mark + entries), ("t", mark + truth)):
        (tmp_path / name).write_bytes(content)
    found = scored(capsys, bills=tmp_path / "b", entries=tmp_path / "e", evaluate=tmp_path / "t")
    assert found.decisions == []
    assert "report it" not in found.said


@pytest.mark.parametrize("policy", ["[]", '{"auto": 2}', '{"auto": 0.5, "review": 0.9}', '{"currencies": "EUR"}'])
def test_a_bad_policy_is_one_clear_line(tmp_path: Path, policy: str) -> None:
    bills, entries = lines(tmp_path / "b", BILL), lines(tmp_path / "e", INVOICE)
    with pytest.raises(UserError, match="policy"):
        score(bills=bills, entries=entries, policy=lines(tmp_path / "policy.json", policy))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        score(bills=tmp_path / "nowhere", entries=lines(tmp_path / "e", INVOICE))


def test_standard_input_is_one_file_only(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="twice"):
        score(bills=Path("-"), entries=Path("-"))
    with pytest.raises(UserError, match="--json is no file"):
        score(bills=lines(tmp_path / "b", BILL), entries=Path("--json"))


COMMAND = [sys.executable, "-m", "services.cli.app", "score"]


def test_the_command_reads_a_pipe_and_ends_with_2_when_a_line_is_bad(tmp_path: Path) -> None:
    entries = lines(tmp_path / "entries.jsonl", INVOICE)
    command = [*COMMAND, "--bills", "-", "--entries", str(entries)]
    text = json.dumps(BILL) + "\n{\n"
    ended = subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert json.loads(ended.stdout)["decision"] == "link"
    assert ended.stderr.startswith("weir: standard input, line 2: ")
    assert len(ended.stderr.splitlines()) == 1
    text = json.dumps(BILL)
    ended = subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_whoever_has_seen_enough_may_go(tmp_path: Path) -> None:
    bills = lines(tmp_path / "b", *({**BILL, "Id": str(number), "TotalAmt": 9.0 + number} for number in range(600)))
    command = [*COMMAND, "--bills", str(bills), "--entries", str(lines(tmp_path / "e"))]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert json.loads(running.stdout.readline())["bill"] == "0"
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(60) == 1
