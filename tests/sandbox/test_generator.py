"""The invented company: always the same for a seed, of the promised mix, and without the truth in it."""

import json
from collections import Counter
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from services.sandbox import truth
from services.sandbox.document import draw
from services.sandbox.generator import generate
from services.sandbox.qonto.reading import read_document
from services.sandbox.store import DECODER, Row, Store

NOW = 1_790_000_000.0
KINDS = ("Bill", "Vendor", "Customer", "BillPayment", "VendorCredit", "Attachable", "TaxCode", "TaxRate")


def made(folder: Path, seed: str, bills: int) -> tuple[Store, dict[str, Any]]:
    store = Store(folder / "store.sqlite3")
    return store, generate(store, seed=seed, bills=bills, now=NOW)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, Any]]:
    return made(tmp_path_factory.mktemp("generated"), "demo", 520)


def rows(world: tuple[Store, dict[str, Any]], kind: str) -> list[Row]:
    store, company = world
    tenant = company["realm"] if kind in KINDS else company["organization"]
    return list(store.table(tenant, kind).values())


def test_same_seed_same_company(tmp_path: Path) -> None:
    def everything(folder: str, seed: str) -> list[Any]:
        store, company = made(tmp_path / folder, seed, 80)
        objects = store.db.execute("SELECT * FROM objects ORDER BY tenant, kind, id").fetchall()
        files = store.db.execute("SELECT * FROM files ORDER BY id").fetchall()
        assert objects
        return [company, objects, files, truth.known(store, company["realm"])]

    first = everything("a", "seven")
    assert first == everything("b", "seven")
    assert first != everything("c", "eight")


def test_a_seed_used_again_gives_another_company(tmp_path: Path) -> None:
    store, first = made(tmp_path, "again", 30)
    second = generate(store, seed="again", bills=30, now=NOW)
    assert first["realm"] != second["realm"]
    assert len(store.table(second["realm"], "Bill")) == 30


def test_mix_is_as_promised(world: tuple[Store, dict[str, Any]]) -> None:
    store, company = world
    known = truth.known(store, company["realm"])
    share = {case: count / len(known) for case, count in truth.tally(known).items()}
    expected = {
        "invoice": 0.35,
        "transaction": 0.12,
        "absent": 0.33,
        "incomplete": 0.04,
        "duplicate": 0.03,
        "near_tie": 0.04,
    }
    for case, wanted in expected.items():
        assert share[case] == pytest.approx(wanted, abs=0.012), case
    bills = rows(world, "Bill")
    assert {bill.body["CurrencyRef"]["value"] for bill in bills} == {"EUR", "USD", "GBP", "CHF"}
    attached = {one.body["AttachableRef"][0]["EntityRef"]["value"] for one in rows(world, "Attachable") if one.inner}
    assert 0.35 < len(attached) / len(bills) < 0.5
    assert max(Counter(bill.body["MetaData"]["CreateTime"] for bill in bills).values()) > 25


def test_truth_points_at_what_exists(world: tuple[Store, dict[str, Any]]) -> None:
    store, company = world
    invoices = {row.id for row in rows(world, "supplier_invoice")}
    transactions = {row.id for row in rows(world, "transaction")}
    bills = {row.id for row in rows(world, "Bill")}
    known = truth.known(store, company["realm"])
    assert {one.bill for one in known} == bills
    pointed = []
    for one in known:
        for counterpart in one.counterparts:
            assert counterpart.id in (invoices if counterpart.kind == "invoice" else transactions)
        assert (one.duplicate_of is not None) == (one.case == "duplicate")
        assert one.duplicate_of is None or one.duplicate_of in bills
        assert (
            bool(one.counterparts) == (one.case in ("invoice", "matched", "transaction", "near_tie"))
            or one.duplicate_of
        )
        if one.duplicate_of is None:
            pointed += [counterpart.id for counterpart in one.counterparts]
    assert len(pointed) == len(set(pointed))
    assert invoices - set(pointed)
    assert transactions - set(pointed)


