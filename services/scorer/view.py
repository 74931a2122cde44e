"""A workspace's books, brought up to date from the streams whenever they are asked for.

Nothing arrives by itself: before a batch is judged, each stream is asked for what is new, in pages, until it
says that there is no more. That costs one short question per stream however much it holds, what was replaced
several times meanwhile is read once, and the books never change under the judge.
"""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
import msgspec
import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from common import codec
from common.bus import PUBLISH_TIMEOUT, Bus
from common.errors import RetryLater
from common.inbox import NO_MESSAGES, Inbox, position, status
from common.messages import Claim, Entry, Lessons, Policy, Record, SelfCheck
from services.scorer.matching.books import Books
from services.scorer.pace import Pace

log = structlog.get_logger()

_PAGE = 1000
"""Messages asked for at once."""
_PAGE_BYTES = 16_000_000
_FORGOTTEN_AFTER = 300.0
"""Seconds after which the broker forgets how far an idle feed was read; the feed itself knows."""


@dataclass
class _Feed:
    """One stream's part of a view: which subjects, what becomes of a message, and how far it was read."""

    bus: Bus
    stream: str
    subject: str
    take: Callable[[Msg], None]
    reached: int = 0
    _inbox: Inbox | None = None
    _next: str | None = None
    _delivered: int = 0

    async def page(self, pace: Pace) -> bool:
        """Read some of what is new; whether that was all. RetryLater if the broker does not answer."""
        fresh = self._next is None
        try:
            messages, word = await self._ask()
        except nats.errors.Error as error:
            self._next = None
            raise RetryLater(f"{self.stream} does not answer ({error!r})") from error
        async with pace:
            for message in messages:
                at = position(message)
                self._delivered += 1
                if at.consumer != self._delivered:
                    self._next = None  # a reconnection swallowed something: go on behind what was read
                    return False
                self.take(message)
                self.reached = at.stream
                await pace.rest()
        if len(messages) == _PAGE:
            # A large view is many objects that stay. The collector would walk over all of them again and again, half
            # a second at a time; those it is told to leave alone still go when nothing refers to them any more.
            gc.freeze()
        if word == NO_MESSAGES:
            return True
        if word is not None or not messages:
            self._next = None  # the broker does not know the consumer any more, or cut the page at its size
            if fresh and not messages:
                raise RetryLater(f"{self.stream} gives nothing to read ({word or 'no answer'})")
        return False

    async def close(self) -> None:
        """Stop reading; the broker forgets the consumer by itself."""
        if self._inbox is not None:
            await self._inbox.close()

    async def _ask(self) -> tuple[list[Msg], str | None]:
        """A page, and the broker's word where it holds less than that."""
        if self._inbox is None:
            inbox = Inbox(self.bus.client)
            await inbox.open()
            self._inbox = inbox
        if self._next is None:
            self._next = await self._consume()
        reply = await self._inbox.ask(self._next, {"batch": _PAGE, "max_bytes": _PAGE_BYTES, "no_wait": True})
        messages, word = await self._inbox.gather(reply, _PAGE, within=PUBLISH_TIMEOUT)
        return messages, status(word) if word is not None else None

    async def _consume(self) -> str:
        """A consumer that begins behind what was read; where it is asked for messages."""
        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=self.reached + 1,
            filter_subject=self.subject,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=_FORGOTTEN_AFTER,
            mem_storage=True,
            num_replicas=1,
        )
        made = await self.bus.js.add_consumer(self.stream, config)
        self._delivered = 0
        return f"$JS.API.CONSUMER.MSG.NEXT.{self.stream}.{made.name}"


