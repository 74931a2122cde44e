"""A workspace's grant at one provider: connecting, staying connected, disconnecting.

Owned by the service that owns the provider; nobody else can open the sealed tokens. One refresher per
connection across all processes (a lease), the result is stored by compare-and-set before it is used, and an
older refresh token is never sent while a newer one is stored: providers take a replay for theft.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Literal

import anyio
import httpx
import msgspec
import nats.errors
import structlog

from common import codec, subjects
from common.buckets import Bucket, Kept
from common.bus import Bus
from common.errors import Conflict, NotConnected, Refused, RetryLater, UserError, backoff
from common.lease import lease
from common.messages import (
    Authorize,
    Connected,
    Disconnect,
    Done,
    Exchange,
    Notice,
    Redirect,
    Tick,
    now,
)
from common.oauth import BadClient, Dead, OAuthApp, Tokens, new_state, new_verifier
from common.vault import Sealed, Vault

log = structlog.get_logger()

REFRESH_EARLY = timedelta(minutes=5)
STATE_TTL = 600
"""Seconds a person has to approve: both providers let a code live for ten minutes at most."""
_REFRESH_WAIT = 30.0
PERSIST_TRIES = 8
"""Times that fresh tokens are offered to the broker, over half a minute."""


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a connection. `account` is the realm or organization; `sealed` holds the tokens."""

    workspace: str
    account: str
    state: Literal["connected", "needs-reconnect", "disconnected"]
    since: datetime
    sealed: Sealed | None = None
    expires_at: datetime | None = None
    refresh_expires_at: datetime | None = None
    why: str | None = None


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """An authorization that waits for its callback; usable once."""

    workspace: str
    provider: str
    redirect_uri: str
    verifier: Sealed


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """A usable access token and the account it is for."""

    access: str
    account: str

    def __repr__(self) -> str:
        return f"Grant({self.account})"


Identify = Callable[[Tokens, Exchange], Awaitable[str]]
"""Tells which account a fresh grant is for: from the callback, or by asking the provider."""


