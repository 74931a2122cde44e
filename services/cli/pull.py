"""`weir pull` and `weir rewind`: bring a workspace's next pull forward, or send its markers back."""

from datetime import UTC, datetime
from typing import Annotated

import anyio
from cyclopts import Parameter
from msgspec import Raw
from rich.console import Console

from common import subjects
from common.buckets import Bucket
from common.bus import Bus
from common.errors import RetryLater, UserError
from common.messages import Refusal, Rewind, Tick, now
from common.settings import load

_Workspace = Annotated[str, Parameter(help="The workspace's name, as it was connected.")]


def pull(workspace: _Workspace) -> None:
    """Pull WORKSPACE now instead of at its next scheduled time."""
    anyio.run(_tick, _checked(workspace))
    Console().print(f"{workspace}: pull asked for", highlight=False)


def rewind(
    workspace: _Workspace, to: Annotated[datetime, Parameter(help="A date or time, such as 2026-01-31.")]
) -> None:
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
        await _known(bus, workspace)
        tick = Tick(workspace=workspace, reason="asked", asked_at=now())
        await bus.publish(subjects.pull(bus.region, workspace), tick, stream=bus.topology.pulls)
    finally:
        await bus.close()


async def _known(bus: Bus, workspace: str) -> None:
    """UserError if nobody ever connected such a workspace."""
    if await Bucket(bus, "connections", Raw).get(f"{workspace}.quickbooks") is None:
        raise UserError(f"workspace {workspace} is not known here; connect it in the console, or check WEIR_REGION")


async def _rewind(workspace: str, to: datetime) -> None:
    bus = Bus(load(), "cli")
    await bus.connect()
    try:
        await _known(bus, workspace)
        answer = await bus.call(
            subjects.call(bus.region, "quickbooks", "rewind"), Rewind(workspace=workspace, to=to), timeout=30
        )
    except RetryLater as error:
        raise UserError(f"{error}; is `weir puller` running?") from None
    finally:
        await bus.close()
    if isinstance(answer, Refusal):
        raise UserError(f"{answer.why}; {answer.fix or 'try again'}")
