"""Hearing from Qonto that a person took the access back: the subscription and its secret.

Made when a workspace is connected, if Qonto can reach the console, and removed when it is disconnected. The secret is
ours, sealed like a token, and kept before Qonto knows it: what is signed with it can be checked from the first moment.
"""

import secrets
from datetime import datetime, timedelta

import anyio
import httpx
import msgspec
import structlog
from msgspec.structs import replace

from common import subjects
from common.buckets import Bucket
from common.bus import Bus
from common.connections import Connections
from common.errors import Conflict, WeirError
from common.messages import now
from common.rewrapping import Shelf
from common.settings import Settings, loopback
from common.vault import Sealed, Vault
from services.poster.qonto import Qonto

log = structlog.get_logger()

EVENT = "v1/consent-revocations"
AGAIN = timedelta(hours=1)
"""Time between two tries to subscribe."""
PATIENCE = 10.0
"""Seconds that subscribing may take while somebody waits for something else."""


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a subscription, by organization; `id` is None until Qonto has confirmed it.

    `since` is that of the connection it was made for: a later consent needs a subscription of its own.
    """

    workspace: str
    url: str
    since: datetime
    tried_at: datetime
    sealed: Sealed
    id: str | None = None


def callback(settings: Settings) -> str | None:
    """Where Qonto is to send webhooks; None if it cannot reach the console (a stand-in on this machine can)."""
    url = settings.console_url
    if url is None or (loopback(url) and not loopback(settings.qonto_api_url)):
        return None
    return f"{url}/webhooks/qonto"


class Subscriptions:
    """The subscriptions of all workspaces."""

    def __init__(self, bus: Bus, vault: Vault, connections: Connections, qonto: Qonto) -> None:
        self._vault = vault
        self._connections = connections
        self._qonto = qonto
        self._url = callback(bus.settings)
        self._kept = Bucket(bus, "subscriptions", Subscription)
        self.shelf = Shelf(self._kept, "webhook", "sealed")

    async def ensure(self, workspace: str) -> None:
        """Subscribe unless that is done or was tried within AGAIN; what fails is tried again and stops nobody."""
        if self._url is None:
            return
        try:
            with anyio.fail_after(PATIENCE):
                await self._ensure(workspace, self._url)
        except (WeirError, TimeoutError, httpx.HTTPError) as error:
            log.warning("poster.not_subscribed", workspace=workspace, error=f"{type(error).__name__}: {error}")

    async def _ensure(self, workspace: str, url: str) -> None:
        made = await self._connections.made(workspace)
        if made is None:
            return
        key = subjects.token(made.account, "organization")
        kept = await self._kept.get(key)
        if kept is not None and not _due(kept.value, url, made.since):
            return
        secret = secrets.token_hex(32)
        sealed = self._vault.seal(secret.encode(), purpose="webhook", workspace=workspace, provider="qonto")
        fresh = Subscription(workspace=workspace, url=url, since=made.since, tried_at=now(), sealed=sealed)
        try:
            revision = (
                await self._kept.create(key, fresh)
                if kept is None
                else await self._kept.replace(key, fresh, kept.revision)
            )
        except Conflict:
            return  # another instance is at it
        for ident in await self._qonto.subscriptions(workspace, url):
            await self._qonto.unsubscribe(workspace, ident)
        ident = await self._qonto.subscribe(workspace, url, EVENT, secret)
        if await self._confirm(key, fresh, revision, ident):
            log.info("poster.subscribed", workspace=workspace, url=url)

    async def _confirm(self, key: str, fresh: Subscription, revision: int, ident: str) -> bool:
        """Keep what Qonto calls it; False if another subscription took its place meanwhile."""
        while True:
            try:
                await self._kept.replace(key, replace(fresh, id=ident), revision)
            except Conflict:
                kept = await self._kept.get(key)
                if kept is None or not kept.value.sealed.same(fresh.sealed):
                    return False
                fresh, revision = kept.value, kept.revision  # re-wrapped
            else:
                return True

    async def secret(self, organization: str) -> tuple[str, bytes] | None:
        """The workspace of an organization's subscription and the secret it signs with, or None."""
        kept = await self._kept.get(subjects.token(organization, "organization"))
        if kept is None:
            return None
        found = kept.value
        secret = self._vault.open(found.sealed, purpose="webhook", workspace=found.workspace, provider="qonto")
        return found.workspace, secret


def _due(kept: Subscription, url: str, since: datetime) -> bool:
    """Whether what is kept is for another address or consent, or was not confirmed for long enough."""
    return (kept.url, kept.since) != (url, since) or (kept.id is None and now() - kept.tried_at >= AGAIN)