@dataclass
class View:
    """The books of one workspace and the feeds that keep them.

    `unreadable` says of which subjects the newest message cannot be read: its sequence, and why. A view that
    was `loaded` once is read again at small cost; `users` is how many batches work with it now.
    """

    bus: Bus
    workspace: str
    pace: Pace
    books: Books = field(default_factory=Books)
    unreadable: dict[str, tuple[int, Exception]] = field(default_factory=dict)
    loading: bool = False
    users: int = 0

    def __post_init__(self) -> None:
        region, workspace, names = self.bus.region, self.workspace, self.bus.topology
        claims, policies = names.bucket("claims"), names.bucket("policies")
        aliases, selfchecks = names.bucket("aliases"), names.bucket("selfchecks")
        self._records = self._feed(names.records, f"{region}.record.{workspace}.>", self._record)
        self._entries = self._feed(names.entries, f"{region}.entry.{workspace}.>", self._entry)
        self._feeds = (
            self._records,
            self._entries,
            self._feed(f"KV_{claims}", f"$KV.{claims}.{workspace}.>", self._claim),
            self._feed(f"KV_{policies}", f"$KV.{policies}.{workspace}", self._policy),
            self._feed(f"KV_{aliases}", f"$KV.{aliases}.{workspace}.>", self._lessons),
            self._feed(f"KV_{selfchecks}", f"$KV.{selfchecks}.{workspace}", self._selfcheck),
        )

    @property
    def entries_seq(self) -> int:
        """Sequence of the newest entry that was read."""
        return self._entries.reached

    @property
    def records_seq(self) -> int:
        """Sequence of the newest record that was read."""
        return self._records.reached

    @property
    def size(self) -> int:
        """Entries and bills held."""
        return len(self.books.entries) + len(self.books.bills)

    async def read(self, within: float) -> bool:
        """Read what the streams hold now; False if there is more to come after `within` seconds.

        RetryLater if the broker does not answer; what was read until then stays read.
        """
        until = time.monotonic() + within
        ended: list[bool] = []
        failed: list[RetryLater] = []

        async def read(feed: _Feed) -> None:
            try:
                while not await feed.page(self.pace):
                    if time.monotonic() > until:
                        return
            except RetryLater as error:
                failed.append(error)
            else:
                ended.append(True)

        async with anyio.create_task_group() as group:
            for feed in self._feeds:
                group.start_soon(read, feed)
        if failed:
            raise failed[0]
        return len(ended) == len(self._feeds)

    async def close(self) -> None:
        """Stop reading."""
        for feed in self._feeds:
            await feed.close()

    def _feed(self, stream: str, subject: str, take: Callable[[Msg], None]) -> _Feed:
        def safely(message: Msg) -> None:
            try:
                take(message)
                self.unreadable.pop(message.subject, None)
            except (msgspec.MsgspecError, ValueError) as error:
                # A view that stopped here would hold up the workspace for ever; what it cannot read it cannot use.
                self.unreadable[message.subject] = (position(message).stream, error)
                log.warning("view.unreadable", workspace=self.workspace, subject=message.subject, error=error)

        return _Feed(self.bus, stream, subject, safely)

    def _record(self, message: Msg) -> None:
        self.books.take_record(codec.decode(message.data, Record))

    def _entry(self, message: Msg) -> None:
        self.books.take_entry(codec.decode(message.data, Entry))

    def _claim(self, message: Msg) -> None:
        entry = message.subject.rpartition(".")[2]
        gone = (message.headers or {}).get("KV-Operation") in {"DEL", "PURGE"}
        self.books.take_claim(entry, None if gone else codec.decode(message.data, Claim).bill)

    def _policy(self, message: Msg) -> None:
        gone = (message.headers or {}).get("KV-Operation") in {"DEL", "PURGE"}
        self.books.policy = Policy() if gone else codec.decode(message.data, Policy)

    def _lessons(self, message: Msg) -> None:
        vendor = message.subject.rpartition(".")[2]
        gone = (message.headers or {}).get("KV-Operation") in {"DEL", "PURGE"}
        self.books.take_lessons(vendor, None if gone else codec.decode(message.data, Lessons))

    def _selfcheck(self, message: Msg) -> None:
        gone = (message.headers or {}).get("KV-Operation") in {"DEL", "PURGE"}
        self.books.selfcheck = None if gone else codec.decode(message.data, SelfCheck)
