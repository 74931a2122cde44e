"""A workspace's grant at one provider: connecting, staying connected, disconnecting.

Owned by the service that owns the provider; nobody else can open the sealed tokens. One refresher per
connection across all processes (a lease), the result is stored by compare-and-set before it is used, and an
older refresh token is never sent while a newer one is stored: providers take a replay for theft.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from datetime import timedelta
from functools import partial

import anyio
import httpx
import nats.errors
import structlog
from msgspec.structs import replace

from common import expiry, subjects
from common.accounts import Accounts
from common.buckets import Kept
from common.bus import Bus
from common.consent import Consent, Identify, Stated
from common.errors import Conflict, NotConnected, Paused, RetryLater, backoff
from common.messages import NAMES, Authorize, Connected, Disconnect, Done, Exchange, Provider, Redirect, now
from common.notices import Notices
from common.oauth import BadClient, Dead, OAuthApp, Tokens
from common.proof import prove_master_key
from common.register import Account, Connection, Grant, Pause, Register
from common.revocations import Revocations
from common.vault import Damaged, Vault

__all__ = ["Account", "Connection", "Connections", "Grant", "Identify", "Renew", "TakeBack"]

log = structlog.get_logger()

REFRESH_EARLY = timedelta(minutes=5)
PERSIST_TRIES = 8
"""Times that fresh tokens are offered to the broker, over half a minute."""
DISCONNECT_PATIENCE = 20.0
"""Seconds a person waits for the provider to revoke; after that it goes on without them."""
_BY_OWNER = "disconnected by its owner"
_TO_REVOKE = f"{_BY_OWNER}; the provider is still to take the access back"

Renew = Callable[[], Awaitable[Tokens]]
"""Trades the tokens for fresh ones and keeps those."""

TakeBack = Callable[[Tokens, Renew], Awaitable[None]]
"""Gives everything back to the provider that the tokens stand for; Dead if the grant is gone already."""


class Connections:
    """The connections of all workspaces to one provider.

    An account belongs to one workspace and a workspace has one account, from the moment they are connected
    until somebody disconnects them; `common.accounts` says how. `stated` is given where the provider names the
    account in the callback, which it must where all consents to an account are one grant, `take_back` where there
    is more to give back than the refresh token.
    """

    def __init__(
        self,
        bus: Bus,
        vault: Vault,
        app: OAuthApp,
        http: httpx.AsyncClient,
        identify: Identify,
        *,
        stated: Stated | None = None,
        take_back: TakeBack | None = None,
    ) -> None:
        self._bus = bus
        self.vault = vault
        """What seals here: read from its source once per process."""
        self._app = app
        self._http = http
        self._take_back = take_back
        self._register = Register(bus, vault, app.provider)
        self._accounts = Accounts(bus, self._register, one_grant=app.one_grant)
        self._notices = Notices(bus, app.provider)
        self._consent = Consent(bus, vault, app, http, self._register, self._accounts, identify, stated)
        self._revocations = Revocations(app.provider, self._revoke, self._unrevoked)
        self._name = NAMES[app.provider]
        self._when_connected: list[Callable[[str], Awaitable[None]]] = []

    @property
    def provider(self) -> Provider:
        """Which provider these are for."""
        return self._app.provider

    def serve(self) -> None:
        """Answer the console's calls, with the region's own master key only; register before the bus runs."""
        prove = partial(prove_master_key, self._bus, self.vault)
        self._bus.before_serving(prove)
        self._bus.health.needs("the master key", prove)
        self._bus.add_task(self._revocations.run, self._revocations.stop)
        subject = partial(subjects.call, self._bus.region, self.provider)
        self._bus.answers(subject("authorize"), Authorize, self.authorize)
        self._bus.answers(subject("exchange"), Exchange, self.exchange)
        self._bus.answers(subject("disconnect"), Disconnect, self.disconnect)

    async def authorize(self, request: Authorize) -> Redirect:
        """Where to send the browser so that a person can approve."""
        return await self._consent.authorize(request)

    async def exchange(self, request: Exchange) -> Connected:
        """Turn a callback into a stored connection, or Refused with the next step; see `Consent.exchange`."""
        connected = await self._consent.exchange(request)
        for do in self._when_connected:
            await do(connected.workspace)
        return connected

    def when_connected(self, do: Callable[[str], Awaitable[None]]) -> None:
        """Do this with each workspace that was just connected; it must deal with its own errors."""
        self._when_connected.append(do)

    async def disconnect(self, request: Disconnect) -> Done:
        """End the connection at once, then revoke the grant and forget it.

        While the provider cannot be reached to revoke, that is tried in the background until it works or
        somebody reconnects. Markers, ledger and reviews stay, so reconnecting resumes.
        """
        workspace = subjects.workspace(request.workspace)
        if not await self._end(workspace):
            return Done()
        revoked = False
        with anyio.move_on_after(DISCONNECT_PATIENCE):
            revoked = await self._revocations.attempt(workspace)
        said = f"{self._name} is disconnected"
        if not revoked:
            self._revocations.follow(workspace)
            said += (
                f" and not used any more; {self._name} did not take the access back yet, which is tried until it does"
            )
        await self._notices.tell(workspace, "disconnected", said, "connect it to resume")
        return Done()

    async def account(self, workspace: str) -> str | None:
        """The connected account, or None; asks nobody."""
        made = await self.made(workspace)
        return None if made is None else made.account

    async def made(self, workspace: str) -> Connection | None:
        """The connection as it was made, if it is one now; asks nobody."""
        kept = await self._register.get(workspace)
        return kept.value if kept is not None and kept.value.state == "connected" else None

    async def required(self, workspace: str) -> str:
        """The connected account; NotConnected with the reason if there is none. Asks nobody."""
        return (await self._register.usable(workspace)).value.account

    async def workspace_of(self, account: str) -> str | None:
        """The workspace that is connected to this account, or None."""
        return await self._accounts.workspace_of(account)

    async def connected(self, *, but: Collection[str] = ()) -> AsyncIterator[str]:
        """Every workspace that is connected to this provider, without those named."""
        async for workspace in self._accounts.workspaces():
            if workspace not in but and await self.account(workspace) is not None:
                yield workspace

    async def grant(self, workspace: str, *, rejected: str | None = None) -> Grant:
        """A valid grant, refreshed in time; `rejected` is an access token the provider just refused.

        NotConnected when there is none, or the provider says it is gone.
        """
        kept = await self._register.usable(workspace)
        tokens = self._register.open(kept.value)
        if tokens.access == rejected or tokens.expires_at - now() < REFRESH_EARLY:
            kept, tokens = await self._refresh(workspace, rejected)
        return Grant(access=tokens.access, account=kept.value.account)

    async def lost(
        self, workspace: str, why: str, *, fix: str | None = None, grant: Grant | None = None
    ) -> NotConnected:
        """Record that the provider refuses this workspace until a person reconnects; the error to raise.

        Its owner is told once. The tokens are kept to be revoked, not to be used. `grant` is the one that was
        refused: RetryLater, and nothing recorded, if the workspace has a newer one by now.
        """
        return await self._lose(workspace, why, fix, access=None if grant is None else grant.access)

    async def paused(self, workspace: str, why: str, fix: str) -> Paused:
        """Record that the provider does not serve this workspace for now; the error to raise.

        It stays connected and keeps its tokens. Its owner is told when the reason is a new one.
        """
        pause = Pause(why=why, fix=fix)

        def mark(present: Connection) -> Connection | None:
            new = present.state == "connected" and present.paused != pause
            return replace(present, paused=pause) if new else None

        if await self._register.amend(workspace, mark) is not None:
            log.warning("connection.paused", workspace=workspace, provider=self.provider, why=why)
            await self._notices.tell(workspace, "paused", why, fix)
        return Paused(self.provider, workspace, why, fix=fix)

    async def resumed(self, workspace: str) -> None:
        """Record that the provider serves this workspace, and tell its owner if it did not before."""
        cleared = await self._register.amend(
            workspace, lambda present: replace(present, paused=None) if present.paused is not None else None
        )
        if cleared is not None:
            log.info("connection.resumed", workspace=workspace, provider=self.provider)
            await self._notices.tell(workspace, "connected", f"{self._name} answers again: it goes on where it stopped")

    async def _lose(self, workspace: str, why: str, fix: str | None, *, access: str | None) -> NotConnected:
        step = fix or f"reconnect {self._name} in the console"

        def end(present: Connection) -> Connection | None:
            if present.state != "connected":
                return None
            if access is not None and self._register.open(present).access != access:
                raise RetryLater(f"{workspace} has been given access to {self._name} anew", delay=1.0)
            return replace(present, state="needs-reconnect", since=now(), why=why, fix=step, paused=None)

        if await self._register.amend(workspace, end) is not None:
            log.warning("connection.lost", workspace=workspace, provider=self.provider, why=why)
            await self._notices.tell(workspace, "needs-reconnect", why, step)
        return NotConnected(self.provider, workspace, why, fix=step)

    async def _refresh(self, workspace: str, rejected: str | None) -> tuple[Kept[Connection], Tokens]:
        async with self._register.exclusively(workspace):
            kept = await self._register.usable(workspace)
            tokens = self._register.open(kept.value)
            if tokens.access != rejected and tokens.expires_at - now() >= REFRESH_EARLY:
                return kept, tokens  # another process refreshed while we waited
            # From here on nothing may cut us short: the provider may have made the stored token worthless.
            with anyio.CancelScope(shield=True):
                renewed = await self._renew(kept, tokens)
            return renewed  # noqa: RET504 (mypy takes a cancel scope for one that may end the function)

    async def _renew(self, kept: Kept[Connection], tokens: Tokens) -> tuple[Kept[Connection], Tokens]:
        workspace = kept.value.workspace
        try:
            fresh = await self._app.refresh(self._http, tokens.refresh)
        except Dead as error:
            newer = await self._register.usable(workspace)
            current = self._register.open(newer.value)
            if current.access != tokens.access:
                return newer, current
            why = kept.value.over(now()) or str(error)
            # The tokens are kept to be revoked: the grant may live on behind an answer that was lost.
            raise await self._lose(workspace, why, None, access=tokens.access) from None
        except BadClient as error:
            raise RetryLater(str(error), delay=60.0) from None
        written = await self._persist(kept, fresh)
        if written is None:  # reconnected or forgotten meanwhile: that decision stands
            newer = await self._register.usable(workspace)
            return newer, self._register.open(newer.value)
        log.info("connection.refreshed", workspace=workspace, provider=self.provider)
        self._register.checked(workspace, written)
        await self._warn(written.value)
        return written, fresh

    async def _persist(self, kept: Kept[Connection], fresh: Tokens) -> Kept[Connection] | None:
        """Store fresh tokens, however often the broker has to be asked: losing them costs the grant.

        They take the place of those they were got for, in whatever state the connection is by now: one that was
        disconnected meanwhile must revoke the newest. None if those are no longer there.
        """
        workspace = kept.value.workspace
        sealed = self._register.seal(workspace, fresh)
        present: Kept[Connection] | None = kept
        attempt = 1
        while True:
            try:
                present = present or await self._register.get(workspace)
                held = None if present is None else present.value.sealed
                if present is None or held is None or not held.same(kept.value.sealed):
                    return present if present is not None and sealed.same(held) else None
                return await self._register.write(present, present.value.holding(fresh, sealed))
            except Conflict:
                present = None
            except (RetryLater, nats.errors.Error) as error:
                if attempt == PERSIST_TRIES:
                    raise
                log.warning("connection.persist_retried", provider=self.provider, attempt=attempt, error=error)
                await anyio.sleep(backoff(attempt, first=0.2, cap=5.0))
                present, attempt = None, attempt + 1

    async def _warn(self, connection: Connection) -> None:
        """Tell the owner when the end of all refreshing is near: once each at `expiry.DAYS`."""
        at, workspace = now(), connection.workspace
        end = expiry.end_of_chain(
            connection.hard_expires_at, connection.refresh_expires_at, connection.idle_window, at=at
        )
        days = None if end is None else expiry.due(end, at=at)
        if end is None or days is None or (connection.warned is not None and connection.warned <= days):
            return
        await self._notices.tell(
            workspace,
            "expires-soon",
            f"{self._name} ends this connection on {end:%Y-%m-%d %H:%M} UTC, whatever is done with it until then",
            f"reconnect {self._name} in the console before that day; it resumes where it stopped",
            key=f"expires.{workspace}.{self.provider}.{connection.since.isoformat()}.{days}",
        )
        await self._register.amend(
            workspace, lambda present: replace(present, warned=days) if present.since == connection.since else None
        )

    async def _end(self, workspace: str) -> bool:
        """Let nobody use the grant from now on; whether there is anything to end or to revoke."""
        while True:
            kept = await self._register.get(workspace)
            if kept is None or not kept.value.bound:
                return False
            # Read before the state changes: a claim that a reconnect renews after that is not ours to release.
            claim = await self._accounts.claim_revision(kept.value.account, workspace)
            why = _BY_OWNER if kept.value.sealed is None else _TO_REVOKE
            ended = replace(kept.value, state="disconnected", since=now(), why=why, fix=None, paused=None)
            try:
                await self._register.write(kept, ended)
            except Conflict:
                continue  # refreshed meanwhile
            await self._accounts.release(kept.value.account, claim)
            log.info("connection.ended", workspace=workspace, provider=self.provider)
            return True

    async def _revoke(self, workspace: str) -> None:
        """Revoke and forget what a disconnected workspace left; a reconnect since has put an end to that.

        Under the lease, so that neither a refresh nor a reconnect is half done: a revocation may reach the
        tokens they get. What would end the grant of another workspace is forgotten without being revoked: that
        workspace's disconnecting ends it too.
        """
        async with self._register.exclusively(workspace):
            kept = await self._register.get(workspace)
            if kept is None or kept.value.bound or kept.value.sealed is None:
                return
            async with self._accounts.revoking(kept.value.account) as allowed:
                if allowed:
                    await self._give_back(kept.value)
                else:
                    log.info("connection.forgotten_in_use", workspace=workspace, provider=self.provider)
            await self._register.amend(
                workspace, lambda present: None if present.bound else replace(present, sealed=None, why=_BY_OWNER)
            )

    async def _give_back(self, connection: Connection) -> None:
        workspace = connection.workspace
        try:
            tokens = self._register.open(connection)
            if self._take_back is None:
                await self._app.revoke(self._http, tokens.refresh)
            else:
                await self._take_back(tokens, partial(self._renew_once_more, workspace))
        except Dead:
            log.info("connection.gone_already", workspace=workspace, provider=self.provider)
        except Damaged as error:  # what cannot be opened with its own key can never be revoked
            log.warning("connection.forgotten_unrevoked", workspace=workspace, provider=self.provider, error=error)
        else:
            log.info("connection.revoked", workspace=workspace, provider=self.provider)

    async def _renew_once_more(self, workspace: str) -> Tokens:
        kept = await self._register.get(workspace)
        if kept is None or kept.value.bound:
            raise RetryLater(f"{workspace} was reconnected meanwhile")
        with anyio.CancelScope(shield=True):
            fresh = await self._app.refresh(self._http, self._register.open(kept.value).refresh)
            await self._persist(kept, fresh)
        return fresh

    async def _unrevoked(self) -> list[str]:
        """The workspaces whose disconnecting was cut short."""
        return [one.workspace async for one in self._register.all() if not one.bound and one.sealed is not None]
