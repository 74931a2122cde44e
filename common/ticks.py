"""Asking for a pull: a tick on the workspace's own subject, where a newer one takes the place of an older."""

from common import subjects
from common.bus import Bus
from common.messages import Tick, TickReason, now


async def ask_for_pull(bus: Bus, workspace: str, reason: TickReason, *, key: str | None = None) -> None:
    """Have the workspace pulled as soon as a puller is free; the same `key` twice in two minutes is one tick."""
    tick = Tick(workspace=workspace, reason=reason, asked_at=now())
    await bus.publish(subjects.pull(bus.region, workspace), tick, stream=bus.topology.pulls, key=key)
