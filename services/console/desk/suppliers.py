"""The vendors of a workspace by name, as RECORDS has them now, for people who look one up."""

import heapq
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import structlog
from nats.aio.msg import Msg

from common import codec
from common.bus import Bus
from common.feed import Feed
from common.folding import folded, words
from common.messages import Message, Part
from services.console.desk.shelf import Shelf

log = structlog.get_logger()

MOST_VENDORS = 500_000
"""Vendors of all workspaces at a time: some 100 MB."""


class _Named(Part, frozen=True, kw_only=True):
    name: str = ""
    active: bool = True


class _Head(Message, frozen=True, kw_only=True, tag="record.1"):
    """What is read of a vendor's record."""

    realm: str
    id: str
    deleted: bool = False
    body: _Named | None = None


class Supplier(NamedTuple):
    """A vendor of a company: its id in QuickBooks and what it is called there."""

    id: str
    name: str


class Suppliers:
    """One workspace's vendors; `read` brings them up to date."""

    def __init__(self, bus: Bus, workspace: str) -> None:
        self._named: dict[tuple[str, str], Supplier] = {}
        self._texts: dict[tuple[str, str], str] = {}  # what they are found by: made once, for it takes longest
        self._feed = Feed(bus, bus.topology.records, f"{bus.region}.record.{workspace}.vendor.*", self._take)

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self._named)

    async def read(self, within: float) -> bool:
        """Take what is new; False if there is more to come. RetryLater if the broker does not answer."""
        return await self._feed.read(within)

    async def close(self) -> None:
        """Stop reading."""
        await self._feed.close()

    def named(self, realm: str, ident: str) -> Supplier:
        """A vendor of a company; its id stands for the name of one that was not pulled."""
        return self._named.get((realm, ident), Supplier(ident, f"vendor {ident}"))

    def search(self, realm: str, text: str, limit: int) -> tuple[list[Supplier], int]:
        """Those of a company whose name has every word of `text`, by name; how many there are beyond `limit`."""
        wanted = words(text)
        found = [
            (told, key) for key, told in self._texts.items() if key[0] == realm and all(word in told for word in wanted)
        ]
        first = heapq.nsmallest(limit, found)
        return [self._named[key] for _, key in first], len(found) - len(first)

    def _take(self, messages: Sequence[Msg]) -> None:
        for message in messages:
            try:
                head = codec.decode(message.data, _Head)
            except msgspec.MsgspecError as error:
                log.warning("suppliers.unreadable", subject=message.subject, error=error)
                continue
            if head.deleted or head.body is None:
                self._named.pop((head.realm, head.id), None)
                self._texts.pop((head.realm, head.id), None)
            else:
                self._named[head.realm, head.id] = Supplier(head.id, head.body.name)
                self._texts[head.realm, head.id] = folded(f"{head.body.name} {head.id}")


def suppliers(bus: Bus, most: int = MOST_VENDORS) -> Shelf[Suppliers]:
    """The vendors of the workspaces that are looked at; its `run` loads them."""
    return Shelf(lambda workspace: Suppliers(bus, workspace), most=most)
