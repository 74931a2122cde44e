"""Bills, vendors and entries of an invented workspace, and what the scorer makes of them."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from common.messages import Bill, BillLine, Entry, Policy, Record, Ref, Vendor
from services.scorer.matching.books import Books, Surveyed
from services.scorer.matching.judge import Judge, Verdict
from services.scorer.matching.model import Habits, weights

WS, REALM = "fictional-lock", "9"
MAY = date(2026, 5, 1)
NOON = datetime(2026, 5, 2, 12, tzinfo=UTC)
NAME = "Sluice & Sons SARL"


def key(ident: str) -> str:
    """The record key of a bill."""
    return f"{REALM}-{ident}"


def bill(ident: str = "1", *, day: int = 1, content: str = "h", deleted: bool = False, **fields: Any) -> Record:
    """A bill that is fit to be posted, entered on `day` of May, with `fields` of its own."""
    total = fields.get("total", Decimal("120.00"))
    body = Bill(
        **{
            "vendor": Ref(id="7", name=NAME),
            "total": total,
            "balance": total,
            "currency": "EUR",
            "number": "F-2026-1001",
            "issued_on": MAY,
            "due_on": date(2026, 5, 31),
            "lines": (BillLine(amount=total),),
            **fields,
        }
    )
    return Record(
        workspace=WS,
        realm=REALM,
        id=ident,
        kind="bill",
        content_hash=content,
        pulled_at=NOON,
        created_at=datetime(2026, 5, day, tzinfo=UTC),
        deleted=deleted,
        body=None if deleted else body,
    )


def vendor(ident: str = "7", **fields: Any) -> Record:
    """A supplier that lacks nothing."""
    body = Vendor(**{"name": NAME, "email": "accounts@sluice.example", **fields})
    return Record(workspace=WS, realm=REALM, id=ident, kind="vendor", content_hash="v", pulled_at=NOON, body=body)


def invoice(ident: str = "e1", **fields: Any) -> Entry:
    """The supplier invoice in Qonto that is the bill's own document, with `fields` of its own."""
    return Entry(
        **{
            "workspace": WS,
            "organization": "o",
            "id": ident,
            "kind": "invoice",
            "status": "to_review",
            "updated_at": NOON,
            "counterparty": "SLUICE & SONS",
            "amount": Decimal("120.00"),
            "currency": "EUR",
            "number": "F-2026-1001",
            "issued_on": MAY,
            **fields,
        }
    )


def payment(ident: str = "t1", **fields: Any) -> Entry:
    """A bank transaction that pays the bill, without its number in the text."""
    return invoice(
        ident,
        **{
            "kind": "transaction",
            "status": "completed",
            "side": "debit",
            "number": None,
            "label": "PRLV SEPA SLUICE & SONS",
            "issued_on": date(2026, 5, 20),
            "paid_on": date(2026, 5, 20),
            **fields,
        },
    )


def books(
    records: Iterable[Record],
    entries: Iterable[Entry] = (),
    *,
    policy: Policy | None = None,
    claims: Mapping[str, str] | None = None,
    usual: Habits | None = None,
) -> Books:
    """The books after all of this has arrived, in this order; with habits that so few bills would not show."""
    found = Books(policy=policy or Policy())
    for record in records:
        found.take_record(record)
    for entry in entries:
        found.take_entry(entry)
    for entry_key, bill_key in (claims or {}).items():
        found.take_claim(entry_key, bill_key)
    if usual is not None:
        found.surveyed = Surveyed(
            model=weights().version, bills=len(found.bill_index), entries=len(found.index), habits=usual
        )
    return found


def verdicts(found: Books, *idents: str) -> dict[str, Verdict]:
    """The verdicts on these bills (all of them without `idents`), decided in one batch."""
    keys = [key(ident) for ident in idents] or sorted(found.bills)
    judge = Judge(found)
    judge.prepare(keys)
    return {one.partition("-")[2]: judge.decide(one) for one in keys}


def decided(
    record: Record, *entries: Entry, policy: Policy | None = None, claims: Mapping[str, str] | None = None
) -> Verdict:
    """The verdict on one bill of a known vendor that meets these entries."""
    return verdicts(books([vendor(), record], entries, policy=policy, claims=claims))[record.id]


def outcome(verdict: Verdict) -> tuple[str, str | None, str | None]:
    """What counts of a verdict when two are compared: action, gate, entry."""
    return verdict.action, verdict.gate, verdict.entry.id if verdict.entry else None
