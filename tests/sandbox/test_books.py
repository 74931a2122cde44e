# ruff: noqa: S608 (statements of QuickBooks' query language, not SQL)
"""Writing QuickBooks objects, what a write moves elsewhere, change data capture, attachments, batch."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.sandbox.desk import Company, Desk


def some_bill(company: Company) -> dict[str, Any]:
    bill: dict[str, Any] = company.query("select * from Bill where Balance > '0' maxresults 1")["Bill"][0]
    return bill


def fault_of(response: Any) -> dict[str, Any]:
    error: dict[str, Any] = response.json()["Fault"]["Error"][0]
    return error


def new_bill(company: Company, **more: Any) -> dict[str, Any]:
    found = company.query("select * from Vendor maxresults 100")["Vendor"]
    french = next(one for one in found if one["CurrencyRef"]["value"] == "EUR")
    return {
        "VendorRef": {"value": french["Id"]},
        "GlobalTaxCalculation": "TaxExcluded",
        "Line": [
            {
                "Amount": 100,
                "DetailType": "AccountBasedExpenseLineDetail",
                "AccountBasedExpenseLineDetail": {"AccountRef": {"value": "60"}, "TaxCodeRef": {"value": "2"}},
            }
        ],
        **more,
    }


def test_create_prices_the_bill_and_owes_the_vendor(company: Company) -> None:
    body = new_bill(company, DocNumber="T-1", TxnDate="2026-03-01", SalesTermRef={"value": "3"})
    before = company.quickbooks("GET", f"/vendor/{body['VendorRef']['value']}").json()["Vendor"]
    made = company.quickbooks("POST", "/bill", json=body).json()["Bill"]
    after = company.quickbooks("GET", f"/vendor/{body['VendorRef']['value']}").json()["Vendor"]
    assert (made["TotalAmt"], made["Balance"], made["DueDate"], made["SyncToken"]) == (120, 120, "2026-03-31", "0")
    assert made["TxnTaxDetail"]["TaxLine"][0]["TaxLineDetail"]["TaxPercent"] == 20
    assert after["Balance"] == pytest.approx(before["Balance"] + 120)
    assert after["SyncToken"] == before["SyncToken"]


def test_reverse_charge_cancels_itself(company: Company) -> None:
    body = new_bill(company)
    body["Line"][0]["AccountBasedExpenseLineDetail"]["TaxCodeRef"] = {"value": "6"}
    made = company.quickbooks("POST", "/bill", json=body).json()["Bill"]
    assert made["TotalAmt"] == 100
    assert [line["Amount"] for line in made["TxnTaxDetail"]["TaxLine"]] == [20, -20]


@pytest.mark.parametrize(
    "change, code",
    [
        ({"VendorRef": None}, "2020"),
        ({"Line": []}, "2020"),
        ({"VendorRef": {"value": "999999"}}, "2500"),
        ({"DocNumber": "x" * 22}, "2050"),
    ],
)
def test_refuses_a_wrong_bill(company: Company, change: dict[str, Any], code: str) -> None:
    response = company.quickbooks("POST", "/bill", json=new_bill(company, **change))
    assert (response.status_code, fault_of(response)["code"]) == (400, code)


def test_sync_token_guards_updates(company: Company) -> None:
    bill = some_bill(company)
    change = {"Id": bill["Id"], "SyncToken": bill["SyncToken"], "sparse": True, "PrivateNote": "seen"}
    updated = company.quickbooks("POST", "/bill", json=change).json()["Bill"]
    assert updated["SyncToken"] == str(int(bill["SyncToken"]) + 1)
    assert (updated["PrivateNote"], updated["Line"]) == ("seen", bill["Line"])
    stale = company.quickbooks("POST", "/bill", json=change)
    assert (stale.status_code, fault_of(stale)["code"]) == (400, "5010")
    full = company.quickbooks(
        "POST",
        "/bill",
        json={
            "Id": bill["Id"],
            "SyncToken": updated["SyncToken"],
            "VendorRef": bill["VendorRef"],
            "Line": bill["Line"],
        },
    ).json()["Bill"]
    assert "PrivateNote" not in full


def test_payment_moves_the_bill_and_the_vendor(company: Company) -> None:
    bill = some_bill(company)
    payment = company.act("POST", f"/quickbooks/bill/{bill['Id']}/pay", json={})["BillPayment"]
    paid = company.quickbooks("GET", f"/bill/{bill['Id']}").json()["Bill"]
    assert (paid["Balance"], paid["LinkedTxn"]) == (0, [{"TxnId": payment["Id"], "TxnType": "BillPaymentCheck"}])
    assert int(paid["SyncToken"]) == int(bill["SyncToken"]) + 1
    voided = company.quickbooks(
        "POST",
        "/billpayment?operation=update&include=void",
        json={"Id": payment["Id"], "SyncToken": payment["SyncToken"], "sparse": True},
    ).json()["BillPayment"]
    assert (voided["TotalAmt"], voided["Line"], voided["PrivateNote"]) == (0, [], "Voided")
    reopened = company.quickbooks("GET", f"/bill/{bill['Id']}").json()["Bill"]
    assert (reopened["Balance"], reopened["LinkedTxn"]) == (bill["Balance"], [])


def test_delete_hides_and_only_cdc_tells(company: Company) -> None:
    bill = some_bill(company)
    since = (datetime.now(UTC) - timedelta(seconds=5)).isoformat()
    gone = company.quickbooks("POST", "/bill?operation=delete", json={"Id": bill["Id"], "SyncToken": bill["SyncToken"]})
    assert gone.json()["Bill"] == {"status": "Deleted", "domain": "QBO", "Id": bill["Id"]}
    missing = company.quickbooks("GET", f"/bill/{bill['Id']}")
    assert (missing.status_code, fault_of(missing)["code"]) == (400, "610")
    assert company.query(f"select * from Bill where Id = '{bill['Id']}'") == {}
    told = company.quickbooks("GET", "/cdc", params={"entities": "Bill,Customer", "changedSince": since}).json()
    bills, customers = told["CDCResponse"][0]["QueryResponse"]
    assert customers == {}
    assert bills["Bill"][-1]["status"] == "Deleted"
    assert set(bills["Bill"][-1]) == {"status", "domain", "Id", "MetaData"}


def test_names_cannot_be_deleted_nor_doubled(company: Company) -> None:
    made = company.act("POST", "/quickbooks/vendor", json={"DisplayName": "Double", "TaxIdentifier": "FR12345678901"})
    assert made["Vendor"]["TaxIdentifier"] == "XXXXXXXXX8901"
    again = company.quickbooks("POST", "/customer", json={"DisplayName": "double"})
    assert fault_of(again)["code"] == "6240"
    gone = company.quickbooks("POST", "/vendor?operation=delete", json={"Id": made["Vendor"]["Id"], "SyncToken": "0"})
    assert fault_of(gone)["code"] == "500"


def test_cdc_caps_at_1000_and_loses_deletes_first(desk: Desk) -> None:
    company = desk.company(bills=1100, seed="cap")
    gone = company.act("DELETE", f"/quickbooks/bill/{some_bill(company)['Id']}")["Bill"]["Id"]

    def told(*entities: str, days: int) -> list[dict[str, Any]]:
        since = (datetime.now(UTC) - timedelta(days=days)).isoformat()
        response = company.quickbooks("GET", "/cdc", params={"entities": ",".join(entities), "changedSince": since})
        found: list[dict[str, Any]] = response.json()["CDCResponse"][0]["QueryResponse"]
        return found

    (recent,) = told("Bill", days=1)
    assert recent["Bill"][-1]["Id"] == gone
    for payment in company.query("select * from BillPayment maxresults 1000")["BillPayment"]:
        company.act("PATCH", f"/quickbooks/billpayment/{payment['Id']}", json={"PrivateNote": "touched"})
    for bill in company.query("select * from Bill where Balance > '0' maxresults 1000")["Bill"]:
        company.act("PATCH", f"/quickbooks/bill/{bill['Id']}", json={"PrivateNote": "touched"})
    (full,) = told("Bill", days=1)
    assert len(full["Bill"]) == 1000
    assert gone not in {bill["Id"] for bill in full["Bill"]}
    assert told("Bill", "Vendor", days=1)[1] == {}


@pytest.mark.parametrize("entities", ["TaxCode", "TaxRate,Bill", "Nonsense"])
def test_cdc_refuses_what_it_does_not_know(company: Company, entities: str) -> None:
    since = datetime.now(UTC).isoformat()
    response = company.quickbooks("GET", "/cdc", params={"entities": entities, "changedSince": since})
    assert fault_of(response)["code"] == "500"


def test_cdc_looks_back_30_days_only(company: Company) -> None:
    since = (datetime.now(UTC) - timedelta(days=31)).isoformat()
    response = company.quickbooks("GET", "/cdc", params={"entities": "Bill", "changedSince": since})
    assert "older than fixed days is not supported" in fault_of(response)["Detail"]


def test_request_id_replays_the_first_answer(company: Company) -> None:
    body = new_bill(company, DocNumber="R-1")
    first = company.quickbooks("POST", "/bill?requestid=abc", json=body).json()["Bill"]
    second = company.quickbooks("POST", "/bill?requestid=abc", json={**body, "DocNumber": "R-2"}).json()["Bill"]
    assert second == first
    assert company.query("select count(*) from Bill where DocNumber in ('R-1','R-2')") == {"totalCount": 1}


def test_batch_items_fail_alone(company: Company) -> None:
    items = [
        {"bId": "1", "operation": "create", "Bill": new_bill(company, DocNumber="B-1")},
        {"bId": "2", "operation": "create", "Bill": {"Line": []}},
        {"bId": "3", "Query": "select count(*) from Bill"},
        {"bId": "4", "Query": "select nothing"},
    ]
    answers = company.quickbooks("POST", "/batch", json={"BatchItemRequest": items}).json()["BatchItemResponse"]
    by_id = {answer["bId"]: answer for answer in answers}
    assert by_id["1"]["Bill"]["DocNumber"] == "B-1"
    assert by_id["2"]["Fault"]["Error"][0]["code"] == "2020"
    assert by_id["3"]["QueryResponse"] == {"totalCount": 41}
    assert by_id["4"]["Fault"]["Error"][0]["code"] == "4000"
    over = company.quickbooks("POST", "/batch", json={"BatchItemRequest": items * 8})
    assert fault_of(over)["code"] == "1040"


def test_links_live_15_minutes_and_need_no_bearer(company: Company, desk: Desk) -> None:
    attachable = company.query("select * from Attachable maxresults 1000")["Attachable"]
    found = next(one for one in attachable if "TempDownloadUri" in one)
    file = desk.http.get(found["TempDownloadUri"])
    assert (file.content[:5], len(file.content)) == (b"%PDF-", found["Size"])
    plain = company.quickbooks("GET", f"/download/{found['Id']}")
    assert plain.headers["content-type"].startswith("text/plain")
    assert desk.http.get(plain.text).content == file.content
    desk.turn(clock_offset=901)
    expired = desk.http.get(found["TempDownloadUri"])
    assert (expired.status_code, "Request has expired" in expired.text) == (403, True)
    assert desk.http.get(found["TempDownloadUri"] + "0").status_code == 403


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(min_size=1, max_size=400))
def test_upload_keeps_every_byte(company: Company, content: bytes) -> None:
    bill = some_bill(company)
    reference = {"EntityRef": {"type": "Bill", "value": bill["Id"]}}
    metadata = json.dumps({"AttachableRef": [reference], "FileName": "a.pdf"})
    made = company.quickbooks(
        "POST",
        "/upload",
        files=[
            ("file_metadata_0", (None, metadata, "application/json")),
            ("file_content_0", ("a.pdf", content, "application/pdf")),
        ],
    ).json()["AttachableResponse"][0]["Attachable"]
    assert made["Size"] == len(content)
    assert company.http.get(made["TempDownloadUri"]).content == content


def test_attaching_is_seen_on_the_attachable_only(company: Company) -> None:
    bill = some_bill(company)
    made = company.act(
        "POST",
        f"/quickbooks/bill/{bill['Id']}/attach?name=late.pdf",
        content=b"%PDF-late",
        headers={"Content-Type": "application/pdf"},
    )["Attachable"]
    assert int(made["Id"]) > 2**63
    assert company.quickbooks("GET", f"/bill/{bill['Id']}").json()["Bill"] == bill
    gone = company.quickbooks("POST", "/attachable?operation=delete", json=made).json()
    assert gone["Attachable"]["status"] == "Deleted"


def test_company_and_preferences(company: Company) -> None:
    info = company.quickbooks("GET", f"/companyinfo/{company.realm}").json()["CompanyInfo"]
    assert (info["Country"], info["CompanyName"], info["Id"]) == ("FR", company.made["name"], "1")
    preferences = company.quickbooks("GET", "/preferences").json()["Preferences"]
    assert preferences["CurrencyPrefs"]["HomeCurrency"] == {"value": "EUR"}


def test_query_and_cdc_can_lag_behind_a_read(company: Company, desk: Desk) -> None:
    bill = some_bill(company)
    since = (datetime.now(UTC) - timedelta(days=1)).isoformat()

    def indexed() -> tuple[str | None, int]:
        told = company.quickbooks("GET", "/cdc", params={"entities": "Bill", "changedSince": since}).json()
        changed = told["CDCResponse"][0]["QueryResponse"][0].get("Bill", [])
        note = company.query(f"select * from Bill where Id = '{bill['Id']}'")["Bill"][0].get("PrivateNote")
        return note, sum(one["Id"] == bill["Id"] and one.get("PrivateNote") == "twice" for one in changed)

    desk.turn(query_lag=600)
    for note in ("once", "twice"):
        company.act("PATCH", f"/quickbooks/bill/{bill['Id']}", json={"PrivateNote": note})
    made = company.quickbooks("POST", "/bill", json=new_bill(company, DocNumber="LAG-1")).json()["Bill"]
    assert company.quickbooks("GET", f"/bill/{bill['Id']}").json()["Bill"]["PrivateNote"] == "twice"
    assert company.quickbooks("GET", f"/bill/{made['Id']}").status_code == 200
    assert indexed() == (bill.get("PrivateNote"), 0)
    assert company.query("select * from Bill where DocNumber = 'LAG-1'") == {}
    desk.turn(clock_offset=601)
    assert indexed() == ("twice", 1)
    assert company.query("select count(*) from Bill where DocNumber = 'LAG-1'") == {"totalCount": 1}


def test_without_accept_the_answer_is_xml(company: Company) -> None:
    response = company.quickbooks("GET", f"/companyinfo/{company.realm}", headers={"Accept": "*/*"})
    assert response.headers["content-type"].startswith("application/xml")
    assert "<CompanyName>" in response.text


def test_server_time_is_when_the_call_began(company: Company) -> None:
    before = datetime.now(UTC)
    read = company.quickbooks("GET", f"/companyinfo/{company.realm}").json()["time"]
    assert "." in read
    assert before - timedelta(milliseconds=2) <= datetime.fromisoformat(read) <= datetime.now(UTC)
