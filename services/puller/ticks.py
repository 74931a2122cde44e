"""Ticks: each says "pull this workspace now".

Several workspaces are pulled side by side, each under a lease, so that no two pullers read the same one. A
pull that takes long is done in slices, and the tick put back between them: others get their turn, and no
message is held for longer than its heartbeats last. What ends a pull for good is told to the workspace's
owner, and the next one is scheduled all the same.
"""

import random
from collections.abc import Sequence
from datetime import datetime

import anyio
import httpx
import nats.errors
import structlog
from msgspec.structs import replace

from common import metrics, subjects
from common.buckets import Bucket
from common.bus import Bus
from common.connections import Connections
from common.delivery import Delivery
from common.errors import (
    ATTEMPTS,
    Conflict,
    Fate,
    NotConnected,
    Paused,
    Refused,
    RetryLater,
    WeirError,
    backoff,
    verdict,
)
from common.lease import lease
from common.messages import Notice, Tick, Workspace, now
from common.ticks import ask_for_pull
from services.puller.index import Indexes
from services.puller.marker import first_pull_begins
from services.puller.progress import Progress, last_began
from services.puller.pull import Pull, Unfinished
from services.puller.quickbooks import Company
from services.puller.schedule import pull_again, schedule_next, unschedule, wait_for_quiet

log = structlog.get_logger()

AT_ONCE = 8
"""Workspaces one instance pulls side by side."""
SLICE = 60.0
"""Seconds a workspace is pulled before others get their turn."""
TRIES = 3
"""Failures in a row after which an answer that repeating does not mend waits for the next scheduled pull."""

LONGEST = 540.0
"""Seconds after which a pull that comes to no page's end is given up: its tick would go to another instance."""
WAKE_EVERY = 1800.0
"""Seconds between two looks for workspaces that nothing will pull."""
_READS_AGAIN = "nothing is skipped: the next pull reads the same again"


class Early(RetryLater):
    """A webhook came so soon after a pull that the next one waits a little."""


