"""`weir pull` and `weir rewind`: bring a workspace's next pull forward, or send its markers back."""

from datetime import UTC, datetime

import anyio
from rich.console import Console

from common import subjects
from common.bus import Bus
from common.errors import RetryLater, UserError
from common.messages import Refusal, Rewind, Tick, now
from common.settings import load


def pull(workspace: str) -> None:
    """Pull WORKSPACE now instead of at its next scheduled time."""
    anyio.run(_tick, _checked(workspace))
    Console().print(f"{workspace}: pull asked for", highlight=False)


def rewind(workspace: str, to: datetime) -> None:
    """Read everything of WORKSPACE that changed since TO again and publish it anew; nothing is posted twice."""
    since = to if to.tzinfo else to.replace(tzinfo=UTC)
    anyio.run(_rewind, _checked(workspace), since)
    Console().print(f"{workspace}: reading again from {since.isoformat()}", highlight=False)


def _checked(workspace: str) -> str:
    try:
        return subjects.workspace(workspace)
    except subjects.BadTokenError as error:
        raise UserError(str(error)) from None


async def _tick(workspace: str) -> None:
    bus = Bus(load(), "cli")
    await bus.connect()
    try:
        tick = Tick(workspace=workspace, reason="asked", asked_at=now())
        await bus.publish(subjects.pull(bus.region, workspace), tick, stream=bus.topology.pulls)
    finally:
        await bus.close()


async def _rewind(workspace: str, to: datetime) -> None:
    bus = Bus(load(), "cli")
    await bus.connect()
    try:
        answer = await bus.call(
            subjects.call(bus.region, "quickbooks", "rewind"), Rewind(workspace=workspace, to=to), timeout=30
        )
    except RetryLater as error:
        raise UserError(f"{error}; is `weir puller` running?") from None
    finally:
        await bus.close()
    if isinstance(answer, Refusal):
        raise UserError(f"{answer.why}; {answer.fix or 'try again'}")
