"""QuickBooks' objects as they are on the wire: PascalCase, only the fields Weir reads, anything else ignored."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec


class Shape(msgspec.Struct, rename="pascal", kw_only=True):
    """Base of QuickBooks' PascalCase objects."""


class Ref(msgspec.Struct):
    value: str
    name: str | None = None


class Meta(Shape, kw_only=True):
    create_time: datetime | None = None
    last_updated_time: datetime | None = None


class Link(Shape, kw_only=True):
    txn_id: str
    txn_type: str
    txn_line_id: str | None = None


class Address(Shape, kw_only=True):
    line1: str | None = None
    line2: str | None = None
    line3: str | None = None
    line4: str | None = None
    line5: str | None = None
    city: str | None = None
    country: str | None = None
    country_sub_division_code: str | None = None
    postal_code: str | None = None


class Detail(Shape, kw_only=True):
    account_ref: Ref | None = None
    item_ref: Ref | None = None
    customer_ref: Ref | None = None
    tax_code_ref: Ref | None = None
    tax_inclusive_amt: Decimal | None = None
    qty: Decimal | None = None
    unit_price: Decimal | None = None


class Line(Shape, kw_only=True):
    id: str | None = None
    line_num: int | None = None
    description: str | None = None
    amount: Decimal = Decimal(0)
    linked_txn: list[Link] = []
    account_based_expense_line_detail: Detail | None = None
    item_based_expense_line_detail: Detail | None = None


class TaxLineDetail(Shape, kw_only=True):
    tax_rate_ref: Ref | None = None
    tax_percent: Decimal | None = None
    net_amount_taxable: Decimal | None = None


class TaxLine(Shape, kw_only=True):
    amount: Decimal = Decimal(0)
    tax_line_detail: TaxLineDetail | None = None


class TaxDetail(Shape, kw_only=True):
    total_tax: Decimal | None = None
    tax_line: list[TaxLine] = []


class Object(Shape, kw_only=True):
    id: str
    sync_token: str | None = None
    meta_data: Meta = msgspec.field(default_factory=Meta)
    status: str | None = msgspec.field(name="status", default=None)


class Transaction(Object, kw_only=True):
    vendor_ref: Ref
    total_amt: Decimal
    balance: Decimal | None = None
    currency_ref: Ref | None = None
    exchange_rate: Decimal | None = None
    doc_number: str | None = None
    txn_date: date | None = None
    due_date: date | None = None
    private_note: str | None = None
    global_tax_calculation: str | None = None
    line: list[Line] = []
    linked_txn: list[Link] = []
    txn_tax_detail: TaxDetail | None = None
    sales_term_ref: Ref | None = None
    department_ref: Ref | None = None
    ap_account_ref: Ref | None = msgspec.field(name="APAccountRef", default=None)
    vendor_addr: Address | None = None


class Email(Shape, kw_only=True):
    address: str | None = None


class Phone(Shape, kw_only=True):
    free_form_number: str | None = None


class Web(msgspec.Struct):
    URI: str | None = None


class Vendor(Object, kw_only=True):
    display_name: str
    active: bool = True
    company_name: str | None = None
    print_on_check_name: str | None = None
    tax_identifier: str | None = None
    acct_num: str | None = None
    primary_email_addr: Email | None = None
    primary_phone: Phone | None = None
    web_addr: Web | None = None
    currency_ref: Ref | None = None
    term_ref: Ref | None = None
    bill_addr: Address | None = None


class Customer(Object, kw_only=True):
    display_name: str
    active: bool = True
    fully_qualified_name: str | None = None
    company_name: str | None = None
    primary_email_addr: Email | None = None
    currency_ref: Ref | None = None
    parent_ref: Ref | None = None
    is_project: bool = False


class RateDetail(Shape, kw_only=True):
    tax_rate_ref: Ref


class RateList(Shape, kw_only=True):
    tax_rate_detail: list[RateDetail] = []


class TaxCode(Object, kw_only=True):
    name: str
    active: bool = True
    description: str | None = None
    taxable: bool | None = None
    purchase_tax_rate_list: RateList | None = None


class TaxRate(Object, kw_only=True):
    name: str | None = None
    rate_value: Decimal | None = None


class BillPayment(Object, kw_only=True):
    vendor_ref: Ref
    total_amt: Decimal
    currency_ref: Ref | None = None
    exchange_rate: Decimal | None = None
    doc_number: str | None = None
    txn_date: date | None = None
    pay_type: str | None = None
    check_payment: dict[str, Any] = {}
    credit_card_payment: dict[str, Any] = {}
    line: list[Line] = []
    private_note: str | None = None


class CompanyInfo(Object, kw_only=True):
    company_name: str
    legal_name: str | None = None
    country: str | None = None
    company_addr: Address | None = None
    legal_addr: Address | None = None
    email: Email | None = None


class CurrencyPrefs(Shape, kw_only=True):
    home_currency: Ref | None = None
    multi_currency_enabled: bool = False


class AccountingPrefs(Shape, kw_only=True):
    book_close_date: date | None = None


class Preferences(Shape, kw_only=True):
    currency_prefs: CurrencyPrefs | None = None
    accounting_info_prefs: AccountingPrefs | None = None


class EntityRef(msgspec.Struct):
    type: str
    value: str


class AttachableRef(Shape, kw_only=True):
    entity_ref: EntityRef | None = None


class Attachable(Object, kw_only=True):
    file_name: str | None = None
    content_type: str | None = None
    size: int | None = None
    temp_download_uri: str | None = None
    attachable_ref: list[AttachableRef] = []
