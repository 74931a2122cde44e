"""`POST /v2/supplier_invoices/bulk`: the one way a supplier invoice is made."""

import re
from typing import Any

import msgspec
from starlette.datastructures import UploadFile
from starlette.requests import Request

from services.sandbox.qonto import attachments, invoices
from services.sandbox.qonto.wire import Refusal
from services.sandbox.store import Memo, Row
from services.sandbox.world import World

LARGEST_FILE = 10 * 1024 * 1024  # bytes
LARGEST_REQUEST = 15 * 1024 * 1024  # bytes
MOST_ITEMS = 20
KEY_LIFETIME = 1800.0  # seconds an idempotency key is remembered
SOURCES = ("pay_by_invoice", "supplier_invoices", "integration", "transaction_attachment", "generic_upload")
META_KEYS = frozenset({"integration_type", "connector"})
PAIR = re.compile(r"supplier_invoices\[(\d*)\]\[(\w+)\]")

Part = tuple[str, Any]


def gathered(parts: list[Part], *, indexed: bool) -> list[dict[str, Any]]:
    """The items of a request, by Rack's rule for `name[][key]`.

    A part goes into the last item; a new item begins when the last already has that key. So
    `file, key, file, key` makes two items and `file, file, key, key` makes three broken ones.
    """
    items: list[dict[str, Any]] = []
    numbered: dict[str, dict[str, Any]] = {}
    for name, value in parts:
        match = PAIR.fullmatch(name)
        if match is None:
            continue
        number, key = match.groups()
        if number:
            if indexed:
                numbered.setdefault(number, {})[key] = value
            continue
        if not items or key in items[-1]:
            items.append({})
        items[-1][key] = value
    return items + [numbered[number] for number in sorted(numbered, key=int)]


async def received(request: Request) -> list[Part]:
    """The parts of the form in order, files read into memory as (name, content type, bytes)."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise Refusal(400, "invalid", "multipart/form-data is expected", pointer="/supplier_invoices")
    if int(request.headers.get("content-length", "0")) > LARGEST_REQUEST:
        raise Refusal(413, "invalid", "The request is larger than 15 MB", pointer="/supplier_invoices")
    parts: list[Part] = []
    async with request.form(max_part_size=LARGEST_REQUEST) as form:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                kind = (value.content_type or "").partition(";")[0]
                parts.append((name, (value.filename or "", kind, await value.read())))
            else:
                parts.append((name, value))
    return parts


def create(world: World, organization: str, parts: list[Part]) -> dict[str, Any]:
    """Stores what can be stored; the rest is told in `errors`, and the status stays 200."""
    items = gathered(parts, indexed=world.switches.indexed_names == "accept")
    single = {name: value for name, value in parts if isinstance(value, str)}
    source = single.get("source", "generic_upload")
    if source not in SOURCES:
        raise Refusal(400, "not_in_list", f"source must be one of {', '.join(SOURCES)}", pointer="/source")
    meta = _meta(single.get("meta"))
    skip = single.get("skip_attachment_matcher", "false")
    if skip not in ("true", "false"):
        raise Refusal(400, "invalid", "skip_attachment_matcher must be a boolean", pointer="/skip_attachment_matcher")
    if not items:
        raise Refusal(400, "required", "supplier_invoices is missing", pointer="/supplier_invoices")
    errors: list[dict[str, Any]] = []
    if len(items) > MOST_ITEMS:
        over = Refusal(400, "limit_reached", f"At most {MOST_ITEMS} invoices per request", pointer="/supplier_invoices")
        if world.switches.over_twenty == "400":
            raise over
        return {"supplier_invoices": [], "errors": [over.body()]}
    made = []
    for item in items:
        try:
            row = _one(world, organization, item, source, meta, skip == "true")
        except Refusal as refusal:
            errors.append(refusal.body())
        else:
            made += [invoices.as_shown(row.body)] if row is not None else []
    return {"supplier_invoices": made, "errors": errors}


def _meta(text: str | None) -> dict[str, str]:
    if text is None:
        return {}
    try:
        meta = msgspec.json.decode(text, type=dict[str, str])
    except (msgspec.DecodeError, msgspec.ValidationError):
        raise Refusal(400, "invalid", "meta must be a JSON object of strings", pointer="/meta") from None
    if not meta or not set(meta) <= META_KEYS:
        raise Refusal(400, "invalid", "meta takes integration_type and connector", pointer="/meta")
    return meta


def _one(
    world: World, organization: str, item: dict[str, Any], source: str, meta: dict[str, str], skip: bool
) -> Row | None:
    """One item: its invoice, the first one again on a replay, or nothing when replays are dropped."""
    key = item.get("idempotency_key")
    if not key or not isinstance(key, str):
        raise Refusal(400, "required", "idempotency_key is missing", pointer="/supplier_invoices/idempotency_key")
    pointer = f"/supplier_invoices/idempotency_key/{key}"
    if world.switches.pointer == "key_file":
        pointer += "/file"
    scope, now, mode = f"bulk {organization}", world.now(), world.switches.replay
    kept = world.store.memo(scope, key)
    if kept is not None and (mode == "d" or now - kept.at < KEY_LIFETIME):
        if mode == "b":
            return None
        if mode == "c":
            raise Refusal(400, "invalid", "idempotency_key was already used", pointer=pointer)
        first = world.store.get(organization, invoices.KIND, kept.body.decode())
        if first is not None:
            return first
    attachment = _attachment(world, organization, item, pointer)
    row = invoices.new_invoice(world, organization, attachment, source=source, meta=meta, skip_matcher=skip)
    world.store.put_memo(scope, key, Memo(200, row.id.encode(), now))
    return row


def _attachment(world: World, organization: str, item: dict[str, Any], pointer: str) -> Row:
    file, attachment_id = item.get("file"), item.get("attachment_id")
    if (file is None) == (attachment_id is None):
        raise Refusal(400, "invalid", "Exactly one of file and attachment_id is needed", pointer=pointer)
    if attachment_id is not None:
        found = world.store.get(organization, "attachment", str(attachment_id).lower())
        if found is None:
            raise Refusal(400, "invalid", "attachment_id is unknown", pointer=pointer)
        return found
    if not isinstance(file, tuple):
        raise Refusal(400, "invalid", "File is too large or wrong content type", pointer=pointer)
    name, content_type, content = file
    if content_type not in attachments.TYPES or not content or len(content) > LARGEST_FILE:
        raise Refusal(400, "invalid", "File is too large or wrong content type", pointer=pointer)
    return attachments.new_attachment(world, organization, name, content_type, content)
