"""Webhooks as Intuit sends them: signed, collected for a while, repeated until they are taken."""

import base64
import hashlib
import hmac
import ipaddress
import random
import time
import uuid
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any, Literal

import anyio
import httpx
import msgspec
import structlog

from services.sandbox.quickbooks.entities import ENTITIES
from services.sandbox.quickbooks.wire import pacific
from services.sandbox.store import Memo
from services.sandbox.world import Change, World

log = structlog.get_logger()

PATIENCE = 3.0  # seconds a receiver has to answer 200
RETRIES = (10, 20, 30, 300, 1200, 7200, 14_400, 21_600, 21_600, 21_600)  # seconds; then Intuit gives up
LARGEST = 100  # events of one delivery
MOST_EVENTS = 100_000  # waiting to be delivered
MOST_UNDER_WAY = 1_000  # deliveries not yet taken nor given up
KEPT = 1_000  # deliveries told of
AT_ONCE = 4
SOURCE = f"intuit.{base64.b64encode(hashlib.sha256(b'weir sandbox').digest()).decode()}"
PAST = {"Create": "created", "Update": "updated", "Delete": "deleted", "Merge": "merged", "Void": "voided"}
MEMO = ("sandbox", "webhooks")

Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]


class Settings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Where to and how. `delay` (seconds) collects events before they leave; `retry_scale` shortens the waits
    between attempts; `duplicate` sends everything twice, `shuffle` in no order.
    """

    url: str
    verifier: str
    format: Literal["legacy", "cloudevents"] = "cloudevents"
    delay: Seconds = 0.0
    duplicate: bool = False
    shuffle: bool = False
    retry_scale: Seconds = 1.0

    def __post_init__(self) -> None:
        try:
            url = httpx.URL(self.url)
            near = url.host == "localhost" or ipaddress.ip_address(url.host).is_loopback
        except (httpx.InvalidURL, ValueError):
            near = False
        else:
            near = near and url.scheme == "http"
        if not near:
            raise ValueError("url must be http on loopback")


@dataclass(slots=True)
class Delivery:
    """One signed post and what became of it; status 0 is no answer."""

    settings: Settings
    body: bytes
    events: int
    id: str
    state: Literal["under_way", "delivered", "given_up", "dropped", "stopped"] = "under_way"
    attempts: int = 0
    status: int = 0

    def told(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "events": self.events,
            "state": self.state,
            "attempts": self.attempts,
            "status": self.status,
        }


class Webhooks:
    """Hears every change and posts it. The settings survive a restart, what was not delivered does not."""

    def __init__(self, world: World) -> None:
        self._world = world
        kept = world.store.memo(*MEMO)
        self._settings = None if kept is None else msgspec.json.decode(kept.body, type=Settings | None)
        self._events: deque[tuple[float, Change]] = deque()
        self._deliveries: deque[Delivery] = deque(maxlen=KEPT)
        self._scopes: dict[str, anyio.CancelScope] = {}
        self._dropped = 0
        self._woken = anyio.Event()
        world.listen(self._hear)

    def set(self, settings: Settings | None) -> None:
        """None stops everything: what waits is forgotten, what is under way is called off."""
        self._settings = settings
        self._world.store.put_memo(*MEMO, Memo(0, msgspec.json.encode(settings), time.time()))
        if settings is None:
            for scope in self._scopes.values():
                scope.cancel()
            self._events.clear()
            self._deliveries.clear()
            self._dropped = 0
        self._woken.set()

    def told(self) -> dict[str, Any]:
        """The settings without the verifier, and the deliveries of this run, oldest first."""
        settings = None if self._settings is None else msgspec.to_builtins(self._settings)
        if settings is not None:
            del settings["verifier"]
        return {
            "settings": settings,
            "waiting": len(self._events),
            "dropped": self._dropped,
            "deliveries": [delivery.told() for delivery in self._deliveries],
        }

    def _hear(self, change: Change) -> None:
        if self._settings is None or not ENTITIES[change.entity].hooks:
            return
        if len(self._events) >= MOST_EVENTS:
            self._dropped += 1
            return
        self._events.append((time.monotonic(), change))
        self._woken.set()

    async def run(self) -> None:
        turn = anyio.CapacityLimiter(AT_ONCE)
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http, anyio.create_task_group() as group:
            while True:
                if self._wait() == 0:
                    for delivery in self._collected():
                        self._deliveries.append(delivery)
                        if len(self._scopes) >= MOST_UNDER_WAY:
                            delivery.state = "dropped"
                            continue
                        self._scopes[delivery.id] = anyio.CancelScope()
                        group.start_soon(self._deliver, http, turn, delivery)
                with anyio.move_on_after(self._wait()):
                    await self._woken.wait()
                self._woken = anyio.Event()

    def _wait(self) -> float | None:
        """Seconds until what was collected leaves; None when there is nothing."""
        if self._settings is None or not self._events:
            return None
        return max(self._events[0][0] + self._settings.delay - time.monotonic(), 0.0)

    def _collected(self) -> list[Delivery]:
        settings = self._settings
        changes = [change for _, change in self._events]
        self._events.clear()
        if settings is None:
            return []
        if settings.shuffle:
            random.shuffle(changes)
        write = legacy if settings.format == "legacy" else cloud_events
        found = []
        for chunk in chunks(changes):
            body = msgspec.json.encode(write(chunk))
            found += [
                Delivery(settings, body, len(chunk), str(uuid.uuid4())) for _ in range(2 if settings.duplicate else 1)
            ]
        if settings.shuffle:
            random.shuffle(found)
        return found

    async def _deliver(self, http: httpx.AsyncClient, turn: anyio.CapacityLimiter, delivery: Delivery) -> None:
        with self._scopes[delivery.id] as scope:
            for pause in (0, *RETRIES):
                await anyio.sleep(pause * delivery.settings.retry_scale)
                async with turn:
                    delivery.attempts += 1
                    delivery.status = await _post(http, delivery)
                if delivery.status == 200:
                    delivery.state = "delivered"
                    break
            else:
                delivery.state = "given_up"
        if scope.cancelled_caught:
            delivery.state = "stopped"
        del self._scopes[delivery.id]
        log.info("sandbox.webhook", state=delivery.state, attempts=delivery.attempts, status=delivery.status)


async def _post(http: httpx.AsyncClient, delivery: Delivery) -> int:
    settings = delivery.settings
    digest = hmac.digest(settings.verifier.encode(), delivery.body, "sha256")
    kind = "application/json" if settings.format == "legacy" else "application/cloudevents+json"
    headers = {"Content-Type": kind, "intuit-signature": base64.b64encode(digest).decode()}
    try:
        with anyio.fail_after(PATIENCE):
            return (await http.post(settings.url, content=delivery.body, headers=headers)).status_code
    except (httpx.HTTPError, TimeoutError):
        return 0


def chunks(changes: Iterable[Change]) -> Iterable[list[Change]]:
    left = iter(changes)
    while chunk := list(islice(left, LARGEST)):
        yield chunk


def legacy(changes: Iterable[Change]) -> dict[str, Any]:
    """The older shape, by company; its offset has no colon."""
    by_realm: dict[str, list[dict[str, str]]] = {}
    for change in changes:
        stamp = pacific(change.at)
        entity = {
            "name": change.entity,
            "id": change.id,
            "operation": change.operation,
            "lastUpdated": stamp[:-3] + stamp[-2:],
        }
        if change.gone:
            entity["deletedId"] = change.gone
        by_realm.setdefault(change.realm, []).append(entity)
    return {
        "eventNotifications": [
            {"realmId": realm, "dataChangeEvent": {"entities": entities}} for realm, entities in by_realm.items()
        ]
    }


def cloud_events(changes: Iterable[Change]) -> list[dict[str, Any]]:
    """The shape of 2026, with nanoseconds that no clock here has."""
    return [
        {
            "specversion": "1.0",
            "id": str(uuid.uuid4()),
            "source": SOURCE,
            "type": f"qbo.{change.entity.lower()}.{PAST[change.operation]}.v1",
            "datacontenttype": "application/json",
            "time": f"{datetime.fromtimestamp(change.at, UTC):%Y-%m-%dT%H:%M:%S.%f}{random.randrange(1000):03}Z",
            "intuitentityid": change.id,
            "intuitaccountid": change.realm,
            "data": {"deletedid": change.gone} if change.gone else {},
        }
        for change in changes
    ]
