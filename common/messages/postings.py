"""What happened in Qonto."""

from datetime import datetime
from typing import Literal

from common.messages.base import EntryKind, Message

Outcome = Literal[
    "created", "linked", "paid", "unpaid", "superseded", "withdrawn", "unchanged", "failed", "uncertain", "stale"
]


class Posting(Message, frozen=True, kw_only=True, tag="posting.1"):
    """What happened in Qonto for one decision, written after Qonto was read back.

    `verified_at` is set only when the read-back showed the effect. A `failed` posting names the `field` at
    fault and the `fix`; an `uncertain` one waits for a person. `by` is the person who had it undone.
    """

    id: str
    workspace: str
    realm: str
    bill: str
    decision: str
    outcome: Outcome
    revision: int
    posted_at: datetime
    entry: str | None = None
    entry_kind: EntryKind | None = None
    replaced: str | None = None
    verified_at: datetime | None = None
    why: str | None = None
    field: str | None = None
    fix: str | None = None
    record_hash: str | None = None
    by: str | None = None
