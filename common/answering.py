"""A person's answer to a review: given once, and heard of until something came of it.

An answer goes out as the direct successor of all that was said about its bill's review, so that of two people who
answer at the same moment one wins, and the other is told who. The console, its API and `weir review` all answer so;
a plain NATS client may as well just publish, and it ends the same, since the poster looks again.
"""

import contextlib
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Literal

import anyio
import msgspec
import nats.errors
import structlog
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from common import codec, subjects
from common.bus import Bus
from common.errors import Conflict, RetryLater, WeirError
from common.failures import Failures
from common.history import messages
from common.messages import ReviewClosed, ReviewOutcome, ReviewRequested, ReviewResolved, said
from common.reviews import Reviews, Said, Step, rejected_by, whole

log = structlog.get_logger()

Action = Literal["link", "create", "refuse"]
DONE: dict[ReviewOutcome, Action] = {"linked": "link", "created": "create", "refused": "refuse"}
"""The answers that closed a review, by what it was closed as."""

_TRIES = 10
_PULLED_FOR = 2.0
"""Seconds for which the broker is asked to wait for an outcome at a time: a lost connection loses the question."""


class NotOpen(WeirError):  # noqa: N818
    """The review cannot be answered: there is none, it was closed without a person, or another took its place."""


class Taken(NotOpen):
    """Somebody else was faster: `by` decided on `action` at `at`."""

    def __init__(self, by: str, at: datetime, action: Action) -> None:
        super().__init__(f"{by} decided it already, {said(at)}: {action}")
        self.by = by
        self.at = at
        self.action = action


class Given(msgspec.Struct, frozen=True):
    """An answer as the stream holds it."""

    sequence: int
    at: datetime
    answer: ReviewResolved


class Asked(msgspec.Struct, frozen=True):
    """The question that counts for a bill, and all that was said since.

    `given` are the answers nothing came of yet, without those that are `given_up` and stand among the failures; after
    `closed`, which closed the review, those that stood then. `newest` is the sequence of the last word about the bill.
    """

    question: ReviewRequested
    step: Step
    sequence: int
    at: datetime
    newest: int
    given: tuple[Given, ...] = ()
    given_up: tuple[Given, ...] = ()
    closed: ReviewClosed | None = None

    @property
    def open(self) -> bool:
        """Whether a person may answer."""
        return self.closed is None and not self.given


class Sent(msgspec.Struct, frozen=True):
    """An answer that is on its way to be carried out."""

    workspace: str
    key: str
    review: str
    sequence: int


async def asked(bus: Bus, workspace: str, key: str) -> Asked | None:
    """The question that counts for a bill (a record key); None if nobody was ever asked."""
    region, stream = bus.region, bus.topology.reviews
    names = [subjects.review(region, step, workspace, key) for step in ("requested", "refused")]
    there = await bus.placed(stream, names)
    since = max((one.sequence for one in there.values()), default=1)
    reviews = Reviews(whole)
    times: dict[int, datetime] = {}
    newest, question, closed = 0, None, None
    async for one in messages(bus, stream, subjects.review(region, "*", workspace, key), since=since):
        newest = int(one.seq or 0)
        times[newest] = one.time or datetime.fromtimestamp(0, UTC)
        heard = Said(one.subject or "", newest, one.data or b"", (one.headers or {}).get("Nats-Msg-Id"))
        before = reviews.open.get(key)
        try:
            reviews.take(heard)
        except (msgspec.MsgspecError, ValueError) as error:
            log.warning("answering.unreadable", subject=heard.subject, sequence=newest, error=error)
            continue
        present = reviews.open.get(key)
        if present is not None:
            question, closed = present, None
        elif before is not None:
            closed = codec.decode(heard.data, ReviewClosed)
    if question is None:
        return None
    failed = await _given_up(bus, workspace, key) if question.answers and closed is None else 0
    told = [Given(sequence, times[sequence], answer) for sequence, answer in question.answers.items()]
    return Asked(
        question.question,
        question.step,
        question.sequence,
        times[question.sequence],
        newest,
        tuple(one for one in told if one.sequence > failed),
        tuple(one for one in told if one.sequence <= failed),
        closed,
    )


