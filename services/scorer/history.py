"""What a workspace's streams tell about how its decisions fared."""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import TypeVar

import msgspec
import structlog
from msgspec.structs import replace

from common import codec, subjects
from common.bus import Bus
from common.feed import held
from common.messages import Bill, Decision, Entry, Posting, Record, ReviewClosed
from services.scorer.learning import question_of
from services.scorer.matching.lessons import teaches
from services.scorer.matching.selfcheck import AUTOMATIC, GATE, WINDOW, Answered

log = structlog.get_logger()
T = TypeVar("T")

SETTLED = timedelta(days=1)
"""How long an entry must have been rejected before somebody else did it: Weir reports its own rejections by then."""
_PAGE = 500
"""Messages read at once."""
_ASKED = 1000
"""Subjects asked for at once."""


@dataclass
class Course:
    """What was decided and answered on one bill, oldest first, and whether Qonto's users rejected the outcome."""

    decisions: list[Decision] = field(default_factory=list)
    answers: list[Answered] = field(default_factory=list)
    turned_down: bool = False


class History:
    """The past of one workspace, read once."""

    def __init__(self, bus: Bus, workspace: str) -> None:
        self._bus = bus
        self._workspace = workspace

    async def courses(self, at: datetime) -> dict[str, Course]:
        """By record key, the bills on which something was decided automatically, or would have been, of late."""
        region, names = self._bus.region, self._bus.topology
        found: defaultdict[str, Course] = defaultdict(Course)
        decided = self._read(names.decisions, f"{region}.decision.{self._workspace}.*", Decision, at - WINDOW)
        async for decision in decided:
            if decision.decided_at >= at - WINDOW:
                found[decision.key].decisions.append(_slim(decision))
        counted = {key: course for key, course in found.items() if any(map(_counts, course.decisions))}
        async for closed in self._read(names.reviews, f"{region}.review.closed.{self._workspace}.*", ReviewClosed):
            key = f"{closed.realm}-{closed.bill}"
            if key in counted and teaches(closed):
                counted[key].answers.append(await self._answered(key, closed, counted[key]))
        await self._mark_turned_down(counted, at)
        return counted

    async def vendors(self, bills: Iterable[str]) -> dict[str, tuple[str, str | None]]:
        """The vendor of each bill as QuickBooks has it now, `{realm}-{id}` and name; none for a deleted bill."""
        names = {subjects.record(self._bus.region, self._workspace, "bill", bill): bill for bill in bills}
        found: dict[str, tuple[str, str | None]] = {}
        for name, record in (await self._latest(self._bus.topology.records, names, Record)).items():
            if isinstance(record.body, Bill):
                vendor = record.body.vendor
                found[names[name]] = f"{record.realm}-{vendor.id}", vendor.name
        return found

    async def newest(self) -> AsyncIterator[list[Decision]]:
        """The newest decision on every bill, some at a time."""
        stream = self._bus.topology.decisions
        names = iter(await self._bus.subjects(stream, f"{self._bus.region}.decision.{self._workspace}.*"))
        while page := list(islice(names, _PAGE)):
            yield list((await self._latest(stream, page, Decision)).values())

    async def answered(self) -> dict[str, ReviewClosed]:
        """What people's accepted answers came to, by review; of one that was closed twice the first word counts."""
        found: dict[str, ReviewClosed] = {}
        subject = f"{self._bus.region}.review.closed.{self._workspace}.*"
        async for closed in self._read(self._bus.topology.reviews, subject, ReviewClosed):
            if teaches(closed):
                found.setdefault(closed.review, closed)
        return found

    async def _answered(self, key: str, closed: ReviewClosed, course: Course) -> Answered:
        """An answer, with the gate of the question if the poster asked it."""
        if any(decision.id == closed.review for decision in course.decisions):
            return Answered(closed)
        question = await question_of(self._bus, self._workspace, key, closed.review)
        return Answered(closed, question.gate if question is not None else None)

    async def _mark_turned_down(self, courses: Mapping[str, Course], at: datetime) -> None:
        """Mark bills whose entry Weir made, and did not withdraw, yet somebody rejected."""
        region, names = self._bus.region, self._bus.topology
        created = [key for key, course in courses.items() if _created(course)]
        reported = {subjects.posting(region, self._workspace, key): key for key in created}
        entries: dict[str, str] = {}
        for name, posting in (await self._latest(names.postings, reported, Posting)).items():
            if posting.entry is not None and posting.outcome not in {"withdrawn", "failed", "uncertain", "stale"}:
                entries[subjects.entry(region, self._workspace, "invoice", posting.entry)] = reported[name]
        for name, entry in (await self._latest(names.entries, entries, Entry)).items():
            course = courses[entries[name]]
            course.turned_down = not entry.live and at - entry.updated_at >= SETTLED

    async def _latest(self, stream: str, names: Iterable[str], type_: type[T]) -> dict[str, T]:
        found: dict[str, T] = {}
        left = iter(names)
        while page := list(islice(left, _ASKED)):
            found |= {name: one.message for name, one in (await self._bus.latest(stream, page, type_)).items()}
        return found

    async def _read(self, stream: str, subject: str, type_: type[T], since: datetime | None = None) -> AsyncIterator[T]:
        """All that a stream holds now on `subject`, oldest first; what cannot be read is left out and logged."""
        async with aclosing(held(self._bus, stream, subject, since)) as messages:
            async for message in messages:
                try:
                    yield codec.decode(message.data, type_)
                except msgspec.MsgspecError as error:
                    log.warning("history.unreadable", stream=stream, subject=message.subject, error=error)


def _slim(decision: Decision) -> Decision:
    """A decision with no candidate but its own: a year of them is held at once."""
    own = tuple(one for one in decision.candidates if (one.kind, one.entry) == (decision.entry_kind, decision.entry))
    return replace(decision, candidates=own, readiness=None)


def _counts(decision: Decision) -> bool:
    return decision.action in AUTOMATIC or decision.gate == GATE


def _created(course: Course) -> bool:
    """Whether the last word on a bill is an entry that was made without asking."""
    automatic: Sequence[Decision] = [one for one in course.decisions if one.action in AUTOMATIC]
    return not course.answers and bool(automatic) and automatic[-1].action == "create"