class Ticks:
    """Handles ticks with one connection pool to QuickBooks."""

    def __init__(self, bus: Bus, connections: Connections, http: httpx.AsyncClient, *, seconds: float = SLICE) -> None:
        self._bus = bus
        self._connections = connections
        self._http = http
        self._slice = seconds
        self._workspaces = Bucket(bus, "workspaces", Workspace)
        self._indexes = Indexes()
        self._resting = anyio.CancelScope()
        self._stopping = False

    async def keep_awake(self) -> None:
        """Look for forgotten workspaces every now and then, for as long as the service runs."""
        while not self._stopping:
            with anyio.move_on_after(WAKE_EVERY * random.uniform(0.5, 1.5)) as self._resting:
                await anyio.sleep_forever()
            if not self._stopping:
                try:
                    await self.wake_forgotten()
                except (RetryLater, nats.errors.Error) as error:
                    log.warning("puller.not_woken", error=error)

    async def stop(self) -> None:
        """End `keep_awake`."""
        self._stopping = True
        self._resting.cancel()

    async def wake_forgotten(self) -> None:
        """Tick connected workspaces that have neither a tick nor a scheduled one.

        Whoever died, or lost the broker, between storing a connection and sending its first tick leaves one.
        """
        region, stream = self._bus.region, self._bus.topology.pulls
        present = {name.rpartition(".")[2] for name in await self._bus.subjects(stream, f"{region}.>")}
        async for workspace in self._connections.connected(but=present):
            log.info("puller.woken", workspace=workspace)
            await ask_for_pull(self._bus, workspace, "connected")

    async def handle(self, deliveries: Sequence[Delivery[Tick]]) -> None:
        """Pull the workspace of each tick; what ends a pull for good is told, and the next one scheduled."""
        for delivery in deliveries:
            await self._pull(delivery)

    async def _pull(self, delivery: Delivery[Tick]) -> None:
        tick = delivery.message
        workspace = tick.workspace
        if delivery.subject != subjects.pull(self._bus.region, workspace):
            raise Refused(f"the tick names another workspace than its subject {delivery.subject}")
        async with lease(self._bus, f"pull.{workspace}"):
            realm = await self._connections.account(workspace)
            if realm is None:
                log.info("puller.not_connected", workspace=workspace)
                await unschedule(self._bus, workspace)
                return
            if tick.reason == "webhook":
                early = wait_for_quiet(await last_began(self._bus, workspace), now())
                if early > 0:
                    raise Early(f"{workspace} was pulled just now", delay=early)
            known = await self._remember(workspace, realm)
            progress = Progress(self._bus, workspace, realm)
            await progress.began()
            pull = self._begin(known, realm, progress)
            log.info("puller.pull_began", workspace=workspace, reason=tick.reason)
            try:
                with anyio.move_on_after(LONGEST) as patience:
                    await pull.run()
                if patience.cancelled_caught:
                    raise RetryLater(f"no page was done in {LONGEST:g} s")
            except Unfinished:
                metrics.PULLS.labels("sliced").inc()
                await progress.paused(pull.counts)
                await self._tell(workspace, pull, finished=False)
                await pull_again(self._bus, tick)
            except (NotConnected, Paused) as error:
                metrics.PULLS.labels("waits").inc()
                log.info("puller.stopped", workspace=workspace, error=error)
                await progress.waits(error, await self._next(workspace))
            except Exception as error:  # noqa: BLE001 (told, counted and settled by the table)
                metrics.PULLS.labels("failed").inc()
                await self._failed(delivery, error, progress)
            else:
                metrics.PULLS.labels("finished").inc()
                await self._connections.resumed(workspace)
                await self._tell(workspace, pull, finished=True)
                left_out = await pull.left_out()
                await progress.ended(pull.counts, await schedule_next(self._bus, workspace), left_out)

    def _begin(self, known: Workspace, realm: str, progress: Progress) -> Pull:
        company = Company(self._http, self._connections, self._bus.settings.quickbooks_api_url, known.id, realm)
        beginning = first_pull_begins(known, self._bus.settings.backfill_from)
        return Pull(self._bus, company, progress, beginning=beginning, seconds=self._slice, indexes=self._indexes)

    async def _tell(self, workspace: str, pull: Pull, *, finished: bool) -> None:
        log.info("puller.pull_ended", workspace=workspace, counts=pull.counts, finished=finished)
        if pull.counts or (pull.first and finished):
            notice = Notice(
                workspace=workspace,
                kind="pulled",
                at=now(),
                why="everything there was" if finished else "a part; the rest follows",
                provider="quickbooks",
                counts=pull.counts,
            )
            await self._bus.notify(notice)

    async def _failed(self, delivery: Delivery[Tick], error: Exception, progress: Progress) -> None:
        """Try again a little later, or, after so many failures in a row, at the next scheduled time."""
        workspace = delivery.message.workspace
        result = verdict(error, 1)
        fix = result.fix or ("nothing: it is tried again until it works" if result.fate is Fate.RETRY else _READS_AGAIN)
        failures = await progress.failed(result.why, fix)
        if not isinstance(error, WeirError):
            log.warning("puller.unforeseen", workspace=workspace, error=error, exc_info=error)
        if result.fate is Fate.STOP:
            await delivery.failed(error)
            return
        most = ATTEMPTS if result.fate is Fate.RETRY else TRIES
        if failures < most:
            delay = error.delay if isinstance(error, RetryLater) else None
            await delivery.failed(RetryLater(result.why, backoff(failures) if delay is None else delay))
            return
        log.error("puller.pull_failed", workspace=workspace, failures=failures, error=error)
        if failures == most:
            await self._bus.notify(
                Notice(
                    workspace=workspace, kind="pull-failed", at=now(), why=result.why, fix=fix, provider="quickbooks"
                )
            )
        await self._next(workspace)

    async def _next(self, workspace: str) -> datetime | None:
        """Schedule the next pull, unless connecting will bring it; when that is."""
        if await self._connections.account(workspace) is None:
            return None
        return await schedule_next(self._bus, workspace)

    async def _remember(self, workspace: str, realm: str) -> Workspace:
        kept = await self._workspaces.get(workspace)
        try:
            if kept is None:
                known = Workspace(id=workspace, region=self._bus.region, created_at=now(), realm=realm)
                await self._workspaces.create(workspace, known)
                return known
            known = replace(kept.value, realm=realm)
            if known != kept.value:
                await self._workspaces.replace(workspace, known, kept.revision)
        except Conflict as error:
            raise RetryLater(f"workspace {workspace} was written meanwhile", delay=1.0) from error
        return known
