# ruff: noqa: S608 (statements of QuickBooks' query language, not SQL)
"""What people do with files: attach, hang on several bills, take off, delete, note, mislabel; and vendor merges."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.sandbox.desk import Company, Desk
from tests.sandbox.test_books import fault_of, some_bill

PDF = b"%PDF-1.4 a file"


def attach(company: Company, bill: str, kind: str = "application/pdf") -> dict[str, Any]:
    made: dict[str, Any] = company.act(
        "POST", f"/quickbooks/bill/{bill}/attach?name=a.pdf", content=PDF, headers={"Content-Type": kind}
    )["Attachable"]
    return made


def on_bill(company: Company, bill: str) -> set[str]:
    """Ids of the attachables that hang on a bill, by query."""
    found = company.query(
        "select * from Attachable where AttachableRef.EntityRef.Type = 'Bill' "
        f"and AttachableRef.EntityRef.value = '{bill}' maxresults 1000"
    )
    return {one["Id"] for one in found.get("Attachable", [])}


def captured(company: Company) -> list[dict[str, Any]]:
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    told = company.quickbooks("GET", "/cdc", params={"entities": "Attachable", "changedSince": since}).json()
    found: list[dict[str, Any]] = told["CDCResponse"][0]["QueryResponse"][0].get("Attachable", [])
    return found


def references(*bills: str) -> dict[str, Any]:
    return {"AttachableRef": [{"EntityRef": {"type": "Bill", "value": bill}} for bill in bills]}


def test_one_file_on_several_bills_then_taken_off(company: Company, desk: Desk) -> None:
    one, two = (bill["Id"] for bill in company.query("select * from Bill maxresults 2")["Bill"])
    file = attach(company, one)
    path = f"/quickbooks/attachable/{file['Id']}"
    shared = company.act("PATCH", path, json=references(one, two))["Attachable"]
    assert [ref["IncludeOnSend"] for ref in shared["AttachableRef"]] == [False, False]
    assert file["Id"] in on_bill(company, one) & on_bill(company, two)
    shown = company.quickbooks("GET", f"/attachable/{file['Id']}").json()["Attachable"]
    assert (shown["SyncToken"], shown["Size"], shown["FileName"]) == ("1", len(PDF), "a.pdf")
    shown["AttachableRef"] = shown["AttachableRef"][1:]
    updated = company.quickbooks("POST", "/attachable", json=shown).json()["Attachable"]
    assert desk.http.get(updated["TempDownloadUri"]).content == PDF
    assert file["Id"] not in on_bill(company, one)
    company.act("PATCH", path, json={"AttachableRef": []})
    assert file["Id"] not in on_bill(company, two)
    told = next(one for one in captured(company) if one["Id"] == file["Id"])
    assert (told["AttachableRef"], told["SyncToken"]) == ([], "3")


def test_deleting_takes_the_whole_object_and_leaves_a_stub(company: Company) -> None:
    bill = some_bill(company)["Id"]
    file = attach(company, bill)
    bare = {"Id": file["Id"], "SyncToken": file["SyncToken"]}
    refused = company.quickbooks("POST", "/attachable?operation=delete", json=bare)
    assert fault_of(refused)["code"] == "2020"
    whole = company.quickbooks("GET", f"/attachable/{file['Id']}").json()["Attachable"]
    gone = company.quickbooks("POST", "/attachable?operation=delete", json=whole)
    assert gone.json()["Attachable"]["status"] == "Deleted"
    other = attach(company, bill)
    company.act("DELETE", f"/quickbooks/attachable/{other['Id']}")
    assert on_bill(company, bill) & {file["Id"], other["Id"]} == set()
    assert fault_of(company.quickbooks("GET", f"/attachable/{other['Id']}"))["code"] == "610"
    assert fault_of(company.quickbooks("GET", f"/download/{other['Id']}"))["code"] == "610"
    stubs = {one["Id"]: one for one in captured(company) if "status" in one}
    assert set(stubs) == {file["Id"], other["Id"]}
    assert all(set(stub) == {"status", "domain", "Id", "MetaData"} for stub in stubs.values())


def test_a_note_without_a_file(company: Company) -> None:
    bill = some_bill(company)["Id"]
    note = company.act("POST", "/quickbooks/attachable", json={"Note": "paid in cash", **references(bill)})
    ident = note["Attachable"]["Id"]
    assert int(ident) > 2**63
    assert ident in on_bill(company, bill)
    shown = company.quickbooks("GET", f"/attachable/{ident}").json()["Attachable"]
    assert shown["Note"] == "paid in cash"
    assert not {"FileName", "TempDownloadUri", "FileAccessUri", "Size"} & set(shown)
    assert fault_of(company.quickbooks("GET", f"/download/{ident}"))["code"] == "610"


def test_a_file_of_the_wrong_declared_type(company: Company, desk: Desk) -> None:
    file = attach(company, some_bill(company)["Id"], "image/png")
    shown = company.quickbooks("GET", f"/attachable/{file['Id']}").json()["Attachable"]
    served = desk.http.get(shown["TempDownloadUri"])
    assert (shown["ContentType"], served.headers["content-type"], served.content) == ("image/png", "image/png", PDF)


@pytest.mark.parametrize("touches", [False, True])
def test_whether_a_file_touches_its_bill(company: Company, desk: Desk, touches: bool) -> None:
    one, two = company.query("select * from Bill maxresults 2")["Bill"]
    desk.turn(attach_touches_bill=touches)

    def moved() -> tuple[bool, bool]:
        """Which of the two has another time than at first; the rest must be as it was."""
        now = [company.quickbooks("GET", f"/bill/{bill['Id']}").json()["Bill"] for bill in (one, two)]
        changes = [new.pop("MetaData") != old["MetaData"] for new, old in zip(now, (one, two), strict=True)]
        assert now == [{key: bill[key] for key in bill if key != "MetaData"} for bill in (one, two)]
        return changes[0], changes[1]

    file = attach(company, one["Id"])
    assert moved() == (touches, False)
    company.act("PATCH", f"/quickbooks/attachable/{file['Id']}", json=references(one["Id"], two["Id"]))
    assert moved() == (touches, touches)


def test_a_lagging_index_does_not_undo_an_edit(company: Company, desk: Desk) -> None:
    found = company.query("select Id, FileName from Attachable maxresults 1000")["Attachable"]
    file = next(one["Id"] for one in found if "FileName" in one)
    desk.turn(query_lag=600)
    company.act("PATCH", f"/quickbooks/attachable/{file}", json={"FileName": "renamed.pdf"})
    before = company.query(f"select * from Attachable where Id = '{file}'")["Attachable"][0]
    assert before["FileName"] != "renamed.pdf"
    assert company.quickbooks("GET", f"/attachable/{file}").json()["Attachable"]["FileName"] == "renamed.pdf"
    desk.turn(clock_offset=601)
    assert company.query(f"select * from Attachable where Id = '{file}'")["Attachable"][0]["FileName"] == "renamed.pdf"


@pytest.mark.parametrize("touches", [True, False])
def test_merging_vendors(company: Company, touches: bool) -> None:
    bill = some_bill(company)
    loser = company.quickbooks("GET", f"/vendor/{bill['VendorRef']['value']}").json()["Vendor"]
    winner = company.act("POST", "/quickbooks/vendor", json={"DisplayName": "The one that stays"})["Vendor"]
    path = f"/quickbooks/vendor/{loser['Id']}/merge"
    merged = company.act("POST", path, json={"into": winner["Id"], "touches": touches})["Vendor"]
    assert merged["Balance"] == pytest.approx(loser["Balance"])
    moved = company.quickbooks("GET", f"/bill/{bill['Id']}").json()["Bill"]
    assert moved["VendorRef"] == {"value": winner["Id"], "name": "The one that stays"}
    assert (moved["SyncToken"] != bill["SyncToken"], moved["MetaData"] != bill["MetaData"]) == (touches, touches)
    gone = company.quickbooks("GET", f"/vendor/{loser['Id']}").json()["Vendor"]
    assert (gone["Active"], gone["Balance"]) == (False, 0)
    assert gone["DisplayName"].endswith(" (deleted)")
    assert company.query(f"select * from Bill where VendorRef = '{loser['Id']}'") == {}
