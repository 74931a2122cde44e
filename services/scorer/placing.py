"""Putting decisions and reviews on their streams: each record version once, never an older one after a newer.

A message goes out only as the direct successor of what was seen on its subject (expected sequence), all of a
batch as one atomic page per stream, reviews first so that a person never sees less than the poster. A scorer
that was frozen, or works on what another one has taken over, is refused by the broker; it looks again then, and
leaves out what is there already or was overtaken. So neither the broker's memory of message ids, which is
short, nor any clock decides.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from common import subjects
from common.bus import Bus
from common.errors import Conflict
from common.messages import Action, ReviewClosed, ReviewRequested, now
from common.reading import Placed

log = structlog.get_logger()

_PAGES = 4
"""Times pages are tried before the messages go one by one."""
_KEY = re.compile(r"(?:review-)?[0-9a-f-]{36}-([0-9]+)")


@dataclass(slots=True)
class Letter:
    """A message on its way to a stream.

    `rivals` are the subjects, its own among them, behind whose newest message it may only be put seen;
    `pattern` matches exactly these where they are several. `expected` is that message's sequence,
    `trace` the headers that continue the bill's trace.
    """

    subject: str
    message: Any
    key: str
    rivals: tuple[str, ...]
    pattern: str | None = None
    expected: int = 0
    trace: Mapping[str, str] = field(default_factory=dict)

    @property
    def headers(self) -> dict[str, str]:
        """What the broker has to know of it."""
        about = {**self.trace, "Nats-Msg-Id": self.key, "Nats-Expected-Last-Subject-Sequence": str(self.expected)}
        if self.pattern is not None:
            about["Nats-Expected-Last-Subject-Sequence-Subject"] = self.pattern
        return about


@dataclass(slots=True)
class Case:
    """What is to be said about one version of a bill, whose sequence is `record_seq`: `action` is what was decided.

    `question` is what a person is asked with `review`; `sent` says that it went out just now.
    """

    record_seq: int
    decision: Letter
    review: Letter | None
    action: Action
    question: ReviewRequested | None = None
    asked: bool = False
    sent: bool = False

    def decided(self, placed: Mapping[str, Placed]) -> bool:
        """Whether this version or a newer one was decided already."""
        there = placed.get(self.decision.subject)
        self.decision.expected = there.sequence if there is not None else 0
        return there is not None and record_seq_of(there.key) >= self.record_seq

    def agreed(self, placed: Mapping[str, Placed]) -> bool:
        """Whether somebody else was faster with the very same decision, whose question is the same as well."""
        there = placed.get(self.decision.subject)
        return there is not None and there.key == self.decision.key

    def asks(self, placed: Mapping[str, Placed]) -> bool:
        """Whether a person has still to be asked; the same version may be asked about again in other words."""
        if self.review is None:
            return False
        there = [placed[name] for name in self.review.rivals if name in placed]
        self.review.expected = max((one.sequence for one in there), default=0)
        self.asked = any(one.key == self.review.key for one in there)
        return not self.asked


def record_seq_of(key: str | None) -> int:
    """The sequence of the record version that a scorer's message is about; 0 for messages of others."""
    found = _KEY.fullmatch(key or "")
    return int(found[1]) if found else 0


async def place(bus: Bus, cases: Sequence[Case], placed: Mapping[str, Placed]) -> list[Case]:
    """Publish what is not there yet and not overtaken; the cases that could not be placed for now.

    `placed` is where the newest decisions on these bills stood before they were judged. RetryLater when the
    broker does not answer: all of it may be placed again then.
    """
    decisions, reviews = bus.topology.decisions, bus.topology.reviews
    for attempt in range(_PAGES):
        if attempt:
            placed = await bus.placed(decisions, (case.decision.subject for case in cases))
        cases = await _undecided(bus, cases, placed)
        try:
            asking = await _unasked(bus, cases)
            await _page(bus, reviews, asking)
            for case in cases:
                case.sent = case.sent or case.review in asking
            await _page(bus, decisions, [case.decision for case in cases])
        except Conflict:
            log.info("scorer.looks_again", size=len(cases))
        else:
            return []
    return [case for case in cases if not await _place_alone(bus, case)]


async def _undecided(bus: Bus, cases: Iterable[Case], placed: Mapping[str, Placed]) -> list[Case]:
    """The cases whose bills nobody decided meanwhile; of the others, questions no decision speaks of are taken back."""
    left = []
    for case in cases:
        if not case.decided(placed):
            left.append(case)
        elif case.sent and case.question is not None and not case.agreed(placed):
            await _take_back(bus, case.question)
    return left


async def _take_back(bus: Bus, question: ReviewRequested) -> None:
    """Close a question about a version that was replaced: the decision on the newer one may ask nobody."""
    closed = ReviewClosed(
        review=question.review,
        workspace=question.workspace,
        realm=question.realm,
        bill=question.bill,
        outcome="superseded",
        closed_at=now(),
        why="a newer version of the bill was decided meanwhile",
    )
    subject = subjects.review(bus.region, "closed", question.workspace, f"{question.realm}-{question.bill}")
    await bus.publish(subject, closed, stream=bus.topology.reviews, key=f"closed-{question.review}")


async def _unasked(bus: Bus, cases: Iterable[Case]) -> list[Letter]:
    asking = [case for case in cases if case.review is not None]
    names = (name for case in asking if case.review is not None for name in case.review.rivals)
    placed = await bus.placed(bus.topology.reviews, names) if asking else {}
    return [case.review for case in asking if case.review is not None and case.asks(placed)]


async def _page(bus: Bus, stream: str, letters: Sequence[Letter]) -> None:
    if letters:
        page = [(letter.subject, letter.message) for letter in letters]
        await bus.publish_page(stream, page, headers={letter.subject: letter.headers for letter in letters})


async def _place_alone(bus: Bus, case: Case) -> bool:
    """Place one case whose page was refused again and again; False if somebody is still faster."""
    if not await _undecided(bus, [case], await bus.placed(bus.topology.decisions, [case.decision.subject])):
        return True
    try:
        for letter in await _unasked(bus, [case]):
            await _send(bus, bus.topology.reviews, letter)
            case.sent = True
        await _send(bus, bus.topology.decisions, case.decision)
    except Conflict:
        return False
    return True


async def _send(bus: Bus, stream: str, letter: Letter) -> None:
    await bus.publish(letter.subject, letter.message, stream=stream, key=letter.key, **letter.headers)
