"""How a workspace's bills flow: decided, posted, read back; by day, and where each stands now.

Kept from the last weeks of DECISIONS and POSTINGS, whichever of the two is read first. What waits for people is the
queue's to tell: here a bill that was asked about counts as `asked` until something is posted for it.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal

import msgspec
import structlog
from nats.aio.msg import Msg

from common import codec
from common.bus import Bus
from common.feed import Feed
from common.messages import Action, Message, Outcome, now
from services.console.desk.shelf import Shelf

log = structlog.get_logger()

WEEKS = 12
MOST_BILLS = 500_000
"""Bills of all workspaces at a time: some 200 MB."""

Count = Literal["linked", "created", "review", "refused", "withdrawn", "verified", "failed"]
State = Literal["asked", "decided", "verified", "failed"]

_COUNTED: dict[Action, Count] = {
    "link": "linked",
    "create": "created",
    "review": "review",
    "refuse": "refused",
    "withdraw": "withdrawn",
}
_ASKED: frozenset[Action] = frozenset({"review", "refuse"})
_UNDONE: frozenset[Outcome] = frozenset({"failed", "uncertain"})


class _Decided(Message, frozen=True, kw_only=True, tag="decision.1"):
    """What is read of a decision."""

    id: str
    realm: str
    bill: str
    action: Action
    decided_at: datetime


class _Posted(Message, frozen=True, kw_only=True, tag="posting.1"):
    """What is read of a posting."""

    realm: str
    bill: str
    decision: str
    outcome: Outcome
    posted_at: datetime
    verified_at: datetime | None = None


class Day(msgspec.Struct, frozen=True):
    """What happened on one day (UTC): bills by their last decision of the day, and by their last posting of it."""

    day: date
    counts: dict[Count, int]


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where the bills stand now; `oldest` is when the first of those was decided that are not posted yet."""

    bills: int
    asked: int
    decided: int
    verified: int
    failed: int
    oldest: datetime | None = None


class Stand(msgspec.Struct, frozen=True):
    """Where one bill stands: what was decided on it, when, and what came of it."""

    key: str
    state: State
    action: Action | None
    outcome: Outcome | None
    at: datetime


@dataclass(slots=True)
class _Bill:
    decided: _Decided | None = None
    posted: _Posted | None = None

    @property
    def newest(self) -> datetime:
        """When something was last said about it."""
        times = [self.decided.decided_at] if self.decided is not None else []
        return max([*times, self.posted.posted_at] if self.posted is not None else times)

    @property
    def state(self) -> State:
        """What was posted counts if it was for the newest decision, or came after it."""
        decided, posted = self.decided, self.posted
        if posted is not None and (
            decided is None or posted.decision == decided.id or posted.posted_at > decided.decided_at
        ):
            return _result(posted) or "decided"
        return "asked" if decided is not None and decided.action in _ASKED else "decided"


