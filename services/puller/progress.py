"""How pulling a workspace stands, written down for people: `weir connections` and the console show it."""

from datetime import datetime

from msgspec.structs import replace

from common.buckets import Bucket
from common.bus import Bus
from common.messages import PullState, now


class Progress:
    """The PullState of one workspace while a pull of it runs.

    Only who holds the workspace's lease writes, so the last write is the true one.
    """

    def __init__(self, bus: Bus, workspace: str, realm: str) -> None:
        self._bucket = Bucket(bus, "pulls", PullState)
        self._workspace = workspace
        self._state = PullState(realm=realm, began_at=now())
        self._before: dict[str, int] = {}

    async def began(self) -> None:
        """A pull begins, or the next slice of one."""
        kept = await self._bucket.get(self._workspace)
        if kept is not None and kept.value.realm == self._state.realm:
            unfinished = kept.value.entity is not None
            self._state = replace(
                kept.value, began_at=now(), next_at=None, counts=kept.value.counts if unfinished else {}
            )
        self._before = self._state.counts
        await self._put()

    async def reached(self, entity: str, until: datetime, counts: dict[str, int], *, backfilling: bool) -> None:
        """The pull has read `entity` up to an instant; `backfilling` if it is read for the first time."""
        self._state = replace(
            self._state, entity=entity, read_until=until, counts=self._all(counts), backfilling=backfilling
        )
        await self._put()

    async def ended(self, counts: dict[str, int], next_at: datetime) -> None:
        """The pull has read all there is."""
        self._state = PullState(
            realm=self._state.realm,
            began_at=self._state.began_at,
            finished_at=now(),
            next_at=next_at,
            counts=self._all(counts),
        )
        await self._put()

    async def failed(self, why: str, fix: str | None, next_at: datetime | None) -> None:
        """The pull ended before its time; `next_at` is None if it goes on as soon as it can."""
        kept = await self._bucket.get(self._workspace)
        state = kept.value if kept is not None and kept.value.realm == self._state.realm else self._state
        self._state = replace(state, failing=why, fix=fix, next_at=next_at)
        await self._put()

    def _all(self, counts: dict[str, int]) -> dict[str, int]:
        kinds = self._before.keys() | counts.keys()
        return {kind: self._before.get(kind, 0) + counts.get(kind, 0) for kind in sorted(kinds)}

    async def _put(self) -> None:
        await self._bucket.put(self._workspace, self._state)


async def last_began(bus: Bus, workspace: str) -> datetime | None:
    """When the newest pull of the workspace began; None if there was none."""
    kept = await Bucket(bus, "pulls", PullState).get(workspace)
    return None if kept is None else kept.value.began_at
