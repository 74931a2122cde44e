"""QuickBooks Online's wire shapes (API v3, minor version 75) and how they become our messages.

Shapes follow developer.intuit.com, "Explore the QuickBooks Online API" and the entity reference, and bodies
recorded in 2026: absent fields are missing, not null; money has two decimals and zero is `0`; ids are strings
even where they look like numbers; unknown fields are ignored.
"""

import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

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
from common.wire import WireError, fingerprint, maybe_money, maybe_utc, money, plain, read, utc

NO_CURRENCY = "XXX"
"""ISO 4217 for "no currency": QuickBooks named none and the home currency is unknown."""


class _Shape(msgspec.Struct, rename="pascal", kw_only=True):
    """Base of QuickBooks' PascalCase objects."""


class _Ref(msgspec.Struct):
    value: str
    name: str | None = None


class _Meta(_Shape, kw_only=True):
    create_time: datetime | None = None
    last_updated_time: datetime | None = None


class _Link(_Shape, kw_only=True):
    txn_id: str
    txn_type: str
    txn_line_id: str | None = None


class _Address(_Shape, kw_only=True):
    line1: str | None = None
    line2: str | None = None
    line3: str | None = None
    line4: str | None = None
    line5: str | None = None
    city: str | None = None
    country: str | None = None
    country_sub_division_code: str | None = None
    postal_code: str | None = None


class _Detail(_Shape, kw_only=True):
    account_ref: _Ref | None = None
    item_ref: _Ref | None = None
    customer_ref: _Ref | None = None
    tax_code_ref: _Ref | None = None
    tax_inclusive_amt: Decimal | None = None
    qty: Decimal | None = None
    unit_price: Decimal | None = None


class _Line(_Shape, kw_only=True):
    id: str | None = None
    line_num: int | None = None
    description: str | None = None
    amount: Decimal = Decimal(0)
    linked_txn: list[_Link] = []
    account_based_expense_line_detail: _Detail | None = None
    item_based_expense_line_detail: _Detail | None = None


class _TaxLineDetail(_Shape, kw_only=True):
    tax_rate_ref: _Ref | None = None
    tax_percent: Decimal | None = None
    net_amount_taxable: Decimal | None = None


class _TaxLine(_Shape, kw_only=True):
    amount: Decimal = Decimal(0)
    tax_line_detail: _TaxLineDetail | None = None


class _TaxDetail(_Shape, kw_only=True):
    total_tax: Decimal | None = None
    tax_line: list[_TaxLine] = []


class _Object(_Shape, kw_only=True):
    id: str
    sync_token: str | None = None
    meta_data: _Meta = msgspec.field(default_factory=_Meta)
    status: str | None = msgspec.field(name="status", default=None)


class _Transaction(_Object, kw_only=True):
    vendor_ref: _Ref
    total_amt: Decimal
    balance: Decimal | None = None
    currency_ref: _Ref | None = None
    exchange_rate: Decimal | None = None
    doc_number: str | None = None
    txn_date: date | None = None
    due_date: date | None = None
    private_note: str | None = None
    global_tax_calculation: str | None = None
    line: list[_Line] = []
    linked_txn: list[_Link] = []
    txn_tax_detail: _TaxDetail | None = None
    sales_term_ref: _Ref | None = None
    department_ref: _Ref | None = None
    ap_account_ref: _Ref | None = msgspec.field(name="APAccountRef", default=None)
    vendor_addr: _Address | None = None


class _Email(_Shape, kw_only=True):
    address: str | None = None


class _Phone(_Shape, kw_only=True):
    free_form_number: str | None = None


class _Web(msgspec.Struct):
    URI: str | None = None


class _Vendor(_Object, kw_only=True):
    display_name: str
    active: bool = True
    company_name: str | None = None
    print_on_check_name: str | None = None
    tax_identifier: str | None = None
    acct_num: str | None = None
    primary_email_addr: _Email | None = None
    primary_phone: _Phone | None = None
    web_addr: _Web | None = None
    currency_ref: _Ref | None = None
    term_ref: _Ref | None = None
    bill_addr: _Address | None = None