def test_books_add_up(world: tuple[Store, dict[str, Any]]) -> None:
    owed: Counter[str] = Counter()
    for bill in rows(world, "Bill"):
        body = bill.body
        net = sum(Decimal(str(line["Amount"])) for line in body["Line"])
        tax = sum(Decimal(str(line["Amount"])) for line in body["TxnTaxDetail"]["TaxLine"])
        assert net + tax == Decimal(str(body["TotalAmt"]))
        assert tax == Decimal(str(body["TxnTaxDetail"]["TotalTax"]))
        assert bool(body.get("LinkedTxn")) == (body["Balance"] == 0 and body["TotalAmt"] != 0)
        owed[body["VendorRef"]["value"]] += Decimal(str(body["Balance"]))  # type: ignore[assignment]
        assert bill.created <= bill.updated <= NOW
        assert len(body.get("DocNumber", "")) <= 21
    for credit in rows(world, "VendorCredit"):
        owed[credit.body["VendorRef"]["value"]] -= Decimal(str(credit.body["Balance"]))  # type: ignore[assignment]
    for vendor in rows(world, "Vendor"):
        assert Decimal(str(vendor.body["Balance"])) == owed[vendor.id]
    names = [row.body["DisplayName"].lower() for kind in ("Vendor", "Customer") for row in rows(world, kind)]
    assert len(names) == len(set(names))


def test_near_ties_are_really_equal(world: tuple[Store, dict[str, Any]]) -> None:
    store, company = world
    invoices = rows(world, "supplier_invoice")
    bills = store.table(company["realm"], "Bill")
    ties = [one for one in truth.known(store, company["realm"]) if one.case == "near_tie"]
    assert ties
    for one in ties:
        bill = bills[one.bill].body
        true = next(row.body for row in invoices if row.id == one.counterparts[0].id)
        rivals = [
            row.body
            for row in invoices
            if row.body["total_amount"] == true["total_amount"]
            and row.body["supplier_name"] == true["supplier_name"]
            and row.body["invoice_number"] is None
        ]
        assert "DocNumber" not in bill
        assert one.ambiguous
        assert len(rivals) >= 2


def test_no_field_leaks_the_truth(world: tuple[Store, dict[str, Any]]) -> None:
    store, company = world
    bills = {row.id for row in rows(world, "Bill")}
    for kind in ("supplier_invoice", "transaction", "attachment"):
        for row in rows(world, kind):
            text = json.dumps(row.body, default=str)
            assert company["realm"] not in text
            assert "QBO" not in text
    cases = {one.bill: one.case for one in truth.known(store, company["realm"])}
    shapes: dict[str, set[frozenset[str]]] = {}
    for row in rows(world, "Bill"):
        shapes.setdefault(cases[row.id], set()).add(frozenset(row.body))
    assert shapes["absent"] & shapes["invoice"] & shapes["duplicate"]
    assert bills


def test_every_kind_of_document_is_read_exactly(world: tuple[Store, dict[str, Any]]) -> None:
    store, _ = world
    seen: set[tuple[Any, ...]] = set()
    for (raw,) in store.db.execute("SELECT recipe FROM files ORDER BY id"):
        recipe = DECODER.decode(raw)
        kind = (recipe["layout"], recipe["language"], recipe["currency"], recipe["credit"], bool(recipe["taxes"]))
        if kind in seen:
            continue
        seen.add(kind)
        found = read_document(draw(recipe))
        assert (found.supplier, found.number, found.currency) == (
            recipe["supplier"],
            recipe.get("number"),
            recipe["currency"],
        )
        assert (found.total, found.net) == (recipe["total"], recipe["net"])
        assert found.issued == date.fromisoformat(recipe["issued"])
        assert found.due == (None if recipe["credit"] else date.fromisoformat(recipe["due"]))
        assert (found.iban, found.vat_number or "") == (recipe["iban"], recipe["vat"])
    assert len(seen) > 30


def test_documents_are_drawn_alike_each_time(world: tuple[Store, dict[str, Any]]) -> None:
    store, _ = world
    recipes = [DECODER.decode(raw) for (raw,) in store.db.execute("SELECT recipe FROM files ORDER BY id LIMIT 8")]
    assert [draw(recipe) for recipe in recipes] == [draw(recipe) for recipe in recipes]
