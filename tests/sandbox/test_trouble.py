# ruff: noqa: S608 (statements of QuickBooks' query language, not SQL)
"""Crowds, poisoned records, companies that cannot be read, and the open points of the API as switches."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.sandbox.desk import Company, Desk
from tests.sandbox.test_books import fault_of, some_bill


def captured(company: Company, entities: str = "Bill", **ago: float) -> httpx.Response:
    since = (datetime.now(UTC) - timedelta(**(ago or {"days": 1}))).isoformat()
    return company.quickbooks("GET", "/cdc", params={"entities": entities, "changedSince": since})


def answers(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["CDCResponse"][0]["QueryResponse"]
    return found


def crowd(company: Company, entity: str, count: int, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = company.act(
        "POST", "/quickbooks/bulk", json={"entity": entity, "count": count, "at": None, **more}
    )
    assert (made["entity"], made["count"]) == (entity, count)
    return made


def test_an_empty_company_has_a_few_vendors(desk: Desk) -> None:
    company = desk.company(bills=0, seed="empty")
    assert company.query("select count(*) from Bill") == {"totalCount": 0}
    assert company.query("select count(*) from Attachable") == {"totalCount": 0}
    assert company.query("select count(*) from Vendor")["totalCount"] >= 5
    assert company.invoices() == []
    assert company.truth() == []


def test_a_crowd_in_one_second(desk: Desk) -> None:
    company = desk.company(bills=0, seed="crowd")
    at = (datetime.now(UTC) - timedelta(days=3)).replace(microsecond=0)
    made = crowd(company, "Bill", 2500, at=at.isoformat())
    ids: list[str] = []
    while page := company.query(f"select * from Bill orderby Id startposition {len(ids) + 1} maxresults 1000").get(
        "Bill"
    ):
        assert {datetime.fromisoformat(bill["MetaData"]["LastUpdatedTime"]) for bill in page} == {at}
        ids += [bill["Id"] for bill in page]
    assert (len(ids), ids[0], ids[-1]) == (2500, made["first"], made["last"])
    owed = sum(bill["Balance"] for bill in company.query("select * from Bill maxresults 1000 startposition 1")["Bill"])
    assert owed > 0
    (told,) = answers(captured(company, days=4))
    assert len(told["Bill"]) == 1000


@pytest.mark.parametrize("entity", ["Bill", "Vendor", "Customer", "BillPayment", "VendorCredit", "Attachable"])
def test_a_crowd_spread_over_time(company: Company, entity: str) -> None:
    before = company.query(f"select count(*) from {entity}")["totalCount"]
    made = crowd(company, entity, 11, spread=100)
    assert company.query(f"select count(*) from {entity}")["totalCount"] == before + 11
    newest = company.query(f"select * from {entity} orderby Id desc maxresults 11")[entity]
    assert (newest[0]["Id"], newest[-1]["Id"]) == (made["last"], made["first"])
    times = [datetime.fromisoformat(one["MetaData"]["LastUpdatedTime"]) for one in reversed(newest)]
    assert [(moment - times[0]).total_seconds() for moment in times] == [10 * n for n in range(11)]
    assert 50 < (datetime.now(UTC) - times[-1]).total_seconds() < 80


def test_a_crowd_moves_its_vendors_and_can_be_edited(desk: Desk) -> None:
    company = desk.company(bills=0, seed="owed")
    made = crowd(company, "Bill", 30)
    bills = company.query("select * from Bill")["Bill"]
    vendors = company.query("select * from Vendor")["Vendor"]
    assert sum(bill["Balance"] for bill in bills) == pytest.approx(sum(vendor["Balance"] for vendor in vendors))
    edited = company.act("PATCH", f"/quickbooks/bill/{made['first']}", json={"PrivateNote": "x"})["Bill"]
    assert edited["SyncToken"] == "1"
    company.act("POST", f"/quickbooks/bill/{made['last']}/pay", json={})
    crowd(company, "Attachable", 3)
    files = company.query("select * from Attachable")["Attachable"]
    contents = [desk.http.get(one["TempDownloadUri"]).content for one in files]
    assert [len(content) for content in contents] == [one["Size"] for one in files]
    assert (len(set(contents)), {content[:5] for content in contents}) == (3, {b"%PDF-"})


@pytest.mark.parametrize(
    "wanted, status",
    [
        ({"entity": "TaxCode", "count": 1}, 400),
        ({"entity": "Bill", "count": 0}, 400),
        ({"entity": "Bill", "count": 1, "at": "2026-01-01T00:00:00"}, 400),
    ],
)
def test_wrong_crowds_are_refused(company: Company, wanted: dict[str, Any], status: int) -> None:
    url = f"{company.desk.urls.quickbooks}/sandbox/companies/{company.realm}/quickbooks/bulk"
    assert company.http.post(url, json=wanted).status_code == status


def status_of(company: Company, statement: str) -> int:
    return company.quickbooks("GET", "/query", params={"query": statement}).status_code


@pytest.mark.parametrize("code, status, kind", [("4002", 400, "ValidationFault"), ("10000", 500, "SystemFault")])
def test_poison_spoils_the_page_it_is_on(company: Company, code: str, status: int, kind: str) -> None:
    order = "orderby Id maxresults 10"
    bills = company.query(f"select * from Bill {order}")["Bill"]
    bad = bills[3]["Id"]
    company.act("PUT", f"/quickbooks/bill/{bad}/poison", json={"code": code, "reads": True, "lists": True})
    refused = company.quickbooks(
        "POST", "/query", content=f"select * from Bill {order}", headers={"Content-Type": "application/text"}
    )
    assert (refused.status_code, fault_of(refused)["code"]) == (status, code)
    assert refused.json()["Fault"]["type"] == kind
    assert status_of(company, f"select * from Bill {order} startposition 5") == 200
    assert status_of(company, "select * from Bill orderby Id maxresults 3") == 200
    assert status_of(company, f"select * from Bill where Id = '{bad}'") == status
    assert status_of(company, f"select Id, SyncToken from Bill {order}") == 200
    assert company.query("select count(*) from Bill")["totalCount"] == 40
    assert company.quickbooks("GET", f"/bill/{bad}").json()["Bill"] == bills[3]
    item = {"bId": "1", "Query": f"select * from Bill {order}"}
    batched = company.quickbooks("POST", "/batch", json={"BatchItemRequest": [item]}).json()
    assert batched["BatchItemResponse"][0]["Fault"]["Error"][0]["code"] == code
    healed = company.quickbooks(
        "POST", "/bill", json={"Id": bad, "SyncToken": bills[3]["SyncToken"], "sparse": True, "PrivateNote": "cured"}
    )
    assert healed.status_code == 200
    assert status_of(company, f"select * from Bill {order}") == 200


def test_poison_reaches_reads_lists_and_capture(company: Company) -> None:
    bill = some_bill(company)["Id"]
    company.act("PATCH", f"/quickbooks/bill/{bill}", json={"PrivateNote": "recent"})
    company.act("PUT", f"/quickbooks/bill/{bill}/poison", json={"code": "4002", "reads": False, "lists": False})
    for response in (
        company.quickbooks("GET", f"/bill/{bill}"),
        company.quickbooks("GET", "/query", params={"query": f"select Id from Bill where Id = '{bill}'"}),
        captured(company, "Vendor,Bill"),
    ):
        assert fault_of(response)["Detail"].startswith("QueryProcessingError: ")
    assert answers(captured(company, "Vendor"))
    assert company.query(f"select count(*) from Bill where Id = '{bill}'") == {"totalCount": 1}
    company.act("DELETE", f"/quickbooks/bill/{bill}/poison")
    assert bill in {one["Id"] for one in answers(captured(company, "Bill"))[0]["Bill"]}
    company.act("PUT", f"/quickbooks/bill/{bill}/poison", json={})
    company.act("DELETE", f"/quickbooks/bill/{bill}")
    assert answers(captured(company, "Bill"))[0]["Bill"][-1]["status"] == "Deleted"


@pytest.mark.parametrize(
    "access, status, marks",
    [
        ({"state": "lapsed"}, 403, ['"code":"6190"', "Subscription period has ended"]),
        ({"state": "lapsed", "status": 400}, 400, ['"code":"6190"']),
        ({"state": "lapsed", "status": 200}, 200, ['"Fault"']),
        ({"state": "no-rights"}, 403, ['"code":"120"', "-11014-"]),
        ({"state": "no-rights", "status": 401}, 401, ['"code":"120"']),
        ({"state": "app-refused"}, 403, ['"fault":{"error"', "ApplicationAuthorizationFailed", "003100"]),
        ({"state": "locked"}, 401, ['"code":"140"']),
        ({"state": "locked", "status": 503}, 503, ['"code":"140"']),
        ({"state": "wrong-realm"}, 401, ['<Error code="100">', "SRV-110"]),
    ],
)
def test_a_company_that_cannot_be_read(
    company: Company, desk: Desk, access: dict[str, Any], status: int, marks: list[str]
) -> None:
    company.act("PUT", "/quickbooks/access", json=access)
    calls: list[Callable[[], httpx.Response]] = [
        lambda: company.quickbooks("GET", "/preferences"),
        lambda: company.quickbooks("GET", "/query", params={"query": "select count(*) from Bill"}),
        lambda: captured(company),
        lambda: company.quickbooks("POST", "/vendor", json={"DisplayName": "Never"}),
    ]
    for call in calls:
        response = call()
        assert response.status_code == status
        assert all(mark in response.text for mark in marks), response.text
    assert company.act("GET", "/quickbooks/access") == {"status": None, **access}
    assert desk.company(seed="neighbour").quickbooks("GET", "/preferences").status_code == 200
    company.act("PUT", "/quickbooks/access", json={"state": "open"})
    assert company.query("select count(*) from Vendor where DisplayName = 'Never'") == {"totalCount": 0}


def test_changed_since_in_the_very_second(company: Company, desk: Desk) -> None:
    bill = company.act("PATCH", f"/quickbooks/bill/{some_bill(company)['Id']}", json={"PrivateNote": "x"})["Bill"]
    params = {"entities": "Bill", "changedSince": bill["MetaData"]["LastUpdatedTime"]}
    assert answers(company.quickbooks("GET", "/cdc", params=params))[0]["Bill"][0]["Id"] == bill["Id"]
    desk.turn(changed_since="exclusive")
    assert answers(company.quickbooks("GET", "/cdc", params=params)) == [{}]
    desk.turn(capture_empty="left_out")
    assert answers(company.quickbooks("GET", "/cdc", params=params)) == []


@pytest.mark.parametrize("code", ["500", "5020", "4000"])
def test_the_code_of_too_old_a_capture(company: Company, desk: Desk, code: str) -> None:
    desk.turn(capture_too_old=code)
    response = captured(company, days=31)
    assert (response.status_code, fault_of(response)["code"]) == (400, code)
    assert "older than fixed days" in fault_of(response)["Detail"]


def test_capture_may_not_know_attachables(company: Company, desk: Desk) -> None:
    assert captured(company, "Bill,Attachable").status_code == 200
    desk.turn(capture_attachables=False)
    assert fault_of(captured(company, "Bill,Attachable"))["code"] == "500"


def test_ids_may_order_as_text(desk: Desk) -> None:
    company = desk.company(bills=0, seed="order")
    crowd(company, "Bill", 30)
    ids = [bill["Id"] for bill in company.query("select Id from Bill orderby Id")["Bill"]]
    assert ids == sorted(ids, key=int) != sorted(ids)
    desk.turn(id_order="lexical")
    assert [bill["Id"] for bill in company.query("select Id from Bill orderby Id")["Bill"]] == sorted(ids)
    after = company.query("select Id from Bill where Id > '28' orderby Id")["Bill"]
    assert [bill["Id"] for bill in after] == [ident for ident in sorted(ids) if ident > "28"]


def test_position_zero(company: Company, desk: Desk) -> None:
    assert company.refused("select * from Bill startposition 0")["code"] == "4001"
    desk.turn(start_zero="accept")
    first = company.query("select Id from Bill startposition 1 maxresults 3")
    assert company.query("select Id from Bill startposition 0 maxresults 3") == first
    assert company.refused("select * from Bill maxresults 0")["code"] == "4001"


@pytest.mark.parametrize("status", [403, 404, 400, 410])
def test_links_expire_as_switched(company: Company, desk: Desk, status: int) -> None:
    found = company.query("select * from Attachable maxresults 1000")["Attachable"]
    url = next(one["TempDownloadUri"] for one in found if "TempDownloadUri" in one)
    desk.turn(expired_link=status, clock_offset=901)
    expired = desk.http.get(url)
    assert (expired.status_code, "Request has expired" in expired.text) == (status, True)


def test_the_download_link_may_be_quoted(company: Company, desk: Desk) -> None:
    ident = company.act("POST", f"/quickbooks/bill/{some_bill(company)['Id']}/attach", content=b"%PDF-1")["Attachable"]
    desk.turn(download_link="quoted")
    text = company.quickbooks("GET", f"/download/{ident['Id']}").text
    assert (text[0], text[-1]) == ('"', '"')
    assert desk.http.get(text.strip('"')).content == b"%PDF-1"


def test_a_live_object_reported_as_deleted(company: Company, desk: Desk) -> None:
    desk.turn(phantom_deletes=2)
    for left in (1, 0):
        vendors, bills, payments = answers(captured(company, "Vendor,Bill,BillPayment", seconds=0))
        stub = bills["Bill"][-1]
        assert (vendors, payments, stub["status"], set(stub)) == (
            {}, {}, "Deleted", {"status", "domain", "Id", "MetaData"},
        )  # fmt: skip
        assert company.quickbooks("GET", f"/bill/{stub['Id']}").json()["Bill"]["Id"] == stub["Id"]
        assert desk.call("GET", "/switches")["phantom_deletes"] == left
    assert answers(captured(company, "Bill", seconds=0)) == [{}]


def test_deletes_lag_in_query_and_capture_but_not_in_reads(company: Company, desk: Desk) -> None:
    bill = some_bill(company)["Id"]

    def seen() -> tuple[int, list[str]]:
        (told,) = answers(captured(company, "Bill", hours=1))
        deleted = [one["Id"] for one in told.get("Bill", []) if one.get("status") == "Deleted"]
        return company.query(f"select count(*) from Bill where Id = '{bill}'")["totalCount"], deleted

    desk.turn(query_lag=600)
    company.act("DELETE", f"/quickbooks/bill/{bill}")
    assert fault_of(company.quickbooks("GET", f"/bill/{bill}"))["code"] == "610"
    assert seen() == (1, [])
    crowd(company, "Bill", 3)
    assert company.query("select count(*) from Bill")["totalCount"] == 40
    desk.turn(clock_offset=601)
    assert seen() == (0, [bill])
    assert company.query("select count(*) from Bill")["totalCount"] == 42