class _Customer(_Object, kw_only=True):
    display_name: str
    active: bool = True
    fully_qualified_name: str | None = None
    company_name: str | None = None
    primary_email_addr: _Email | None = None
    currency_ref: _Ref | None = None
    parent_ref: _Ref | None = None
    is_project: bool = False


class _RateDetail(_Shape, kw_only=True):
    tax_rate_ref: _Ref


class _RateList(_Shape, kw_only=True):
    tax_rate_detail: list[_RateDetail] = []


class _TaxCode(_Object, kw_only=True):
    name: str
    active: bool = True
    description: str | None = None
    taxable: bool | None = None
    purchase_tax_rate_list: _RateList | None = None


class _TaxRate(_Object, kw_only=True):
    name: str | None = None
    rate_value: Decimal | None = None


class _BillPayment(_Object, kw_only=True):
    vendor_ref: _Ref
    total_amt: Decimal
    currency_ref: _Ref | None = None
    exchange_rate: Decimal | None = None
    doc_number: str | None = None
    txn_date: date | None = None
    pay_type: str | None = None
    check_payment: dict[str, Any] = {}
    credit_card_payment: dict[str, Any] = {}
    line: list[_Line] = []
    private_note: str | None = None


class _CompanyInfo(_Object, kw_only=True):
    company_name: str
    legal_name: str | None = None
    country: str | None = None
    company_addr: _Address | None = None
    legal_addr: _Address | None = None
    email: _Email | None = None


class _CurrencyPrefs(_Shape, kw_only=True):
    home_currency: _Ref | None = None
    multi_currency_enabled: bool = False


class _AccountingPrefs(_Shape, kw_only=True):
    book_close_date: date | None = None


class _Preferences(_Shape, kw_only=True):
    currency_prefs: _CurrencyPrefs | None = None
    accounting_info_prefs: _AccountingPrefs | None = None


class _EntityRef(msgspec.Struct):
    type: str
    value: str


class _AttachableRef(_Shape, kw_only=True):
    entity_ref: _EntityRef | None = None


class _Attachable(_Object, kw_only=True):
    file_name: str | None = None
    content_type: str | None = None
    size: int | None = None
    temp_download_uri: str | None = None
    attachable_ref: list[_AttachableRef] = []


# --- what callers get ----------------------------------------------------------------------------------


class Normalized(msgspec.Struct, frozen=True, kw_only=True):
    """One object as Weir keeps it. A CDC stub of a deleted object has no body."""

    id: str
    sync_token: str | None
    created_at: datetime | None
    updated_at: datetime | None
    deleted: bool
    body: Body | None


class Attachable(msgspec.Struct, frozen=True, kw_only=True):
    """A file (or a mere note, without a file name) and the bills it hangs on."""

    id: str
    updated_at: datetime | None
    deleted: bool
    file_name: str | None
    content_type: str | None
    size: int | None
    url: str | None
    bills: tuple[str, ...]


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of the query endpoint: the server's time when it began, and the objects still undecoded."""

    time: datetime
    objects: tuple[msgspec.Raw, ...]
    total: int | None = None


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of change data capture; `objects` holds live objects and stubs of deleted ones per entity."""

    time: datetime
    objects: dict[str, tuple[msgspec.Raw, ...]]

    @property
    def total(self) -> int:
        """How many objects came; 1000 or more means the answer was cut, deletes first."""
        return sum(len(found) for found in self.objects.values())


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """An error of QuickBooks, whatever shape it came in. `code` is empty where none was given."""

    status: int
    code: str
    message: str
    detail: str | None = None
    kind: str | None = None

    def __str__(self) -> str:
        words = f"{self.message}: {self.detail}" if self.detail else self.message
        return f"HTTP {self.status} code {self.code or '–'}: {words:.300}"


class FaultError(WireError):
    """QuickBooks answered with a fault, possibly under HTTP 200."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


