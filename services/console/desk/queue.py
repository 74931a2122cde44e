"""The review queue of a workspace: every bill that waits, in a few words, as REVIEWS has it now."""

from common import waiting
from common.bus import Bus
from common.reviews import Reviews
from services.console.desk import listing
from services.console.desk.listing import Beside, Page, Query, Row
from services.console.desk.shelf import Shelf

MOST_ROWS = 200_000
"""Rows of all workspaces at a time: some 200 MB."""


class Queue:
    """One workspace's queue; `read` brings it up to date."""

    def __init__(self, bus: Bus, workspace: str) -> None:
        self._reviews = Reviews(waiting.brief, listing.text)
        self._feed = waiting.feed(bus, workspace, self._reviews)
        self._given_up = waiting.given_up(bus, workspace, self._reviews)

    @property
    def size(self) -> int:
        """How many bills wait."""
        return len(self._reviews.open)

    @property
    def reached(self) -> int:
        """The sequence up to which REVIEWS was read: what changed it is seen."""
        return self._feed.reached

    async def read(self, within: float) -> bool:
        """Take what is new; False if there is more to come. RetryLater if the broker does not answer."""
        return await self._given_up.read(within) and await self._feed.read(within)

    async def close(self) -> None:
        """Stop reading."""
        await self._feed.close()
        await self._given_up.close()

    def page(self, query: Query, mark: str | None = None, limit: int = 50) -> Page:
        """A page of the list; UserError if `mark` is not of this order."""
        return listing.page(self._reviews.open.values(), query, mark, limit)

    def row(self, key: str) -> Row | None:
        """One bill that waits."""
        review = self._reviews.open.get(key)
        return listing.row_of(review) if review is not None else None

    def beside(self, key: str, query: Query) -> Beside | None:
        """Where this bill stands in the list, and what is next to it; None if it does not wait."""
        review = self._reviews.open.get(key)
        return listing.beside(self._reviews.open.values(), query, review.question) if review is not None else None

    def alike(self, key: str, least: float = 0.0) -> list[Row]:
        """What can be confirmed together with this bill, itself the first; nothing if it does not wait."""
        review = self._reviews.open.get(key)
        return listing.alike(self._reviews.open.values(), review.question, least) if review is not None else []


def queues(bus: Bus, most: int = MOST_ROWS) -> Shelf[Queue]:
    """The queues of the workspaces that are looked at; its `run` loads them."""
    return Shelf(lambda workspace: Queue(bus, workspace), most=most)
