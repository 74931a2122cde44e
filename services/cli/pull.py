"""`weir pull`, `weir rewind`, `weir backfill`: bring a workspace's next pull forward, or send its markers back."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated

import anyio
from cyclopts import Parameter
from rich.console import Console

from common import subjects
from common.buckets import Bucket
from common.bus import Bus
from common.errors import RetryLater, UserError, WeirError
from common.lease import held
from common.messages import NAMES, Backfill, PullState, Refusal, Rewind, said
from common.settings import EARLIEST
from common.standing import left_out, outcome, progress
from common.tenants import Tenant, tenant
from common.ticks import ask_for_pull
from services.cli.terminal import broker, named, say, unknown

BEGINS_WITHIN = 60.0
"""Seconds in which some puller should take up what was asked for."""
ANSWERS_WITHIN = 30.0
"""Seconds in which a puller should set the markers back."""

_NOT_WAITED = "Return at once, do not wait for its end."
_Workspace = Annotated[str, Parameter(help="The workspace's name, as it was connected.")]
_Since = Annotated[datetime, Parameter(help="A date or time, such as 2026-01-31; UTC unless it names a zone.")]
_From = Annotated[
    datetime, Parameter(name=["--from"], help="A date or time, such as 2024-01-01; UTC unless it names a zone.")
]
_NoWait = Annotated[bool, Parameter(negative="", help=_NOT_WAITED)]
_Now = Annotated[bool, Parameter(name=["--now", "--no-wait"], negative="", help=_NOT_WAITED)]


class NotPulled(WeirError):  # noqa: N818
    """The pull that was asked for did not come to its end."""


def pull(workspace: _Workspace, *, no_wait: _Now = False) -> None:
    """Pull WORKSPACE at once instead of at its next scheduled time, and say what came of it."""
    anyio.run(_pull, named(workspace), no_wait)


def rewind(workspace: _Workspace, to: _Since, *, no_wait: _NoWait = False) -> None:
    """Read everything of WORKSPACE that changed since TO again, and publish it anew.

    Nothing is posted twice: what Qonto holds already is found again.
    """
    since = _instant(to, "--to")
    anyio.run(_read, Rewind(workspace=named(workspace), to=since), "rewind", f"again from {said(since)}", no_wait)


def backfill(workspace: _Workspace, from_: _From, *, no_wait: _NoWait = False) -> None:
    """Read WORKSPACE from an earlier date on, and publish what is missing.

    Nothing is published or posted twice. Later first pulls of the workspace begin there too.
    """
    since = _instant(from_, "--from")
    message = Backfill(workspace=named(workspace), since=since)
    anyio.run(_read, message, "backfill", f"what changed since {said(since)}", no_wait)


def _instant(moment: datetime, option: str) -> datetime:
    try:
        instant = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        instant = None
    if instant is None or instant < EARLIEST:
        raise UserError(f"{option} {moment.isoformat()}: name a date from {EARLIEST:%Y-%m-%d} up to today")
    return instant


async def _known(bus: Bus, workspace: str) -> Tenant:
    """The workspace; UserError if its QuickBooks company is not connected."""
    known = await tenant(bus, workspace)
    if "quickbooks" not in known.connections:
        raise unknown(workspace)
    if not known.connected("quickbooks"):
        why, stands = known.connections["quickbooks"].why, known.standing("quickbooks")
        raise UserError(f"{workspace}: {NAMES['quickbooks']} {stands.state}: {why or stands.detail} → {stands.fix}")
    return known


async def _pull(workspace: str, no_wait: bool) -> None:
    async with broker() as bus:
        before = await _known(bus, workspace)
        await ask_for_pull(bus, workspace, "asked")
        if no_wait:
            say(f"{workspace}: pull asked for; `weir connections` shows how far it is")
        else:
            await _watch(bus, before)


async def _read(message: Rewind | Backfill, verb: str, what: str, no_wait: bool) -> None:
    async with broker() as bus:
        before = await _known(bus, message.workspace)
        try:
            answer = await bus.call(subjects.call(bus.region, "quickbooks", verb), message, timeout=ANSWERS_WITHIN)
        except RetryLater as error:
            raise UserError(f"{error}; is `weir puller` running?") from None
        if isinstance(answer, Refusal):
            raise UserError(f"{answer.why}; {answer.fix or 'try again'}")
        say(f"{message.workspace}: reading {what}{'; `weir connections` shows how far it is' if no_wait else ''}")
        if not no_wait:
            await _watch(bus, before)


async def _watch(bus: Bus, before: Tenant) -> None:
    """Show the pull that begins after `before`, and say what came of it; NotPulled if it comes to no end."""
    workspace = before.workspace
    with Console(stderr=True).status(f"{workspace}: waiting for a puller") as status:
        async for state in _states(bus, workspace, before.pull.began_at if before.pull else None):
            status.update(f"{workspace}: {progress(state)}")
    if state.failing is not None:
        raise NotPulled(f"{workspace}: {state.failing} → {state.fix}")
    say(f"{workspace}: {outcome(state)}")
    if (omitted := left_out(state)) is not None:
        say(f"{workspace}: {omitted}")


async def _states(bus: Bus, workspace: str, before: datetime | None) -> AsyncIterator[PullState]:
    """How the pull stands that begins after `before`, until it has ended; NotPulled if nobody begins it.

    While an earlier one runs, nobody can.
    """
    bucket = Bucket(bus, "pulls", PullState)
    deadline = anyio.current_time() + BEGINS_WITHIN
    while True:
        kept = await bucket.get(workspace)
        if kept is not None and kept.value.began_at != before:
            state = kept.value
            yield state
            if state.failing is not None or (state.finished_at is not None and state.finished_at >= state.began_at):
                return
        elif await held(bus, f"pull.{workspace}"):
            deadline = anyio.current_time() + BEGINS_WITHIN
        elif anyio.current_time() > deadline:
            raise NotPulled(
                f"{workspace}: asked for, but nobody has begun within {BEGINS_WITHIN:g} s; is `weir puller` running?"
            )
        await anyio.sleep(0.2)
