"""`weir failures`: what could not be handled, why, what to do about it, and trying it again."""

import getpass
from typing import Annotated

import anyio
from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from common import codec, subjects
from common.bus import Bus
from common.errors import UserError
from common.failures import Failures
from common.messages import Failure, said
from common.retrying import STAGES, again, known, tried_again
from common.service import STOPPED
from services.cli import terminal
from services.cli.terminal import broker, screen

failures = App(name="failures", help="What could not be handled, and trying it again.")

_Workspace = Annotated[str, Parameter(help="The workspace's name, as it was connected; _ for what names none.")]
_Id = Annotated[str, Parameter(name="ID", help="The failure, as `weir failures ls` names it.")]
_Json = Annotated[bool, Parameter(negative="", help="As JSON, for programs.")]
_By = Annotated[
    str | None, Parameter(help="Who asks; the user of this machine if nobody is named.", show_default=False)
]


@failures.default
@failures.command(name="ls")
def ls(
    workspace: Annotated[str | None, Parameter(help="Only this one.")] = None,
    *,
    json: _Json = False,
) -> None:
    """List the failures that stand, longest standing first, with the next step for each.

    A failure leaves the list when the record succeeds later, by itself or because it was tried again.
    """
    found = anyio.run(_standing, None if workspace is None else _named(workspace))
    console = screen()
    if json:
        console.print(codec.encode({"failures": found}).decode(), markup=False)
        return
    for one in found:
        _line(console, one)
    console.print(f"{len(found)} failure{'' if len(found) == 1 else 's'}" if found else "nothing has failed")


@failures.command
def show(workspace: _Workspace, ident: _Id, *, json: _Json = False) -> None:
    """Show one failure whole, also one that is over."""
    failure = anyio.run(_one, _named(workspace), ident)
    console = screen()
    if json:
        console.print(codec.encode(failure).decode(), markup=False)
        return
    _whole(console, failure)


@failures.command
def retry(workspace: _Workspace, ident: _Id, *, by: _By = None, json: _Json = False) -> int:
    """Try a failure again now, after its cause is mended, and say what came of it.

    Exactly that record is done again; what was done already is not done twice.
    """
    failure = anyio.run(_retry, _named(workspace), ident, by or getpass.getuser())
    console = screen()
    if json:
        console.print(codec.encode(failure).decode(), markup=False)
    else:
        _came_of(console, failure)
    return 0 if failure.resolved_at is not None else STOPPED


@failures.command(name="retry-all")
def retry_all(
    workspace: _Workspace,
    *,
    limit: Annotated[int, Parameter(help="At most so many, longest standing first.")] = 100,
    by: _By = None,
    json: _Json = False,
) -> int:
    """Try the failures of WORKSPACE again, one after the other; those whose message is gone are left out."""
    if limit < 1:
        raise UserError("--limit: must be 1 or more")
    tried, left = anyio.run(_retry_all, _named(workspace), limit, by or getpass.getuser())
    console = screen()
    over = sum(one.resolved_at is not None for one in tried)
    if json:
        console.print(codec.encode({"tried": tried, "left": left}).decode(), markup=False)
    else:
        for one in tried:
            if one.resolved_at is None:
                _line(console, one)
        rest = f", {left} were not tried" if left else ""
        console.print(f"{over} of {len(tried)} succeeded{rest}")
    return 0 if over == len(tried) else STOPPED


async def _standing(workspace: str | None) -> list[Failure]:
    async with broker() as bus:
        found = await Failures(bus).standing(workspace)
        if not found and workspace not in {None, subjects.NOBODY}:
            await terminal.known(bus, str(workspace))  # a mistyped name is no good news
        return found


async def _one(workspace: str, ident: str) -> Failure:
    async with broker() as bus:
        return await _known(bus, workspace, ident)


async def _known(bus: Bus, workspace: str, ident: str) -> Failure:
    """The failure; UserError if there never was one."""
    found = await known(bus, workspace, ident)
    if found is None:
        raise UserError(f"{workspace} has no failure {ident}; `weir failures ls {workspace}` lists those there are")
    return found


async def _retry(workspace: str, ident: str, by: str) -> Failure:
    async with broker() as bus:
        return await again(bus, await _known(bus, workspace, ident), by)


async def _retry_all(workspace: str, limit: int, by: str) -> tuple[list[Failure], int]:
    async with broker() as bus:
        standing = await Failures(bus).standing(workspace)
        due = [one for one in standing if one.retryable][:limit]
        with Progress(console=Console(stderr=True), transient=True) as progress:
            tried = [await tried_again(bus, one, by) for one in progress.track(due, description="Trying again")]
        return tried, len(standing) - len(due)


def _named(workspace: str) -> str:
    return workspace if workspace == subjects.NOBODY else terminal.named(workspace)


def _line(console: Console, failure: Failure) -> None:
    console.print(
        Text.assemble((f"{failure.workspace} ", "dim"), (failure.id, "bold red"), f"  {STAGES[failure.stage]}")
    )
    console.print(Text(f"  {f'{failure.field}: ' if failure.field else ''}{failure.why}"))
    if failure.fix is not None:
        console.print(Text.assemble(("  → ", "dim"), failure.fix))
    times = f", given up {failure.attempts} times" if failure.attempts > 1 else ""
    again = "" if failure.retryable else "; it cannot be tried again from here"
    console.print(Text(f"  since {said(failure.first_seen)}{times}{again}\n", "dim"))


def _whole(console: Console, failure: Failure) -> None:
    rows = {
        "workspace": failure.workspace,
        "record": failure.record,
        "stage": STAGES[failure.stage],
        "reason": failure.why,
        "field": failure.field,
        "fix": failure.fix,
        "first seen": said(failure.first_seen),
        "last seen": said(failure.last_seen),
        "given up": f"{failure.attempts} times",
        "retry": f"weir failures retry {failure.workspace} {failure.id}" if failure.retryable else "not from here",
        "message": f"{failure.subject} ({failure.stream} {failure.sequence})",
        "over": f"{said(failure.resolved_at)}, {failure.resolution}" if failure.resolved_at else failure.resolution,
    }
    console.print(Text(failure.id, "bold"))
    for name, value in rows.items():
        if value is not None:
            console.print(Text.assemble((f"  {name:<12}", "dim"), value))


def _came_of(console: Console, failure: Failure) -> None:
    if failure.resolved_at is not None:
        console.print(Text.assemble((f"{failure.id}: over", "green"), f", {failure.resolution}"))
        return
    console.print(Text(f"{failure.id} still fails", "bold red"))
    _line(console, failure)