class Connections:
    """The connections of all workspaces to one provider."""

    def __init__(self, bus: Bus, vault: Vault, app: OAuthApp, http: httpx.AsyncClient, identify: Identify) -> None:
        self._bus = bus
        self._vault = vault
        self._app = app
        self._http = http
        self._identify = identify
        self._kept = Bucket(bus, "connections", Connection)
        self._pending = Bucket(bus, "authorizations", Pending)

    @property
    def provider(self) -> Literal["quickbooks", "qonto"]:
        """Which provider these are for."""
        return self._app.provider

    def serve(self) -> None:
        """Answer the console's calls, with the region's own master key only; register before the bus runs."""
        self._bus.before_serving(partial(prove_master_key, self._bus, self._vault))
        for verb, type_, answer in (
            ("authorize", Authorize, self.authorize),
            ("exchange", Exchange, self.exchange),
            ("disconnect", Disconnect, self.disconnect),
        ):
            self._bus.answers(subjects.call(self._bus.region, self.provider, verb), type_, answer)  # type: ignore[arg-type]

    async def authorize(self, request: Authorize) -> Redirect:
        """Where to send the browser so that a person can approve."""
        workspace = subjects.workspace(request.workspace)
        state, verifier = new_state(), new_verifier()
        pending = Pending(
            workspace=workspace,
            provider=self.provider,
            redirect_uri=request.redirect_uri,
            verifier=self._vault.seal(verifier.encode(), workspace=workspace, provider=self.provider),
        )
        await self._pending.create(state, pending, ttl=STATE_TTL)
        return Redirect(url=self._app.authorize(request.redirect_uri, state, verifier))

    async def exchange(self, request: Exchange) -> Connected:
        """Turn a callback into a stored connection; Refused when the state is unknown, used or expired."""
        pending = await self._redeem(request.state)
        if request.error is not None or not request.code:
            raise Refused(
                f"{self.provider} did not give access: {request.error or 'no code'}", fix="approve the request"
            )
        workspace = pending.workspace
        verifier = self._vault.open(pending.verifier, workspace=workspace, provider=self.provider).decode()
        try:
            tokens = await self._app.exchange(self._http, request.code, pending.redirect_uri, verifier)
        except Dead as error:
            raise Refused(str(error), fix="connect again; a code is valid for minutes and once") from None
        account = subjects.token(await self._identify(tokens, request), "account")
        await self._kept.put(self._key(workspace), self._connection(workspace, account, tokens))
        log.info("connection.made", workspace=workspace, provider=self.provider, account=account)
        tick = Tick(workspace=workspace, reason="connected", asked_at=now())
        await self._bus.publish(subjects.pull(self._bus.region, workspace), tick, stream=self._bus.topology.pulls)
        await self._tell(workspace, "connected", f"{self.provider} account {account} is connected", None)
        return Connected(workspace=workspace, account=account)

    async def disconnect(self, request: Disconnect) -> Done:
        """Revoke the grant, then forget it. Markers, ledger and reviews stay, so reconnecting resumes."""
        workspace = subjects.workspace(request.workspace)
        kept = await self._kept.get(self._key(workspace))
        if kept is None or kept.value.sealed is None:
            return Done()
        try:
            await self._app.revoke(self._http, self._open(kept.value).refresh)
        except UserError:
            log.warning("connection.forgotten_unrevoked", workspace=workspace, provider=self.provider)
        await self._retire(kept, "disconnected", "disconnected by its owner")
        await self._tell(workspace, "disconnected", f"{self.provider} is disconnected", "connect it to resume")
        return Done()

    async def account(self, workspace: str) -> str | None:
        """The connected account, or None; asks nobody."""
        kept = await self._kept.get(self._key(workspace))
        return kept.value.account if kept is not None and kept.value.state == "connected" else None

    async def connected(self) -> AsyncIterator[str]:
        """Every workspace that is connected to this provider."""
        async for kept in self._kept.items():
            if kept.key == self._key(kept.value.workspace) and kept.value.state == "connected":
                yield kept.value.workspace

    async def grant(self, workspace: str, *, rejected: str | None = None) -> Grant:
        """A valid grant, refreshed in time; `rejected` is an access token the provider just refused.

        NotConnected when there is none, or the provider says it is gone.
        """
        kept = await self._usable(workspace)
        tokens = self._open(kept.value)
        if tokens.access == rejected or tokens.expires_at - now() < REFRESH_EARLY:
            kept, tokens = await self._refresh(workspace, rejected)
        return Grant(access=tokens.access, account=kept.value.account)

    async def lost(self, workspace: str, why: str) -> NotConnected:
        """Record that the provider refuses this workspace for good; the error to raise."""
        kept = await self._kept.get(self._key(workspace))
        if kept is not None and kept.value.state == "connected":
            await self._retire(kept, "needs-reconnect", why)
            await self._tell(workspace, "needs-reconnect", why, f"reconnect {self.provider} in the console")
        return NotConnected(self.provider, workspace, why)

    async def _refresh(self, workspace: str, rejected: str | None) -> tuple[Kept[Connection], Tokens]:
        async with lease(self._bus, f"refresh.{workspace}.{self.provider}", wait=_REFRESH_WAIT):
            kept = await self._usable(workspace)
            tokens = self._open(kept.value)
            if tokens.access != rejected and tokens.expires_at - now() >= REFRESH_EARLY:
                return kept, tokens  # another process refreshed while we waited
            # From here on nothing may cut us short: the provider may have made the stored token worthless.
            with anyio.CancelScope(shield=True):
                renewed = await self._renew(workspace, kept, tokens)
            return renewed  # noqa: RET504 (mypy takes a cancel scope for one that may end the function)

    async def _renew(self, workspace: str, kept: Kept[Connection], tokens: Tokens) -> tuple[Kept[Connection], Tokens]:
        try:
            fresh = await self._app.refresh(self._http, tokens.refresh)
        except Dead as error:
            newer = await self._usable(workspace)
            if newer.revision != kept.revision:
                return newer, self._open(newer.value)
            raise await self.lost(workspace, str(error)) from None
        except BadClient as error:
            raise RetryLater(str(error), delay=60.0) from None
        connection = self._connection(workspace, kept.value.account, fresh)
        connection = msgspec.structs.replace(connection, since=kept.value.since)
        try:
            revision = await self._persist(kept, connection)
        except Conflict:
            # Disconnected or reconnected meanwhile: that decision stands.
            newer = await self._usable(workspace)
            return newer, self._open(newer.value)
        log.info("connection.refreshed", workspace=workspace, provider=self.provider)
        return Kept(kept.key, connection, revision), fresh

    async def _persist(self, kept: Kept[Connection], connection: Connection) -> int:
        """Store fresh tokens, however often the broker has to be asked: losing them costs the grant."""
        for attempt in range(1, PERSIST_TRIES):
            try:
                return await self._kept.replace(kept.key, connection, kept.revision)
            except (RetryLater, nats.errors.Error) as error:
                log.warning("connection.persist_retried", provider=self.provider, attempt=attempt, error=error)
                await anyio.sleep(backoff(attempt, first=0.2, cap=5.0))
        return await self._kept.replace(kept.key, connection, kept.revision)

    async def _redeem(self, state: str) -> Pending:
        unknown = Refused("the authorization is unknown, was used, or waited too long", fix="connect again")
        try:
            kept = await self._pending.get(subjects.token(state, "state"))
        except subjects.BadTokenError:
            raise unknown from None
        if kept is None or kept.value.provider != self.provider:
            raise unknown
        try:
            await self._pending.delete(kept.key, kept.revision)
        except Conflict:
            raise unknown from None
        return kept.value

    async def _usable(self, workspace: str) -> Kept[Connection]:
        kept = await self._kept.get(self._key(workspace))
        if kept is None or kept.value.sealed is None:
            why = "never connected" if kept is None else kept.value.why or kept.value.state
            raise NotConnected(self.provider, workspace, why)
        return kept

    async def _retire(
        self, kept: Kept[Connection], state: Literal["needs-reconnect", "disconnected"], why: str
    ) -> None:
        retired = Connection(
            workspace=kept.value.workspace, account=kept.value.account, state=state, since=now(), why=why
        )
        try:
            await self._kept.replace(kept.key, retired, kept.revision)
        except Conflict:
            return  # reconnected or refreshed meanwhile: the newer state stands
        log.warning("connection.ended", workspace=retired.workspace, provider=self.provider, state=state, why=why)

    async def _tell(
        self,
        workspace: str,
        kind: Literal["connected", "disconnected", "needs-reconnect"],
        why: str,
        fix: str | None,
    ) -> None:
        await self._bus.notify(
            Notice(workspace=workspace, kind=kind, at=now(), why=why, fix=fix, provider=self.provider)
        )

    def _connection(self, workspace: str, account: str, tokens: Tokens) -> Connection:
        return Connection(
            workspace=workspace,
            account=account,
            state="connected",
            since=now(),
            sealed=self._vault.seal(codec.encode(tokens), workspace=workspace, provider=self.provider),
            expires_at=tokens.expires_at,
            refresh_expires_at=tokens.refresh_expires_at,
        )

    def _open(self, connection: Connection) -> Tokens:
        if connection.sealed is None:
            raise NotConnected(self.provider, connection.workspace, connection.why or connection.state)
        data = self._vault.open(connection.sealed, workspace=connection.workspace, provider=self.provider)
        return codec.decode(data, Tokens)

    def _key(self, workspace: str) -> str:
        return f"{workspace}.{self.provider}"


async def prove_master_key(bus: Bus, vault: Vault) -> None:
    """UserError if the region's tokens are sealed with another master key; the first key seen is the one."""
    bucket = Bucket(bus, "vault", Sealed)
    while True:
        kept = await bucket.get("proof")
        if kept is not None:
            if kept.value.master != vault.fingerprint:
                raise UserError(
                    f"WEIR_MASTER_KEY (fingerprint {vault.fingerprint}) is not the key this region is sealed with "
                    f"(fingerprint {kept.value.master}); set that key"
                )
            vault.open(kept.value, workspace="-", provider="vault")
            return
        try:
            await bucket.create("proof", vault.seal(b"weir", workspace="-", provider="vault"))
        except Conflict:
            continue
