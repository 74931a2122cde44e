"""Questions to people, their answers, and what became of both."""

from datetime import datetime
from typing import Literal

from common.messages.base import Message, Part
from common.messages.books import Bill
from common.messages.decisions import Candidate, Readiness


class ReviewRequested(Message, frozen=True, kw_only=True, tag="review.requested.1"):
    """A bill waits for a person. Answer with a `ReviewResolved` that names `review`.

    The same message on `….review.refused.…` says the bill was refused; its candidates can still be pinned.
    """

    review: str
    workspace: str
    realm: str
    bill: str
    requested_at: datetime
    score: float
    why: str
    summary: Bill
    gate: str | None = None
    counterfactual: str | None = None
    readiness: Readiness | None = None
    candidates: tuple[Candidate, ...] = ()


class ReviewResolved(Part, frozen=True, kw_only=True):
    """A person's answer; plain JSON, so any NATS client can send it."""

    review: str
    action: Literal["link", "create", "refuse"]
    by: str
    entry: str | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        if self.action == "link" and not self.entry:
            raise ValueError("entry: name the Qonto entry to link to")
        if not self.by.strip():
            raise ValueError("by: say who decided")


ReviewOutcome = Literal["linked", "created", "refused", "superseded", "rejected"]


class ReviewClosed(Message, frozen=True, kw_only=True, tag="review.closed.1"):
    """What became of a review; `rejected` refuses one answer (stale, second or impossible) with a reason."""

    review: str
    workspace: str
    realm: str
    bill: str
    outcome: ReviewOutcome
    closed_at: datetime
    by: str | None = None
    entry: str | None = None
    why: str | None = None
