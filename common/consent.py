"""From the redirect to a bound connection: a person's approval, the account it is for, and whose that is.

A callback is believed in nothing but its state: the account is proven with the fresh grant, and bound to the
workspace (`common.accounts`) before anybody may use it.
"""

from collections.abc import Awaitable, Callable

import anyio
import httpx
import msgspec
import nats.errors
import structlog
from msgspec.structs import replace

from common import subjects
from common.accounts import Accounts
from common.buckets import Bucket, Kept
from common.bus import Bus
from common.errors import Conflict, Refused, RetryLater, WeirError, backoff
from common.lease import Taken
from common.messages import NAMES, Authorize, Connected, Exchange, Redirect, now
from common.notices import Notices
from common.oauth import BadClient, Dead, OAuthApp, Tokens, new_state, new_verifier
from common.people import People, Role
from common.register import Account, Connection, Register
from common.ticks import ask_for_pull
from common.vault import Sealed, Vault

log = structlog.get_logger()

STATE_TTL = 600
"""Seconds a person has to approve: both providers let a code live for ten minutes at most."""
DISCARD_TRIES = 3
DISCARD_PATIENCE = 10.0
"""Times and seconds that the revocation of a grant nobody keeps is tried."""


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """An authorization that waits for its callback; usable once. `by` is who began it."""

    workspace: str
    provider: str
    redirect_uri: str
    verifier: Sealed
    by: str | None = None


Identify = Callable[[Tokens, Exchange, str], Awaitable[Account]]
"""Asks the provider which account a fresh grant is for; Refused if it is not the one the callback names.

The last argument is the workspace it is asked for, where a provider's calls are counted by workspace.
"""

Stated = Callable[[Exchange], str]
"""The account a callback names, where the provider names it there; Refused if it is not well-formed."""


