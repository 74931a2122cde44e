"""The next pull of a workspace, held by the broker until it is due.

A schedule waits in the PULLS stream under a subject of its own, and the broker publishes a tick on the pull
subject whenever its interval is over, by its own clock; it survives restarts of everybody. A newer schedule
of the same workspace takes the place of the older one, and a tick that nobody has handled yet takes in the
next. So a tick that is lost costs one interval.
"""

import random
from datetime import datetime, timedelta

import msgspec
import structlog

from common import policies, subjects
from common.bus import Bus
from common.messages import Tick, now

log = structlog.get_logger()

GAP = 60.0
"""Seconds from the beginning of a pull to that of one that a webhook asks for: QuickBooks meters reads."""
JITTER = 0.05
"""Part of the cadence by which pulls are spread, so that workspaces do not march in step."""


async def schedule_next(bus: Bus, workspace: str) -> datetime:
    """Have the workspace pulled as often as its policy, or else the setting, says; when first, by our clock."""
    seconds = round(await _cadence(bus, workspace) * random.uniform(1 - JITTER, 1 + JITTER))
    target = subjects.pull(bus.region, workspace)
    headers = {"Nats-Schedule": f"@every {seconds}s", "Nats-Schedule-Target": target}
    tick = Tick(workspace=workspace, reason="schedule", asked_at=now())
    await bus.publish(subjects.schedule(bus.region, workspace), tick, stream=bus.topology.pulls, **headers)
    return now() + timedelta(seconds=seconds)


async def _cadence(bus: Bus, workspace: str) -> float:
    """Seconds between two pulls."""
    try:
        kept = await policies.present(bus, workspace)
    except msgspec.MsgspecError as error:  # of a later version, or damaged: no reason to stop pulling
        log.warning("puller.policy_unreadable", workspace=workspace, error=error)
        kept = None
    minutes = kept.value.pull_every if kept is not None else None
    return bus.settings.pull_every if minutes is None else minutes * 60.0


async def unschedule(bus: Bus, workspace: str) -> None:
    """Have the workspace pulled no more by itself: what is no schedule takes its place, and ends after a second."""
    tick = Tick(workspace=workspace, reason="schedule", asked_at=now())
    # Not purged: that is a right over the whole stream, which no service has.
    name = subjects.schedule(bus.region, workspace)
    await bus.publish(name, tick, stream=bus.topology.pulls, **{"Nats-TTL": "1"})


async def pull_again(bus: Bus, tick: Tick) -> None:
    """Put the tick back, to go on where this pull stopped."""
    await bus.publish(subjects.pull(bus.region, tick.workspace), tick, stream=bus.topology.pulls)


def wait_for_quiet(began_at: datetime | None, at: datetime) -> float:
    """Seconds until a webhook may have a company pulled whose newest pull began at `began_at`; 0 if it may now."""
    if began_at is None:
        return 0.0
    return min(GAP, max(0.0, GAP - (at - began_at).total_seconds()))
