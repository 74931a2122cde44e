# ruff: noqa: S608 (statements of QuickBooks' query language, not SQL)
"""The query language over HTTP: what is found, in which order, and how refusals are worded."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from operator import eq, ge, gt, le, lt
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.sandbox.quickbooks.grammar import parse
from services.sandbox.quickbooks.wire import Fault
from tests.sandbox.desk import Company, Desk


def all_bills(company: Company) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = company.query("select * from Bill maxresults 1000")["Bill"]
    return found


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM Bill MAXRESULTS 5",
        "SELECT * FROM Bill  ORDERBY MetaData.LastUpdatedTime STARTPOSITION 1 MAXRESULTS 5",
        "select * from bill where TxnDate > '2014-01-01' orderby Metadata.LastUpdatedTime desc maxresults 5",
        "select * from bill orderby Metadata.LastUpdatedTime desc maxresults 5 startposition 1",
        "SELECT * FROM Bill ORDER BY Id ASC, TxnDate DESC MAXRESULTS 5",
        "SELECT *, PrivateNote FROM Bill MAXRESULTS 5",
    ],
)
def test_accepts_what_real_clients_send(company: Company, statement: str) -> None:
    assert company.query(statement)["maxResults"] == 5


def test_statement_may_be_the_body_of_a_post(company: Company) -> None:
    response = company.quickbooks(
        "POST",
        "/query?minorversion=75",
        content="SELECT COUNT(*) FROM Bill ",
        headers={"Content-Type": "application/text"},
    )
    assert response.json()["QueryResponse"] == {"totalCount": 40}


def test_pages_cover_everything_once(company: Company) -> None:
    ids: list[str] = []
    while page := company.query(f"select Id from Bill orderby Id startposition {len(ids) + 1} maxresults 7").get(
        "Bill"
    ):
        assert all(row["sparse"] is True and set(row) == {"Id", "sparse"} for row in page)
        ids += [row["Id"] for row in page]
    assert ids == sorted({bill["Id"] for bill in all_bills(company)}, key=int)
    assert len(ids) == 40


def test_page_is_100_by_default_and_1000_at_most(desk: Desk) -> None:
    big = desk.company(bills=130)
    assert big.query("select * from Bill")["maxResults"] == 100
    assert big.query("select * from Bill maxresults 1000")["maxResults"] == 130


def test_no_row_is_an_empty_object(company: Company) -> None:
    assert company.query("select * from Bill where DocNumber = 'no such number'") == {}


def test_only_listed_entities_carry_a_total(company: Company) -> None:
    assert "totalCount" in company.query("select * from Bill maxresults 1")
    assert "totalCount" not in company.query("select * from Vendor maxresults 1")


def test_inactive_vendors_hide(desk: Desk) -> None:
    company = desk.company(bills=300)
    before = company.query("select count(*) from Vendor")["totalCount"]
    vendor = company.query("select * from Vendor maxresults 1")["Vendor"][0]
    company.act("PATCH", f"/quickbooks/vendor/{vendor['Id']}", json={"Active": False})
    live = company.query("select count(*) from Vendor")["totalCount"]
    assert live == before - 1
    every = company.query("select count(*) from Vendor where Active in (true,false)")["totalCount"]
    gone = company.query("select * from Vendor where Active = false")["Vendor"]
    assert every == live + len(gone)
    assert vendor["Id"] in {one["Id"] for one in gone}
    # Those that were out of use from the beginning are named as QuickBooks' own pages name them.
    assert all(one["DisplayName"].endswith("(deleted)") for one in gone if one["Id"] != vendor["Id"])


def test_escaped_apostrophe(company: Company) -> None:
    company.act("POST", "/quickbooks/vendor", json={"DisplayName": "O'Brien & Chimères"})
    found = company.query(r"select * from Vendor where DisplayName = 'O\'Brien & Chimères'")
    assert [vendor["DisplayName"] for vendor in found["Vendor"]] == ["O'Brien & Chimères"]


def test_like_in_and_dotted_properties(company: Company) -> None:
    bills = all_bills(company)
    wanted = {bill["Id"] for bill in bills if bill["VendorRef"]["value"] == bills[0]["VendorRef"]["value"]}
    by_vendor = company.query(f"select * from Bill where VendorRef = '{bills[0]['VendorRef']['value']}'")
    assert {bill["Id"] for bill in by_vendor["Bill"]} == wanted
    some = sorted(bill["Id"] for bill in bills)[:3]
    quoted = ",".join(f"'{one}'" for one in some)
    assert sorted(bill["Id"] for bill in company.query(f"select * from Bill where Id in ({quoted})")["Bill"]) == some
    number = next(bill["DocNumber"] for bill in bills if "DocNumber" in bill)
    found = company.query(f"select * from Bill where DocNumber like '%{number[1:]}'")["Bill"]
    assert number in {bill["DocNumber"] for bill in found}
    attached = company.query("select * from attachable where AttachableRef.EntityRef.Type = 'bill' maxresults 1")
    bill = attached["Attachable"][0]["AttachableRef"][0]["EntityRef"]["value"]
    again = company.query(f"select Id from attachable where AttachableRef.EntityRef.value = '{bill}'")
    assert {"Id": attached["Attachable"][0]["Id"], "sparse": True} in again["Attachable"]


def test_time_filter_compares_instants(company: Company) -> None:
    bills = sorted(all_bills(company), key=lambda bill: datetime.fromisoformat(bill["MetaData"]["LastUpdatedTime"]))
    middle = datetime.fromisoformat(bills[20]["MetaData"]["LastUpdatedTime"])
    elsewhere = (middle.astimezone(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")
    found = company.query(f"select * from Bill where MetaData.LastUpdatedTime >= '{elsewhere}' maxresults 1000")["Bill"]
    expected = [b for b in bills if datetime.fromisoformat(b["MetaData"]["LastUpdatedTime"]) >= middle]
    assert {bill["Id"] for bill in found} == {bill["Id"] for bill in expected}


def test_times_are_pacific_seconds(company: Company) -> None:
    for bill in all_bills(company):
        read = datetime.fromisoformat(bill["MetaData"]["LastUpdatedTime"])
        assert read.microsecond == 0
        assert read.utcoffset() in (timedelta(hours=-8), timedelta(hours=-7))


def test_money_has_two_decimals_and_zero_none(company: Company) -> None:
    bill = next(bill for bill in all_bills(company) if bill["Balance"])
    company.act("PATCH", f"/quickbooks/bill/{bill['Id']}", json={"Line": [{"Amount": 2000, "DetailType": "x"}]})
    company.act("POST", f"/quickbooks/bill/{bill['Id']}/pay", json={})
    text = company.quickbooks("GET", f"/bill/{bill['Id']}").text
    assert '"Amount":2000.00' in text
    assert '"Balance":0,' in text


def test_words_of_the_refusals(company: Company) -> None:
    assert company.refused("select * from Bill startposition 0") == {
        "Message": "Invalid query",
        "Detail": "QueryValidationError: value 0 is too small. Min allowed value is 1",
        "code": "4001",
    }
    assert company.refused("select * from Bill maxresults 1500")["Detail"] == (
        "QueryValidationError: value 1500 is too large. Max allowed value is 1000"
    )
    assert company.refused("select * from Bill where Line.Amount > '1'")["Detail"] == (
        "QueryValidationError: Property Line.Amount not found for Entity Bill"
    )
    assert company.refused("select * from Bill orderby Balance")["code"] == "4001"
    stray = company.refused("select * from Bill where TotalAmt > '5' R")
    assert stray["code"] == "4000"
    assert stray["Detail"].startswith(
        'QueryParserError: Encountered " <IDENTIFIER> "R "" at line 1, column 41.\nWas expecting one of:\n    <EOF> \n'
    )
    assert company.refused("")["Detail"].startswith('QueryParserError: Encountered "<EOF>" at line 0, column 0.')
    assert company.refused("select * from Bill where DocNumber = %27")["Detail"] == (
        'QueryParserError: Invalid content. Lexical error at line 1, column 38.  Encountered: "%" (37), after : ""'
    )
    for refused in (
        "select * from Bill where Id = '1' or Id = '2'",
        "select * from Bill group by Id",
        "delete from Bill",
    ):
        assert company.refused(refused)["code"] == "4000"


@given(text=st.text(alphabet="selctfromBi*'\\=<>(),% 0123456789whandINLIKE\n", max_size=60))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        query = parse(text)
    except Fault as fault:
        refusal = fault.code
    else:
        refusal = ""
        assert query.entity
    assert refusal in ("", "4000", "4001")


@given(
    value=st.text(
        alphabet=st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]), max_size=30
    )
)
def test_a_literal_survives_quoting(value: str) -> None:
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    query = parse(f"select Id from Bill where DocNumber = '{quoted}' and TotalAmt >= 5.50 startposition 3")
    assert query.conditions[0].values[0].text == value
    assert (query.start, query.size, query.names) == (3, 100, ("Id",))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    limit=st.decimals(min_value=0, max_value=20_000, places=2), operator=st.sampled_from(["<", "<=", ">", ">=", "="])
)
def test_amount_filter_agrees_with_arithmetic(company: Company, limit: Decimal, operator: str) -> None:
    bills = all_bills(company)
    limit = Decimal(str(bills[0]["TotalAmt"])) if operator == "=" else limit
    found = company.query(f"select Id from Bill where TotalAmt {operator} '{limit}' maxresults 1000").get("Bill", [])
    compare = {"<": lt, "<=": le, ">": gt, ">=": ge, "=": eq}[operator]
    assert {row["Id"] for row in found} == {b["Id"] for b in bills if compare(Decimal(str(b["TotalAmt"])), limit)}
