"""Which workspace a provider's account belongs to: one, whatever races.

A claim is taken by compare-and-set, the connection stored, and the claim confirmed by compare-and-set once
more. Whoever finds a claim whose workspace is not bound to the account may take it over, which makes the
confirmation of a slower one fail. So of all who try at once the last to claim wins, and a connection is used
only after its claim was confirmed. What a crash leaves behind is a claim that the next one takes over.

Where all consents to an account are one grant, a revocation ends the grant of whoever has the account by then.
So an account is connected and what was given up for it revoked under one lease, and nothing is revoked while a
workspace is bound to the account.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from common import subjects
from common.buckets import Bucket
from common.bus import Bus
from common.errors import Conflict, Refused
from common.lease import lease
from common.messages import AccountClaim, now
from common.register import LEASE_WAIT, Register


class Accounts:
    """The claims on one provider's accounts; `one_grant` as in `OAuthApp`."""

    def __init__(self, bus: Bus, register: Register, *, one_grant: bool) -> None:
        self._bus = bus
        self._register = register
        self._one_grant = one_grant
        self._claims = Bucket(bus, "accounts", AccountClaim)

    async def claim(self, account: str, workspace: str) -> int:
        """Claim the account for the workspace; the revision to confirm. Refused if it belongs to another."""
        while True:
            revision = await self.available(account, workspace)
            claim = AccountClaim(workspace=workspace, at=now())
            try:
                if revision is None:
                    return await self._claims.create(self._key(account), claim)
                # Bumped even if it is ours: a disconnect that began before must not release it under us.
                return await self._claims.replace(self._key(account), claim, revision)
            except Conflict:
                continue

    async def confirm(self, account: str, workspace: str, revision: int) -> None:
        """Make the claim good now that the connection is stored; Conflict if another took it over."""
        await self._claims.replace(self._key(account), AccountClaim(workspace=workspace, at=now()), revision)

    async def available(self, account: str, workspace: str) -> int | None:
        """Revision of the claim that the workspace may replace, None if there is none; Refused if it may not."""
        kept = await self._claims.get(self._key(account))
        if kept is None:
            return None
        if kept.value.workspace != workspace and await self._bound(kept.value.workspace, account):
            raise Refused(
                "this account is connected to another workspace",
                fix="disconnect it there first, or connect another account",
            )
        return kept.revision

    async def claim_revision(self, account: str, workspace: str) -> int | None:
        """Revision of the workspace's own claim, None if it has none."""
        kept = await self._claims.get(self._key(account))
        return kept.revision if kept is not None and kept.value.workspace == workspace else None

    async def release(self, account: str, revision: int | None) -> None:
        """Give up the claim of that revision; one that was renewed or taken since stands."""
        if revision is None:
            return
        try:
            await self._claims.delete(self._key(account), revision)
        except Conflict:
            return

    def connecting(self, account: str | None) -> AbstractAsyncContextManager[None]:
        """Keep revocations away while the account is connected, if they could reach it; Taken after LEASE_WAIT.

        To be taken after the lease on the workspace, like `revoking`, and never two at once.
        """
        if account is None or not self._one_grant:
            return nullcontext()
        return lease(self._bus, f"revoke.{self._key(account)}", wait=LEASE_WAIT)

    @asynccontextmanager
    async def revoking(self, account: str) -> AsyncIterator[bool]:
        """Whether tokens that were given up for the account may be revoked during the block.

        They may not if that would end the grant of a workspace that is bound to the account now, be it another
        one or the same one with newer tokens.
        """
        async with self.connecting(account):
            yield not self._one_grant or not await self._taken(account)

    async def workspace_of(self, account: str) -> str | None:
        """The workspace that is connected to the account now, or None."""
        try:
            kept = await self._claims.get(self._key(account))
        except subjects.BadTokenError:
            return None
        if kept is None:
            return None
        connection = await self._register.get(kept.value.workspace)
        if connection is None or connection.value.account != account or connection.value.state != "connected":
            return None
        return kept.value.workspace

    async def workspaces(self) -> AsyncIterator[str]:
        """Every workspace that holds a claim, connected or not."""
        async for kept in self._claims.items(f"{self._register.provider}."):
            yield kept.value.workspace

    async def _taken(self, account: str) -> bool:
        kept = await self._claims.get(self._key(account))
        return kept is not None and await self._bound(kept.value.workspace, account)

    async def _bound(self, workspace: str, account: str) -> bool:
        kept = await self._register.get(workspace)
        return kept is not None and kept.value.bound and kept.value.account == account

    def _key(self, account: str) -> str:
        return f"{self._register.provider}.{subjects.token(account, 'account')}"
