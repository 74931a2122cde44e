"""`weir pull`, `weir rewind`, `weir backfill`: bring a workspace's next pull forward, or send its markers back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated

import anyio
from cyclopts import Parameter
from rich.console import Console

from common import subjects
from common.buckets import Bucket
from common.bus import Bus
from common.errors import RetryLater, UserError, WeirError
from common.messages import Backfill, PullState, Refusal, Rewind
from common.settings import load
from common.tenants import Tenant, tenant
from common.ticks import ask_for_pull

BEGINS_WITHIN = 60.0
"""Seconds in which some puller should take up what was asked for."""

_Workspace = Annotated[str, Parameter(help="The workspace's name, as it was connected.")]
_Since = Annotated[datetime, Parameter(help="A date or time, such as 2026-01-31.")]


class NotPulled(WeirError):  # noqa: N818
    """The pull that was asked for did not come to its end."""


def pull(
    workspace: _Workspace, *, now: Annotated[bool, Parameter(negative="", help="Do not wait for its end.")] = False
) -> None:
    """Pull WORKSPACE at once instead of at its next scheduled time, and say what came of it."""
    anyio.run(_pull, _checked(workspace), not now)


def rewind(workspace: _Workspace, to: _Since) -> None:
    """Read everything of WORKSPACE that changed since TO again and publish it anew; nothing is posted twice."""
    since = _instant(to)
    anyio.run(_ask, _checked(workspace), "rewind", Rewind(workspace=workspace, to=since))
    _say(f"{workspace}: reading again from {since.isoformat()}; `weir connections` shows how far it is")


def backfill(workspace: _Workspace, from_: Annotated[_Since, Parameter(name=["--from"])]) -> None:
    """Read WORKSPACE from an earlier date on, and publish what is missing."""
    since = _instant(from_)
    anyio.run(_ask, _checked(workspace), "backfill", Backfill(workspace=workspace, since=since))
    _say(f"{workspace}: reading what changed since {since.isoformat()}; `weir connections` shows how far it is")


def _say(line: str) -> None:
    Console(soft_wrap=True, highlight=False).print(line, markup=False)


def _instant(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _checked(workspace: str) -> str:
    try:
        return subjects.workspace(workspace)
    except subjects.BadTokenError as error:
        raise UserError(str(error)) from None


@asynccontextmanager
async def _connected() -> AsyncIterator[Bus]:
    bus = Bus(load(), "cli")
    await bus.connect()
    try:
        yield bus
    finally:
        await bus.close()


async def _known(bus: Bus, workspace: str) -> Tenant:
    """The workspace; UserError if its QuickBooks company is not connected."""
    known = await tenant(bus, workspace)
    if "quickbooks" not in known.connections:
        raise UserError(f"workspace {workspace} is not known here; connect it in the console, or check WEIR_REGION")
    if not known.connected("quickbooks"):
        connection = known.connections["quickbooks"]
        raise UserError(f"{workspace}: QuickBooks is {connection.state} ({connection.why}); connect it in the console")
    return known


async def _ask(workspace: str, verb: str, message: Rewind | Backfill) -> None:
    async with _connected() as bus:
        await _known(bus, workspace)
        try:
            answer = await bus.call(subjects.call(bus.region, "quickbooks", verb), message, timeout=30)
        except RetryLater as error:
            raise UserError(f"{error}; is `weir puller` running?") from None
    if isinstance(answer, Refusal):
        raise UserError(f"{answer.why}; {answer.fix or 'try again'}")


async def _pull(workspace: str, wait: bool) -> None:
    async with _connected() as bus:
        before = (await _known(bus, workspace)).pull
        await ask_for_pull(bus, workspace, "asked")
        if not wait:
            _say(f"{workspace}: pull asked for")
            return
        with Console(stderr=True).status(f"{workspace}: waiting for a puller") as status:
            async for state in _states(bus, workspace, before.began_at if before else None):
                status.update(f"{workspace}: {progress(state)}")
    if state.failing is not None:
        raise NotPulled(f"{workspace}: {state.failing}; {state.fix or 'the next pull tries again'}")
    _say(f"{workspace}: {outcome(state)}")


async def _states(bus: Bus, workspace: str, before: datetime | None) -> AsyncIterator[PullState]:
    """How the pull stands that begins after `before`, until it has ended; NotPulled if nobody begins it."""
    bucket = Bucket(bus, "pulls", PullState)
    deadline = anyio.current_time() + BEGINS_WITHIN
    while True:
        kept = await bucket.get(workspace)
        if kept is not None and kept.value.began_at != before:
            state = kept.value
            yield state
            if state.failing is not None or (state.finished_at is not None and state.finished_at >= state.began_at):
                return
        elif anyio.current_time() > deadline:
            raise NotPulled(
                f"{workspace}: asked for, but nobody has begun within {BEGINS_WITHIN:g} s; is `weir puller` running?"
            )
        await anyio.sleep(0.2)


def progress(state: PullState) -> str:
    """Where an unfinished pull stands, for people."""
    if state.entity is None or state.read_until is None:
        return "pulling"
    first = "first pull, " if state.backfilling else ""
    return f"{first}{state.entity} read up to {state.read_until:%Y-%m-%d %H:%M} UTC, {_counted(state.counts)} so far"


def outcome(state: PullState) -> str:
    """What a pull published, for people."""
    return f"{_counted(state.counts)} published" if state.counts else "nothing new"


def _counted(counts: dict[str, int]) -> str:
    return (
        ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in sorted(counts.items())) or "nothing"
    )
