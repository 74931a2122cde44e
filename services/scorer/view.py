"""A workspace's books, kept current from the streams; a scorer holds those of the workspaces it serves now."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
import msgspec
import structlog
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from common import codec
from common.bus import Bus
from common.errors import RetryLater
from common.messages import Claim, Entry, Lessons, Policy, Record, SelfCheck
from services.scorer.books import Books

log = structlog.get_logger()

MOST_VIEWS = 100
"""Workspaces held at a time; the one not asked for longest makes room."""
REACH_WITHIN = 15.0
"""Seconds a view may take to catch up before the batch is tried again later."""


@dataclass
class _Feed:
    """One stream's part of a view: which subjects, and how far it was read."""

    stream: str
    subject: str
    take: Callable[[Msg], None]
    reached: int = 0
    subscription: JetStreamContext.PushSubscription | None = None


@dataclass
class View:
    """The books of one workspace and the feeds that keep them."""

    bus: Bus
    workspace: str
    books: Books = field(default_factory=Books)

    def __post_init__(self) -> None:
        region, workspace, names = self.bus.region, self.workspace, self.bus.topology
        claims, policies = names.bucket("claims"), names.bucket("policies")
        aliases, selfchecks = names.bucket("aliases"), names.bucket("selfchecks")
        self._moved = anyio.Event()
        self._feeds = (
            _Feed(names.records, f"{region}.record.{workspace}.>", self._record),
            _Feed(names.entries, f"{region}.entry.{workspace}.>", self._entry),
            _Feed(f"KV_{claims}", f"$KV.{claims}.{workspace}.>", self._claim),
            _Feed(f"KV_{policies}", f"$KV.{policies}.{workspace}", self._policy),
            _Feed(f"KV_{aliases}", f"$KV.{aliases}.{workspace}.>", self._lessons),
            _Feed(f"KV_{selfchecks}", f"$KV.{selfchecks}.{workspace}", self._selfcheck),
        )

    async def open(self) -> None:
        """Begin to read; what the streams hold arrives in the background."""
        for feed in self._feeds:
            feed.subscription = await self.bus.js.subscribe(
                feed.subject, stream=feed.stream, cb=self._receiver(feed), ordered_consumer=True
            )

    async def close(self) -> None:
        """Stop reading."""
        for feed in self._feeds:
            if feed.subscription is not None:
                await feed.subscription.unsubscribe()
                feed.subscription = None

    async def catch_up(self, entries_seq: int) -> None:
        """Wait until everything the streams hold now, and entry `entries_seq`, is in the books.

        RetryLater if that takes longer than REACH_WITHIN seconds.
        """
        targets = [await self.bus.newest_sequence(feed.stream, feed.subject) for feed in self._feeds]
        targets[1] = max(targets[1], entries_seq)
        with anyio.move_on_after(REACH_WITHIN):
            while any(feed.reached < target for feed, target in zip(self._feeds, targets, strict=True)):
                self._moved = anyio.Event()
                await self._moved.wait()
            return
        raise RetryLater(f"the view of {self.workspace} does not catch up", delay=2.0)

    def _receiver(self, feed: _Feed) -> Any:
        async def receive(message: Msg) -> None:
            try:
                feed.take(message)
            except (msgspec.MsgspecError, ValueError) as error:
                # A view that stopped here would hold up the workspace for ever; what it cannot read it cannot use.
                log.warning("view.unreadable", workspace=self.workspace, subject=message.subject, error=error)
            feed.reached = message.metadata.sequence.stream
            self._moved.set()

        return receive

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


class Views:
    """The views of the workspaces that were asked for lately."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._views: OrderedDict[str, View] = OrderedDict()

    async def get(self, workspace: str) -> View:
        """The workspace's view, opened if need be."""
        view = self._views.get(workspace)
        if view is None:
            view = View(self._bus, workspace)
            await view.open()
            self._views[workspace] = view
            log.info("view.opened", workspace=workspace, views=len(self._views))
        self._views.move_to_end(workspace)
        while len(self._views) > MOST_VIEWS:
            _, oldest = self._views.popitem(last=False)
            await oldest.close()
        return view

    async def drop(self, workspace: str) -> None:
        """Forget a view that does not catch up; the next use opens a fresh one."""
        view = self._views.pop(workspace, None)
        if view is not None:
            await view.close()
