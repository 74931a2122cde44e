"""From closed reviews to lessons in the bucket, where the views of all scorers find them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import nats.js.errors
import structlog

from common import codec, subjects
from common.buckets import Bucket
from common.bus import Bus
from common.delivery import Delivery
from common.errors import Conflict, Refused, RetryLater
from common.messages import Entry, EntryKind, Lesson, Lessons, ReviewClosed, ReviewRequested
from services.scorer.matching.lessons import concerned, kept, learned, teaches, vendor_key

log = structlog.get_logger()

_TRIES = 20
"""Lost races for one vendor before its lessons are tried again later."""
_KINDS: tuple[EntryKind, ...] = ("invoice", "transaction")
_Taught = list[tuple[Delivery[ReviewClosed], Lesson]]


class Learning:
    """Learns as one of several; who comes second finds the lesson there."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._bucket = Bucket(bus, "aliases", Lessons)

    async def handle(self, deliveries: Sequence[Delivery[ReviewClosed]]) -> None:
        """Learn from a batch, the lessons about one vendor in one write; each message fails on its own."""
        by_vendor: defaultdict[str, _Taught] = defaultdict(list)
        for delivery in deliveries:
            try:
                found = await self._learned(delivery)
            except Exception as error:  # noqa: BLE001 (one answer must not take the batch with it; the table decides)
                await delivery.failed(error)
            else:
                if found is not None:
                    by_vendor[found[0]].append((delivery, found[1]))
        for key, taught in by_vendor.items():
            try:
                await self._remember(key, [lesson for _, lesson in taught])
            except Exception as error:  # noqa: BLE001 (nor one vendor the others)
                for delivery, _ in taught:
                    await delivery.failed(error)

    async def _learned(self, delivery: Delivery[ReviewClosed]) -> tuple[str, Lesson] | None:
        """The key and the lesson of a closed review; None if it teaches nothing."""
        closed = delivery.message
        if not teaches(closed):
            return None
        *_, workspace, bill = delivery.subject.split(".")
        if (closed.workspace, f"{closed.realm}-{closed.bill}") != (workspace, bill):
            raise Refused(
                f"review {closed.review} is closed on the subject of another bill, {bill} of {workspace}",
                field="workspace, realm, bill",
                fix="close a review on its bill's own subject",
            )
        question = await question_of(self._bus, workspace, bill, closed.review)
        if question is None:
            raise Refused(
                f"review {closed.review} was closed, but never requested for bill {bill}",
                field="review",
                fix="nothing, if the review is not one of Weir's; nothing is learned from it",
            )
        try:
            key = f"{workspace}.{vendor_key(question)}"
            entries = await self._entries(workspace, concerned(question, closed))
        except subjects.BadTokenError as error:
            raise Refused(str(error), fix="nothing is learned from this answer") from None
        return key, learned(question, closed, entries)

    async def _entries(self, workspace: str, keys: Iterable[str]) -> dict[str, Entry]:
        """What the mirror holds of these entries, by `{kind}-{id}`."""
        names = [
            subjects.entry(self._bus.region, workspace, kind, key.removeprefix(f"{kind}-"))
            for key in keys
            for kind in _KINDS
            if key.startswith(f"{kind}-")
        ]
        found = await self._bus.latest(self._bus.topology.entries, names, Entry)
        return {f"{stored.message.kind}-{stored.message.id}": stored.message for stored in found.values()}

    async def _remember(self, key: str, lessons: Sequence[Lesson]) -> None:
        """Add the lessons to those of a vendor; RetryLater if others keep writing faster."""
        for _ in range(_TRIES):
            present = await self._bucket.get(key)
            before = present.value.lessons if present is not None else ()
            after = kept([*lessons, *before])  # one that is there already stays as it was learned first
            if after == before:
                return
            try:
                if present is None:
                    await self._bucket.create(key, Lessons(lessons=after))
                else:
                    await self._bucket.replace(key, Lessons(lessons=after), present.revision)
            except Conflict:
                continue  # another learner was faster: its lessons count too
            log.info("scorer.learned", vendor=key, lessons=len(lessons))
            return
        raise RetryLater(f"lessons about {key} are written faster than they can be added to", delay=1.0)


async def question_of(bus: Bus, workspace: str, bill: str, review: str) -> ReviewRequested | None:
    """The question a review is, among all that were ever asked about the bill; None if it never was."""
    stream = bus.topology.reviews
    for step in ("requested", "refused"):
        name, sequence = subjects.review(bus.region, step, workspace, bill), 0
        while True:
            try:
                found = await bus.js.get_msg(stream, seq=sequence + 1, subject=name, next=True)
            except nats.js.errors.NotFoundError:
                break
            question = codec.decode(found.data or b"", ReviewRequested)
            if question.review == review:
                return question
            sequence = int(found.seq or 0)
    return None
