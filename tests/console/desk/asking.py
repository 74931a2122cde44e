"""What is asked about invented bills, said and answered on the public subjects."""

import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from common import subjects
from common.bus import Bus
from common.messages import (
    Bill,
    Candidate,
    Field,
    FieldScore,
    Ref,
    ReviewClosed,
    ReviewOutcome,
    ReviewRequested,
    ReviewResolved,
    now,
)
from common.reviews import Step, rejection

WS, REALM = "fictional-lock", "9"
NAME = "Sluice & Sons SARL"


def key(ident: str) -> str:
    """The record key of a bill."""
    return f"{REALM}-{ident}"


def candidate(entry: str = "e1", score: float = 0.7, **scores: float | None) -> Candidate:
    """An entry that agrees in all but what `scores` say of it."""
    names: tuple[Field, ...] = ("name", "amount", "date", "currency", "reference")
    fields: dict[Field, FieldScore] = {
        name: FieldScore(score=scores.get(name, 1.0), bill="this", entry="that") for name in names
    }
    return Candidate(entry=entry, kind="invoice", score=score, alone=score, fields=fields)


def question(ident: str = "1", **fields: Any) -> ReviewRequested:
    """A question about a bill, with `fields` of its own; those that a bill has go to the bill."""
    total = fields.pop("total", Decimal("120.00"))
    of_bill = {name: fields.pop(name) for name in Bill.__struct_fields__ if name in fields}
    vendor = {"vendor": Ref(id="7", name=NAME), "number": f"F-{ident}", "issued_on": date(2026, 5, 1)}
    summary = Bill(**{**vendor, "total": total, "balance": total, "currency": "EUR", **of_bill})
    given = {
        "review": uuid.uuid4().hex,
        "requested_at": datetime(2026, 5, 2, tzinfo=UTC) + timedelta(minutes=int(ident)),
        "score": 0.7,
        "why": "invoice e2 fits nearly as well",
        "gate": "near tie",
        "candidates": (candidate(),),
    }
    return ReviewRequested(workspace=WS, realm=REALM, bill=ident, summary=summary, **{**given, **fields})


def resolved(asked: ReviewRequested, by: str = "A. Tester", **fields: Any) -> ReviewResolved:
    """An answer to a question: to create, if nothing else is said."""
    return ReviewResolved(**{"review": asked.review, "action": "create", "by": by, **fields})


def closing(asked: ReviewRequested, outcome: ReviewOutcome = "created", **fields: Any) -> ReviewClosed:
    """The end of a review."""
    return ReviewClosed(
        review=asked.review,
        workspace=asked.workspace,
        realm=asked.realm,
        bill=asked.bill,
        outcome=outcome,
        closed_at=now(),
        **fields,
    )


async def ask(bus: Bus, asked: ReviewRequested, step: Step = "requested") -> int:
    """Put a question on its subject; its sequence."""
    name = subjects.review(bus.region, step, asked.workspace, key(asked.bill))
    return await bus.publish(name, asked, stream=bus.topology.reviews)


async def answer(bus: Bus, asked: ReviewRequested, given: ReviewResolved) -> int:
    """Answer as any NATS client may; the sequence."""
    name = subjects.review(bus.region, "resolved", asked.workspace, key(asked.bill))
    return await bus.publish(name, given, stream=bus.topology.reviews)


async def close(bus: Bus, closed: ReviewClosed, *, rejects: int | None = None) -> int:
    """Say what became of a review, or of the answer that `rejects` names."""
    name = subjects.review(bus.region, "closed", closed.workspace, f"{closed.realm}-{closed.bill}")
    identity = rejection(rejects) if rejects is not None else f"closed-{closed.review}"
    return await bus.publish(name, closed, stream=bus.topology.reviews, key=identity)
