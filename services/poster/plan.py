"""What a decision means for Qonto: the smallest true effect, from what is known and nothing else.

Qonto has no call that edits an invoice, so a change is nothing, a payment mark, or a new document that takes
the place of the old one. What Weir did not make is never rejected.
"""

from datetime import date
from typing import Literal

import msgspec

from common.messages import Action, Bill, BillPayment, Decision, Entry, EntryKind, Record, ReviewRequested
from services.poster.ledger import Page

PAYABLE = frozenset({"to_review", "to_approve", "pending", "awaiting_payment", "to_pay", "archived", "paid"})
REJECTABLE = frozenset({"to_review", "to_approve", "awaiting_payment"})
"""Statuses from which Qonto takes mark_as_paid and reject (supplier invoices, status calls)."""

UNDONE = "undone"
"""The gate of a bill whose link or creation a person took back."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for one bill, by the scorer (`decision`) or by a person (`by`, answering `review`).

    `id` is what the outcome is reported for: the decision's id, or the review's.
    """

    id: str
    workspace: str
    realm: str
    bill: str
    action: Action
    record_seq: int
    record_hash: str
    source: Decision | ReviewRequested
    entry: str | None = None
    entry_kind: EntryKind | None = None
    by: str | None = None

    @property
    def key(self) -> str:
        """The record key of the bill."""
        return f"{self.realm}-{self.bill}"

    @property
    def withdrawal(self) -> str:
        """The note of an entry that is taken back."""
        return f"Taken back by {self.by}" if self.by is not None else "Deleted in QuickBooks"

    @classmethod
    def of(cls, decision: Decision) -> "Order":
        """The order a decision gives."""
        return cls(
            id=decision.id,
            workspace=decision.workspace,
            realm=decision.realm,
            bill=decision.bill,
            action=decision.action,
            record_seq=decision.record_seq,
            record_hash=decision.record_hash,
            source=decision,
            entry=decision.entry,
            entry_kind=decision.entry_kind,
        )


class Stale(msgspec.Struct, frozen=True):
    """A newer version of the bill was acted on, or is on its way."""

    why: str


class Nothing(msgspec.Struct, frozen=True):
    """What stands in Qonto is right; only the payment mark may have to follow. Silent: nothing to report."""

    why: str | None = None
    silent: bool = False


class Finish(msgspec.Struct, frozen=True):
    """A request may have left for Qonto: find out what became of it first, then plan again."""


class Create(msgspec.Struct, frozen=True):
    """Upload the document as `revision`; a foreign entry the bill was linked to is let go."""

    revision: int


class Supersede(msgspec.Struct, frozen=True):
    """Upload the document as `revision`, then reject the entry that stood."""

    revision: int


class LinkTo(msgspec.Struct, frozen=True):
    """Let `entry` stand for the bill, and take back what stood for it before."""

    entry: str
    kind: EntryKind


class Withdraw(msgspec.Struct, frozen=True):
    """Reject Weir's entry, or let go of the foreign one."""


class Ask(msgspec.Struct, frozen=True):
    """A person has to decide."""

    gate: str
    why: str


Effect = Stale | Nothing | Finish | Create | Supersede | LinkTo | Withdraw | Ask


def plan(page: Page | None, order: Order, record: Record, document: str | None, standing: Entry | None) -> Effect:
    """The effect of `order` on a bill whose ledger page is `page`.

    `document` is the hash of what the bill's document shows now (None for a deleted bill), `standing` the
    entry the page names as the mirror knows it (None: not seen yet).
    """
    if page is not None and order.record_seq < page.record_seq:
        return Stale("a newer version of the bill was already acted on")
    if page is not None and page.review == order.id and _answered_otherwise(page, order):
        return Stale("another answer to the same review was carried out")
    if record.content_hash != order.record_hash:
        return Stale("the bill changed since; the decision on its newer version follows")
    # A person, who can look into Qonto, may go past what nobody can know.
    doubtful = page is not None and (page.open or (page.state == "uncertain" and order.by is None))
    if doubtful and page is not None and page.sent_at is not None:
        return Finish()
    if order.action == "withdraw" or record.deleted:
        nothing = page is None or (page.state == "withdrawn" and page.decision != order.id)
        return Nothing("nothing stands in Qonto") if nothing else Withdraw()
    if page is not None and page.state == "uncertain" and page.made and order.action == "create":
        return Supersede(page.revision + 1)
    if page is not None and _held(page, order, document):
        return Ask(UNDONE, page.why or "what stood for the bill was undone")
    if page is None or page.state in {"claimed", "failed", "withdrawn", "uncertain"}:
        return _anew(page, order, document)
    return _settled(page, order, document, standing)


