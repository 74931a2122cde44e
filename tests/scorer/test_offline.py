"""`weir score`: files in, one decision per bill out, or one clear line and nothing else."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from services.scorer.offline import score
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


def decisions(
    capsys: pytest.CaptureFixture[str],
    *,
    bills: Path,
    entries: Path,
    vendors: Path | None = None,
    policy: Path | None = None,
) -> list[dict[str, Any]]:
    """What `weir score` writes about these files."""
    score(bills=bills, entries=entries, vendors=vendors, policy=policy)
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


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
        ("{not json", ["line 2"]),
        ("[1, 2]", ["line 2"]),
        ('{"Bill": 5}', ["line 2"]),
        (json.dumps({**BILL, "TotalAmt": "much"}), ["line 2", "TotalAmt"]),
        (json.dumps({name: value for name, value in BILL.items() if name != "TotalAmt"}), ["line 2", "TotalAmt"]),
        (json.dumps({**BILL, "TxnDate": "yesterday"}), ["line 2", "TxnDate"]),
    ],
)
def test_a_bad_bill_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bad: str, names: list[str]
) -> None:
    bills, entries = lines(tmp_path / "bills.jsonl", BILL, bad), lines(tmp_path / "entries.jsonl", INVOICE)
    with pytest.raises(UserError) as raised:
        score(bills=bills, entries=entries)
    assert all(name in str(raised.value) for name in ["bills.jsonl", *names])
    assert "\n" not in str(raised.value)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "bad, names",
    [
        ("nonsense", []),
        ('{"transaction": 5}', []),
        ('{"supplier_invoice": []}', []),
        (json.dumps({**INVOICE, "total_amount": {"value": "a lot", "currency": "EUR"}}), ["total_amount"]),
        (json.dumps({**INVOICE, "issue_date": "soon"}), ["issue_date"]),
        (json.dumps({**PAYMENT, "amount": None}), ["amount"]),
    ],
)
def test_a_bad_entry_is_one_clear_line(tmp_path: Path, bad: str, names: list[str]) -> None:
    bills, entries = lines(tmp_path / "bills.jsonl", BILL), lines(tmp_path / "entries.jsonl", INVOICE, bad)
    with pytest.raises(UserError) as raised:
        score(bills=bills, entries=entries)
    assert all(name in str(raised.value) for name in ["entries.jsonl", "line 2", *names])


@pytest.mark.parametrize("policy", ["[]", '{"auto": 2}', '{"auto": 0.5, "review": 0.9}', '{"currencies": "EUR"}'])
def test_a_bad_policy_is_one_clear_line(tmp_path: Path, policy: str) -> None:
    bills, entries = lines(tmp_path / "b", BILL), lines(tmp_path / "e", INVOICE)
    with pytest.raises(UserError, match="policy"):
        score(bills=bills, entries=entries, policy=lines(tmp_path / "policy.json", policy))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        score(bills=tmp_path / "nowhere", entries=lines(tmp_path / "e", INVOICE))


def test_the_command_ends_with_2_and_writes_nothing_when_a_line_is_bad(tmp_path: Path) -> None:
    bills, entries = lines(tmp_path / "bills.jsonl", BILL, "{"), lines(tmp_path / "entries.jsonl", INVOICE)
    command = [sys.executable, "-m", "services.cli.app", "score", "--bills", str(bills), "--entries", str(entries)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert len(ended.stderr.strip().splitlines()) == 1
    assert "bills.jsonl, line 2" in ended.stderr
    bills = lines(tmp_path / "bills.jsonl", BILL)
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout)["decision"] == "link"
