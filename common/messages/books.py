"""What QuickBooks holds: bills, those they are with, and what they are made of."""

from datetime import date, datetime
from decimal import Decimal

from common.messages.base import Address, Message, Part, RecordKind, Ref


class Link(Part, frozen=True, kw_only=True):
    """A transaction linked to a bill or one of its lines (payment, purchase order, reimbursement)."""

    id: str
    kind: str
    line_id: str | None = None


class BillLine(Part, frozen=True, kw_only=True):
    """One line of a bill or vendor credit. `amount` is net; `gross` only where tax is inclusive."""

    id: str | None = None
    number: int | None = None
    description: str | None = None
    amount: Decimal = Decimal(0)
    gross: Decimal | None = None
    quantity: Decimal | None = None
    unit_price: Decimal | None = None
    account: Ref | None = None
    item: Ref | None = None
    customer: Ref | None = None
    tax_code: Ref | None = None
    links: tuple[Link, ...] = ()


class TaxLine(Part, frozen=True, kw_only=True):
    """Tax of one rate: `net` × `percent` = `amount`."""

    amount: Decimal
    net: Decimal | None = None
    percent: Decimal | None = None
    rate: Ref | None = None


class Bill(Part, frozen=True, kw_only=True, tag="bill", tag_field="kind"):
    """A supplier bill. `total` includes tax; `balance` is what is still to pay (0 = paid)."""

    vendor: Ref
    total: Decimal
    balance: Decimal
    currency: str
    exchange_rate: Decimal | None = None
    number: str | None = None
    issued_on: date | None = None
    due_on: date | None = None
    tax: Decimal | None = None
    tax_mode: str | None = None
    tax_lines: tuple[TaxLine, ...] = ()
    lines: tuple[BillLine, ...] = ()
    links: tuple[Link, ...] = ()
    terms: Ref | None = None
    payable_account: Ref | None = None
    department: Ref | None = None
    vendor_address: Address | None = None
    memo: str | None = None

    @property
    def net(self) -> Decimal:
        """Total without tax; equal to the total where QuickBooks names no tax."""
        return self.total - (self.tax or Decimal(0))

    @property
    def paid(self) -> bool:
        """Whether nothing is left to pay."""
        return self.balance == 0 and self.total != 0


class VendorCredit(Part, frozen=True, kw_only=True, tag="vendorcredit", tag_field="kind"):
    """A supplier's credit note; `total` is positive, `balance` is its unused part."""

    vendor: Ref
    total: Decimal
    currency: str
    balance: Decimal | None = None
    exchange_rate: Decimal | None = None
    number: str | None = None
    issued_on: date | None = None
    tax: Decimal | None = None
    tax_mode: str | None = None
    tax_lines: tuple[TaxLine, ...] = ()
    lines: tuple[BillLine, ...] = ()
    links: tuple[Link, ...] = ()
    memo: str | None = None


class Vendor(Part, frozen=True, kw_only=True, tag="vendor", tag_field="kind"):
    """A supplier. QuickBooks masks `tax_identifier` in answers and knows no IBAN."""

    name: str
    active: bool = True
    company_name: str | None = None
    print_name: str | None = None
    tax_identifier: str | None = None
    account_number: str | None = None
    email: str | None = None
    phone: str | None = None
    website: str | None = None
    currency: str | None = None
    terms: Ref | None = None
    address: Address | None = None


class Customer(Part, frozen=True, kw_only=True, tag="customer", tag_field="kind"):
    """A customer, named on bill lines that are billed on."""

    name: str
    active: bool = True
    full_name: str | None = None
    company_name: str | None = None
    email: str | None = None
    currency: str | None = None
    parent: Ref | None = None
    project: bool = False


class TaxRate(Part, frozen=True, kw_only=True):
    """One rate of a tax code on purchases, in per cent."""

    id: str
    name: str | None = None
    percent: Decimal | None = None


class TaxCode(Part, frozen=True, kw_only=True, tag="taxcode", tag_field="kind"):
    """A tax code with its purchase rates (never the sales list: bills are purchases)."""

    name: str
    active: bool = True
    description: str | None = None
    taxable: bool | None = None
    rates: tuple[TaxRate, ...] = ()


class Payment(Part, frozen=True, kw_only=True):
    """What a bill payment paid of one bill (or took from one credit)."""

    amount: Decimal
    links: tuple[Link, ...] = ()


class BillPayment(Part, frozen=True, kw_only=True, tag="billpayment", tag_field="kind"):
    """A payment of one or more bills."""

    vendor: Ref
    total: Decimal
    currency: str
    exchange_rate: Decimal | None = None
    number: str | None = None
    paid_on: date | None = None
    method: str | None = None
    account: Ref | None = None
    payments: tuple[Payment, ...] = ()
    memo: str | None = None


class Company(Part, frozen=True, kw_only=True, tag="company", tag_field="kind"):
    """The buyer: the company whose books these are."""

    name: str
    legal_name: str | None = None
    country: str | None = None
    home_currency: str | None = None
    multicurrency: bool = False
    books_closed_on: date | None = None
    address: Address | None = None
    email: str | None = None


class Document(Part, frozen=True, kw_only=True):
    """A file of a record, kept in the object store under its hash."""

    sha256: str
    name: str
    content_type: str
    size: int
    attachable: str


Body = Bill | Vendor | Customer | TaxCode | BillPayment | VendorCredit | Company


class Record(Message, frozen=True, kw_only=True, tag="record.1"):
    """One version of one QuickBooks object, normalized.

    `content_hash` covers what matters to Weir (body, documents, deletion), not balances of vendors or sync
    tokens, so an unchanged object has an unchanged hash. `entries_seq` is the sequence of the workspace's
    newest Qonto entry when the record was pulled: the scorer's view must have reached it.
    """

    workspace: str
    realm: str
    id: str
    kind: RecordKind
    content_hash: str
    pulled_at: datetime
    updated_at: datetime | None = None
    created_at: datetime | None = None
    sync_token: str | None = None
    deleted: bool = False
    entries_seq: int = 0
    documents: tuple[Document, ...] = ()
    body: Body | None = None

    @property
    def key(self) -> str:
        """`{realm}-{QuickBooks id}`: unique across companies, since ids repeat between them."""
        return f"{self.realm}-{self.id}"
