"""People's answers to reviews: checked against the question that counts now, carried out, and closed."""

from collections.abc import Sequence
from typing import Any

import msgspec

from common import codec, subjects
from common.bus import Bus
from common.delivery import Delivery
from common.errors import AskPerson, NotConnected, Refused, WeirError
from common.messages import Bill, Entry, Record, ReviewOutcome, ReviewRequested, ReviewResolved
from common.reading import Stored
from services.poster.claims import Claims
from services.poster.document import facts
from services.poster.entries import Entries
from services.poster.job import Job
from services.poster.plan import Order
from services.poster.posting import Poster, pause
from services.poster.reviews import READ_BACK, Reviews

OUTCOMES: dict[str, ReviewOutcome] = {"create": "created", "link": "linked", "refuse": "refused"}
"""What an answer comes to when it is carried out."""


class Rejected(WeirError):  # noqa: N818
    """The answer cannot be carried out; the review stays as it is."""


class Named(msgspec.Struct):
    """What can be read of an answer that is none."""

    review: str


class Answers:
    """Carries answers out as one worker."""

    def __init__(self, bus: Bus, poster: Poster) -> None:
        self._bus = bus
        self._poster = poster
        self._reviews = Reviews(bus)
        self._entries = Entries(bus)
        self._claims = Claims(bus)

    async def handle(self, deliveries: Sequence[Delivery[ReviewResolved]]) -> None:
        """Carry answers out one by one: two answers of a batch may be to the same question."""
        for delivery in deliveries:
            try:
                await self._answer(delivery)
            except NotConnected as error:
                error.delay = pause(delivery.attempt)
                await delivery.failed(error)
            except Exception as error:  # noqa: BLE001 (the table decides; the other answers are not held up)
                await delivery.failed(error)
            else:
                await delivery.done()

    async def unreadable(self, delivery: Delivery[Any], error: Exception) -> None:
        """Reject an answer that cannot be read, for the review that it names as far as that can be read."""
        try:
            review = codec.decode(delivery.raw.data, Named).review
        except (msgspec.MsgspecError, ValueError):
            review = ""
        try:
            await self._reviews.reject(delivery, review, f"the answer cannot be read: {error}")
        except WeirError as failure:
            await delivery.failed(failure)

    async def _answer(self, delivery: Delivery[ReviewResolved]) -> None:
        answer = delivery.message
        *_, workspace, key = delivery.subject.split(".")
        if await self._carried_out(delivery, workspace, key):
            return
        asked = await self._reviews.newest(workspace, key)
        try:
            question = await self._open(asked, answer)
            record = await self._record(workspace, key, question)
            takes_back = answer.action == "refuse" and question.gate == READ_BACK
            if answer.action == "refuse" and not takes_back:
                await self._reviews.close(question, OUTCOMES[answer.action], by=answer.by, why=answer.note)
                return
            entry = await self._entry(workspace, key, answer)
        except Rejected as error:
            await self._reviews.reject(delivery, answer.review, str(error), by=answer.by)
            return
        order = Order(
            id=question.review,
            workspace=workspace,
            realm=question.realm,
            bill=question.bill,
            action="withdraw" if takes_back else answer.action,
            record_seq=record.sequence,
            record_hash=record.message.content_hash,
            source=question,
            entry=entry.id if entry is not None else None,
            entry_kind=entry.kind if entry is not None else None,
            by=answer.by,
        )
        [job] = await self._poster.carry_out([order], [delivery.trace], about=asked.trace if asked else None)
        await self._close(delivery, question, job)

    async def _carried_out(self, delivery: Delivery[ReviewResolved], workspace: str, key: str) -> bool:
        """Whether this answer came before, and only its acknowledgement was lost: it was given, then closed so."""
        answer = delivery.message
        closed = await self._reviews.closed_after(delivery.sequence, workspace, key, answer.review)
        if closed is None or closed.by != answer.by or closed.outcome != OUTCOMES[answer.action]:
            return False
        return answer.action != "link" or closed.entry == answer.entry

    async def _close(self, delivery: Delivery[ReviewResolved], question: ReviewRequested, job: Job) -> None:
        answer, order = delivery.message, job.order
        match job.error:
            case AskPerson(gate="uncertain"):
                await self._reviews.ask(order, job.error, job.record)
                await self._reviews.close(question, "superseded", by=answer.by, why=str(job.error))
            case AskPerson() if job.posting is not None:  # carried out, and something else needs a person
                await self._reviews.ask(order, job.error, job.record)
                await self._close_as(question, job, answer)
            case AskPerson() | Refused():
                await self._reviews.reject(delivery, answer.review, str(job.error), by=answer.by)
            case None if job.posting is not None and job.posting.outcome == "stale":
                await self._reviews.reject(delivery, answer.review, str(job.posting.why), by=answer.by)
            case None:
                await self._close_as(question, job, answer)
            case error:
                raise error

    async def _close_as(self, question: ReviewRequested, job: Job, answer: ReviewResolved) -> None:
        entry = job.posting.entry if job.posting is not None else None
        await self._reviews.close(question, OUTCOMES[answer.action], by=answer.by, entry=entry, why=answer.note)

    async def _open(self, asked: Stored[ReviewRequested] | None, answer: ReviewResolved) -> ReviewRequested:
        if asked is None:
            raise Rejected("no review was ever requested for this bill")
        if asked.message.review != answer.review:
            raise Rejected("another review of this bill has taken its place")
        closed = await self._reviews.closing(asked)
        if closed is not None:
            raise Rejected(f"the review was already closed: {closed.outcome}{f' by {closed.by}' if closed.by else ''}")
        return asked.message

    async def _record(self, workspace: str, key: str, question: ReviewRequested) -> Stored[Record]:
        name = subjects.record(self._bus.region, workspace, "bill", key)
        stored = (await self._bus.latest(self._bus.topology.records, [name], Record)).get(name)
        if stored is None:
            raise Rejected("QuickBooks no longer has the bill")
        body = stored.message.body
        deleted = stored.message.deleted or not isinstance(body, Bill)
        if not deleted and isinstance(body, Bill) and facts(body) != facts(question.summary):
            raise Rejected("the bill changed since the review was requested; a new one follows")
        return stored

    async def _entry(self, workspace: str, key: str, answer: ReviewResolved) -> Entry | None:
        if answer.action != "link" or answer.entry is None:
            return None
        try:
            entry = await self._entries.get(workspace, answer.entry, "invoice", "transaction")
        except subjects.BadTokenError as error:
            raise Rejected(str(error)) from None
        if entry is None:
            raise Rejected(f"Qonto has no entry {answer.entry} that Weir knows of")
        if not entry.live:
            raise Rejected(f"entry {entry.id} is {'gone' if entry.deleted else entry.status} in Qonto")
        holder = await self._claims.holder(workspace, entry.kind, entry.id)
        if holder not in {None, key}:
            raise Rejected(f"entry {entry.id} already serves bill {holder}")
        return entry
