"""Supplier invoices: the object, the list with its filters, and the three status calls."""

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from starlette.requests import Request

from services.sandbox.qonto.wire import (
    Refusal,
    choices,
    flag,
    known_id,
    not_found,
    ordering,
    paged,
    stamp,
    within,
)
from services.sandbox.store import Row
from services.sandbox.world import World

KIND = "supplier_invoice"
PER_PAGE = 25
STATUSES = ("to_review", "to_approve", "to_pay", "awaiting_payment", "pending", "scheduled", "paid", "archived",
            "rejected", "discarded")  # fmt: skip
DEAD = frozenset({"rejected", "archived", "discarded"})
PAYABLE = frozenset({"to_review", "to_approve", "pending", "awaiting_payment", "to_pay", "archived"})
REJECTABLE = frozenset({"to_review", "to_approve", "awaiting_payment"})
SORTS = ("created_at", "updated_at", "file_name", "supplier_name", "payment_date", "due_date", "scheduled_date",
         "total_amount")  # fmt: skip
PERIODS = ("today", "yesterday", "this_week", "past_week", "this_month", "past_month")
QUERY_FIELDS = ("supplier_name", "amount", "file_name", "invoice_number")
DOCUMENT_TYPES = ("duplicates", "non_financial_documents")


def blank(organization: str, ident: str, attachment_id: str, file_name: str, source: str, now: float) -> dict[str, Any]:
    """A supplier invoice as it is right after its upload: nothing read yet."""
    empty: dict[str, Any] = dict.fromkeys(
        ("invoice_number", "supplier_name", "issuer_name", "supplier_id", "vat_number", "tin", "description",
         "total_amount", "total_amount_excluding_taxes", "total_tax_amount", "payable_amount", "issue_date",
         "due_date", "payment_date", "scheduled_date", "iban", "initiator_id", "e_invoice_type", "analyzed_at",
         "request_transfer", "self_invoice_id", "total_amount_credit_notes")
    )  # fmt: skip
    return {
        "id": ident,
        "organization_id": organization,
        "status": "to_review",
        "source_type": "direct_upload",
        "source": source,
        "attachment_id": attachment_id,
        "display_attachment_id": attachment_id,
        "file_name": file_name,
        "created_at": stamp(now),
        "updated_at": stamp(now),
        "declined_note": "",
        "is_einvoice": False,
        "has_discrepancies": False,
        "has_duplicates": False,
        **empty,
        "taxes": [],
        "is_attachment_invoice": None,
        "attachment_category": None,
        "is_attachment_non_financial": None,
        "matched_transactions": [],
        "matched_transactions_ids": [],
        "transfer_ids": [],
        "suggested_transactions": [],
        "einvoicing_lifecycle_events": [],
        "meta": {},
        "approval_workflow": {},
        "is_credit_note": False,
        "has_suggested_credit_notes": False,
        "related_invoices": [],
    }


def new_invoice(
    world: World, organization: str, attachment: Row, *, source: str, meta: dict[str, str], skip_matcher: bool
) -> Row:
    """Stores an upload; its document is to be read after the switched delay."""
    now, ident = world.now(), str(uuid.uuid4())
    body = blank(organization, ident, attachment.id, attachment.body["file_name"], source, now)
    body["meta"] = meta
    inner = {"ocr_due": now + world.switches.ocr_delay, "skip_matcher": skip_matcher}
    row = Row(ident, body, now, now, inner={**inner, "sha256": attachment.inner.get("sha256", "")})
    world.store.put(organization, KIND, row)
    return row


def as_shown(body: dict[str, Any]) -> dict[str, Any]:
    """The object with what may be done to it in the app."""
    status = body["status"]
    reasons: dict[str, list[str]] = {}
    if status not in ("to_review", "to_approve", "to_pay", "awaiting_payment"):
        reasons["pay"] = ["invalid_status"]
    elif body["is_credit_note"]:
        reasons["pay"] = ["is_credit_note"]
    elif not body["iban"]:
        reasons["pay"] = ["missing_iban"]
    elif body["total_amount"] is None:
        reasons["pay"] = ["missing_data"]
    if status in ("paid", "scheduled", "pending"):
        reasons["delete"] = ["invalid_status"]
    if status == "archived":
        reasons["archive"] = ["invalid_status"]
    else:
        reasons["unarchive"] = ["invalid_status"]
    actions = {name: name not in reasons for name in ("delete", "archive", "unarchive", "pay")}
    return {**body, "available_actions": {**actions, "reasons": reasons}}


