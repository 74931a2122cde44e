"""A webhook of Qonto: a person took the access back in Qonto's own pages, so the connection ends now.

Nothing is believed that is not signed with the secret of that organization's subscription, within WINDOW of now by
the sender's own, signed, clock. Within it a replay changes nothing: what ended before the present connection was made
is old news, and one that has ended does not end again. docs.qonto.com, "webhooks".
"""

import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import msgspec
import structlog

from common import codec, subjects
from common.connections import Connections
from common.messages import Done, Refusal, Webhook, now
from services.poster.subscriptions import EVENT, Subscriptions

log = structlog.get_logger()

WINDOW = timedelta(minutes=5)
"""How far the time of a signature may lie from ours."""
_FORGED = Refusal(why="the signature is not one of Qonto", reason="forged")


class _Data(msgspec.Struct):
    client_id: str | None = None
    revoked_at: datetime | None = None


class _Event(msgspec.Struct):
    organization_id: str
    type: str
    data: msgspec.Raw = msgspec.Raw(b"{}")


class Webhooks:
    """Answers `webhook`."""

    def __init__(self, connections: Connections, subscriptions: Subscriptions, client_id: str) -> None:
        self._connections = connections
        self._subscriptions = subscriptions
        self._client_id = client_id

    async def take(self, webhook: Webhook) -> Done | Refusal:
        """End the connection that the webhook says was withdrawn; a duplicate is Done too."""
        try:
            event = codec.decode(webhook.body, _Event)
            known = await self._subscriptions.secret(event.organization_id)
        except (msgspec.MsgspecError, subjects.BadTokenError):
            log.warning("webhook.unreadable", provider="qonto", size=len(webhook.body))
            return _FORGED
        if known is None or not genuine(webhook.body, webhook.signature, known[1], now()):
            log.warning("webhook.forged", provider="qonto", size=len(webhook.body))
            return _FORGED
        if event.type == EVENT:
            await self._withdrawn(known[0], event)
        return Done()

    async def _withdrawn(self, workspace: str, event: _Event) -> None:
        try:
            data = codec.decode(event.data, _Data)
        except msgspec.MsgspecError:
            data = _Data()
        made = await self._connections.made(workspace)
        if made is None or made.account != event.organization_id or data.client_id not in {None, self._client_id}:
            log.info("webhook.strangers", provider="qonto", workspace=workspace)
        elif data.revoked_at is not None and data.revoked_at.replace(tzinfo=data.revoked_at.tzinfo or UTC) < made.since:
            log.info("webhook.nothing_new", provider="qonto", workspace=workspace)
        else:
            await self._connections.lost(workspace, "the access was withdrawn in Qonto")


def genuine(body: bytes, signature: str, secret: bytes, at: datetime) -> bool:
    """Whether `signature` is `t=…,v1=…` with the hex HMAC-SHA256 of `t`, a dot and the body, signed near `at`."""
    parts = [part.partition("=") for part in signature.split(",")]
    times = [value for name, _, value in parts if name.strip() == "t"]
    if len(times) != 1 or not times[0].isascii() or not times[0].isdigit() or len(times[0]) > 12:
        return False
    if abs(at - datetime.fromtimestamp(int(times[0]), UTC)) > WINDOW:
        return False
    made = hmac.digest(secret, times[0].encode() + b"." + body, hashlib.sha256).hex()
    signed = [value for name, _, value in parts if name.strip() == "v1"]
    return any(hmac.compare_digest(made.encode(), value.encode()) for value in signed)
