"""The views of the workspaces that were asked for lately, within a bound on what is held in memory."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import anyio
import structlog
from anyio.abc import TaskGroup

from common.bus import Bus
from common.errors import RetryLater
from common.pace import Pace
from services.scorer.view import View

log = structlog.get_logger()

MOST_VIEWS = 1000
"""Workspaces held at a time, however small."""
_LOADS = 4
"""Views that are loaded at a time."""
_AGAIN = 2.0
"""Seconds after which a load that the broker does not answer is tried again."""


class Views:
    """Opens, keeps and forgets views; at most `most` entries and bills in all, one view always."""

    def __init__(self, bus: Bus, pace: Pace, most: int) -> None:
        self._bus = bus
        self._pace = pace
        self._most = most
        self._views: OrderedDict[str, View] = OrderedDict()
        self._loads = anyio.Semaphore(_LOADS)
        self._ready = anyio.Event()
        self._stopping = anyio.Event()
        self._group: TaskGroup | None = None

    async def run(self) -> None:
        """Load views in the background until `stop`."""
        async with anyio.create_task_group() as self._group:
            self._ready.set()
            await self._stopping.wait()
            self._group.cancel_scope.cancel()

    async def stop(self) -> None:
        """Give up what is being loaded."""
        self._stopping.set()

    @contextmanager
    def using(self, workspaces: Iterable[str]) -> Iterator[dict[str, View]]:
        """The views of these workspaces, which stay as long as they are used."""
        views = {workspace: self._get(workspace) for workspace in workspaces}
        try:
            yield views
        finally:
            for view in views.values():
                view.users -= 1

    def _get(self, workspace: str) -> View:
        view = self._views.get(workspace)
        if view is None:
            view = self._views[workspace] = View(self._bus, workspace, self._pace)
        self._views.move_to_end(workspace)
        view.users += 1
        return view

    async def load(self, view: View) -> None:
        """Read on in the background what takes longer than a batch may wait."""
        await self._ready.wait()
        if self._group is not None and not view.loading:
            view.loading, view.ended = True, anyio.Event()
            view.users += 1
            self._group.start_soon(self._load, view)

    async def _load(self, view: View) -> None:
        log.info("view.loading", workspace=view.workspace)
        try:
            async with self._loads:
                while not await self._read_on(view):
                    await self.make_room()
        finally:
            view.loading = False
            view.ended.set()
            view.users -= 1
        log.info("view.loaded", workspace=view.workspace, size=view.size)

    async def _read_on(self, view: View) -> bool:
        try:
            return await view.read(within=1.0)
        except RetryLater as error:
            log.warning("view.stalled", workspace=view.workspace, error=error)
            await anyio.sleep(_AGAIN)
            return False

    async def drop(self, view: View) -> None:
        """Forget a view whose books cannot be trusted any more; the next use begins anew."""
        if self._views.get(view.workspace) is view:
            del self._views[view.workspace]
        await view.close()

    async def make_room(self) -> None:
        """Forget what was not asked for longest and is not in use, until what is held is within the bound."""
        held = sum(view.size for view in self._views.values())
        idle = [view for view in self._views.values() if not view.users]
        for view in idle:
            if len(self._views) == 1 or (held <= self._most and len(self._views) <= MOST_VIEWS):
                return
            await self.drop(view)
            held -= view.size
            log.info("view.forgotten", workspace=view.workspace, size=view.size, held=held, views=len(self._views))
