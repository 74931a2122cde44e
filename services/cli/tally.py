"""What has become of every bill of a workspace, told from the streams alone."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio
import anyio.abc
from nats.aio.msg import Msg

from common import codec, subjects
from common.bus import Bus
from common.messages import Decision, Notice, Posting, Record, ReviewRequested
from common.topology import Consumer

T = TypeVar("T")

_POSTED = frozenset({"created", "linked", "paid", "unpaid", "superseded", "withdrawn", "unchanged"})
_UPDATES = frozenset({"paid", "unpaid", "superseded", "withdrawn"})


@dataclass
class Tally:
    """Follows a workspace's streams; every property is computed from what they hold so far."""

    bus: Bus
    workspace: str
    bills: dict[str, Record] = field(default_factory=dict)
    decisions: dict[str, Decision] = field(default_factory=dict)
    postings: dict[str, list[Posting]] = field(default_factory=dict)
    asked: dict[str, ReviewRequested] = field(default_factory=dict)
    pulls: int = 0
    trouble: list[Notice] = field(default_factory=list)

    async def follow(self, group: anyio.abc.TaskGroup) -> None:
        """Keep up with the streams until the group ends."""
        region, workspace = self.bus.region, self.workspace
        plan: list[tuple[str, type[Any], Callable[[str, Any], None]]] = [
            (f"{region}.record.{workspace}.bill.*", Record, self._bill),
            (f"{region}.decision.{workspace}.*", Decision, self._decision),
            (f"{region}.posting.{workspace}.*", Posting, self._posting),
            (f"{region}.review.requested.{workspace}.*", ReviewRequested, self._review),
            (subjects.notice(region, workspace), Notice, self._notice),
        ]
        for subject, type_, take in plan:
            await self._subscribe(subject, type_, take)
        group.start_soon(anyio.sleep_forever)

    async def _subscribe(self, subject: str, type_: type[T], take: Callable[[str, T], None]) -> None:
        async def receive(message: Msg) -> None:
            take(message.subject.rpartition(".")[2], codec.decode(message.data, type_))

        await self.bus.js.subscribe(subject, cb=receive, ordered_consumer=True)

    def _bill(self, key: str, record: Record) -> None:
        self.bills[key] = record

    def _decision(self, key: str, decision: Decision) -> None:
        self.decisions[key] = decision

    def _posting(self, key: str, posting: Posting) -> None:
        self.postings.setdefault(key, []).append(posting)

    def _review(self, key: str, review: ReviewRequested) -> None:
        self.asked[key] = review

    def _notice(self, _key: str, notice: Notice) -> None:
        if notice.kind == "pulled":
            self.pulls += 1
        elif notice.kind in {"failed", "pull-failed", "needs-reconnect"}:
            self.trouble.append(notice)

    # --- what it adds up to -------------------------------------------------------------------------

    def fate(self, key: str) -> str:
        """The present state of one bill: a posting outcome's class, review, refused, or what it waits for."""
        decision = self.decisions.get(key)
        if decision is None:
            return "undecided"
        match decision.action:
            case "review":
                return "review"
            case "refuse":
                return "refused"
        answered = [posting for posting in self.postings.get(key, ()) if posting.decision == decision.id]
        if not answered:
            return "unposted"
        last = answered[-1]
        if last.outcome in {"failed", "uncertain", "stale"}:
            return "failed" if last.outcome == "failed" else "review"
        if key in self.asked and self.asked[key].review not in {decision.id} and not last.verified_at:
            return "review"
        return "withdrawn" if last.outcome == "withdrawn" else self.kind(key)

    def kind(self, key: str) -> str:
        """Whether the bill's entry was made by Weir (created) or was there before (linked)."""
        for posting in self.postings.get(key, ()):
            if posting.outcome in {"created", "linked"}:
                return posting.outcome
        return "linked" if self.decisions[key].action == "link" else "created"

    def fates(self) -> Counter[str]:
        """How many bills are in which state."""
        return Counter(self.fate(key) for key in self.bills)

    @property
    def updated(self) -> int:
        """Bills whose entry was changed after it was first made or linked."""
        return sum(any(p.outcome in _UPDATES for p in postings) for postings in self.postings.values())

    @property
    def verified(self) -> int:
        """Bills with an effect that was read back."""
        return sum(any(p.verified_at for p in postings) for postings in self.postings.values())

    @property
    def unverified(self) -> list[Posting]:
        """Postings that claim an effect without a read-back: a broken law."""
        return [p for postings in self.postings.values() for p in postings if p.outcome in _POSTED and not p.verified_at]

    async def settled(self) -> bool:
        """Whether nothing is under way: queues empty and every bill has its answer."""
        for consumer in self.bus.topology.consumers:
            if await self._busy(consumer):
                return False
        fates = self.fates()
        return bool(self.bills) and not fates["undecided"] and not fates["unposted"]

    async def _busy(self, consumer: Consumer) -> bool:
        info = await self.bus.js.consumer_info(consumer.stream, consumer.name)
        return bool(info.num_pending or info.num_ack_pending)