def find(world: World, organization: str, ident: str) -> Row:
    row = world.store.get(organization, KIND, known_id(ident))
    if row is None:
        raise not_found("id", ident)
    return row


def store(world: World, organization: str, row: Row) -> None:
    """Keeps a change, with its time."""
    row.updated = world.now()
    row.body["updated_at"] = stamp(row.updated)
    world.store.put(organization, KIND, row)


def mark_as_paid(world: World, organization: str, ident: str, given: dict[str, Any]) -> dict[str, Any]:
    row = find(world, organization, ident)
    day = _day(given.get("supplier_invoice", {}).get("payment_date"), "/supplier_invoice/payment_date")
    if day > datetime.fromtimestamp(world.now(), UTC).date() + timedelta(days=1):
        raise Refusal(
            400, "invalid", "payment_date must not be in the future", pointer="/supplier_invoice/payment_date"
        )
    if row.body["status"] != "paid":
        _allow(row, PAYABLE, "paid")
        row.body |= {"status": "paid", "payment_date": day.isoformat()}
        store(world, organization, row)
    return as_shown(row.body)


def unmark_as_paid(world: World, organization: str, ident: str) -> dict[str, Any]:
    row = find(world, organization, ident)
    _allow(row, frozenset({"paid"}), "to_review")
    row.body |= {"status": "to_review", "payment_date": None}
    store(world, organization, row)
    return as_shown(row.body)


def reject(world: World, organization: str, ident: str, given: dict[str, Any]) -> dict[str, Any]:
    row = find(world, organization, ident)
    wanted = given.get("supplier_invoice", {})
    _allow(row, REJECTABLE, "rejected")
    if row.body["is_einvoice"] and not wanted.get("declined_reason_code"):
        raise Refusal(422, "required", "declined_reason_code is required for French e-invoices",
                      pointer="/supplier_invoice/declined_reason_code")  # fmt: skip
    row.body |= {"status": "rejected", "declined_note": str(wanted.get("declined_note", ""))}
    store(world, organization, row)
    return as_shown(row.body)


def _allow(row: Row, statuses: frozenset[str], wanted: str) -> None:
    if row.body["status"] not in statuses:
        raise Refusal(400, "invalid_transition", f"Cannot go from {row.body['status']} to {wanted}")


def _day(value: object, pointer: str) -> date:
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise Refusal(400, "invalid", "A date YYYY-MM-DD is required", pointer=pointer) from None


def listed(world: World, organization: str, request: Request) -> dict[str, Any]:
    """One page of the invoices that pass all filters."""
    tests = list(_filters(world, request))
    rows = [row.body for row in world.store.table(organization, KIND).values() if all(test(row.body) for test in tests)]
    name, descending = ordering(request, SORTS, "created_at:desc")
    rows.sort(key=lambda body: str(body["id"]))
    rows.sort(key=lambda body: _sort_key(body[name]), reverse=descending)
    page, meta = paged(request, rows, PER_PAGE)
    return {"supplier_invoices": [as_shown(body) for body in page], "meta": meta}


def _sort_key(value: Any) -> Any:
    if value is None:
        return (0, "")
    return (1, Decimal(value["value"])) if isinstance(value, dict) else (1, str(value).lower())


Test = Callable[[dict[str, Any]], bool]


