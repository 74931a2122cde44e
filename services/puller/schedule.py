"""The next pull of a workspace, held by the broker until it is due.

A schedule waits in the PULLS stream under a subject of its own, and the broker publishes a tick on the pull
subject whenever its interval is over, by its own clock; it survives restarts of everybody. A newer schedule
of the same workspace takes the place of the older one, and a tick that nobody has handled yet takes in the
next. So a tick that is lost costs one interval.
"""

import random
from datetime import datetime, timedelta

from common import subjects
from common.bus import Bus
from common.messages import Tick, now

GAP = 60.0
"""Seconds from the beginning of a pull to that of one that a webhook asks for: QuickBooks meters reads."""
JITTER = 0.05
"""Part of the cadence by which pulls are spread, so that workspaces do not march in step."""


async def schedule_next(bus: Bus, workspace: str) -> datetime:
    """Have the workspace pulled every `settings.pull_every` seconds or so from now on; when first, by our clock."""
    seconds = round(bus.settings.pull_every * random.uniform(1 - JITTER, 1 + JITTER))
    target = subjects.pull(bus.region, workspace)
    headers = {"Nats-Schedule": f"@every {seconds}s", "Nats-Schedule-Target": target}
    tick = Tick(workspace=workspace, reason="schedule", asked_at=now())
    await bus.publish(subjects.schedule(bus.region, workspace), tick, stream=bus.topology.pulls, **headers)
    return now() + timedelta(seconds=seconds)


async def unschedule(bus: Bus, workspace: str) -> None:
    """Have the workspace pulled no more by itself."""
    await bus.js.purge_stream(bus.topology.pulls, subject=subjects.schedule(bus.region, workspace))


async def pull_again(bus: Bus, tick: Tick) -> None:
    """Put the tick back, to go on where this pull stopped."""
    await bus.publish(subjects.pull(bus.region, tick.workspace), tick, stream=bus.topology.pulls)


def wait_for_quiet(began_at: datetime | None, at: datetime) -> float:
    """Seconds until a webhook may have a company pulled whose newest pull began at `began_at`; 0 if it may now."""
    if began_at is None:
        return 0.0
    return min(GAP, max(0.0, GAP - (at - began_at).total_seconds()))