# --- envelopes -----------------------------------------------------------------------------------------


def query_page(body: bytes, entity: str) -> Page:
    """The objects of a query answer; an empty answer is `{}`. FaultError for a fault under HTTP 200."""
    outer = read(body, dict[str, msgspec.Raw], "query answer")
    if "QueryResponse" not in outer:
        raise FaultError(fault(200, body))
    inner = read(outer["QueryResponse"], dict[str, msgspec.Raw], "QueryResponse")
    total = inner.get("totalCount")
    return Page(
        time=_time(outer),
        objects=_objects(inner, entity),
        total=read(total, int, "totalCount") if total is not None else None,
    )


def changes(body: bytes) -> Changes:
    """The objects of a CDC answer by entity. FaultError for a fault, also one inside."""
    outer = read(body, dict[str, msgspec.Raw], "CDC answer")
    if "CDCResponse" not in outer:
        raise FaultError(fault(200, body))
    found: dict[str, tuple[msgspec.Raw, ...]] = {}
    for response in read(outer["CDCResponse"], list[dict[str, msgspec.Raw]], "CDCResponse"):
        if "Fault" in response:
            raise FaultError(fault(200, msgspec.json.encode({"Fault": response["Fault"]})))
        for query in read(response.get("QueryResponse", msgspec.Raw(b"[]")), list[dict[str, msgspec.Raw]], "CDC"):
            for entity in query:
                if entity[0].isupper():
                    found[entity] = found.get(entity, ()) + _objects(query, entity)
    return Changes(time=_time(outer), objects=found)


def single(body: bytes, entity: str) -> msgspec.Raw:
    """The object of a read-by-id answer."""
    outer = read(body, dict[str, msgspec.Raw], f"{entity} answer")
    if entity not in outer:
        raise FaultError(fault(200, body))
    return outer[entity]


_XML_ERROR = re.compile(r"<Error code=\"(\d+)\"[^>]*>(.*?)</Error>", re.DOTALL)
_XML_PART = re.compile(r"<(Message|Detail)>(.*?)</\1>", re.DOTALL)


def fault(status: int, body: bytes) -> Fault:
    """Read an error body: `Fault` or `fault` JSON, the gateway's flat JSON, XML, or none of these."""
    try:
        outer = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return _xml_fault(status, body)
    if not isinstance(outer, dict):
        outer = {}
    inner = outer.get("Fault") or outer.get("fault") or {}
    errors = inner.get("Error") or inner.get("error") or []
    first: Mapping[str, Any] = errors[0] if isinstance(errors, list) and errors else outer
    return Fault(
        status=status,
        code=str(first.get("code") or "").lstrip("0"),
        message=str(first.get("Message") or first.get("message") or first.get("error") or f"HTTP {status}"),
        detail=_text(first.get("Detail") or first.get("detail")),
        kind=_text(inner.get("type") or outer.get("type")),
    )


def _xml_fault(status: int, body: bytes) -> Fault:
    text = body[:20_000].decode(errors="replace")
    error = _XML_ERROR.search(text)
    if error is None:
        return Fault(status=status, code="", message=f"HTTP {status}")
    parts = {name: value.strip() for name, value in _XML_PART.findall(error[2])}
    return Fault(
        status=status,
        code=error[1].lstrip("0"),
        message=parts.get("Message", f"HTTP {status}"),
        detail=parts.get("Detail"),
    )


# --- objects -------------------------------------------------------------------------------------------


