"""The next pull of a workspace, held by the broker until it is due.

A scheduled message waits in the PULLS stream under a subject of its own and is published by the broker on
the pull subject at its time; it survives restarts of everybody. A newer schedule of the same workspace takes
the place of the older one, and a tick that nobody has handled yet takes in the next.
"""

import random
from datetime import datetime, timedelta

from common import subjects
from common.bus import Bus
from common.messages import Tick, now

JITTER = 0.05
"""Part of the cadence by which pulls are spread, so that workspaces do not march in step."""


async def schedule_next(bus: Bus, workspace: str) -> datetime:
    """Have the workspace pulled again in about `settings.pull_every` seconds; when that is."""
    seconds = bus.settings.pull_every * random.uniform(1 - JITTER, 1 + JITTER)
    due = now() + timedelta(seconds=seconds)
    target = subjects.pull(bus.region, workspace)
    headers = {"Nats-Schedule": f"@at {due:%Y-%m-%dT%H:%M:%SZ}", "Nats-Schedule-Target": target}
    tick = Tick(workspace=workspace, reason="schedule", asked_at=now())
    await bus.publish(subjects.schedule(bus.region, workspace), tick, stream=bus.topology.pulls, **headers)
    return due


async def pull_again(bus: Bus, tick: Tick) -> None:
    """Put the tick back, to go on where this pull stopped."""
    await bus.publish(subjects.pull(bus.region, tick.workspace), tick, stream=bus.topology.pulls)
