"""Webhook subscriptions, and the one event that is sent here: a person withdrew the consent.

A callback must be https; http on loopback is taken too, where a test listens.
"""

import hmac
import ipaddress
import secrets
import time
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import anyio
import httpx
import structlog
from anyio.abc import TaskGroup

from services.sandbox.qonto.wire import Refusal, not_found, stamp
from services.sandbox.store import ENCODER, Row
from services.sandbox.world import World

log = structlog.get_logger()

KIND = "webhook_subscription"
REVOKED = "v1/consent-revocations"
TYPES = frozenset(
    "v1/transactions v1/accounts v1/organizations v1/memberships v1/consent-revocations v1/cards v1/payment-links "
    "v1/payment-links-connections v1/beneficiaries v1/client-invoices v1/clients v1/terminal-payments".split()
)
PATIENCE = 1.0  # seconds a receiver has to answer 2xx
RETRIES = (1, 5, 30, 120, 600)  # seconds; then it is given up


class Webhooks:
    """Who wants to hear of what, and the deliveries of this run."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._group: TaskGroup | None = None
        self.answered: list[int] = []
        """What each attempt was answered, 0 for nothing."""

    def subscribe(self, organization: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """A new subscription, its secret included; Refusal says what is wrong."""
        url, types, secret = given.get("callback_url"), given.get("types"), given.get("secret")
        if not isinstance(url, str) or len(url) > 512 or not _takes(url):
            raise Refusal(422, "invalid", "callback_url must be an https URL of at most 512 characters",
                          pointer="/callback_url")  # fmt: skip
        if not isinstance(types, list) or not types or not TYPES.issuperset(types):
            raise Refusal(422, "not_in_list", "types must name known events", pointer="/types")
        if secret is not None and not (isinstance(secret, str) and 32 <= len(secret) <= 128):
            raise Refusal(422, "invalid", "secret must have 32 to 128 characters", pointer="/secret")
        now, ident = self._world.now(), str(uuid4())
        body = {
            "id": ident, "organization_id": organization, "membership_id": organization, "callback_url": url,
            "types": types, "secret": secret or f"whsec_{secrets.token_hex(24)}",
            "description": given.get("description"), "created_at": stamp(now), "updated_at": stamp(now),
        }  # fmt: skip
        self._world.store.put(organization, KIND, Row(ident, body, now, now))
        return body

    def listed(self, organization: str) -> dict[str, Any]:
        """All of an organization."""
        rows = self._world.store.table(organization, KIND).values()
        return {"subscriptions": [row.body for row in rows], "meta": {}}

    def find(self, organization: str, ident: str) -> dict[str, Any]:
        """One subscription."""
        row = self._world.store.get(organization, KIND, ident)
        if row is None:
            raise not_found("id", ident)
        return row.body

    def unsubscribe(self, organization: str, ident: str) -> None:
        """Nothing more is sent to it."""
        self.find(organization, ident)
        self._world.store.remove(organization, KIND, ident)

    def revoked(self, organization: str) -> None:
        """Tell everybody who wants to hear of it that the app's access ended."""
        now = self._world.now()
        for row in self._world.store.table(organization, KIND).values():
            if REVOKED in row.body["types"] and self._group is not None:
                data = {"client_id": self._world.credentials.qonto_client_id, "revoked_at": stamp(now)}
                event = {
                    "id": str(uuid4()), "subscription_id": row.id, "organization_id": organization,
                    "membership_id": row.body["membership_id"], "type": REVOKED, "created_at": stamp(now),
                    "data": data,
                }  # fmt: skip
                self._group.start_soon(self._deliver, row.body, ENCODER.encode(event))

    async def run(self) -> None:
        """Deliver what comes, until cancelled."""
        async with anyio.create_task_group() as group:
            self._group = group
            await anyio.sleep_forever()

    async def _deliver(self, subscription: dict[str, Any], body: bytes) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
            for pause in (0, *RETRIES):
                await anyio.sleep(pause)
                status = await _post(http, subscription, body)
                self.answered.append(status)
                log.info("sandbox.qonto_webhook", url=subscription["callback_url"], status=status)
                if 200 <= status < 300:
                    return


async def _post(http: httpx.AsyncClient, subscription: dict[str, Any], body: bytes) -> int:
    headers = {
        "Content-Type": "application/json",
        "X-Qonto-Signature": signature(body, subscription["secret"], int(time.time())),
    }
    try:
        with anyio.fail_after(PATIENCE):
            return (await http.post(subscription["callback_url"], content=body, headers=headers)).status_code
    except (httpx.HTTPError, TimeoutError):
        return 0


def signature(body: bytes, secret: str, at: int) -> str:
    """`t=…,v1=…`: the hex HMAC-SHA256 of `t`, a dot and the body."""
    return f"t={at},v1={hmac.digest(secret.encode(), b'%d.%s' % (at, body), 'sha256').hex()}"


def _takes(url: str) -> bool:
    try:
        parsed = httpx.URL(url)
        return parsed.scheme == "https" or (parsed.scheme == "http" and ipaddress.ip_address(parsed.host).is_loopback)
    except (httpx.InvalidURL, ValueError):
        return False