def _answered_otherwise(page: Page, order: Order) -> bool:
    """Whether the review that `order` answers was answered before, by something else that was carried out."""
    if page.settled:
        match order.action:
            case "link":
                return order.entry != page.entry
            case "create":
                return page.action == "link"
            case _:
                return True
    return page.outcome == "withdrawn" and order.action != "withdraw"


def _held(page: Page, order: Order, document: str | None) -> bool:
    """Whether a person took this very document back, or is about to, and none has answered since."""
    undone = page.undone is not None and page.undone == document and (page.state == "withdrawn" or page.settled)
    return undone and order.by is None and order.action in {"create", "link"}


def _anew(page: Page | None, order: Order, document: str | None) -> Effect:
    taken_back = page is not None and page.state == "withdrawn" and page.review is not None
    if taken_back and page is not None and page.document == document and order.by is None:
        return Nothing("a person took its entry back; the bill has not changed since")
    match order.action:
        case "create":
            return Create(next_revision(page, document))
        case "link":
            return _link(order)
        case _:
            return Nothing(silent=True)


def _settled(page: Page, order: Order, document: str | None, standing: Entry | None) -> Effect:
    unchanged = page.document == document
    alive = standing is None or standing.live
    if order.action == "link" and order.entry != page.entry:
        if order.by is None:
            return Ask("already posted", f"the bill already stands in Qonto as {page.entry}")
        return _link(order)
    if order.action in {"review", "refuse"}:
        return Nothing("the bill already stands in Qonto") if unchanged and alive else Nothing(silent=True)
    if not alive and page.made:
        if unchanged and order.by is None:
            return Nothing("its entry was turned down in Qonto; the bill has not changed since")
        return Create(page.revision + 1)
    if page.made:
        return Nothing("what the document shows has not changed") if unchanged else Supersede(page.revision + 1)
    if order.action == "create" and (order.by is not None or not alive or not unchanged):
        if order.by is None:
            return Ask("already linked", f"the bill is linked to {page.entry}, which no longer fits it")
        return Create(page.revision + 1)
    return Nothing("the linked entry is not Weir's to change")


def _link(order: Order) -> Effect:
    if order.entry is None or order.entry_kind is None:
        return Ask("no entry", "the decision names no entry to link to")
    return LinkTo(order.entry, order.entry_kind)


def next_revision(page: Page | None, document: str | None) -> int:
    """The revision an upload gets: a new one for every document, the same for a repeated attempt."""
    if page is None or page.revision == 0:
        return 1
    return page.revision if page.state in {"claimed", "failed"} and page.drafted == document else page.revision + 1


def payment(page: Page, bill: Bill, entry: Entry) -> Literal["pay", "unpay"] | None:
    """What the payment mark needs so that it says what the bill says.

    A mark Weir did not make is left alone, and so is one that Qonto backs with a transaction.
    """
    if entry.kind != "invoice" or not entry.live:
        return None
    if bill.paid and entry.status != "paid":
        return "pay"
    if not bill.paid and entry.status == "paid" and page.paid and not entry.matched:
        return "unpay"
    return None


def paid_on(bill_record: Record, payments: list[Record], today: date) -> date:
    """The day the bill was paid: its last payment, else its last change; never in the future."""
    days = [
        record.body.paid_on
        for record in payments
        if isinstance(record.body, BillPayment) and record.body.paid_on is not None and not record.deleted
    ]
    changed = bill_record.updated_at or bill_record.pulled_at
    return min(max(days, default=changed.date()), today)
