"""A client package for Qonto that people really use reads the stand-in unchanged."""

from collections.abc import AsyncIterator

import anyio
import pytest
from qodev_qonto_api import APIError, AuthenticationError, NotFoundError, QontoClient, RateLimitError

from tests.sandbox.desk import Company, Desk


@pytest.fixture
async def qonto(company: Company, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[QontoClient]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    login, secret = company.made["slug"], company.made["secret_key"]
    async with QontoClient(login, secret, base_url=f"{desk.urls.qonto}/v2") as client:
        yield client


async def test_invoices_are_listed_and_read(qonto: QontoClient, company: Company) -> None:
    [made] = company.upload(("facture.pdf", b"%PDF-1.7 fictional", "key-1"))["supplier_invoices"]
    listed = await qonto.list_supplier_invoices(per_page=100)
    assert made["id"] in {one.id for one in listed.items}
    assert len(listed.items) == len(company.invoices())
    company.read_by_ocr(made["id"])
    one = await qonto.get_supplier_invoice(made["id"])
    assert one.id == made["id"]
    with pytest.raises(APIError, match="date") as refused:  # the package sends none, and Qonto's reference asks for one
        await qonto.mark_supplier_invoice_paid(made["id"])
    assert refused.value.status_code == 400
    day = {"supplier_invoice": {"payment_date": "2026-01-05"}}
    assert company.qonto("POST", f"/v2/supplier_invoices/{made['id']}/mark_as_paid", json=day).status_code == 200
    paid = await qonto.get_supplier_invoice(made["id"])
    assert paid.status == "paid"


async def test_transactions_and_their_documents(qonto: QontoClient, company: Company) -> None:
    organization = await qonto.get_organization()
    account = organization.bank_accounts[0].id
    page = await qonto.list_transactions(bank_account_id=account, per_page=50)
    assert page.items
    bare = next(one for one in page.items if not one.attachment_ids)
    assert (await qonto.get_transaction(str(bare.id))).amount == bare.amount
    file = ("facture.pdf", b"%PDF-1.7 x", "application/pdf")
    with pytest.raises(APIError, match="Idempotency-Key"):  # required by Qonto's reference; the package sends none
        await qonto.upload_attachment(str(bare.id), file[1], filename=file[0], content_type=file[2])
    key = {"X-Qonto-Idempotency-Key": "key-2"}
    path = f"/v2/transactions/{bare.id}/attachments"
    assert company.qonto("POST", path, files={"file": file}, headers=key).status_code == 200
    with anyio.fail_after(10):  # the document is handled in the background
        while not (attached := await qonto.list_transaction_attachments(str(bare.id))):
            await anyio.sleep(0.05)
    [attachment] = attached
    assert (await qonto.get_attachment(str(attachment.id))).file_name == "facture.pdf"
    await qonto.remove_attachment(str(bare.id), str(attachment.id))
    assert await qonto.list_transaction_attachments(str(bare.id)) == []


async def test_accounts_are_those_of_the_organization(qonto: QontoClient, company: Company) -> None:
    organization = await qonto.get_organization()
    listed = await qonto.list_bank_accounts()
    assert [(one.id, one.iban, one.balance_cents) for one in listed] == [
        (one.id, one.iban, one.balance_cents) for one in organization.bank_accounts
    ]
    assert {one.organization_id for one in listed} == {organization.id}
    assert company.qonto("GET", f"/v2/bank_accounts/{listed[0].id}").json()["bank_account"]["iban"] == listed[0].iban
    unknown = company.qonto("GET", "/v2/bank_accounts/00000000-0000-4000-8000-000000000000")
    assert unknown.status_code == 404


async def test_what_the_stand_in_does_not_have_is_refused_by_the_gateway(qonto: QontoClient) -> None:
    for absent in (qonto.list_clients, qonto.list_products, qonto.list_beneficiaries, qonto.list_sepa_transfers):
        with pytest.raises(NotFoundError):
            await absent()


async def test_errors_arrive_as_their_classes(qonto: QontoClient, desk: Desk) -> None:
    with pytest.raises(NotFoundError):
        await qonto.get_supplier_invoice("00000000-0000-4000-8000-000000000000")
    desk.fault("status", side="qonto", method="GET", path="/supplier_invoices$", status=429)
    with pytest.raises(RateLimitError):
        await qonto.list_supplier_invoices()
    desk.fault("status", side="qonto", method="GET", path="/supplier_invoices$", status=503)
    with pytest.raises(APIError) as broken:
        await qonto.list_supplier_invoices()
    assert broken.value.status_code == 503
    async with QontoClient("fictional", "wrong", base_url=f"{desk.urls.qonto}/v2") as stranger:
        with pytest.raises(AuthenticationError):
            await stranger.list_supplier_invoices()
