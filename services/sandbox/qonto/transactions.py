"""Bank transactions: read only, but for their files, which show up a moment after they were sent."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import uuid4

from starlette.requests import Request

from services.sandbox.qonto import attachments
from services.sandbox.qonto.wire import (
    Refusal,
    choice,
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

KIND = "transaction"
PER_PAGE = 100
INCLUDES = ("vat_details", "labels", "attachments")
STATUSES = ("pending", "declined", "completed", "reversed")
SORTS = ("updated_at", "settled_at", "emitted_at")


def find(world: World, organization: str, ident: str) -> Row:
    row = world.store.get(organization, KIND, known_id(ident))
    if row is None:
        raise not_found("id", ident)
    return row


def listed(world: World, organization: str, request: Request, base_url: str) -> dict[str, Any]:
    params = request.query_params
    account = world.store.need(organization, "organization", organization)
    wanted, iban = params.get("bank_account_id"), params.get("iban")
    if not wanted and not iban:
        raise Refusal(422, "required", "bank_account_id or iban is required", pointer="/bank_account_id")
    accounts = {
        one["id"]
        for one in account.body["bank_accounts"]
        if one["id"] == wanted or (not wanted and one["iban"] == iban)
    }
    statuses = choices(request, "status", STATUSES) or ["completed"]
    side, kinds = choice(request, "side", ("credit", "debit")), choices(request, "operation_type")
    with_files = flag(request, "with_attachments")
    rows = []
    for row in world.store.table(organization, KIND).values():
        body = row.body
        if (
            body["bank_account_id"] in accounts
            and body["status"] in statuses
            and side in (None, body["side"])
            and (not kinds or body["operation_type"] in kinds)
            and (with_files is None or bool(_files(world, organization, row)) == with_files)
            and all(
                within(world, request, name, body[name])
                for name in ("updated_at", "emitted_at", "settled_at", "created_at")
            )
        ):
            rows.append(row)
    name, descending = ordering(request, SORTS, "settled_at:desc")
    rows.sort(key=lambda row: row.id)
    rows.sort(key=lambda row: row.body[name] or "", reverse=descending)
    page, meta = paged(request, rows, PER_PAGE)
    includes = choices(request, "includes", INCLUDES)
    return {
        "transactions": [as_shown(world, organization, row, includes, base_url) for row in page],
        "meta": meta,
    }


def _files(world: World, organization: str, row: Row) -> list[Row]:
    """The attachments that are already visible."""
    found = (world.store.get(organization, "attachment", ident) for ident in row.body["attachment_ids"])
    return [one for one in found if one is not None and one.inner.get("visible_at", 0.0) <= world.now()]


def as_shown(world: World, organization: str, row: Row, includes: list[str], base_url: str) -> dict[str, Any]:
    files = _files(world, organization, row)
    body = {**row.body, "attachment_ids": [file.id for file in files]}
    if "attachments" in includes:
        body["attachments"] = [attachments.as_shown(world, organization, file, base_url) for file in files]
    if "labels" in includes:
        body["labels"] = []
    if "vat_details" in includes:
        body["vat_details"] = {"items": list(_vat(row.body))}
    return body


def _vat(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if body["vat_amount_cents"]:
        net = body["amount_cents"] - body["vat_amount_cents"]
        yield {
            "amount": f"{body['vat_amount']}",
            "amount_cents": body["vat_amount_cents"],
            "amount_excluding_vat": f"{net / 100:.2f}",
            "amount_excluding_vat_cents": net,
            "rate": f"{body['vat_rate']}",
        }


def attach(world: World, organization: str, ident: str, name: str, content_type: str, content: bytes) -> None:
    """Accepts a file; it becomes visible after the switched delay."""
    row = find(world, organization, ident)
    visible_at = world.now() + world.switches.transaction_attachment_delay
    file = attachments.new_attachment(world, organization, name, content_type, content, visible_at)
    row.body["attachment_ids"] = [*row.body["attachment_ids"], file.id]
    _store(world, organization, row)


def attached(world: World, organization: str, ident: str, request: Request, base_url: str) -> dict[str, Any]:
    page, meta = paged(request, _files(world, organization, find(world, organization, ident)), PER_PAGE)
    return {
        "attachments": [attachments.as_shown(world, organization, file, base_url) for file in page],
        "meta": meta,
    }


def detach(world: World, organization: str, ident: str, attachment_id: str | None) -> None:
    """Takes one file off, or all."""
    row = find(world, organization, ident)
    ids = row.body["attachment_ids"]
    if attachment_id is not None and attachment_id not in ids:
        raise not_found("attachment_id", attachment_id)
    row.body["attachment_ids"] = [] if attachment_id is None else [one for one in ids if one != attachment_id]
    _store(world, organization, row)


def payment(world: World, account: dict[str, Any], cents: int) -> Row:
    """A card payment that settles now; moves the balance of `account`."""
    now, ident = world.now(), str(uuid4())
    balance = account["balance_cents"] - cents
    money = {name: Decimal(balance) / 100 for name in ("balance", "authorized_balance")}
    account |= {**money, "balance_cents": balance, "authorized_balance_cents": balance, "updated_at": stamp(now)}
    amount = Decimal(cents) / 100
    body = {
        "id": ident, "transaction_id": f"{account['slug']}-transaction-{ident[:8]}",
        "amount": amount, "amount_cents": cents, "settled_balance": money["balance"], "settled_balance_cents": balance,
        "attachment_ids": [], "logo": {"small": "", "medium": ""}, "local_amount": amount, "local_amount_cents": cents,
        "side": "debit", "operation_type": "card", "currency": account["currency"],
        "local_currency": account["currency"], "label": "CARTE IMAGINAIRE", "clean_counterparty_name": "Imaginaire",
        "settled_at": stamp(now), "emitted_at": stamp(now), "created_at": stamp(now), "updated_at": stamp(now),
        "status": "completed", "note": None, "reference": None, "vat_amount": None, "vat_amount_cents": None,
        "vat_rate": None, "initiator_id": None, "label_ids": [], "attachment_lost": False, "attachment_required": True,
        "card_last_digits": "0000", "category": "other_expense", "cashflow_category": None,
        "cashflow_subcategory": None, "subject_type": "Card", "bank_account_id": account["id"],
        "is_external_transaction": False,
    }  # fmt: skip
    return Row(ident, body, now, now)


def _store(world: World, organization: str, row: Row) -> None:
    row.updated = world.now()
    row.body["updated_at"] = stamp(row.updated)
    world.store.put(organization, KIND, row)