def _filters(world: World, request: Request) -> Iterator[Test]:
    today = datetime.fromtimestamp(world.now(), UTC).date()
    if statuses := choices(request, "filter[status]", STATUSES):
        yield lambda body: body["status"] in statuses
    if dues := choices(request, "filter[due_date]", ("past_and_today", "future", "missing_date")):
        yield lambda body: _due(body["due_date"], today) in dues
    if attachments := choices(request, "filter[attachment_id]"):
        yield lambda body: body["attachment_id"] in attachments
    for name in ("created_at", "updated_at"):
        yield _between(world, request, name)
    for name in ("payment_date", "issue_date"):
        if periods := choices(request, f"filter[{name}]", PERIODS):
            yield _in_periods(name, periods, today)
    if earliest := request.query_params.get("filter[issue_date_from]"):
        limit = _day(earliest, "filter[issue_date_from]").isoformat()
        yield lambda body: body["issue_date"] is not None and body["issue_date"] >= limit
    if (lacking := flag(request, "filter[missing_data]")) is not None:
        needed = ("supplier_name", "total_amount", "invoice_number", "issue_date", "due_date", "iban")
        yield lambda body: any(body[name] is None for name in needed) == lacking
    if (matched := flag(request, "filter[matched_transactions]")) is not None:
        yield lambda body: bool(body["matched_transactions"]) == matched
    if flag(request, "filter[exclude_credit_notes]"):
        yield lambda body: not body["is_credit_note"]
    if types := choices(request, "filter[document_type]", DOCUMENT_TYPES):
        yield (
            lambda body: (
                ("duplicates" in types and body["has_duplicates"])
                or ("non_financial_documents" in types and bool(body["is_attachment_non_financial"]))
            )
        )
    if approvers := choices(request, "filter[approver_id]"):
        yield lambda body: bool(set(body["approval_workflow"].get("approver_ids", [])) & set(approvers))
    if bound := request.query_params.get("filter[payable_amount]"):
        yield _payable(bound)
    yield from _searched(request)


def _between(world: World, request: Request, name: str) -> Test:
    return lambda body: within(world, request, f"filter[{name}]", body[name])


def _due(value: str | None, today: date) -> str:
    if value is None:
        return "missing_date"
    return "future" if date.fromisoformat(value) > today else "past_and_today"


def _in_periods(name: str, periods: list[str], today: date) -> Test:
    spans = [_span(period, today) for period in periods]

    def fits(body: dict[str, Any]) -> bool:
        value = body[name]
        return value is not None and any(first <= date.fromisoformat(value) <= last for first, last in spans)

    return fits


def _span(period: str, today: date) -> tuple[date, date]:
    day, monday, first = timedelta(days=1), today - timedelta(days=today.weekday()), today.replace(day=1)
    match period:
        case "today":
            return today, today
        case "yesterday":
            return today - day, today - day
        case "this_week":
            return monday, monday + 6 * day
        case "past_week":
            return monday - 7 * day, monday - day
        case "this_month":
            return first, (first + 31 * day).replace(day=1) - day
        case _:
            return (first - day).replace(day=1), first - day


def _payable(bound: str) -> Test:
    """`lte:100.00:EUR` or `gte:…`."""
    try:
        operator, text, currency = bound.split(":")
        limit = Decimal(text)
    except (ValueError, InvalidOperation):
        operator, limit, currency = "", Decimal(0), ""
    if operator not in ("lte", "gte"):
        raise Refusal(400, "invalid", f"{bound} is not lte:amount:currency", parameter="filter[payable_amount]")

    def fits(body: dict[str, Any]) -> bool:
        payable = body["payable_amount"]
        if payable is None or payable["currency"] != currency:
            return False
        value = Decimal(payable["value"])
        return value <= limit if operator == "lte" else value >= limit

    return fits


def _searched(request: Request) -> Iterator[Test]:
    """Substring search, case folded; both parameters must be sent."""
    text = request.query_params.get("query")
    fields = [
        field for value in choices(request, "query_fields") for field in value.replace(" ", ",").split(",") if field
    ]
    if text is None and not fields:
        return
    if not text or not fields:
        raise Refusal(400, "required", "query and query_fields must be sent together", parameter="query_fields")
    for field in fields:
        if field not in QUERY_FIELDS:
            raise Refusal(400, "not_in_list", f"{field} is not a query field", parameter="query_fields")
    wanted = text.casefold()

    def shown(body: dict[str, Any], field: str) -> str:
        value = (body["total_amount"] or {}).get("value") if field == "amount" else body[field]
        return str(value or "").casefold()

    yield lambda body: any(wanted in shown(body, field) for field in fields)