def normalize(entity: str, raw: msgspec.Raw | bytes, *, home_currency: str | None = None) -> Normalized:
    """A Bill, Vendor, Customer, BillPayment or VendorCredit as Weir keeps it; WireError naming the field.

    `home_currency` stands in where a single-currency company names none.
    """
    head = read(raw, _Object, entity)
    if head.status == "Deleted":
        return _normalized(head, None, deleted=True)
    what = f"{entity} {head.id}"
    body: Body
    match entity:
        case "Bill":
            body = _bill(read(raw, _Transaction, what), home_currency)
        case "VendorCredit":
            body = _vendor_credit(read(raw, _Transaction, what), home_currency)
        case "Vendor":
            body = _vendor(read(raw, _Vendor, what))
        case "Customer":
            body = _customer(read(raw, _Customer, what))
        case "BillPayment":
            body = _bill_payment(read(raw, _BillPayment, what), home_currency)
        case _:
            raise ValueError(f"Weir does not read {entity}")
    return _normalized(head, body, deleted=False)


def tax_code(raw: msgspec.Raw | bytes, rates: Mapping[str, TaxRate]) -> Normalized:
    """A tax code with the rates of its purchase list, which are objects of their own (`tax_rate`)."""
    shape = read(raw, _TaxCode, "TaxCode")
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
    shape = read(raw, _TaxRate, "TaxRate")
    return TaxRate(id=shape.id, name=shape.name, percent=plain(shape.rate_value))


def company(info: msgspec.Raw | bytes, preferences: msgspec.Raw | bytes | None) -> Normalized:
    """The company, from CompanyInfo and Preferences (home currency, closing date)."""
    shape = read(info, _CompanyInfo, "CompanyInfo")
    wishes = read(preferences, _Preferences, "Preferences") if preferences is not None else _Preferences()
    currency = wishes.currency_prefs or _CurrencyPrefs()
    books = wishes.accounting_info_prefs or _AccountingPrefs()
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
    head = read(raw, _Object, "Attachable")
    deleted = head.status == "Deleted"
    shape = _Attachable(id=head.id) if deleted else read(raw, _Attachable, f"Attachable {head.id}")
    refs = (reference.entity_ref for reference in shape.attachable_ref)
    return Attachable(
        id=head.id,
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
    return fingerprint(body, sorted(document.sha256 for document in documents), deleted)


def _normalized(head: _Object, body: Body | None, *, deleted: bool) -> Normalized:
    return Normalized(
        id=head.id,
        sync_token=head.sync_token,
        created_at=maybe_utc(head.meta_data.create_time),
        updated_at=maybe_utc(head.meta_data.last_updated_time),
        deleted=deleted,
        body=body,
    )


def _bill(shape: _Transaction, home: str | None) -> Bill:
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


def _vendor_credit(shape: _Transaction, home: str | None) -> VendorCredit:
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


def _vendor(shape: _Vendor) -> Vendor:
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


def _customer(shape: _Customer) -> Customer:
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


def _bill_payment(shape: _BillPayment, home: str | None) -> BillPayment:
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


def _lines(lines: list[_Line]) -> tuple[BillLine, ...]:
    return tuple(_line(line) for line in lines)


def _line(line: _Line) -> BillLine:
    detail = line.account_based_expense_line_detail or line.item_based_expense_line_detail or _Detail()
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


def _tax_lines(detail: _TaxDetail | None) -> tuple[TaxLine, ...]:
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


def _links(links: list[_Link]) -> tuple[Link, ...]:
    return tuple(Link(id=link.txn_id, kind=link.txn_type, line_id=link.txn_line_id) for link in links)


def _ref(ref: _Ref | None) -> Ref | None:
    return None if ref is None else Ref(id=ref.value, name=ref.name)


def _address(address: _Address | None) -> Address | None:
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


def _currency(ref: _Ref | None, home: str | None) -> str:
    return ref.value if ref is not None else home or NO_CURRENCY


def _time(outer: Mapping[str, msgspec.Raw]) -> datetime:
    if "time" not in outer:
        raise WireError("time: the answer does not say when it was made")
    return utc(read(outer["time"], datetime, "time"))


def _objects(inner: Mapping[str, msgspec.Raw], entity: str) -> tuple[msgspec.Raw, ...]:
    return tuple(read(inner[entity], list[msgspec.Raw], entity)) if entity in inner else ()


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
