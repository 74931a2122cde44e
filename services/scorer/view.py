"""A workspace's books, brought up to date from the streams whenever they are asked for.

Nothing arrives by itself: before a batch is judged, each stream is asked for what is new, in pages, until it
says that there is no more. That costs one short question per stream however much it holds, what was replaced
several times meanwhile is read once, and the books never change under the judge.
"""

import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import anyio
import msgspec
import structlog
from nats.aio.msg import Msg

from common import codec
from common.bus import Bus
from common.errors import RetryLater
from common.feed import Feed
from common.inbox import position
from common.messages import Claim, Entry, Lessons, Policy, Record, SelfCheck
from common.pace import Pace
from services.scorer.matching.books import Books

log = structlog.get_logger()
T = TypeVar("T")

_UNREADABLE = (msgspec.MsgspecError, ValueError)


@dataclass
class View:
    """The books of one workspace and the feeds that keep them.

    `unreadable` says of which subjects the newest message cannot be read: its sequence, and why. A view that
    was `loaded` once is read again at small cost; `users` is how many batches work with it now. `ended` is when
    `loading` it in the background did.
    """

    bus: Bus
    workspace: str
    pace: Pace
    books: Books = field(default_factory=Books)
    unreadable: dict[str, tuple[int, Exception]] = field(default_factory=dict)
    loaded: bool = False
    loading: bool = False
    ended: anyio.Event = field(default_factory=anyio.Event)
    users: int = 0

    def __post_init__(self) -> None:
        region, workspace, names = self.bus.region, self.workspace, self.bus.topology
        claims, policies = names.bucket("claims"), names.bucket("policies")
        aliases, selfchecks = names.bucket("aliases"), names.bucket("selfchecks")
        records, entries = _message(Record), _message(Entry)
        self._records = self._feed(names.records, f"{region}.record.{workspace}.>", records, self.books.take_records)
        self._entries = self._feed(names.entries, f"{region}.entry.{workspace}.>", entries, self.books.take_entries)
        self._feeds = (
            self._records,
            self._entries,
            self._feed(f"KV_{claims}", f"$KV.{claims}.{workspace}.>", _value(Claim), self._claims),
            self._feed(f"KV_{policies}", f"$KV.{policies}.{workspace}", _value(Policy), self._policy),
            self._feed(f"KV_{aliases}", f"$KV.{aliases}.{workspace}.>", _value(Lessons), self._lessons),
            self._feed(f"KV_{selfchecks}", f"$KV.{selfchecks}.{workspace}", _value(SelfCheck), self._selfcheck),
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

        async def read(feed: Feed) -> None:
            try:
                while not await feed.page():
                    # A large view is many objects that stay. The collector would walk over all of them again and again,
                    # half a second at a time; those it is told to leave alone still go when nothing refers to them.
                    gc.freeze()
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
        whole = len(ended) == len(self._feeds)
        self.loaded = self.loaded or whole
        return whole

    async def close(self) -> None:
        """Stop reading."""
        for feed in self._feeds:
            await feed.close()

    def _feed(self, stream: str, subject: str, read: Callable[[Msg], T], take: Callable[[Sequence[T]], None]) -> Feed:
        def safely(messages: Sequence[Msg]) -> None:
            good: list[tuple[Msg, T]] = []
            for message in messages:
                try:
                    good.append((message, read(message)))
                except _UNREADABLE as error:
                    self._skip(message, error)
            try:
                take([value for _, value in good])
            except _UNREADABLE:  # one of them is at fault: each is taken by itself, and that one named
                for message, value in good:
                    try:
                        take([value])
                    except _UNREADABLE as error:
                        self._skip(message, error)
                    else:
                        self._forgive(message)
            else:
                for message, _ in good if self.unreadable else ():
                    self._forgive(message)

        return Feed(self.bus, stream, subject, safely, self.pace)

    def _skip(self, message: Msg, error: Exception) -> None:
        """A view that stopped here would hold up the workspace for ever; what it cannot read it cannot use."""
        log.warning("view.unreadable", workspace=self.workspace, subject=message.subject, error=error)
        self._forgive(message)
        self.unreadable.setdefault(message.subject, (position(message).stream, error))

    def _forgive(self, message: Msg) -> None:
        """What could not be read before this message on its subject does not count any more."""
        sequence, _ = self.unreadable.get(message.subject, (math.inf, None))
        if sequence < position(message).stream:
            del self.unreadable[message.subject]

    def _claims(self, claims: Sequence[tuple[str, Claim | None]]) -> None:
        for entry, claim in claims:
            self.books.take_claim(entry, claim.bill if claim is not None else None)

    def _lessons(self, taught: Sequence[tuple[str, Lessons | None]]) -> None:
        for vendor, lessons in taught:
            self.books.take_lessons(vendor, lessons)

    def _policy(self, policies: Sequence[tuple[str, Policy | None]]) -> None:
        for _, policy in policies:
            self.books.policy = policy or Policy()

    def _selfcheck(self, checks: Sequence[tuple[str, SelfCheck | None]]) -> None:
        for _, check in checks:
            self.books.selfcheck = check


def _message(type_: type[T]) -> Callable[[Msg], T]:
    """Reads messages of a stream."""
    return lambda message: codec.decode(message.data, type_)


def _value(type_: type[T]) -> Callable[[Msg], tuple[str, T | None]]:
    """Reads values of a bucket: the last word of the key, and the value, None where it was deleted."""

    def read(message: Msg) -> tuple[str, T | None]:
        gone = (message.headers or {}).get("KV-Operation") in {"DEL", "PURGE"}
        return message.subject.rpartition(".")[2], None if gone else codec.decode(message.data, type_)

    return read
