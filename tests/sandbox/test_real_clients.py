# ruff: noqa: S608 (statements of QuickBooks' query language, not SQL)
"""The client packages people really use work unchanged against the stand-in."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from intuitlib.client import AuthClient
from intuitlib.enums import Scopes
from intuitlib.exceptions import AuthClientError
from quickbooks import QuickBooks
from quickbooks.cdc import change_data_capture
from quickbooks.exceptions import (
    AuthorizationException,
    ObjectNotFoundException,
    QuickbooksException,
    SevereException,
    ValidationException,
)
from quickbooks.objects import Attachable, Bill, BillPayment, Customer, TaxCode, Vendor
from quickbooks.objects.base import AttachableRef

from tests.sandbox.desk import CALLBACK, QUICKBOOKS_APP, Company, Desk

# These packages call deprecated functions of the standard library and of requests.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def auth(company: Company, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[AuthClient]:
    """An intuit-oauth client that went through the whole walk."""
    del company
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    discovery = f"{desk.urls.quickbooks}/.well-known/openid_configuration"
    client = AuthClient(*QUICKBOOKS_APP, CALLBACK, discovery)
    url = client.get_authorization_url([Scopes.ACCOUNTING, Scopes.OPENID])
    location = desk.http.get(url).headers["location"]
    back = {key: values[0] for key, values in parse_qs(urlsplit(location).query).items()}
    assert back["state"] == client.state_token
    client.get_bearer_token(back["code"], realm_id=back["realmId"])
    yield client
    client.close()


@pytest.fixture
def books(auth: AuthClient, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[QuickBooks]:
    monkeypatch.setattr(QuickBooks, "api_url_v3", f"{desk.urls.quickbooks}/v3")
    client: Any = QuickBooks(
        auth_client=auth, refresh_token=auth.refresh_token, company_id=auth.realm_id, minorversion=75
    )
    yield client
    client.session.close()


def test_intuit_oauth_walk(auth: AuthClient, company: Company) -> None:
    assert (auth.realm_id, auth.expires_in) == (company.realm, 3600)
    assert auth.id_token
    assert auth.get_user_info().json()["email"].endswith(".example")
    first = auth.access_token
    auth.refresh()
    assert auth.access_token != first
    assert auth.revoke(token=auth.refresh_token)
    with pytest.raises(AuthClientError) as dead:
        auth.refresh()
    assert (dead.value.status_code, b"invalid_grant" in dead.value.content) == (400, True)
    assert dead.value.intuit_tid.startswith("1-")


def test_query_filter_count(books: QuickBooks) -> None:
    bills = Bill.all(qb=books, max_results=1000)
    assert len(bills) == Bill.count(qb=books) == 40
    assert len(Bill.all(qb=books, order_by="MetaData.LastUpdatedTime", start_position=31, max_results=20)) == 10
    number = next(bill.DocNumber for bill in bills if bill.DocNumber)
    assert {bill.DocNumber for bill in Bill.filter(DocNumber=number, qb=books)} == {number}
    chosen = Bill.choose([bill.Id for bill in bills[:3]], field="Id", qb=books)
    assert len(chosen) == 3
    assert Bill.where("TotalAmt < '0'", qb=books) == []
    assert Bill.get(bills[0].Id, qb=books).Line[0].DetailType == "AccountBasedExpenseLineDetail"
    assert len(TaxCode.all(qb=books)) == 6
    assert Customer.filter(Active=True, qb=books)[0].DisplayName
    assert Vendor.count("Active = true", qb=books) > 80


def test_errors_arrive_as_their_classes(books: QuickBooks, company: Company) -> None:
    with pytest.raises(ObjectNotFoundException):
        Bill.get("999999", qb=books)
    with pytest.raises(ValidationException) as refused:
        Bill.query("SELECT * FROM Bill WHERE Nothing = '1'", qb=books)
    assert refused.value.error_code == 4001
    company.act("DELETE", "/tokens/quickbooks")
    with pytest.raises(AuthorizationException):
        Bill.all(qb=books)


def test_save_void_delete_and_changes(books: QuickBooks) -> None:
    open_bills = Bill.where("Balance > '0'", qb=books)
    bill, other = open_bills[0], open_bills[1]
    bill.PrivateNote = "O'Brien's copy"
    saved = bill.save(qb=books)
    assert int(saved.SyncToken) == int(bill.SyncToken) + 1
    other.delete(qb=books)
    since = saved.MetaData["LastUpdatedTime"]
    changes = change_data_capture([Bill, BillPayment], since, qb=books)
    seen = {one.Id: getattr(one, "status", None) for one in changes.Bill}
    assert (seen[bill.Id], seen[other.Id]) == (None, "Deleted")
    payment = BillPayment.all(qb=books)[0]
    voided = payment.void(qb=books)["BillPayment"]
    assert (voided["TotalAmt"], voided["Line"]) == (0, [])


def test_attachment_round_trip(books: QuickBooks, desk: Desk, tmp_path: Path) -> None:
    content = b"%PDF-1.7\r\n\x00\xff binary \n--not a boundary"
    file = tmp_path / "facture.pdf"
    file.write_bytes(content)
    bill = Bill.all(qb=books, max_results=1)[0]
    attachment: Any = Attachable()
    reference: Any = AttachableRef()
    reference.EntityRef = bill.to_ref()
    attachment.AttachableRef.append(reference)
    attachment.FileName, attachment.ContentType, attachment._FilePath = file.name, "application/pdf", str(file)
    attachment.save(qb=books)
    found = Attachable.query(
        "select * from Attachable where AttachableRef.EntityRef.Type = 'bill' "
        f"and AttachableRef.EntityRef.value = '{bill.Id}'",
        qb=books,
    )
    mine = next(one for one in found if one.FileName == "facture.pdf" and one.Id == attachment.Id)
    assert mine.Size == len(content)
    assert desk.http.get(mine.TempDownloadUri).content == content


def test_what_befalls_a_company_arrives_as_errors(books: QuickBooks, company: Company) -> None:
    bill = Bill.all(qb=books, max_results=1)[0]
    company.act("PUT", f"/quickbooks/bill/{bill.Id}/poison", json={"code": "10000", "reads": True})
    with pytest.raises(SevereException) as severe:
        Bill.all(qb=books)
    assert severe.value.error_code == 10000
    assert Bill.get(bill.Id, qb=books).Id == bill.Id
    assert Bill.count(qb=books) == 40
    company.act("PUT", f"/quickbooks/bill/{bill.Id}/poison", json={"code": "4002"})
    with pytest.raises(ValidationException) as invalid:
        Bill.all(qb=books)
    assert invalid.value.error_code == 4002
    company.act("PUT", "/quickbooks/access", json={"state": "lapsed"})
    with pytest.raises(QuickbooksException) as lapsed:
        Vendor.all(qb=books)
    assert lapsed.value.error_code == 6190
    company.act("PUT", "/quickbooks/access", json={"state": "no-rights"})
    with pytest.raises(AuthorizationException):
        Vendor.all(qb=books)
