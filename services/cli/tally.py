"""What has become of every bill of a workspace, told from the streams alone."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from nats.aio.msg import Msg

from common import codec, subjects
from common.bus import Bus
from common.messages import Decision, Notice, Posting, Record, ReviewRequested
from common.topology import Consumer

T = TypeVar("T")

Fate = Literal["undecided", "unposted", "linked", "created", "review", "refused", "failed", "withdrawn"]

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
    parked: set[str] = field(default_factory=set)
    trouble: list[Notice] = field(default_factory=list)

    async def follow(self) -> None:
        """Begin to keep up with the streams; ends with the bus."""
        region, workspace = self.bus.region, self.workspace
        await self._subscribe(f"{region}.record.{workspace}.bill.*", Record, self._bill)
        await self._subscribe(f"{region}.decision.{workspace}.*", Decision, self._decision)
        await self._subscribe(f"{region}.posting.{workspace}.*", Posting, self._posting)
        await self._subscribe(f"{region}.review.requested.{workspace}.*", ReviewRequested, self._review)
        await self._subscribe(subjects.notice(region, workspace), Notice, self._notice)

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
        if notice.kind in {"failed", "pull-failed", "needs-reconnect"}:
            self.trouble.append(notice)
        if notice.kind == "failed" and notice.subject:
            self.parked.add(notice.subject.rpartition(".")[2])

    def fate(self, key: str) -> Fate:
        """The present state of one bill, or what it still waits for (undecided, unposted)."""
        decision = self.decisions.get(key)
        if key in self.parked:
            return "failed"
        if decision is None or decision.record_hash != self.bills[key].content_hash:
            return "undecided"
        match decision.action:
            case "review":
                return "review"
            case "refuse":
                return "refused"
        posting = next((p for p in reversed(self.postings.get(key, ())) if p.decision == decision.id), None)
        asked = self.asked.get(key)
        if asked is not None and asked.requested_at > decision.decided_at:
            return "review"  # the poster found something only a person can decide
        if posting is None:
            return "unposted"
        match posting.outcome:
            case "failed":
                return "failed"
            case "uncertain" | "stale":
                return "review"
            case "withdrawn":
                return "withdrawn"
            case _:
                return self.kind(key)

    def kind(self, key: str) -> Literal["created", "linked"]:
        """Whether the bill's entry was made by Weir or was there before."""
        first = next((p for p in self.postings.get(key, ()) if p.outcome in {"linked", "created"}), None)
        linked = first.outcome == "linked" if first else self.decisions[key].action == "link"
        return "linked" if linked else "created"

    def entry(self, key: str) -> str | None:
        """The Qonto entry that serves a bill."""
        return next((p.entry for p in reversed(self.postings.get(key, ())) if p.entry), None)

    def fates(self) -> Counter[Fate]:
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
        claims = (p for postings in self.postings.values() for p in postings if p.outcome in _POSTED)
        nothing = ("unchanged", None)  # no entry, before or after: there was nothing to read back
        return [p for p in claims if p.verified_at is None and (p.outcome, p.entry) != nothing]

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