class Course:
    """The bills of one workspace, fed decision by decision and posting by posting, each stream in its order. Pure."""

    def __init__(self) -> None:
        self._bills: dict[str, _Bill] = {}
        self._days: dict[date, Counter[Count]] = {}

    def __len__(self) -> int:
        return len(self._bills)

    def decided(self, data: bytes) -> None:
        """The next decision."""
        made = codec.decode(data, _Decided)
        bill = self._bills.setdefault(f"{made.realm}-{made.bill}", _Bill())
        before, bill.decided = bill.decided, made
        if before is not None and _day(before.decided_at) == _day(made.decided_at):
            self._count(before.decided_at, _COUNTED[before.action], -1)
        self._count(made.decided_at, _COUNTED[made.action])

    def posted(self, data: bytes) -> None:
        """The next posting."""
        made = codec.decode(data, _Posted)
        if made.outcome == "stale":  # it came too late to say anything
            return
        bill = self._bills.setdefault(f"{made.realm}-{made.bill}", _Bill())
        before, bill.posted = bill.posted, made
        if before is not None and _day(before.posted_at) == _day(made.posted_at) and (was := _result(before)):
            self._count(before.posted_at, was, -1)
        if result := _result(made):
            self._count(made.posted_at, result)

    def forget(self, before: datetime) -> None:
        """Leave out days and bills of which nothing was said since."""
        self._days = {day: counts for day, counts in self._days.items() if day >= _day(before)}
        self._bills = {key: bill for key, bill in self._bills.items() if bill.newest >= before}

    def days(self, since: date, until: date) -> list[Day]:
        """Every day from `since` to `until`, also those on which nothing happened."""
        span = (since + timedelta(days=number) for number in range((until - since).days + 1))
        return [Day(day, {name: many for name, many in self._days.get(day, {}).items() if many}) for day in span]

    def standing(self) -> Standing:
        """All bills by where they stand."""
        counts = Counter[State]()
        oldest: datetime | None = None
        for bill in self._bills.values():
            state = bill.state
            counts[state] += 1
            if state == "decided":
                oldest = min(bill.newest, oldest) if oldest is not None else bill.newest
        return Standing(
            bills=len(self._bills),
            asked=counts["asked"],
            decided=counts["decided"],
            verified=counts["verified"],
            failed=counts["failed"],
            oldest=oldest,
        )

    def newest(self, many: int = 20, state: State | None = None) -> list[Stand]:
        """The bills about which something was said last, newest first."""
        found = [
            Stand(
                key,
                bill.state,
                bill.decided.action if bill.decided else None,
                bill.posted.outcome if bill.posted else None,
                bill.newest,
            )
            for key, bill in self._bills.items()
            if state in {None, bill.state}
        ]
        return sorted(found, key=lambda one: (one.at, one.key), reverse=True)[:many]

    def _count(self, at: datetime, name: Count, by: int = 1) -> None:
        self._days.setdefault(_day(at), Counter())[name] += by


def _result(posted: _Posted) -> Literal["verified", "failed"] | None:
    """What a posting came to; where nothing had to change there is nothing more to read back."""
    if posted.outcome in _UNDONE:
        return "failed"
    return "verified" if posted.verified_at is not None or posted.outcome == "unchanged" else None


def _day(at: datetime) -> date:
    return at.astimezone(UTC).date()


class Flow:
    """One workspace's flow of the last WEEKS; `read` brings it up to date."""

    def __init__(self, bus: Bus, workspace: str) -> None:
        self.course = Course()
        since = now() - timedelta(weeks=WEEKS)
        at, region = bus.topology, bus.region

        def feed(stream: str, subject: str, take: Callable[[bytes], None]) -> Feed:
            def safely(messages: Sequence[Msg]) -> None:
                for message in messages:
                    try:
                        take(message.data)
                    except (msgspec.MsgspecError, ValueError) as error:
                        log.warning("flow.unreadable", workspace=workspace, subject=message.subject, error=error)

            return Feed(bus, stream, subject, safely, since=since)

        self._feeds = (
            feed(at.decisions, f"{region}.decision.{workspace}.*", self.course.decided),
            feed(at.postings, f"{region}.posting.{workspace}.*", self.course.posted),
        )
        self._tidied = _day(now())

    @property
    def size(self) -> int:
        """Bills it knows of."""
        return len(self.course)

    @property
    def reached(self) -> tuple[int, ...]:
        """The sequences up to which DECISIONS and POSTINGS were read: what changed it is seen."""
        return tuple(feed.reached for feed in self._feeds)

    async def read(self, within: float) -> bool:
        """Take what is new; False if there is more to come. RetryLater if the broker does not answer."""
        whole = [await feed.read(within) for feed in self._feeds]
        today = _day(now())
        if today != self._tidied:
            self.course.forget(now() - timedelta(weeks=WEEKS))
            self._tidied = today
        return all(whole)

    async def close(self) -> None:
        """Stop reading."""
        for feed in self._feeds:
            await feed.close()


def flows(bus: Bus, most: int = MOST_BILLS) -> Shelf[Flow]:
    """The flows of the workspaces that are looked at; its `run` loads them."""
    return Shelf(lambda workspace: Flow(bus, workspace), most=most)
