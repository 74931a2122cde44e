"""How far each entity of a company was read, moved only by compare-and-set.

A marker moves after the broker has acknowledged what was read, never before; two pullers of one company
would meet here, and the slower one stops.
"""

from datetime import UTC, date, datetime, time, timedelta

import msgspec

from common.buckets import Bucket
from common.bus import Bus
from common.errors import Conflict, RetryLater
from common.messages import Part, Workspace
from common.settings import EARLIEST
from services.puller.window import Window

DAILY = timedelta(hours=23)
"""Less than a day, so that a daily pull finds due what is done once a day."""


class Marker(Part, frozen=True, kw_only=True):
    """Everything changed up to `until` is published; None while the first window is open.

    `window` is the open window and where reading goes on in it. `republish` says that what the open window
    holds is published even if RECORDS already has it (a rewind). `damaged` are ids of objects that QuickBooks
    could not give, `seconds` those in which one was last changed that has no id either; both were tried last at
    `tried_at`. `uncaptured_at` is when change data capture last refused the entity. All of it is QuickBooks' time.
    """

    until: datetime | None = None
    window: Window | None = None
    republish: bool = False
    damaged: tuple[str, ...] = ()
    seconds: tuple[datetime, ...] = ()
    tried_at: datetime | None = None
    uncaptured_at: datetime | None = None

    @property
    def quiet(self) -> bool:
        """Whether nothing is open: the next window begins at `until`."""
        return self.until is not None and self.window is None


class Moved(RetryLater):
    """Somebody else moved the marker: a rewind, or another puller."""

    def __init__(self, key: str) -> None:
        super().__init__(f"marker {key} was moved meanwhile", delay=1.0)


class Markers:
    """The markers of one company in one workspace, with the revisions they were read at."""

    def __init__(self, bus: Bus, workspace: str, realm: str) -> None:
        self._bucket = Bucket(bus, "markers", Marker)
        self._prefix = f"{workspace}.{realm}."
        self._revisions: dict[str, int] = {}
        self._markers: dict[str, Marker] = {}

    async def load(self) -> None:
        """Read all markers of the company."""
        self._revisions.clear()
        self._markers.clear()
        async for kept in self._bucket.items(self._prefix):
            name = kept.key.removeprefix(self._prefix)
            self._markers[name], self._revisions[name] = _within_reach(kept.value), kept.revision

    def __getitem__(self, name: str) -> Marker:
        """The marker of an entity as this process last saw it; an empty one if there is none."""
        return self._markers.get(name, Marker())

    def __contains__(self, name: str) -> bool:
        return name in self._markers

    async def move(self, name: str, marker: Marker) -> None:
        """Set a marker; Moved if it is not what this process saw last."""
        key = self._prefix + name
        try:
            if name in self._revisions:
                revision = await self._bucket.replace(key, marker, self._revisions[name])
            else:
                revision = await self._bucket.create(key, marker)
        except Conflict:
            raise Moved(key) from None
        self._markers[name], self._revisions[name] = marker, revision


def first_pull_begins(workspace: Workspace | None, otherwise: date) -> datetime:
    """Where the first pull of a workspace begins; `otherwise` if it does not say."""
    day = (workspace.backfill_from if workspace is not None else None) or otherwise
    return max(datetime.combine(day, time.min, UTC), EARLIEST)


def _within_reach(marker: Marker) -> Marker:
    """`marker` without instants that QuickBooks does not understand; there is nothing so old to miss."""
    if marker.until is not None and marker.until < EARLIEST:
        marker = msgspec.structs.replace(marker, until=EARLIEST)
    if marker.window is not None and marker.window.since < EARLIEST:
        marker = msgspec.structs.replace(marker, window=Window(since=EARLIEST))
    return marker


def due(last: datetime | None, at: datetime) -> bool:
    """Whether what is done once a day, and was last done at `last`, is to be done at `at`."""
    return last is None or at - last >= DAILY


def rewound(marker: Marker, to: datetime, *, republish: bool = True) -> Marker:
    """The marker set back so that everything changed since `to` is read again.

    With `republish` it is published again too, otherwise only what RECORDS lacks. A window that is open
    further back stays open from there: what it has not read is not skipped.
    """
    since = to if marker.window is None else min(to, marker.window.since)
    if marker.until is not None:
        since = min(since, marker.until)
    window = Window(since=since)
    return msgspec.structs.replace(marker, window=window, republish=republish or marker.republish)
