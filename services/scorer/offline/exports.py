"""Raw exports of both products, as lines of JSON: what can be used of them, and what is wrong with the rest."""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from common import qonto, quickbooks
from common.messages import Bill, Entry, Record, now
from common.quickbooks import shapes
from common.wire import WireError, maybe_utc, read
from services.scorer.offline import ranges
from services.scorer.offline.lines import Problems, lines

T = TypeVar("T")

REALM = "0"
"""Stands for the company: exports do not name theirs."""
_WORKSPACE = "offline"

_LONGEST_ID = 100

_ENVELOPES = ("BatchItemResponse", "CDCResponse", "QueryResponse")
"""What holds objects of any kind in QuickBooks' answers."""
_INVOICES = ("supplier_invoices", "supplier_invoice")
_TRANSACTIONS = ("transactions", "transaction")
_OF_A_TRANSACTION = frozenset(
    "side amount amount_cents local_amount operation_type transaction_id settled_at emitted_at".split()
)
_NO_JSON = re.compile(rb'"(\w{1,40})"\s*:\s*-?(NaN|Infinity)')

_NEEDED: Mapping[str, str] = {"VendorRef": "who sent it", "TotalAmt": "what it comes to"}
"""Fields a bill cannot be scored without."""
_UNREADABLE = (WireError, ValueError, ArithmeticError, RecursionError)


class Lacking(NamedTuple):
    """A bill that cannot be scored as it stands: which fields are missing."""

    id: str
    updated_at: datetime | None
    fields: tuple[str, ...]

    @property
    def why(self) -> str:
        """What is missing and how to mend it."""
        missing = " and ".join(f"{field} ({_NEEDED[field]})" for field in self.fields)
        return f"it lacks {missing}; QuickBooks has this of every bill, so export whole Bill objects"


class _Found(NamedTuple):
    """One object of a line: where in the line, under which name, as it stands there."""

    where: str
    name: str
    raw: bytes


def bills(path: Path, problems: Problems, home_currency: str | None = None) -> Iterator[Record | Lacking]:
    """The bills of an export in order, every version of each; what cannot be read is added to `problems`."""

    def bill(found: _Found) -> Record | Lacking:
        raw, fields = _present(found.raw)
        head = read(raw, shapes.Object, "Bill")
        missing = tuple(field for field in _NEEDED if not _has(fields, field))
        if missing and head.status != "Deleted":
            return Lacking(_checked_id(head.id, "Id"), maybe_utc(head.meta_data.last_updated_time), missing)
        return _record("Bill", raw, home_currency)

    return _read(path, (*_ENVELOPES, "Bill"), bill, problems)


def vendors(path: Path, problems: Problems) -> Iterator[Record]:
    """The vendors of an export."""
    return _read(path, (*_ENVELOPES, "Vendor"), lambda found: _record("Vendor", _present(found.raw)[0], None), problems)


def entries(path: Path, problems: Problems) -> Iterator[Entry]:
    """The supplier invoices and transactions of an export, told apart by what they hold."""
    return _read(path, (*_INVOICES, *_TRANSACTIONS), _entry, problems)


def _read(path: Path, wrappers: tuple[str, ...], read_one: Callable[[_Found], T], problems: Problems) -> Iterator[T]:
    """Every object of every line; one that cannot be read costs that object only."""
    for line in lines(path, problems):
        try:
            found = list(_objects(line.text, wrappers))
        except _UNREADABLE as error:
            problems.add(line.place, _said(line.text, error))
            continue
        for one in found:
            try:
                yield read_one(one)
            except _UNREADABLE as error:
                problems.add(line.place + (f", {one.where}" if one.where else ""), _said(one.raw, error))


def _objects(raw: bytes, wrappers: tuple[str, ...], where: str = "", name: str = "") -> Iterator[_Found]:
    """The objects themselves, whether one stands alone or several in the answer of an API."""
    start = raw.lstrip()[:1]
    if start == b"[":
        for position, inner in enumerate(msgspec.json.decode(raw, type=list[msgspec.Raw])):
            yield from _objects(bytes(inner), wrappers, f"{where}[{position}]", name)
        return
    fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw]) if start == b"{" else {}
    inside = [wrapper for wrapper in wrappers if wrapper in fields]
    if not inside or fields.keys() & {"Id", "id"}:
        # Other kinds of objects, and figures about a page, come in the same envelopes.
        if name not in _ENVELOPES or start != b"{":
            yield _Found(where, name, raw)
        return
    for wrapper in inside:
        yield from _objects(bytes(fields[wrapper]), wrappers, f"{where}.{wrapper}".lstrip("."), wrapper)