async def answer(bus: Bus, workspace: str, key: str, resolved: ReviewResolved) -> Sent:
    """Answer the open review of a bill; whether the person may is the caller's matter.

    Taken if somebody else answered first, NotOpen if there is nothing to answer (any more); the same answer of the
    same person twice is one. RetryLater if the broker does not take it: whether it did is for another call to find out.
    """
    name = subjects.review(bus.region, "resolved", subjects.workspace(workspace), key)
    for _ in range(_TRIES):
        found = await asked(bus, workspace, key)
        same = _checked(key, found, resolved)
        if same is not None:
            return Sent(workspace, key, resolved.review, same)
        headers = {
            "Nats-Expected-Last-Subject-Sequence": str(found.newest if found is not None else 0),
            "Nats-Expected-Last-Subject-Sequence-Subject": subjects.review(bus.region, "*", workspace, key),
        }
        try:
            sequence = await bus.publish(name, resolved, stream=bus.topology.reviews, **headers)
        except Conflict:
            continue
        return Sent(workspace, key, resolved.review, sequence)
    raise RetryLater(f"the review of bill {key} changes faster than it can be answered")


def _checked(key: str, found: Asked | None, resolved: ReviewResolved) -> int | None:
    """The sequence of this very answer if it was given; Taken or NotOpen where another one cannot be."""
    if found is None:
        raise NotOpen(f"no review was ever requested for bill {key}")
    if found.question.review != resolved.review:
        raise NotOpen(f"another review of bill {key} has taken its place; look at it again")
    if (closed := found.closed) is not None:
        action = DONE.get(closed.outcome)
        if closed.by is not None and action is not None:
            for one in found.given if closed.by == resolved.by else ():
                if one.answer == resolved:  # a second click, after the first was carried out
                    return one.sequence
            raise Taken(closed.by, closed.closed_at, action)
        raise NotOpen(f"the review was closed: {closed.outcome}{f', {closed.why}' if closed.why else ''}")
    for one in found.given:
        if one.answer == resolved:
            return one.sequence
        raise Taken(one.answer.by, one.at, one.answer.action)
    return None


async def _given_up(bus: Bus, workspace: str, key: str) -> int:
    """Up to which sequence answers stand among the failures: they are in nobody's way until they are tried again."""
    kept = await Failures(bus).get(workspace, f"{bus.topology.answers.name}.{key}")
    return kept.message.sequence if kept is not None and kept.message.resolved_at is None else 0


async def outcome(bus: Bus, sent: Sent, within: float) -> ReviewClosed | None:
    """What became of an answer, or of its review; None if nothing did within so many seconds."""
    until = time.monotonic() + within
    while (left := until - time.monotonic()) > 0:
        try:
            async with _closings(bus, sent) as reader:
                while (left := until - time.monotonic()) > 0:
                    with contextlib.suppress(nats.errors.TimeoutError):
                        [message] = await reader.fetch(1, timeout=min(left, _PULLED_FOR))
                        closed = codec.decode(message.data, ReviewClosed)
                        if _answers(closed, message.headers, sent):
                            return closed
        except nats.errors.Error as error:  # the broker went, and with it who reads there
            log.info("answering.waits", bill=sent.key, error=error)
            await anyio.sleep(min(left, 0.2))
    return None


@asynccontextmanager
async def _closings(bus: Bus, sent: Sent) -> AsyncIterator[JetStreamContext.PullSubscription]:
    """What is said of the end of reviews of an answer's bill after it; read by one consumer, which goes with it."""
    stream = bus.topology.reviews
    config = ConsumerConfig(
        name=uuid.uuid4().hex,  # with a name the filter is part of what permissions look at
        filter_subject=subjects.review(bus.region, "closed", sent.workspace, sent.key),
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=sent.sequence + 1,
        ack_policy=AckPolicy.NONE,
        inactive_threshold=_PULLED_FOR * 5,
        mem_storage=True,
        num_replicas=1,
    )
    made = str((await bus.js.add_consumer(stream, config)).name)
    try:
        reader = await bus.js.pull_subscribe_bind(made, stream)
        try:
            yield reader
        finally:
            with anyio.CancelScope(shield=True):
                await reader.unsubscribe()
    finally:
        with anyio.CancelScope(shield=True), contextlib.suppress(nats.errors.Error):
            await bus.js.delete_consumer(stream, made)


async def became(bus: Bus, sent: Sent) -> ReviewClosed | None:
    """What became of an answer, or of its review, so far; None if nothing did yet."""
    name = subjects.review(bus.region, "closed", sent.workspace, sent.key)
    async for one in messages(bus, bus.topology.reviews, name, since=sent.sequence + 1):
        closed = codec.decode(one.data or b"", ReviewClosed)
        if _answers(closed, one.headers, sent):
            return closed
    return None


def _answers(closed: ReviewClosed, headers: dict[str, str] | None, sent: Sent) -> bool:
    """Whether this closes the review of an answer, or rejects that answer."""
    rejects = rejected_by((headers or {}).get("Nats-Msg-Id"))
    return rejects == sent.sequence or (closed.review == sent.review and closed.outcome != "rejected")
