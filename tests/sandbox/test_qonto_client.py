"""A client of Qonto that others wrote reads the stand-in unchanged, by the organization's own key."""

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from qodev_qonto_api import AuthenticationError, NotFoundError, QontoClient, QontoError

from tests.sandbox.desk import Company


def client_of(company: Company, secret: str | None = None) -> QontoClient:
    return QontoClient(
        login=company.made["slug"],
        secret_key=secret or company.made["secret_key"],
        base_url=f"{company.desk.urls.qonto}/v2",
    )


@pytest.fixture
async def qonto(company: Company) -> AsyncIterator[QontoClient]:
    async with client_of(company) as client:
        yield client


async def test_invoices_are_listed_retrieved_and_refused(qonto: QontoClient, company: Company) -> None:
    page = await qonto.list_supplier_invoices(per_page=5)
    known = {one["id"]: one for one in company.invoices()}
    assert (len(page.items), page.per_page, page.total) == (5, 5, len(known))
    # Qonto documents `page`; the client's own name for it, `current_page`, is no parameter of a list.
    following = await qonto.list_supplier_invoices(page=2, per_page=5)
    assert not {one.id for one in page.items} & {one.id for one in following.items}
    for one in page.items:
        raw = known[str(one.id)]
        assert (one.status, one.supplier_name, one.invoice_number) == (
            raw["status"],
            raw["supplier_name"],
            raw["invoice_number"],
        )
        amount = raw["total_amount"]
        assert (one.total_amount.value if one.total_amount else None) == (Decimal(amount["value"]) if amount else None)
        assert (await qonto.get_supplier_invoice(str(one.id))).model_dump() == one.model_dump()
        if one.attachment_id:
            assert (await qonto.get_attachment(one.attachment_id)).id == one.attachment_id
    # This client sends no payment date; Qonto needs one, and so the stand-in.
    open_one = next(one for one in known.values() if one["status"] == "to_review")
    with pytest.raises(QontoError) as refused:
        await qonto.mark_supplier_invoice_paid(open_one["id"])
    assert "A date YYYY-MM-DD is required" in str(refused.value)
    assert company.invoice(open_one["id"])["status"] == "to_review"
    with pytest.raises(NotFoundError):
        await qonto.get_supplier_invoice("00000000-0000-4000-8000-000000000000")


async def test_transactions_and_their_attachments(qonto: QontoClient) -> None:
    account = (await qonto.get_organization()).bank_accounts[0]
    page = await qonto.list_transactions(bank_account_id=account.id, includes=["attachments"], per_page=10)
    bare = next(one for one in page.items if not one.attachment_ids)
    assert (await qonto.get_transaction(str(bare.id))).amount == bare.amount
    # Qonto requires an idempotency key, which this client does not send.
    with pytest.raises(QontoError, match="Idempotency-Key"):
        await qonto.upload_attachment(
            str(bare.id), b"%PDF-1.7 fictional", filename="receipt.pdf", content_type="application/pdf"
        )
    assert await qonto.list_transaction_attachments(str(bare.id)) == []


async def test_a_wrong_key_is_refused(company: Company) -> None:
    async with client_of(company, "wrong") as client:
        with pytest.raises(AuthenticationError):
            await client.get_organization()
    async with client_of(company) as client:
        assert (await client.get_organization()).id == company.organization