class Consent:
    """Takes people to one provider and back."""

    def __init__(
        self,
        bus: Bus,
        vault: Vault,
        app: OAuthApp,
        http: httpx.AsyncClient,
        register: Register,
        accounts: Accounts,
        identify: Identify,
        stated: Stated | None,
    ) -> None:
        self._bus = bus
        self._vault = vault
        self._app = app
        self._http = http
        self._register = register
        self._accounts = accounts
        self._identify = identify
        self._stated = stated
        self._notices = Notices(bus, app.provider)
        self._pending = Bucket(bus, "authorizations", Pending)
        self._people = People(bus)
        self.provider = app.provider
        self._name = NAMES[app.provider]

    async def authorize(self, request: Authorize) -> Redirect:
        """Where to send the browser so that a person can approve."""
        workspace = subjects.workspace(request.workspace)
        state, verifier = new_state(), new_verifier()
        pending = Pending(
            workspace=workspace,
            provider=self.provider,
            redirect_uri=request.redirect_uri,
            verifier=self._vault.seal(
                verifier.encode(), purpose="verifier", workspace=workspace, provider=self.provider
            ),
            by=request.by,
        )
        await self._pending.create(state, pending, ttl=STATE_TTL)
        return Redirect(url=self._app.authorize(request.redirect_uri, state, verifier))

    async def exchange(self, request: Exchange) -> Connected:
        """Turn a callback into a stored connection.

        Refused when the state is unknown, used or expired, when who began it owns the workspace no more, when the
        workspace or the account is bound elsewhere, and when the provider does not prove the account. A callback is
        good once, so the way on is always to connect again.
        """
        pending = await self._redeem(request.state)
        if request.error is not None or not request.code:
            raise Refused(f"{self._name} did not give access: {request.error or 'no code'}", fix=self._fix(request))
        workspace = pending.workspace
        await self._refuse_other_people(pending)
        stated = None if self._stated is None else self._stated(request)
        try:
            async with self._register.exclusively(workspace), self._accounts.connecting(stated):
                # From the exchange on nothing may cut us short: nobody else knows the tokens.
                with anyio.CancelScope(shield=True):
                    connection, before = await self._connect(pending, request, request.code, stated)
        except Taken:
            raise Refused(
                f"{workspace} or this account is being connected, refreshed or disconnected right now",
                fix="connect again in a moment",
            ) from None
        if before is not None and before.sealed is not None and before.account != connection.account:
            await self._give_back(before)  # the new one took the place of what was still to be revoked
        log.info("connection.made", workspace=workspace, provider=self.provider, account=connection.account)
        await ask_for_pull(self._bus, workspace, "connected")
        await self._notices.tell(workspace, "connected", self._greeting(connection, before))
        return Connected(workspace=workspace, account=connection.account, name=connection.name)

    def _fix(self, request: Exchange) -> str:
        if request.error == "invalid_scope":
            return f"allow your {self._name} app these scopes, then connect again: {self._app.scope}"
        return "approve the request"

    async def _redeem(self, state: str) -> Pending:
        unknown = Refused("the authorization is unknown, was used, or waited too long", fix="connect again")
        while True:
            try:
                kept = await self._pending.get(subjects.token(state, "state"))
            except subjects.BadTokenError:
                raise unknown from None
            if kept is None or kept.value.provider != self.provider:
                raise unknown
            try:
                await self._pending.delete(kept.key, kept.revision)
            except Conflict:
                continue  # used up meanwhile, or re-wrapped
            return kept.value

    async def _connect(
        self, pending: Pending, request: Exchange, code: str, stated: str | None
    ) -> tuple[Connection, Connection | None]:
        """The connection made, and what was there before."""
        workspace = pending.workspace
        kept = await self._register.get(workspace)
        if stated is not None:
            # Before the code is used: with Intuit, trading it may end the tokens of the connection that stays.
            self._refuse_other_account(kept, stated)
            await self._accounts.available(stated, workspace)
        verifier = self._vault.open(
            pending.verifier, purpose="verifier", workspace=workspace, provider=self.provider
        ).decode()
        try:
            tokens = await self._app.exchange(self._http, code, pending.redirect_uri, verifier)
        except Dead as error:
            raise Refused(str(error), fix="connect again; a code is valid for minutes and once") from None
        except (RetryLater, BadClient) as error:
            raise Refused(str(error), fix="connect again in a moment") from None
        account = await self._proven(workspace, tokens, request, stated)
        try:
            return await self._bind(workspace, account, tokens)
        except Refused:
            if not self._app.one_grant:  # else the grant of the workspace that has the account would end with it
                await self._discard(tokens)
            raise

    async def _proven(self, workspace: str, tokens: Tokens, request: Exchange, stated: str | None) -> Account:
        """The account of a fresh grant; one that cannot be proven now is given back, so nothing half-bound stays.

        Not where all consents to an account are one grant: as long as nobody knows whose account it is, giving it
        back may end the grant that some workspace works with. Its tokens were never stored and end unused.
        """
        try:
            account = await self._identify(tokens, request, workspace)
            subjects.token(account.id, "account")
            if stated not in {None, account.id}:
                raise Refused(f"{self._name} gave access to another company than it named", fix="connect again")
        except (WeirError, subjects.BadTokenError) as error:
            if not self._app.one_grant:
                await self._discard(tokens)
            if isinstance(error, Refused):
                raise
            raise Refused(str(error), fix="connect again in a moment; nothing was kept") from None
        return account

    async def _bind(self, workspace: str, account: Account, tokens: Tokens) -> tuple[Connection, Connection | None]:
        self._refuse_other_account(await self._register.get(workspace), account.id)
        claim = await self._accounts.claim(account.id, workspace)
        try:
            stored, before = await self._store(workspace, account, tokens)
        except Refused:
            await self._accounts.release(account.id, claim)
            raise
        try:
            await self._accounts.confirm(account.id, workspace, claim)
        except Conflict:
            await self._withdraw(stored, before)
            raise Refused(
                "this account was connected to another workspace at the same moment",
                fix="disconnect it there first, or choose another one",
            ) from None
        made = replace(stored.value, state="connected", since=now(), why=None)
        try:
            await self._register.write(stored, made)
        except Conflict:
            raise Refused(f"{workspace} was disconnected at the same moment", fix="connect again") from None
        return made, None if before is None else before.value

    async def _store(
        self, workspace: str, account: Account, tokens: Tokens
    ) -> tuple[Kept[Connection], Kept[Connection] | None]:
        """Keep the tokens, not usable yet, and what was there before."""
        sealed = self._register.seal(workspace, tokens)
        while True:
            before = await self._register.get(workspace)
            self._refuse_other_account(before, account.id)
            known = () if before is None else (*before.value.earlier, before.value.account)
            fresh = Connection(
                workspace=workspace,
                account=account.id,
                name=account.name,
                state="needs-reconnect",
                since=now(),
                why="connecting was cut short",
                earlier=tuple(one for one in dict.fromkeys(known) if one != account.id),
            )
            try:
                return await self._register.write(before, fresh.holding(tokens, sealed)), before
            except Conflict:
                continue

    async def _withdraw(self, stored: Kept[Connection], before: Kept[Connection] | None) -> None:
        """Undo `_store`: the tokens are not ours to use. What was still to be revoked is so again."""
        try:
            if before is None:
                await self._register.forget(stored)
            elif before.value.bound:
                ended = replace(before.value, state="disconnected", sealed=None, paused=None, since=now())
                await self._register.write(stored, ended)
            else:
                await self._register.write(stored, before.value)
        except Conflict:
            return  # another attempt or a disconnect has decided since

    async def _give_back(self, before: Connection) -> None:
        """Revoke what a workspace had before it moved on, unless another one is bound to that account by now."""
        workspace = before.workspace
        try:
            with anyio.fail_after(DISCARD_PATIENCE, shield=True):
                async with self._accounts.revoking(before.account) as allowed:
                    if allowed:
                        await self._discard(self._register.open(before))
                    else:
                        log.info("connection.forgotten_in_use", workspace=workspace, provider=self.provider)
        except (WeirError, nats.errors.Error, TimeoutError) as error:  # whatever it is, the new connection stands
            why = f"{type(error).__name__}: {error}"
            log.warning("connection.forgotten_unrevoked", workspace=workspace, provider=self.provider, error=why)

    async def _discard(self, tokens: Tokens) -> None:
        """Revoke a grant that is kept nowhere; what cannot be revoked ends by itself, unused."""
        with anyio.move_on_after(DISCARD_PATIENCE):
            for attempt in range(1, DISCARD_TRIES + 1):
                try:
                    await self._app.revoke(self._http, tokens.refresh)
                except (RetryLater, BadClient) as error:
                    log.warning("connection.discard_failed", provider=self.provider, attempt=attempt, error=error)
                    await anyio.sleep(backoff(attempt, first=0.2))
                else:
                    return

    async def _refuse_other_people(self, pending: Pending) -> None:
        """Only who is an owner now finishes what an owner began: roles may have been taken meanwhile."""
        if pending.by is None:
            return  # asked for by a program that reaches the broker itself, not by a person of the console
        person = await self._people.get(pending.by)
        if person is None or not person.may(Role.OWNER, pending.workspace):
            raise Refused(
                f"{pending.by}, who began this, is no owner of {pending.workspace} any more",
                fix="have an owner connect it",
            )

    def _refuse_other_account(self, kept: Kept[Connection] | None, account: str) -> None:
        if kept is not None and kept.value.bound and kept.value.account != account:
            raise Refused(
                f"{kept.value.workspace} already works with {self._name} account {kept.value}",
                fix="disconnect that one first, or connect the other one to a workspace of its own",
            )

    def _greeting(self, made: Connection, before: Connection | None) -> str:
        said = f"{self._name} account {made} is connected"
        if before is None:
            return said
        if made.account in {before.account, *before.earlier}:
            return f"{said} again: it resumes where it stopped"
        return f"{said} instead of {before}: it starts from the beginning, and what was posted for the other one stays"
