"""How pulling a workspace stands, written down for people: `weir connections` and the console show it."""

from collections.abc import Sequence
from datetime import datetime

from msgspec.structs import replace

from common.buckets import Bucket
from common.bus import Bus
from common.errors import NotConnected, Paused
from common.messages import LISTED, NAMES, Provider, PullState, now


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
            finished = kept.value.finished_at
            unfinished = finished is None or finished < kept.value.began_at
            self._state = replace(
                kept.value,
                began_at=now(),
                next_at=None,
                counts=kept.value.counts if unfinished else {},
                failing=None,
                fix=None,
                waits_for=None,
            )
        self._before = self._state.counts
        await self._put()

    async def reached(self, entity: str, until: datetime, counts: dict[str, int], *, first: bool) -> None:
        """The pull has read `entity` up to an instant; `first` if nothing of it was read before this pull."""
        self._state = replace(
            self._state, entity=entity, read_until=until, counts=self._all(counts), first=first, failures=0
        )
        await self._put()

    async def paused(self, counts: dict[str, int]) -> None:
        """A slice is over; the next one goes on."""
        self._state = replace(self._state, counts=self._all(counts), failures=0)
        await self._put()

    async def ended(self, counts: dict[str, int], next_at: datetime, left_out: Sequence[str] = ()) -> None:
        """The pull has read all there is, except what it had to leave out."""
        self._state = PullState(
            realm=self._state.realm,
            began_at=self._state.began_at,
            finished_at=now(),
            next_at=next_at,
            counts=self._all(counts),
            left_out=_listed(left_out),
        )
        await self._put()

    async def failed(self, why: str, fix: str) -> int:
        """The pull ended before its time; how often it did in a row."""
        self._state = replace(self._state, failures=self._state.failures + 1)
        await self._stopped(why, fix, None, None)
        return self._state.failures

    async def waits(self, error: NotConnected | Paused, next_at: datetime | None) -> None:
        """The pull can go no further before a person has connected or mended the provider's account."""
        absent = isinstance(error, NotConnected)
        why = f"{NAMES[error.provider]} is not connected: {error.why}" if absent else error.why
        await self._stopped(why, error.fix, error.provider, next_at)

    async def _stopped(self, why: str, fix: str, waits_for: Provider | None, next_at: datetime | None) -> None:
        self._state = replace(self._state, failing=why, fix=fix, waits_for=waits_for, next_at=next_at)
        await self._put()

    def _all(self, counts: dict[str, int]) -> dict[str, int]:
        kinds = self._before.keys() | counts.keys()
        return {kind: self._before.get(kind, 0) + counts.get(kind, 0) for kind in sorted(kinds)}

    async def _put(self) -> None:
        await self._bucket.put(self._workspace, self._state)


def _listed(texts: Sequence[str]) -> tuple[str, ...]:
    """The texts, the last of them a mere count if they are too many."""
    if len(texts) <= LISTED:
        return tuple(texts)
    return (*texts[: LISTED - 1], f"{len(texts) - LISTED + 1} more")


async def last_began(bus: Bus, workspace: str) -> datetime | None:
    """When the newest pull of the workspace began; None if there was none."""
    kept = await Bucket(bus, "pulls", PullState).get(workspace)
    return None if kept is None else kept.value.began_at
