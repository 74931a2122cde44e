"""Qonto's wire shapes (Business API v2) and how they become entries.

Shapes follow docs.qonto.com, "supplier invoices", "transactions" and "errors". Amounts of invoices are
`{value, currency}` with decimal strings, amounts of transactions are numbers; most fields may be null or
missing; new fields and enum values may appear at any time and must not break a reader.
"""

import re
import unicodedata
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal, NamedTuple

import msgspec

from common import codec
from common.messages import Entry, EntryKind
from common.subjects import RecordKey
from common.wire import WireError, maybe_date, maybe_money, maybe_utc, money, read, utc

FILE_NAME_LIMIT = 100
"""Longest file name we send; Qonto publishes no rule, so plain ASCII and short."""


class _Amount(msgspec.Struct):
    value: Decimal
    currency: str


class _Matched(msgspec.Struct):
    transaction_id: str | None = None
    subject_id: str | None = None


class _Supplier(msgspec.Struct, kw_only=True):
    name: str | None = None
    iban: str | None = None
    vat_number: str | None = None
    tin: str | None = None


class _Invoice(msgspec.Struct, kw_only=True):
    id: str
    organization_id: str = ""
    status: str = "to_review"
    updated_at: datetime | None = None
    created_at: datetime | None = None
    analyzed_at: datetime | None = None
    file_name: str | None = None
    attachment_id: str | None = None
    supplier_name: str | None = None
    issuer_name: str | None = None
    invoice_number: str | None = None
    description: str | None = None
    vat_number: str | None = None
    tin: str | None = None
    iban: str | None = None
    issue_date: str | None = None
    due_date: str | None = None
    payment_date: str | None = None
    total_amount: _Amount | None = None
    payable_amount: _Amount | None = None
    total_amount_excluding_taxes: _Amount | None = None
    total_tax_amount: _Amount | None = None
    is_credit_note: bool | None = None
    attachment_category: str | None = None
    has_duplicates: bool | None = None
    matched_transactions: list[str | _Matched] | None = None
    supplier_snapshot: _Supplier | None = None


class _Transfer(msgspec.Struct, kw_only=True):
    counterparty_account_number: str | None = None
    counterparty_account_number_format: str | None = None


class _Transaction(msgspec.Struct, kw_only=True):
    id: str
    amount: Decimal
    currency: str
    updated_at: datetime | None = None
    status: str = "completed"
    side: str | None = None
    local_amount: Decimal | None = None
    local_currency: str | None = None
    label: str | None = None
    clean_counterparty_name: str | None = None
    reference: str | None = None
    emitted_at: datetime | None = None
    settled_at: datetime | None = None
    created_at: datetime | None = None
    vat_amount: Decimal | None = None
    attachment_ids: list[str] | None = None
    transfer: _Transfer | None = None
    direct_debit: _Transfer | None = None
    direct_debit_collection: _Transfer | None = None
    income: _Transfer | None = None
    swift_income: _Transfer | None = None


class _Meta(msgspec.Struct, kw_only=True):
    next_page: int | None = None
    total_count: int | None = None


class _Organization(msgspec.Struct, kw_only=True):
    id: str
    name: str | None = None
    legal_name: str | None = None
    legal_country: str | None = None
    bank_accounts: list["_Account"] = []


class _Account(msgspec.Struct, kw_only=True):
    id: str
    status: str | None = None
    updated_at: str | None = None
    balance_cents: int | None = None
    authorized_balance_cents: int | None = None


_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
"""Stands for an instant that Qonto left out: older than any marker."""


class BankAccount(msgspec.Struct, frozen=True, kw_only=True):
    """A bank account. `state` changes when money moves on it; None where Qonto shows no balance to this person."""

    id: str
    open: bool = True
    state: str | None = None


class Organization(msgspec.Struct, frozen=True, kw_only=True):
    """The organization a grant is for, with its bank accounts, closed ones included."""

    id: str
    name: str
    country: str | None
    bank_accounts: tuple[BankAccount, ...]


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a list; `next_page` is None on the last."""

    items: tuple[msgspec.Raw, ...]
    next_page: int | None
    total: int | None


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One error Qonto reports; `pointer` names what it is about."""

    code: str
    detail: str
    pointer: str | None = None

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}" if self.detail else self.code

    @property
    def idempotency_key(self) -> str | None:
        """The upload the problem is about; Qonto writes the pointer with or without a tail."""
        found = re.search(r"/idempotency_key/([^/]+)", self.pointer or "")
        return found[1] if found else None


