"""Webhooks of QuickBooks: a change told at once brings the next pull forward, and that is all it does.

Nothing is taken from a webhook but the hint. It must be signed, and it must tell something that was not read
yet: by QuickBooks' own clock, an event from before the second a marker stands at was read by some pull, however
often and however late it is delivered. So a replay needs no memory of what came before. The marker's own second
counts as unread, since QuickBooks stamps changes by the second and that one may have gone on after the answer.
"""

import base64
import hashlib
import hmac
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

import anyio
import structlog

from common import subjects
from common.buckets import Bucket
from common.bus import Bus
from common.connections import Connections
from common.errors import Refused
from common.messages import Done, Refusal, Webhook, now
from common.quickbooks.events import Event, events
from common.ticks import ask_for_pull
from common.wire import WireError, fingerprint
from services.puller.entities import DELETIONS, ENTITIES
from services.puller.marker import Marker, Markers
from services.puller.window import whole

log = structlog.get_logger()

AHEAD = timedelta(minutes=5)
"""How far QuickBooks' clock may be ahead of ours."""
SETTLES = 0.25
"""Seconds after which the tick of a pull that has ended is acknowledged."""
AT_ONCE = 100
"""Companies that are looked at side by side: as many as one webhook has events, so that none waits for another."""
TOLD = 10
"""Unknown companies that are named in the log."""

_PULLED = {entity.name.lower(): entity.name for entity in ENTITIES}


class Webhooks:
    """Answers `webhook`."""

    def __init__(self, bus: Bus, connections: Connections) -> None:
        self._bus = bus
        self._connections = connections
        self._leases = Bucket(bus, "leases", str)
        verifier = bus.settings.quickbooks_webhook_verifier
        self._verifier = verifier.get_secret_value() if verifier is not None else ""

    async def take(self, webhook: Webhook) -> Done | Refusal:
        """Have every company pulled that the webhook tells something new of; Refused if it cannot be read.

        A duplicate is Done too: QuickBooks sends again what is not taken, and in the end stops sending.
        """
        if not self._verifier:
            log.info("webhook.not_set_up")
            return Refusal(
                why="webhooks of QuickBooks are not set up here",
                fix="set WEIR_QUICKBOOKS_WEBHOOK_VERIFIER to the verifier token of your Intuit app",
                reason="not-set-up",
            )
        if not genuine(webhook.body, webhook.signature, self._verifier):
            log.warning("webhook.forged", size=len(webhook.body))
            return Refusal(why="the signature is not one of QuickBooks", reason="forged")
        try:
            told = events(webhook.body)
        except WireError as error:
            raise Refused(str(error)) from None
        if told.unknown:
            log.info("webhook.unknown_events", count=told.unknown)
        await self._bring_forward(pulled(told.known, now()))
        return Done()

    async def _bring_forward(self, told: Iterable[Event]) -> None:
        companies: dict[str, list[Event]] = defaultdict(list)
        for event in told:
            companies[event.realm].append(event)
        strangers: list[str] = []
        room = anyio.CapacityLimiter(AT_ONCE)

        async def look(realm: str, changes: Sequence[Event]) -> None:
            async with room:
                workspace = await self._connections.workspace_of(realm)
                if workspace is None:
                    strangers.append(realm)
                else:
                    await self._tick(workspace, realm, changes)

        async with anyio.create_task_group() as group:
            for realm, changes in companies.items():
                group.start_soon(look, realm, changes)
        if strangers:
            log.info("webhook.strangers", realms=sorted(strangers)[:TOLD], count=len(strangers))

    async def _tick(self, workspace: str, realm: str, changes: Sequence[Event]) -> None:
        markers = Markers(self._bus, workspace, realm)
        await markers.load()
        new = [event for event in changes if unread(event, markers.__getitem__)]
        if not new:
            log.info("webhook.nothing_new", workspace=workspace, events=len(changes))
            return
        if await self._waiting(workspace):
            log.info("webhook.tick_waits", workspace=workspace, events=len(new))
            return
        await ask_for_pull(self._bus, workspace, "webhook", key=identity(new))
        log.info("webhook.brought_forward", workspace=workspace, events=len(new))

    async def _waiting(self, workspace: str) -> bool:
        """Whether the workspace has a tick whose pull has not begun yet.

        A pull that runs may be past what changed, so its own tick is none.
        """
        if not await self._has_tick(workspace) or await self._leases.get(f"pull.{workspace}") is not None:
            return False
        # A pull gives its lease back before its tick is acknowledged: what is still there a moment later waits.
        await anyio.sleep(SETTLES)
        return await self._has_tick(workspace)

    async def _has_tick(self, workspace: str) -> bool:
        subject = subjects.pull(self._bus.region, workspace)
        return await self._bus.newest_sequence(self._bus.topology.pulls, subject) > 0


def genuine(body: bytes, signature: str, verifier: str) -> bool:
    """Whether `signature` is the base64 of the body's HMAC-SHA256 under the verifier token, exactly."""
    made = base64.b64encode(hmac.digest(verifier.encode(), body, hashlib.sha256))
    # The text is compared, not what it decodes to: base64 has several spellings of the same bytes.
    return hmac.compare_digest(made, signature.encode())


def pulled(told: Iterable[Event], at: datetime) -> list[Event]:
    """The events of entities that are pulled, without those dated later than our clock `at` allows for."""
    wanted = [event for event in told if event.entity in _PULLED]
    ahead = [event for event in wanted if event.at > at + AHEAD]
    if ahead:
        # Either somebody else can sign, or one of two clocks is wrong; it would count as new until that day.
        latest = max(event.at for event in ahead)
        log.warning("webhook.from_the_future", count=len(ahead), latest=latest.isoformat())
    return [event for event in wanted if event.at <= at + AHEAD]


def unread(event: Event, marker: Callable[[str], Marker]) -> bool:
    """Whether what the event tells may not have been read yet, `marker` giving the marker of a name."""
    names = (_PULLED[event.entity], DELETIONS) if event.removes else (_PULLED[event.entity],)
    reached = [_reached(marker(name)) for name in names]
    return any(second is None or whole(event.at) >= second for second in reached)


def _reached(marker: Marker) -> datetime | None:
    """The second before which everything was read; None if nothing was.

    An open window begins where reading goes on, which is behind `until` after a rewind and beyond it at times.
    """
    since = None if marker.window is None else marker.window.since
    return max((moment for moment in (marker.until, since) if moment is not None), default=None)


def identity(new: Sequence[Event]) -> str:
    """The message id of the tick that these events bring: the same delivery again is the same tick.

    It is made from the events of the newest second: a pull that was asked for after those reads the others too.
    """
    newest = max(whole(event.at) for event in new)
    return f"webhook-{fingerprint(sorted({event for event in new if whole(event.at) == newest}))}"
