"""`weir score`: decide on files, without broker or accounts."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from cyclopts import Parameter

from common import qonto, quickbooks
from common.errors import UserError
from common.messages import Entry, Policy, Record, now
from common.wire import WireError
from services.scorer.books import Books
from services.scorer.judge import Judge, Verdict

T = TypeVar("T")

_REALM = "0"
_WORKSPACE = "offline"
_ENTRY_WRAPPERS = ("supplier_invoice", "transaction")


class Line(msgspec.Struct):
    """One line of output."""

    bill: str
    decision: str
    score: float
    candidates: list[dict[str, object]]
    why: str
    entry: str | None = None
    gate: str | None = None
    readiness: float | None = None


def score(
    *,
    bills: Annotated[Path, Parameter(help="Raw QuickBooks Bill objects, one per line.")],
    entries: Annotated[Path, Parameter(help="Raw Qonto supplier invoices and transactions, one per line.")],
    vendors: Annotated[Path | None, Parameter(help="Raw QuickBooks Vendor objects, one per line.")] = None,
    policy: Annotated[Path | None, Parameter(help="A JSON object of thresholds and limits.")] = None,
    home_currency: Annotated[str | None, Parameter(help="Currency of the books, for converting amounts.")] = None,
) -> None:
    """Write one decision per bill as JSON lines, in the order of the bills.

    Nothing is written unless every input line could be read.
    """
    books = Books(
        policy=_policy(policy) if policy else Policy(), home_currency=home_currency, vendors_known=vendors is not None
    )
    for record in _records(vendors, "Vendor", home_currency) if vendors else ():
        books.take_record(record)
    order = []
    for record in _records(bills, "Bill", home_currency):
        books.take_record(record)
        order.append(record.key)
    for entry in _lines(entries, _entry):
        books.take_entry(entry)
    judge = Judge(books)
    judge.prepare(order)
    decided = [_line(books, key, judge.decide(key)) for key in order]
    for line in decided:
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")


def _line(books: Books, key: str, verdict: Verdict) -> Line:
    return Line(
        bill=books.bills[key].id,
        decision=verdict.action,
        score=round(verdict.score, 4),
        candidates=[
            {
                "entry": candidate.entry,
                "score": candidate.score,
                "fields": {field: compared.score for field, compared in candidate.fields.items()},
            }
            for candidate in verdict.candidates
        ],
        why=verdict.why,
        entry=verdict.entry.id if verdict.entry else None,
        gate=verdict.gate,
        readiness=verdict.readiness.score if verdict.readiness else None,
    )


def _policy(path: Path) -> Policy:
    try:
        unknown = msgspec.json.decode(_text(path), type=dict[str, msgspec.Raw]).keys() - set(Policy.__struct_fields__)
        if unknown:
            allowed = ", ".join(sorted(Policy.__struct_fields__))
            raise UserError(f"--policy {path}: {', '.join(sorted(unknown))} is unknown; allowed are {allowed}")
        return msgspec.json.decode(_text(path), type=Policy)
    except msgspec.MsgspecError as error:
        raise UserError(f'--policy {path}: {error}; write a JSON object like {{"auto": 0.9}}') from None


def _records(path: Path, entity: str, home_currency: str | None) -> Iterator[Record]:
    def read(raw: bytes) -> Record:
        found = quickbooks.normalize(entity, _unwrapped(raw, (entity,)), home_currency=home_currency)
        return Record(
            workspace=_WORKSPACE,
            realm=_REALM,
            id=found.id,
            kind="bill" if entity == "Bill" else "vendor",
            content_hash=quickbooks.content_hash(found.body, deleted=found.deleted),
            pulled_at=now(),
            updated_at=found.updated_at,
            created_at=found.created_at,
            deleted=found.deleted,
            body=found.body,
        )

    return _lines(path, read)


def _entry(raw: bytes) -> Entry:
    inner = _unwrapped(raw, _ENTRY_WRAPPERS)
    if _object(inner).keys() & {"side", "amount_cents", "transaction_id"}:
        return qonto.transaction(inner, _WORKSPACE, "offline")
    return qonto.invoice(inner, _WORKSPACE)


def _unwrapped(raw: bytes, wrappers: tuple[str, ...]) -> bytes:
    """The object itself, whether it stands alone or under the key an API answer puts it."""
    outer = _object(raw)
    return next((bytes(outer[name]) for name in wrappers if name in outer and len(outer) <= 2), raw)


def _object(raw: bytes) -> dict[str, msgspec.Raw]:
    try:
        return msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except msgspec.MsgspecError as error:
        raise WireError(f"not a JSON object ({error})") from None


def _lines(path: Path, read: Callable[[bytes], T]) -> Iterator[T]:
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if line.strip():
            try:
                yield read(line)
            except WireError as error:
                raise UserError(f"{path}, line {number}: {error}; correct the field or remove the line") from None


def _text(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); name an existing file") from None
