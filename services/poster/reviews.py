"""Reviews: asking a person, and saying what became of the question."""

import hashlib
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
import nats.js.errors
import structlog

from common import codec, subjects
from common.bus import Bus
from common.delivery import Delivery
from common.errors import AskPerson, Refused
from common.messages import Bill, Candidate, Entry, Record, Ref, ReviewClosed, ReviewOutcome, ReviewRequested, now
from common.quickbooks import NO_CURRENCY
from common.reading import Stored
from common.reviews import rejection
from services.poster.plan import Order

log = structlog.get_logger()

READ_BACK = "read-back differs"
"""The gate of questions about how Qonto read a document; they stay while the entry stands, see `readback`."""


class AlreadyThere(AskPerson):
    """Somebody else put what seems to be the bill's document into Qonto."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        named = ", ".join(entry.id for entry in entries)
        why = (
            f"Qonto has taken in invoice {named} with the bill's number, amount and supplier; "
            "link it, or answer create to upload the bill all the same"
        )
        super().__init__("already in Qonto", why)
        self.candidates = tuple(
            Candidate(entry=entry.id, kind="invoice", score=0.0, fields={}, alike=True) for entry in entries
        )


class Reviews:
    """The reviews of all workspaces, as the public subjects tell them."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._stream = bus.topology.reviews

    async def newest(self, workspace: str, key: str) -> Stored[ReviewRequested] | None:
        """The question that counts for a bill: the newest one, asked or refused."""
        names = [subjects.review(self._bus.region, step, workspace, key) for step in ("requested", "refused")]
        found = await self._bus.latest(self._stream, names, ReviewRequested)
        return max(found.values(), key=lambda stored: stored.sequence, default=None)

    async def closing(self, asked: Stored[ReviewRequested]) -> ReviewClosed | None:
        """What closed a review, or None while it is open; a refused answer closes nothing."""
        review = asked.message
        return await self.closed_after(asked.sequence, review.workspace, f"{review.realm}-{review.bill}", review.review)

    async def closed_after(self, sequence: int, workspace: str, key: str, review: str) -> ReviewClosed | None:
        """The first word after `sequence` that closed a review of the bill `key`; a refused answer closes nothing."""
        name = subjects.review(self._bus.region, "closed", workspace, key)
        while True:
            try:
                found = await self._bus.js.get_msg(self._stream, seq=sequence + 1, subject=name, next=True)
            except nats.js.errors.NotFoundError:
                return None
            closed = codec.decode(found.data or b"", ReviewClosed)
            if closed.review == review and closed.outcome != "rejected":
                return closed
            sequence = int(found.seq or 0)

    async def ask(self, order: Order, error: AskPerson, record: Record | None) -> None:
        """Raise a review for what only a person can decide.

        The same question of the same order once while it is open, and never again once a person refused.
        """
        source = order.source
        body = record.body if record is not None else None
        found = error.candidates if isinstance(error, AlreadyThere) else ()
        request = ReviewRequested(
            review=review_id(order.id, error.gate),
            workspace=order.workspace,
            realm=order.realm,
            bill=order.bill,
            requested_at=now(),
            score=source.score,
            why=str(error),
            summary=body if isinstance(body, Bill) else _unknown_bill(source),
            gate=error.gate,
            counterfactual=source.counterfactual,
            readiness=source.readiness,
            candidates=(*found, *(one for one in source.candidates if one.entry not in {new.entry for new in found})),
        )
        asked = await self._last(request)
        if asked is None:
            await self.publish(request)
        elif (closed := await self.closing(asked)) is not None and closed.outcome != "refused":
            await self.publish(request, after=asked.sequence)

    async def _last(self, request: ReviewRequested) -> Stored[ReviewRequested] | None:
        """When this very question was last asked."""
        name = self._where(request)
        found: Stored[ReviewRequested] | None = None
        sequence = 0
        while True:
            try:
                raw = await self._bus.js.get_msg(self._stream, seq=sequence + 1, subject=name, next=True)
            except nats.js.errors.NotFoundError:
                return found
            sequence = int(raw.seq or 0)
            try:
                asked = codec.decode(raw.data or b"", ReviewRequested)
            except msgspec.MsgspecError as error:
                log.warning("poster.review_unreadable", subject=name, sequence=sequence, error=error)
                continue
            if asked.review == request.review:
                found = Stored(name, sequence, asked)

    async def publish(self, request: ReviewRequested, *, after: int = 0) -> None:
        """Put a question on the public subject; `after` is where it stands there already, if it does."""
        name, identity = self._where(request), f"requested-{request.review}-{after}"
        await self._bus.publish(name, request, stream=self._stream, key=identity)
        key = f"{request.realm}-{request.bill}"
        log.info("poster.review_asked", workspace=request.workspace, bill=key, gate=request.gate)

    def _where(self, request: ReviewRequested) -> str:
        key = f"{request.realm}-{request.bill}"
        return subjects.review(self._bus.region, "requested", request.workspace, key)

    async def close(
        self,
        review: ReviewRequested,
        outcome: ReviewOutcome,
        *,
        by: str | None = None,
        entry: str | None = None,
        why: str | None = None,
    ) -> None:
        """Say what became of a review."""
        closed = ReviewClosed(
            review=review.review,
            workspace=review.workspace,
            realm=review.realm,
            bill=review.bill,
            outcome=outcome,
            closed_at=now(),
            by=by,
            entry=entry,
            why=why,
        )
        await self._close(closed, f"closed-{review.review}")

    async def reject(self, answer: Delivery[Any], review: str, why: str, *, by: str | None = None) -> None:
        """Refuse one answer, on the subject where its sender looks for it; Refused if there is no such bill."""
        try:
            *_, workspace, key = answer.subject.split(".")
            realm, bill = subjects.RecordKey.parse(key)
        except ValueError as error:
            raise Refused(f"{why}; {error}", field="subject", fix="answer on the bill's own subject") from None
        closed = ReviewClosed(
            review=review,
            workspace=workspace,
            realm=realm,
            bill=bill,
            outcome="rejected",
            closed_at=now(),
            by=by,
            why=why,
        )
        await self._close(closed, rejection(answer.sequence))

    async def _close(self, closed: ReviewClosed, identity: str) -> None:
        name = subjects.review(self._bus.region, "closed", closed.workspace, f"{closed.realm}-{closed.bill}")
        await self._bus.publish(name, closed, stream=self._stream, key=identity)
        log.info("poster.review_closed", workspace=closed.workspace, review=closed.review, outcome=closed.outcome)

    async def supersede(self, orders: Sequence[Order]) -> None:
        """Close the open reviews that later decisions on their bills have made pointless."""
        region = self._bus.region
        wanted = {
            subjects.review(region, step, order.workspace, order.key): order
            for order in orders
            for step in ("requested", "refused")
            if order.by is None and order.action not in {"review", "refuse"}
        }
        for name, asked in (await self._bus.latest(self._stream, wanted, ReviewRequested)).items():
            order = wanted[name]
            decided_at = getattr(order.source, "decided_at", None)
            if decided_at is None or asked.message.requested_at >= decided_at or await self.closing(asked):
                continue
            if asked.message.gate == READ_BACK:
                continue
            await self.close(asked.message, "superseded", why=f"a later decision: {order.action}")


def review_id(order: str, gate: str) -> str:
    """The id of the question that `gate` raises about one order."""
    return hashlib.sha256(f"{order}|{gate}".encode()).hexdigest()[:32]


def _unknown_bill(source: object) -> Bill:
    """A summary for a bill QuickBooks no longer shows."""
    if isinstance(source, ReviewRequested):
        return source.summary
    nothing = Decimal(0)
    return Bill(vendor=Ref(id="-", name="deleted in QuickBooks"), total=nothing, balance=nothing, currency=NO_CURRENCY)