def _present(raw: bytes) -> tuple[bytes, dict[str, msgspec.Raw]]:
    """An object without the fields that are null: QuickBooks leaves such fields out, other programs do not."""
    fields = _fields(raw)
    if not any(value == b"null" for value in map(bytes, fields.values())):
        return raw, fields
    fields = {name: value for name, value in fields.items() if bytes(value) != b"null"}
    return msgspec.json.encode(fields), fields


def _fields(raw: bytes) -> dict[str, msgspec.Raw]:
    try:
        return msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except msgspec.MsgspecError as error:
        raise WireError(f"not a JSON object ({error})") from None


def _has(fields: Mapping[str, msgspec.Raw], field: str) -> bool:
    """Whether a field is there; an empty one, or a reference to nothing, is not."""
    value = bytes(fields.get(field, b"null"))
    if value.startswith(b"{"):
        return _has(msgspec.json.decode(value, type=dict[str, msgspec.Raw]), "value")
    return value not in {b"null", b'""'}


def _record(entity: str, raw: bytes, home_currency: str | None) -> Record:
    found = quickbooks.normalize(entity, raw, home_currency=home_currency)
    _checked_id(found.id, "Id")
    if isinstance(found.body, Bill):
        _check_bill(raw, found.body)
    return Record(
        workspace=_WORKSPACE,
        realm=REALM,
        id=found.id,
        kind="bill" if entity == "Bill" else "vendor",
        content_hash="",  # tells versions apart on a stream; here the newest is taken by its time
        pulled_at=now(),
        updated_at=found.updated_at,
        created_at=found.created_at,
        deleted=found.deleted,
        body=found.body,
    )


def _entry(found: _Found) -> Entry:
    fields = _fields(found.raw)
    if found.name in _TRANSACTIONS or (found.name not in _INVOICES and fields.keys() & _OF_A_TRANSACTION):
        entry = qonto.transaction(found.raw, _WORKSPACE, "offline")
    else:
        entry = qonto.invoice(found.raw, _WORKSPACE)
    _checked_id(entry.id, "id")
    amounts = (entry.amount, entry.net_amount, entry.tax_amount, entry.local_amount)
    ranges.check(found.raw, amounts, (entry.issued_on, entry.due_on, entry.paid_on))
    if entry.origin is None:
        return entry
    # The bill Weir made it for is one of these, whichever company they are of.
    return msgspec.structs.replace(entry, origin=f"{REALM}-{entry.origin.partition('-')[2]}")


def _checked_id(ident: str, field: str) -> str:
    if not 0 < len(ident) <= _LONGEST_ID or not ident.isascii() or not ident.isprintable():
        raise WireError(f"{field}: {ident!r:.40} is no id; allowed are 1 to {_LONGEST_ID} letters, digits and signs")
    return ident


def _check_bill(raw: bytes, bill: Bill) -> None:
    amounts = [bill.total, bill.balance, bill.exchange_rate, bill.tax]
    for line in bill.lines:
        amounts += (line.amount, line.gross, line.quantity, line.unit_price)
    for tax in bill.tax_lines:
        amounts += (tax.amount, tax.net, tax.percent)
    ranges.check(raw, amounts, (bill.issued_on, bill.due_on))


def _said(raw: bytes, error: Exception) -> str:
    """What is wrong and what to do, in one line."""
    match error:
        case ArithmeticError():
            why = ranges.culprit(raw)
        case WireError() if (named := ranges.fault(raw)) is not None:
            why = named
        case UnicodeError():
            why = "not UTF-8; export it as UTF-8"
        case RecursionError():
            why = "nested too deeply to be such an object"
        case msgspec.MsgspecError() if (found := _NO_JSON.search(raw)) is not None:
            why = f"{found[1].decode()}: JSON has no {found[2].decode()}; leave the field out"
        case msgspec.MsgspecError():
            why = f"not JSON ({error})"
        case _:
            why = str(error)
    return f"{why}; correct or remove it"
