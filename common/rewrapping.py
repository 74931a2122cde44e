"""A service moves what it has sealed under the master key it seals with now, while it goes on working.

Each value is re-wrapped by compare-and-set, a few of them per call, so that whoever asks sees how far it is and a kill
leaves nothing half done: asked again, it goes on with what is still under another key. Secrets never leave the service.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import structlog
from msgspec.structs import replace

from common import subjects
from common.buckets import Bucket, Kept
from common.bus import Bus
from common.consent import STATE_TTL, Pending
from common.errors import Conflict, Refused
from common.messages import Keyring, Keys, Provider, Rewrap, Rewrapped
from common.proof import move_proof
from common.register import Connection
from common.vault import Damaged, KeyMissing, Purpose, Sealed, Vault

log = structlog.get_logger()

SLICE = 200
"""Values moved per call: a second or two of writing, even where every write is synced to disk."""


class OfWorkspace(Protocol):
    """A stored value that belongs to a workspace."""

    @property
    def workspace(self) -> str:
        """The workspace it was sealed for."""


V = TypeVar("V", bound=OfWorkspace)


@dataclass(frozen=True)
class Shelf(Generic[V]):
    """A bucket with sealed values: in which field, for which purpose, and which of them are the service's own.

    `ttl` is how long a value lives that does not live for ever, in seconds.
    """

    bucket: Bucket[V]
    purpose: Purpose
    field: str
    own: Callable[[Kept[V]], bool] = lambda _: True
    ttl: float | None = None

    def sealed(self, value: V) -> Sealed | None:
        """What is sealed in it, if anything."""
        found: Sealed | None = getattr(value, self.field)
        return found

    async def items(self) -> AsyncGenerator[tuple[Kept[V], Sealed], None]:
        """Every value of ours that holds something sealed."""
        async with aclosing(self.bucket.items()) as values:
            async for kept in values:
                sealed = self.sealed(kept.value)
                if sealed is not None and self.own(kept):
                    yield kept, sealed


class Rewrapping:
    """What one provider's service has sealed: its connections and authorizations, and what `more` names."""

    def __init__(self, bus: Bus, vault: Vault, provider: Provider, more: Sequence[Shelf[Any]] = ()) -> None:
        self._bus = bus
        self._vault = vault
        self._provider = provider
        self._shelves: Sequence[Shelf[Any]] = (
            Shelf(
                Bucket(bus, "connections", Connection),
                "tokens",
                "sealed",
                lambda kept: kept.key == f"{kept.value.workspace}.{provider}",
            ),
            Shelf(
                Bucket(bus, "authorizations", Pending),
                "verifier",
                "verifier",
                lambda kept: kept.value.provider == provider,
                STATE_TTL,
            ),
            *more,
        )

    def serve(self) -> None:
        """Answer who asks for the keys or has them changed; register before the bus runs."""
        subject = partial(subjects.call, self._bus.region, self._provider)
        self._bus.answers(subject("keys"), Keys, self.keys)
        self._bus.answers(subject("rewrap"), Rewrap, self.rewrap)

    async def keys(self, _request: Keys) -> Keyring:
        """The fingerprints of our keys, and under which of all keys how many of our values are."""
        count: Counter[str] = Counter()
        for shelf in self._shelves:
            async with aclosing(shelf.items()) as values:
                async for _, sealed in values:
                    count[sealed.master] += 1
        return Keyring(instance=self._bus.instance, fingerprints=self._vault.fingerprints, values=dict(count))

    async def rewrap(self, request: Rewrap) -> Rewrapped:
        """Move up to SLICE values under the key we seal with; Refused if that is not the one that is asked for."""
        if request.to != self._vault.fingerprint:
            raise Refused(
                f"{self._bus.instance} seals with key {self._vault.fingerprint}, not with {request.to}",
                fix="restart every instance with the same keys, the new one first",
            )
        await move_proof(self._bus, self._vault)
        moved = stuck = 0
        for shelf in self._shelves:
            async with aclosing(shelf.items()) as values:
                async for kept, sealed in values:
                    if sealed.master == self._vault.fingerprint:
                        continue
                    if moved == SLICE:
                        return Rewrapped(moved=moved, stuck=stuck, more=True)
                    try:
                        moved += await self._move(shelf, kept)
                    except (KeyMissing, Damaged) as error:
                        stuck += 1
                        log.warning("vault.not_rewrapped", provider=self._provider, key=kept.key, error=str(error))
        log.info("vault.rewrapped", provider=self._provider, moved=moved, stuck=stuck)
        return Rewrapped(moved=moved, stuck=stuck, more=False)

    async def _move(self, shelf: Shelf[V], kept: Kept[V]) -> bool:
        """Re-wrap one value, whatever becomes of it meanwhile; whether that was needed."""
        present: Kept[V] | None = kept
        while present is not None:
            sealed, workspace = shelf.sealed(present.value), present.value.workspace
            if sealed is None or sealed.master == self._vault.fingerprint:
                return False
            moved = self._vault.rewrap(sealed, purpose=shelf.purpose, workspace=workspace, provider=self._provider)
            value: Any = replace(present.value, **{shelf.field: moved})  # type: ignore[type-var]
            try:
                await shelf.bucket.replace(present.key, value, present.revision, ttl=shelf.ttl)
            except Conflict:
                present = await shelf.bucket.get(present.key)  # refreshed, used up or moved by another instance
            else:
                return True
        return False
