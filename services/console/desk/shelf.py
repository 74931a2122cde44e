"""Pictures of the workspaces that were looked at lately, brought up to date when they are looked at again."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import anyio
import structlog
from anyio.abc import TaskGroup

from common.errors import RetryLater

log = structlog.get_logger()

PATIENCE = 0.15
"""Seconds a page waits for a picture; one that takes longer to load goes on in the background, and says so."""
_AGAIN = 1.0
"""Seconds after which a load that the broker does not answer is tried again."""


class Picture(Protocol):
    """What is kept of one workspace."""

    @property
    def size(self) -> int:
        """What it holds, in rows."""

    async def read(self, within: float) -> bool:
        """Take what the streams hold now; False if there is more to come. RetryLater if they do not answer."""

    async def close(self) -> None:
        """Stop reading."""


P = TypeVar("P", bound=Picture)


class Seen(Generic[P]):
    """A picture, whether it is still `loading`, and why it may be `behind`, if the broker does not answer."""

    __slots__ = ("behind", "loading", "lock", "picture")

    def __init__(self, picture: P) -> None:
        self.picture = picture
        self.loading = True
        self.behind: str | None = None
        self.lock = anyio.Lock()


class Shelf(Generic[P]):
    """Makes, keeps and forgets pictures: those looked at last, at most `most` rows and `places` workspaces in all.

    One picture always stays, however large.
    """

    def __init__(self, make: Callable[[str], P], *, most: int, places: int = 100) -> None:
        self._make = make
        self._most = most
        self._places = places
        self._kept: OrderedDict[str, Seen[P]] = OrderedDict()
        self._group: TaskGroup | None = None
        self._stopping = anyio.Event()

    async def run(self) -> None:
        """Load in the background what pages do not wait for, until `stop`."""
        async with anyio.create_task_group() as self._group:
            await self._stopping.wait()
            self._group.cancel_scope.cancel()
        self._group = None
        for seen in self._kept.values():
            await seen.picture.close()

    async def stop(self) -> None:
        """Give up what is being loaded."""
        self._stopping.set()

    async def look(self, workspace: str, within: float = PATIENCE) -> Seen[P]:
        """The picture of a workspace as the streams have it now, or as far as it is loaded."""
        seen = self._kept.get(workspace)
        if seen is None:
            seen = self._kept[workspace] = Seen(self._make(workspace))
        self._kept.move_to_end(workspace)
        busy = seen.loading and seen.lock.locked()
        with anyio.move_on_after(within if busy else None) as waiting:
            await seen.lock.acquire()
        if waiting.cancelled_caught:
            return seen
        try:
            await self._read(seen, within)
        finally:
            seen.lock.release()
        if seen.loading and self._group is not None:
            self._group.start_soon(self._load, workspace, seen)
        await self._make_room()
        return seen

    async def _read(self, seen: Seen[P], within: float) -> None:
        try:
            seen.loading = not await seen.picture.read(within)
            seen.behind = None
        except RetryLater as error:
            seen.behind = str(error)

    async def _load(self, workspace: str, seen: Seen[P]) -> None:
        async with seen.lock:
            while seen.loading and self._kept.get(workspace) is seen:
                await self._read(seen, within=1.0)
                if seen.behind is not None:
                    await anyio.sleep(_AGAIN)
            if self._kept.get(workspace) is not seen:
                await seen.picture.close()
        await self._make_room()

    async def _make_room(self) -> None:
        """Forget what was not looked at longest."""
        held = sum(seen.picture.size for seen in self._kept.values())
        for workspace, seen in list(self._kept.items())[:-1]:
            if held <= self._most and len(self._kept) <= self._places:
                return
            if seen.lock.locked() and not seen.loading:
                continue  # it is being looked at
            held -= seen.picture.size
            del self._kept[workspace]
            log.info("shelf.forgotten", workspace=workspace, rows=seen.picture.size)
            if not seen.lock.locked():  # who loads it closes it
                await seen.picture.close()
