"""What is kept of a workspace's connection to one provider, and the register it is kept in.

Every write is a compare-and-set. Only the service that owns the provider can open the sealed tokens.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Literal

import msgspec
from msgspec.structs import replace

from common import codec
from common.buckets import Bucket, Kept
from common.bus import Bus
from common.errors import Conflict, NotConnected
from common.lease import lease
from common.messages import Provider, now
from common.oauth import Tokens
from common.vault import Sealed, Vault

LEASE_WAIT = 30.0
"""Seconds to wait for whoever makes, renews or revokes a workspace's tokens."""

State = Literal["connected", "needs-reconnect", "disconnected"]


class Account(msgspec.Struct, frozen=True):
    """A company or organization at a provider, and what the provider calls it."""

    id: str
    name: str | None = None

    def __str__(self) -> str:
        return f"{self.name} ({self.id})" if self.name else self.id


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """A usable access token and the account it is for."""

    access: str
    account: str

    def __repr__(self) -> str:
        return f"Grant({self.account})"


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """Why the provider does not serve the workspace for now, and what its owner can do."""

    why: str
    fix: str


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a connection. `account` is the realm or organization; `sealed` holds the tokens.

    A connection that `needs-reconnect` may keep its tokens, and one that is `disconnected` until they are
    revoked: in neither state are they used for anything else. `why` and `fix` say how it came to that and what
    the next step is. `idle_window` is the longest time the refresh
    token was ever good for without use, `warned` the days before its end that were announced last, `earlier`
    the accounts the workspace had before this one.
    """

    workspace: str
    account: str
    state: State
    since: datetime
    name: str | None = None
    sealed: Sealed | None = None
    expires_at: datetime | None = None
    refresh_expires_at: datetime | None = None
    hard_expires_at: datetime | None = None
    idle_window: timedelta | None = None
    warned: int | None = None
    why: str | None = None
    fix: str | None = None
    paused: Pause | None = None
    earlier: tuple[str, ...] = ()

    @property
    def bound(self) -> bool:
        """Whether the account belongs to this workspace: it stays so until somebody disconnects it."""
        return self.state != "disconnected"

    @property
    def usable(self) -> bool:
        """Whether the tokens may be used."""
        return self.state == "connected" and self.sealed is not None

    def same(self, other: "Connection") -> bool:
        """Whether both say the same, whatever master key their tokens are under."""
        if self.sealed is not None and self.sealed.same(other.sealed):
            return replace(self, sealed=None) == replace(other, sealed=None)
        return self == other

    def holding(self, tokens: Tokens, sealed: Sealed) -> "Connection":
        """The same connection with fresh tokens."""
        idle = tokens.refresh_expires_at and tokens.refresh_expires_at - now()
        return replace(
            self,
            sealed=sealed,
            expires_at=tokens.expires_at,
            refresh_expires_at=tokens.refresh_expires_at,
            hard_expires_at=tokens.hard_expires_at,
            idle_window=max(idle, self.idle_window or idle) if idle else None,
        )

    def over(self, at: datetime) -> str | None:
        """In words, that the grant came to its end by itself before `at`; None if it did not."""
        if self.hard_expires_at is not None and self.hard_expires_at <= at:
            return f"the connection reached its end on {self.hard_expires_at:%Y-%m-%d}"
        if self.refresh_expires_at is not None and self.refresh_expires_at <= at:
            return f"the connection was not used for too long and ended on {self.refresh_expires_at:%Y-%m-%d}"
        return None

    def __str__(self) -> str:
        return str(Account(self.account, self.name))


class Register:
    """The connections to one provider as the bucket holds them, whose tokens it seals and opens."""

    def __init__(self, bus: Bus, vault: Vault, provider: Provider) -> None:
        self._bus = bus
        self._vault = vault
        self.provider = provider
        self._kept = Bucket(bus, "connections", Connection)

    async def get(self, workspace: str) -> Kept[Connection] | None:
        """The workspace's connection in whatever state, or None."""
        return await self._kept.get(self._key(workspace))

    async def usable(self, workspace: str) -> Kept[Connection]:
        """The connection if its tokens may be used, else NotConnected with the reason."""
        return self.checked(workspace, await self.get(workspace))

    def checked(self, workspace: str, kept: Kept[Connection] | None) -> Kept[Connection]:
        """`kept` if its tokens may be used, else NotConnected with the reason."""
        if kept is None or not kept.value.usable:
            raise self.absent(workspace, None if kept is None else kept.value)
        return kept

    def absent(self, workspace: str, connection: Connection | None) -> NotConnected:
        """The error that says why there are no tokens to use."""
        match connection:
            case None:
                return NotConnected(self.provider, workspace, "never connected")
            case Connection(state="disconnected", why=why):
                return NotConnected(self.provider, workspace, why or "disconnected")
            case Connection(why=None):
                return NotConnected(self.provider, workspace, "it needs to be reconnected")
            case Connection(why=why, fix=fix):
                return NotConnected(self.provider, workspace, f"it needs to be reconnected, because {why}", fix=fix)

    async def write(self, kept: Kept[Connection] | None, connection: Connection) -> Kept[Connection]:
        """Put `connection` in the place of what was read; Conflict if that moved on.

        That its tokens were re-wrapped meanwhile is nobody's decision, and in nobody's way.
        """
        key = self._key(connection.workspace)
        if kept is None:
            return Kept(key, connection, await self._kept.create(key, connection))
        while True:
            try:
                return Kept(key, connection, await self._kept.replace(key, connection, kept.revision))
            except Conflict:
                kept = await self._rewrapped(kept)
                wrapped = kept.value.sealed
                if wrapped is not None and wrapped.same(connection.sealed):
                    connection = replace(connection, sealed=wrapped)

    async def amend(self, workspace: str, change: Callable[[Connection], Connection | None]) -> Kept[Connection] | None:
        """Apply `change` to what is there until nobody interferes; None if it wants nothing changed."""
        while True:
            kept = await self.get(workspace)
            changed = None if kept is None else change(kept.value)
            if changed is None:
                return None
            try:
                return await self.write(kept, changed)
            except Conflict:
                continue

    async def forget(self, kept: Kept[Connection]) -> None:
        """Remove the record; Conflict if it moved on, other than by re-wrapping."""
        while True:
            try:
                return await self._kept.delete(kept.key, kept.revision)
            except Conflict:
                kept = await self._rewrapped(kept)

    async def all(self) -> AsyncIterator[Connection]:
        """Every connection to this provider, sealed tokens included."""
        async for kept in self._kept.items():
            if kept.key == self._key(kept.value.workspace):
                yield kept.value

    def exclusively(self, workspace: str) -> AbstractAsyncContextManager[None]:
        """The lease under which a workspace's tokens are made, renewed and revoked; Taken after LEASE_WAIT."""
        return lease(self._bus, f"refresh.{self._key(workspace)}", wait=LEASE_WAIT)

    def seal(self, workspace: str, tokens: Tokens) -> Sealed:
        """Tokens as they are kept."""
        return self._vault.seal(codec.encode(tokens), purpose="tokens", workspace=workspace, provider=self.provider)

    def open(self, connection: Connection) -> Tokens:
        """The tokens of a connection that holds some."""
        if connection.sealed is None:
            raise self.absent(connection.workspace, connection)
        data = self._vault.open(
            connection.sealed, purpose="tokens", workspace=connection.workspace, provider=self.provider
        )
        return codec.decode(data, Tokens)

    async def _rewrapped(self, kept: Kept[Connection]) -> Kept[Connection]:
        """What is there now, if it differs from `kept` by no more than the master key; else Conflict."""
        present = await self.get(kept.value.workspace)
        if present is not None and present.revision != kept.revision and present.value.same(kept.value):
            return present
        raise Conflict(f"{kept.key} is no longer at revision {kept.revision}")

    def _key(self, workspace: str) -> str:
        return f"{workspace}.{self.provider}"
