"""The bills of a workspace that wait for a person, each in a few words: what a list shows, and no more is held."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal

import msgspec
import structlog
from nats.aio.msg import Msg

from common import codec
from common.bus import Bus
from common.feed import Feed
from common.messages import EntryKind, Failure, Field, Message, Part, Ref
from common.reviews import Reviews, Step, heard

log = structlog.get_logger()

AGREES, DIFFERS = 0.8, 0.5
"""Scores of a field from which, and below which, people see it as the same or as another."""
_LONGEST = 200
"""Letters of a reason that a list shows."""
_FIELDS: tuple[Field, ...] = ("name", "amount", "date", "currency", "reference")


class _Compared(Part, frozen=True, kw_only=True):
    score: float | None = None


class _Candidate(Part, frozen=True, kw_only=True):
    entry: str
    kind: EntryKind
    score: float
    fields: dict[Field, _Compared]


class _Bill(Part, frozen=True, kw_only=True, tag="bill", tag_field="kind"):
    vendor: Ref
    total: Decimal
    currency: str
    number: str | None = None
    issued_on: date | None = None
    due_on: date | None = None


class _Head(Message, frozen=True, kw_only=True, tag="review.requested.1"):
    """What is read of a `ReviewRequested`: most of it is not looked at here."""

    review: str
    realm: str
    bill: str
    requested_at: datetime
    score: float
    why: str
    summary: _Bill
    gate: str | None = None
    candidates: tuple[_Candidate, ...] = ()


class Waiting(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One bill that waits. `entry`, `kind` and `likely` are those of its first candidate.

    `pattern` says for each field of that candidate whether it agrees (+), differs (-), is in between (~) or cannot be
    compared (?). `sequence` is that of the question, `vendor_key` is `{realm}-{id}` of the supplier.
    """

    key: str
    review: str
    step: Step
    sequence: int
    vendor_id: str
    vendor_key: str
    vendor: str | None
    number: str | None
    total: Decimal
    currency: str
    issued_on: date | None
    due_on: date | None
    score: float
    gate: str | None
    why: str
    since: datetime
    candidates: int
    entry: str | None = None
    kind: EntryKind | None = None
    likely: float | None = None
    pattern: str | None = None


def brief(step: Step, sequence: int, data: bytes) -> Waiting:
    """A question in a few words, for `Reviews`."""
    head = codec.decode(data, _Head)
    bill, first = head.summary, next(iter(head.candidates), None)
    return Waiting(
        key=f"{head.realm}-{head.bill}",
        review=head.review,
        step=step,
        sequence=sequence,
        vendor_id=bill.vendor.id,
        vendor_key=f"{head.realm}-{bill.vendor.id}",
        vendor=bill.vendor.name,
        number=bill.number,
        total=bill.total,
        currency=bill.currency,
        issued_on=bill.issued_on,
        due_on=bill.due_on,
        score=head.score,
        gate=head.gate,
        why=head.why if len(head.why) <= _LONGEST else f"{head.why[: _LONGEST - 1]}…",
        since=head.requested_at,
        candidates=len(head.candidates),
        entry=first.entry if first else None,
        kind=first.kind if first else None,
        likely=first.score if first else None,
        pattern="".join(_mark(first.fields.get(name)) for name in _FIELDS) if first else None,
    )


def _mark(compared: _Compared | None) -> str:
    match compared.score if compared is not None else None:
        case None:
            return "?"
        case score if score >= AGREES:
            return "+"
        case score:
            return "-" if score < DIFFERS else "~"


def feed(bus: Bus, workspace: str, reviews: Reviews[Waiting]) -> Feed:
    """What keeps the open reviews of a workspace; a message that cannot be read is left out and logged."""

    def take(messages: Sequence[Msg]) -> None:
        for message in messages:
            try:
                reviews.take(heard(message))
            except (msgspec.MsgspecError, ValueError) as error:
                log.warning("waiting.unreadable", workspace=workspace, subject=message.subject, error=error)

    return Feed(bus, bus.topology.reviews, f"{bus.region}.review.*.{workspace}.*", take)


def given_up(bus: Bus, workspace: str, reviews: Reviews[Waiting]) -> Feed:
    """What tells the open reviews which answers stand among the failures."""

    def take(messages: Sequence[Msg]) -> None:
        for message in messages:
            try:
                failure = codec.decode(message.data, Failure)
            except msgspec.MsgspecError as error:
                log.warning("waiting.unreadable", workspace=workspace, subject=message.subject, error=error)
                continue
            reviews.give_up(failure.record, failure.sequence if failure.resolved_at is None else 0)

    name = f"{bus.region}.failure.{workspace}.{bus.topology.answers.name}.*"
    return Feed(bus, bus.topology.failures, name, take)
