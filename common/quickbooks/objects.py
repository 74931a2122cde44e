"""From QuickBooks' objects to our messages."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from common.messages import (
    Address,
    Bill,
    BillLine,
    BillPayment,
    Body,
    Company,
    Customer,
    Document,
    Link,
    Payment,
    Ref,
    TaxCode,
    TaxLine,
    TaxRate,
    Vendor,
    VendorCredit,
)
from common.quickbooks import shapes
from common.wire import fingerprint, maybe_money, maybe_utc, money, plain, read

NO_CURRENCY = "XXX"
"""ISO 4217 for "no currency": QuickBooks named none and the home currency is unknown."""


class Normalized(msgspec.Struct, frozen=True, kw_only=True):
    """One object as Weir keeps it. A CDC stub of a deleted object has no body."""

    id: str
    sync_token: str | None
    created_at: datetime | None
    updated_at: datetime | None
    deleted: bool
    body: Body | None


class Attachable(msgspec.Struct, frozen=True, kw_only=True):
    """A file (or a mere note, without a file name) and the bills it hangs on.

    `content_type` is what the uploading program declared.
    """

    id: str
    sync_token: str | None
    created_at: datetime | None
    updated_at: datetime | None
    deleted: bool
    file_name: str | None
    content_type: str | None
    size: int | None
    url: str | None
    bills: tuple[str, ...]

    @property
    def changed(self) -> bool:
        """Whether it is another one than when it was created; True if QuickBooks does not say when that was.

        Its times are whole seconds, so one that was changed in its first second is told by its token alone.
        """
        if self.created_at is None or self.updated_at is None or self.updated_at > self.created_at:
            return True
        return self.sync_token != "0"  # noqa: S105 (counts versions)


def normalize(entity: str, raw: msgspec.Raw | bytes, *, home_currency: str | None = None) -> Normalized:
    """A Bill, Vendor, Customer, BillPayment or VendorCredit as Weir keeps it; WireError naming the field.

    `home_currency` stands in where a single-currency company names none.
    """
    head = read(raw, shapes.Object, entity)
    if head.status == "Deleted":
        return _normalized(head, None, deleted=True)
    what = f"{entity} {head.id}"
    body: Body
    match entity:
        case "Bill":
            body = _bill(read(raw, shapes.Transaction, what), home_currency)
        case "VendorCredit":
            body = _vendor_credit(read(raw, shapes.Transaction, what), home_currency)
        case "Vendor":
            body = _vendor(read(raw, shapes.Vendor, what))
        case "Customer":
            body = _customer(read(raw, shapes.Customer, what))
        case "BillPayment":
            body = _bill_payment(read(raw, shapes.BillPayment, what), home_currency)
        case _:
            raise ValueError(f"Weir does not read {entity}")
    return _normalized(head, body, deleted=False)


def tax_code(raw: msgspec.Raw | bytes, rates: Mapping[str, TaxRate]) -> Normalized:
    """A tax code with the rates of its purchase list, which are objects of their own (`tax_rate`)."""
    shape = read(raw, shapes.TaxCode, "TaxCode")
    details = shape.purchase_tax_rate_list.tax_rate_detail if shape.purchase_tax_rate_list else []
    found = tuple(
        rates.get(detail.tax_rate_ref.value, TaxRate(id=detail.tax_rate_ref.value, name=detail.tax_rate_ref.name))
        for detail in details
    )
    body = TaxCode(
        name=shape.name, active=shape.active, description=shape.description, taxable=shape.taxable, rates=found
    )
    return _normalized(shape, body, deleted=False)


def tax_rate(raw: msgspec.Raw | bytes) -> TaxRate:
    """A tax rate in per cent."""
    shape = read(raw, shapes.TaxRate, "TaxRate")
    return TaxRate(id=shape.id, name=shape.name, percent=plain(shape.rate_value))


def company(info: msgspec.Raw | bytes, preferences: msgspec.Raw | bytes | None) -> Normalized:
    """The company, from CompanyInfo and Preferences (home currency, closing date)."""
    shape = read(info, shapes.CompanyInfo, "CompanyInfo")
    wishes = read(preferences, shapes.Preferences, "Preferences") if preferences is not None else shapes.Preferences()
    currency = wishes.currency_prefs or shapes.CurrencyPrefs()
    books = wishes.accounting_info_prefs or shapes.AccountingPrefs()
    body = Company(
        name=shape.company_name,
        legal_name=shape.legal_name,
        country=shape.country,
        home_currency=currency.home_currency.value if currency.home_currency else None,
        multicurrency=currency.multi_currency_enabled,
        books_closed_on=books.book_close_date,
        address=_address(shape.legal_addr or shape.company_addr),
        email=shape.email.address if shape.email else None,
    )
    return _normalized(shape, body, deleted=False)


def attachable(raw: msgspec.Raw | bytes) -> Attachable:
    """A file or note, with the ids of the bills it hangs on (the type is written in either case)."""
    head = read(raw, shapes.Object, "Attachable")
    deleted = head.status == "Deleted"
    shape = shapes.Attachable(id=head.id) if deleted else read(raw, shapes.Attachable, f"Attachable {head.id}")
    refs = (reference.entity_ref for reference in shape.attachable_ref)
    return Attachable(
        id=head.id,
        sync_token=head.sync_token,
        created_at=maybe_utc(head.meta_data.create_time),
        updated_at=maybe_utc(head.meta_data.last_updated_time),
        deleted=deleted,
        file_name=shape.file_name,
        content_type=shape.content_type,
        size=shape.size,
        url=shape.temp_download_uri,
        bills=tuple(dict.fromkeys(ref.value for ref in refs if ref is not None and ref.type.lower() == "bill")),
    )


def content_hash(body: Body | None, documents: tuple[Document, ...] = (), *, deleted: bool = False) -> str:
    """What tells two versions of a record apart: everything Weir keeps of it, and nothing else."""
    files = sorted((document.attachable, document.sha256, document.name) for document in documents)
    return fingerprint(body, files, deleted)


def _normalized(head: shapes.Object, body: Body | None, *, deleted: bool) -> Normalized:
    return Normalized(
        id=head.id,
        sync_token=head.sync_token,
        created_at=maybe_utc(head.meta_data.create_time),
        updated_at=maybe_utc(head.meta_data.last_updated_time),
        deleted=deleted,
        body=body,
    )


def _bill(shape: shapes.Transaction, home: str | None) -> Bill:
    detail = shape.txn_tax_detail
    return Bill(
        vendor=Ref(id=shape.vendor_ref.value, name=shape.vendor_ref.name),
        total=money(shape.total_amt),
        balance=money(shape.balance if shape.balance is not None else shape.total_amt),
        currency=_currency(shape.currency_ref, home),
        exchange_rate=plain(shape.exchange_rate),
        number=shape.doc_number or None,
        issued_on=shape.txn_date,
        due_on=shape.due_date,
        tax=maybe_money(detail.total_tax) if detail else None,
        tax_mode=shape.global_tax_calculation,
        tax_lines=_tax_lines(detail),
        lines=_lines(shape.line),
        links=_links(shape.linked_txn),
        terms=_ref(shape.sales_term_ref),
        payable_account=_ref(shape.ap_account_ref),
        department=_ref(shape.department_ref),
        vendor_address=_address(shape.vendor_addr),
        memo=shape.private_note,
    )


def _vendor_credit(shape: shapes.Transaction, home: str | None) -> VendorCredit:
    detail = shape.txn_tax_detail
    return VendorCredit(
        vendor=Ref(id=shape.vendor_ref.value, name=shape.vendor_ref.name),
        total=money(shape.total_amt),
        balance=maybe_money(shape.balance),
        currency=_currency(shape.currency_ref, home),
        exchange_rate=plain(shape.exchange_rate),
        number=shape.doc_number or None,
        issued_on=shape.txn_date,
        tax=maybe_money(detail.total_tax) if detail else None,
        tax_mode=shape.global_tax_calculation,
        tax_lines=_tax_lines(detail),
        lines=_lines(shape.line),
        links=_links(shape.linked_txn),
        memo=shape.private_note,
    )


def _vendor(shape: shapes.Vendor) -> Vendor:
    return Vendor(
        name=shape.display_name,
        active=shape.active,
        company_name=shape.company_name,
        print_name=shape.print_on_check_name,
        tax_identifier=shape.tax_identifier,
        account_number=shape.acct_num,
        email=shape.primary_email_addr.address if shape.primary_email_addr else None,
        phone=shape.primary_phone.free_form_number if shape.primary_phone else None,
        website=shape.web_addr.URI if shape.web_addr else None,
        currency=shape.currency_ref.value if shape.currency_ref else None,
        terms=_ref(shape.term_ref),
        address=_address(shape.bill_addr),
    )


def _customer(shape: shapes.Customer) -> Customer:
    return Customer(
        name=shape.display_name,
        active=shape.active,
        full_name=shape.fully_qualified_name,
        company_name=shape.company_name,
        email=shape.primary_email_addr.address if shape.primary_email_addr else None,
        currency=shape.currency_ref.value if shape.currency_ref else None,
        parent=_ref(shape.parent_ref),
        project=shape.is_project,
    )


def _bill_payment(shape: shapes.BillPayment, home: str | None) -> BillPayment:
    way = shape.check_payment.get("BankAccountRef") or shape.credit_card_payment.get("CCAccountRef")
    return BillPayment(
        vendor=Ref(id=shape.vendor_ref.value, name=shape.vendor_ref.name),
        total=money(shape.total_amt),
        currency=_currency(shape.currency_ref, home),
        exchange_rate=plain(shape.exchange_rate),
        number=shape.doc_number or None,
        paid_on=shape.txn_date,
        method=shape.pay_type,
        account=Ref(id=str(way["value"]), name=way.get("name")) if isinstance(way, dict) and "value" in way else None,
        payments=tuple(Payment(amount=money(line.amount), links=_links(line.linked_txn)) for line in shape.line),
        memo=shape.private_note,
    )


def _lines(lines: list[shapes.Line]) -> tuple[BillLine, ...]:
    return tuple(_line(line) for line in lines)


def _line(line: shapes.Line) -> BillLine:
    detail = line.account_based_expense_line_detail or line.item_based_expense_line_detail or shapes.Detail()
    return BillLine(
        id=line.id,
        number=line.line_num,
        description=line.description,
        amount=money(line.amount),
        gross=maybe_money(detail.tax_inclusive_amt),
        quantity=plain(detail.qty),
        unit_price=plain(detail.unit_price),
        account=_ref(detail.account_ref),
        item=_ref(detail.item_ref),
        customer=_ref(detail.customer_ref),
        tax_code=_ref(detail.tax_code_ref),
        links=_links(line.linked_txn),
    )


def _tax_lines(detail: shapes.TaxDetail | None) -> tuple[TaxLine, ...]:
    if detail is None:
        return ()
    return tuple(
        TaxLine(
            amount=money(line.amount),
            net=maybe_money(line.tax_line_detail.net_amount_taxable) if line.tax_line_detail else None,
            percent=plain(line.tax_line_detail.tax_percent) if line.tax_line_detail else None,
            rate=_ref(line.tax_line_detail.tax_rate_ref) if line.tax_line_detail else None,
        )
        for line in detail.tax_line
    )


def _links(links: list[shapes.Link]) -> tuple[Link, ...]:
    return tuple(Link(id=link.txn_id, kind=link.txn_type, line_id=link.txn_line_id) for link in links)


def _ref(ref: shapes.Ref | None) -> Ref | None:
    return None if ref is None else Ref(id=ref.value, name=ref.name)


def _address(address: shapes.Address | None) -> Address | None:
    if address is None:
        return None
    lines = (address.line1, address.line2, address.line3, address.line4, address.line5)
    return Address(
        lines=tuple(line for line in lines if line),
        city=address.city,
        region=address.country_sub_division_code,
        postal_code=address.postal_code,
        country=address.country,
    )


def _currency(ref: shapes.Ref | None, home: str | None) -> str:
    return ref.value if ref is not None else home or NO_CURRENCY
