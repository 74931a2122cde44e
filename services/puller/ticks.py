"""Ticks: each says "pull this workspace now".

Several workspaces are pulled side by side, each under a lease, so that no two pullers read the same one. A
pull that takes long is done in slices, and the tick put back between them: others get their turn, and no
message is held for longer than its heartbeats last. What ends a pull for good is told to the workspace's
owner, and the next one is scheduled all the same.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, time

import anyio
import httpx
import structlog
from msgspec.structs import replace

from common import subjects
from common.buckets import Bucket
from common.bus import Bus
from common.connections import Connections
from common.consume import Delivery
from common.errors import ATTEMPTS, Conflict, Fate, NotConnected, Paused, Refused, RetryLater, verdict
from common.lease import Taken, lease
from common.messages import Notice, Tick, Workspace, now
from common.ticks import ask_for_pull
from services.puller.progress import Progress, last_began
from services.puller.pull import Pull, Unfinished
from services.puller.quickbooks import Company
from services.puller.schedule import pull_again, schedule_next, wait_for_quiet

log = structlog.get_logger()

AT_ONCE = 8
"""Workspaces one instance pulls side by side."""
SLICE = 60.0
"""Seconds a workspace is pulled before others get their turn."""
TRIES = 3
"""Deliveries after which an answer that repeating does not mend ends the pull."""

_AGAIN = "nothing: it is tried again until it works"


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

    async def wake_forgotten(self) -> None:
        """Tick connected workspaces that have neither a tick nor a scheduled one.

        Whoever died between storing a connection and sending its first tick leaves such a workspace.
        """
        region, stream = self._bus.region, self._bus.topology.pulls
        present = {name.rpartition(".")[2] for name in await self._bus.subjects(stream, f"{region}.>")}
        async for workspace in self._connections.connected(but=present):
            log.info("puller.woken", workspace=workspace)
            await ask_for_pull(self._bus, workspace, "connected")

    async def handle(self, deliveries: Sequence[Delivery[Tick]]) -> None:
        """Pull all these workspaces at once; each tick is settled on its own."""
        async with anyio.create_task_group() as group:
            for delivery in deliveries:
                group.start_soon(self._settle, delivery)

    async def _settle(self, delivery: Delivery[Tick]) -> None:
        try:
            await self._pull(delivery)
        except Exception as error:  # noqa: BLE001 (the table decides; nothing is swallowed)
            try:
                await self._failed(delivery, error)
            except Exception as again:  # noqa: BLE001 (left unsettled, the tick would count as done)
                await delivery.failed(RetryLater(f"the end of a pull could not be written down: {again}"))
        else:
            await delivery.done()

    async def _pull(self, delivery: Delivery[Tick]) -> None:
        tick = delivery.message
        workspace = tick.workspace
        if delivery.subject != subjects.pull(self._bus.region, workspace):
            raise Refused(f"the tick names another workspace than its subject {delivery.subject}")
        async with lease(self._bus, f"pull.{workspace}"):
            realm = await self._connections.account(workspace)
            if realm is None:
                log.info("puller.not_connected", workspace=workspace)
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
                await pull.run()
            except Unfinished:
                await self._tell(workspace, pull, finished=False)
                await pull_again(self._bus, tick)
            except (NotConnected, Paused) as error:
                log.info("puller.stopped", workspace=workspace, error=error)
                await progress.failed(str(error), None, await self._next(workspace))
            else:
                await self._connections.resumed(workspace)
                await self._tell(workspace, pull, finished=True)
                await progress.ended(pull.counts, await schedule_next(self._bus, workspace))

    def _begin(self, known: Workspace, realm: str, progress: Progress) -> Pull:
        company = Company(self._http, self._connections, self._bus.settings.quickbooks_api_url, known.id, realm)
        beginning = datetime.combine(known.backfill_from or self._bus.settings.backfill_from, time.min, UTC)
        return Pull(self._bus, company, progress, beginning=beginning, seconds=self._slice)

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

    async def _failed(self, delivery: Delivery[Tick], error: Exception) -> None:
        workspace = subjects.workspace_of(delivery.subject)
        fate = verdict(error, delivery.attempt).fate
        if workspace is None or fate is Fate.STOP or isinstance(error, Taken | Early):
            await delivery.failed(error)
        elif fate is Fate.RETRY:
            if delivery.attempt == ATTEMPTS:
                await self._tell_failed(workspace, error, _AGAIN)
            await self._note(workspace, error, _AGAIN, None)
            await delivery.failed(error)
        elif delivery.attempt < TRIES:
            await delivery.failed(RetryLater(str(error)))
        else:
            fix = error.fix if isinstance(error, Refused) else None
            fix = fix or "nothing is skipped: the next pull reads the same again"
            await self._tell_failed(workspace, error, fix)
            await self._note(workspace, error, fix, await self._next(workspace))
            await delivery.done()

    async def _tell_failed(self, workspace: str, error: Exception, fix: str) -> None:
        log.error("puller.pull_failed", workspace=workspace, error=error)
        await self._bus.notify(
            Notice(workspace=workspace, kind="pull-failed", at=now(), why=str(error), fix=fix, provider="quickbooks")
        )

    async def _note(self, workspace: str, error: Exception, fix: str, next_at: datetime | None) -> None:
        realm = await self._connections.account(workspace)
        if realm is not None:
            await Progress(self._bus, workspace, realm).failed(str(error), fix, next_at)

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