class Uploaded(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a bulk upload: HTTP 200 even if single invoices failed."""

    invoices: tuple[msgspec.Raw, ...]
    problems: tuple[Problem, ...]


class FileName(NamedTuple):
    """What the name of an uploaded file says: which bill, which revision of it."""

    key: RecordKey
    revision: int


_FILE_NAME = re.compile(r"QBO-(\w+)-(\w+)-r(\d+)__")


def file_name(key: RecordKey, revision: int, vendor: str, number: str | None, extension: str = "pdf") -> str:
    """`QBO-{realm}-{bill}-r{n}__{vendor}-{number}.{extension}`: the one searchable place for our id in Qonto."""
    head = f"QBO-{key.realm}-{key.id}-r{revision}__"
    words = "-".join(part for part in (_ascii(vendor), _ascii(number or "")) if part) or "bill"
    return f"{head}{words[: FILE_NAME_LIMIT - len(head) - len(extension) - 1].rstrip('-._')}.{extension}"


def parse_file_name(name: str | None) -> FileName | None:
    """The bill and revision a file name speaks of, or None if it is not one of ours."""
    found = _FILE_NAME.match(name or "")
    return FileName(RecordKey(found[1], found[2]), int(found[3])) if found else None


def _ascii(text: str) -> str:
    folded = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9.]+", "-", folded).strip("-.")


def page(body: bytes, key: str) -> Page:
    """The items of a list answer under `key`, undecoded."""
    outer = read(body, dict[str, msgspec.Raw], f"{key} list")
    if key not in outer:
        raise WireError(f"{key}: missing in the list answer")
    meta = read(outer["meta"], _Meta, "meta") if "meta" in outer else _Meta()
    return Page(items=tuple(read(outer[key], list[msgspec.Raw], key)), next_page=meta.next_page, total=meta.total_count)


def single(body: bytes, key: str) -> msgspec.Raw:
    """The object of a retrieve answer (wrapped under `key`) or of a status call (bare)."""
    outer = read(body, dict[str, msgspec.Raw], key)
    if key in outer:
        return outer[key]
    if "id" not in outer:
        raise WireError(f"{key}: the answer holds no object")
    return msgspec.Raw(body)


class _Attachment(msgspec.Struct, kw_only=True):
    id: str
    file_name: str | None = None


def attachments(body: bytes) -> list[tuple[str, str]]:
    """The id and name (empty if Qonto says none) of each file in a transaction's list of attachments."""
    items = (read(raw, _Attachment, "attachment") for raw in page(body, "attachments").items)
    return [(one.id, one.file_name or "") for one in items]


def uploaded(body: bytes) -> Uploaded:
    """The answer to a bulk upload."""
    outer = read(body, dict[str, msgspec.Raw], "bulk answer")
    if "supplier_invoices" not in outer:
        raise WireError("supplier_invoices: missing in the bulk answer")
    return Uploaded(
        invoices=tuple(read(outer["supplier_invoices"], list[msgspec.Raw], "supplier_invoices")),
        problems=problems(200, body),
    )


def organization(body: bytes) -> Organization:
    """The organization of a grant."""
    shape = read(single(body, "organization"), _Organization, "organization")
    return Organization(
        id=shape.id,
        name=shape.legal_name or shape.name or shape.id,
        country=shape.legal_country,
        bank_accounts=tuple(
            BankAccount(id=account.id, open=account.status != "closed", state=_state(account))
            for account in shape.bank_accounts
        ),
    )


def _state(account: _Account) -> str | None:
    if account.balance_cents is None or account.authorized_balance_cents is None:
        return None
    return f"{account.balance_cents}/{account.authorized_balance_cents}/{account.updated_at}"


class _Subscription(msgspec.Struct):
    id: str
    callback_url: str = ""


def subscription(body: bytes) -> str:
    """The id of a webhook subscription that was just made."""
    return read(body, _Subscription, "webhook subscription").id


def subscriptions(body: bytes, url: str) -> list[str]:
    """The ids of the webhook subscriptions that send to `url`."""
    found = [read(raw, _Subscription, "webhook subscription") for raw in page(body, "subscriptions").items]
    return [one.id for one in found if one.callback_url == url]


def problems(status: int, body: bytes) -> tuple[Problem, ...]:
    """Whatever an error body says: `errors` as a list or one object, a bare object, `message`, or plain text.

    Empty for an answer without errors.
    """
    try:
        outer = codec.decode(body, object)
    except msgspec.DecodeError:
        text = " ".join(re.sub(r"<[^>]*>", " ", body[:2000].decode(errors="replace")).split())
        return (Problem(code=str(status), detail=text[:200]),) if status >= 400 else ()
    if not isinstance(outer, dict):
        return ()
    errors = outer.get("errors")
    if errors is None and ("code" in outer or "message" in outer) and status >= 400:
        errors = outer
    if isinstance(errors, dict):
        errors = [errors]
    return tuple(_problem(status, one) for one in errors or () if isinstance(one, dict))


def _problem(status: int, one: dict[str, Any]) -> Problem:
    source = one.get("source")
    where = (source.get("pointer") or source.get("parameter")) if isinstance(source, dict) else None
    return Problem(
        code=str(one.get("code") or status),
        detail=str(one.get("detail") or one.get("message") or ""),
        pointer=str(where) if where else None,
    )


def invoice(raw: msgspec.Raw | bytes, workspace: str) -> Entry:
    """A supplier invoice as an entry; OCR fields are absent until Qonto has read the file."""
    shape = read(raw, _Invoice, "supplier invoice")
    total = shape.total_amount or shape.payable_amount
    supplier = shape.supplier_snapshot or _Supplier()
    name = parse_file_name(shape.file_name)
    return Entry(
        workspace=workspace,
        organization=shape.organization_id,
        id=shape.id,
        kind="invoice",
        status=shape.status,
        updated_at=utc(shape.updated_at or shape.created_at or _LONG_AGO),
        created_at=maybe_utc(shape.created_at),
        analyzed_at=maybe_utc(shape.analyzed_at),
        counterparty=shape.supplier_name or shape.issuer_name or supplier.name or None,
        amount=money(abs(total.value)) if total else None,
        currency=total.currency if total else None,
        net_amount=money(shape.total_amount_excluding_taxes.value) if shape.total_amount_excluding_taxes else None,
        tax_amount=money(shape.total_tax_amount.value) if shape.total_tax_amount else None,
        number=shape.invoice_number or None,
        label=shape.description or None,
        issued_on=maybe_date(shape.issue_date, f"supplier invoice {shape.id}: issue_date"),
        due_on=maybe_date(shape.due_date, f"supplier invoice {shape.id}: due_date"),
        paid_on=maybe_date(shape.payment_date, f"supplier invoice {shape.id}: payment_date"),
        vat_number=shape.vat_number or shape.tin or supplier.vat_number or supplier.tin or None,
        iban=_shown(shape.iban) or _shown(supplier.iban),
        category=shape.attachment_category,
        credit_note=bool(shape.is_credit_note) or shape.attachment_category == "CREDIT_NOTE",
        has_duplicates=bool(shape.has_duplicates),
        file_name=shape.file_name,
        attachments=(shape.attachment_id,) if shape.attachment_id else (),
        matched=tuple(filter(None, map(_transaction_id, shape.matched_transactions or ()))),
        origin=str(name.key) if name else None,
        revision=name.revision if name else None,
    )


class _Outline(msgspec.Struct, kw_only=True):
    id: str
    organization_id: str = ""
    status: str = "to_review"
    file_name: str | None = None


def outline(raw: msgspec.Raw, workspace: str, kind: EntryKind) -> Entry | None:
    """What is left of an object that cannot be read as a whole: which it is, how it stands, whose file it shows."""
    try:
        shape = read(raw, _Outline, kind)
    except WireError:
        return None
    name = parse_file_name(shape.file_name)
    return Entry(
        workspace=workspace,
        organization=shape.organization_id,
        id=shape.id,
        kind=kind,
        status=shape.status,
        updated_at=_LONG_AGO,
        file_name=shape.file_name,
        origin=str(name.key) if name else None,
        revision=name.revision if name else None,
    )


def transaction(raw: msgspec.Raw | bytes, workspace: str, organization: str) -> Entry:
    """A bank transaction as an entry; `amount` is what moved on the account, `local_amount` what was asked for."""
    shape = read(raw, _Transaction, "transaction")
    foreign = shape.local_currency is not None and shape.local_currency != shape.currency
    peers = (
        shape.transfer, shape.direct_debit, shape.income, shape.swift_income, shape.direct_debit_collection
    )  # fmt: skip
    peer = next(filter(None, peers), _Transfer())
    is_iban = peer.counterparty_account_number_format in {None, "IBAN"}
    side: Literal["debit", "credit"] | None = None
    if shape.side == "debit":
        side = "debit"
    elif shape.side == "credit":
        side = "credit"
    emitted, settled = maybe_utc(shape.emitted_at), maybe_utc(shape.settled_at)
    return Entry(
        workspace=workspace,
        organization=organization,
        id=shape.id,
        kind="transaction",
        status=shape.status,
        updated_at=utc(shape.updated_at or shape.created_at or _LONG_AGO),
        created_at=maybe_utc(shape.created_at),
        counterparty=shape.clean_counterparty_name or shape.label or None,
        amount=money(abs(shape.amount)),
        currency=shape.currency,
        tax_amount=maybe_money(shape.vat_amount),
        local_amount=money(abs(shape.local_amount)) if foreign and shape.local_amount is not None else None,
        local_currency=shape.local_currency if foreign else None,
        side=side,
        number=shape.reference or None,
        label=shape.label or None,
        issued_on=emitted.date() if emitted else None,
        paid_on=settled.date() if settled else None,
        iban=_shown(peer.counterparty_account_number) if is_iban else None,
        attachments=tuple(shape.attachment_ids or ()),
    )


def _transaction_id(matched: str | _Matched) -> str | None:
    return matched if isinstance(matched, str) else matched.transaction_id or matched.subject_id


def _shown(iban: str | None) -> str | None:
    """An IBAN that is there and whole: to people of little rights Qonto shows `FRXXXX…`, the same for many."""
    if not iban or re.search(r"X{4}|[^A-Za-z0-9 ]", iban):
        return None
    return iban
