"""What Qonto holds, and which bill each entry serves."""

from datetime import date, datetime
from decimal import Decimal
from typing import Literal

from common.messages.base import EntryKind, Message, Part


class Entry(Message, frozen=True, kw_only=True, tag="entry.1"):
    """A Qonto supplier invoice or bank transaction as Weir last saw it.

    `amount` is positive in `currency`; `local_amount` is what the counterparty asked for when it differs.
    `origin` is the record key of the bill Weir made the entry for, read from the file name, `revision` its
    revision. `category` is what Qonto takes an invoice's document for. `matched` holds, for an invoice, the
    transactions Qonto matched it with.
    """

    workspace: str
    organization: str
    id: str
    kind: EntryKind
    status: str
    updated_at: datetime
    created_at: datetime | None = None
    analyzed_at: datetime | None = None
    counterparty: str | None = None
    amount: Decimal | None = None
    currency: str | None = None
    net_amount: Decimal | None = None
    tax_amount: Decimal | None = None
    local_amount: Decimal | None = None
    local_currency: str | None = None
    side: Literal["debit", "credit"] | None = None
    number: str | None = None
    label: str | None = None
    issued_on: date | None = None
    due_on: date | None = None
    paid_on: date | None = None
    vat_number: str | None = None
    iban: str | None = None
    category: str | None = None
    credit_note: bool = False
    has_duplicates: bool = False
    file_name: str | None = None
    attachments: tuple[str, ...] = ()
    matched: tuple[str, ...] = ()
    origin: str | None = None
    revision: int | None = None
    deleted: bool = False

    @property
    def live(self) -> bool:
        """Whether the entry still stands (a rejected, discarded or declined one does not)."""
        return not self.deleted and self.status not in {"rejected", "discarded", "declined", "reversed"}


class Claim(Part, frozen=True, kw_only=True):
    """Says which bill an entry serves; one entry serves one bill."""

    bill: str
    at: datetime
