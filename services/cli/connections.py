"""`weir connections`: what is connected, how it stands, and what to do about what does not work."""

from typing import Annotated

import anyio
import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from common.messages import NAMES, now
from common.settings import READS_WARN_AT, Settings, load
from common.tenants import Standing, Tenant, metered, tenant, tenants
from services.cli.terminal import broker, named, screen

WIDTH = 12
"""Characters of the column of names."""


def connections(
    workspace: Annotated[str | None, Parameter(help="Only this one.")] = None,
    *,
    json: Annotated[bool, Parameter(negative="", help="As JSON, for programs.")] = False,
) -> None:
    """List workspaces with their two connections and their pulls, and what to do about what does not work.

    Ends with this month's metered reads of QuickBooks, of all workspaces together.
    """
    asked = None if workspace is None else named(workspace)
    settings = load()
    shown, reads = anyio.run(_found, settings, asked)
    console = screen()
    if json:
        console.print(msgspec.json.encode({"workspaces": shown}).decode(), markup=False)
        return
    if not shown:
        console.print(f"no workspace{f' {workspace}' if workspace else ''} yet; connect one in the console")
        return
    for one in shown:
        _show(console, one)
    limit = settings.quickbooks_monthly_reads
    warning = "; Intuit may stop answering before the month ends" if reads >= min(READS_WARN_AT) * limit else ""
    console.print(
        f"Metered reads of QuickBooks in {now():%B %Y}: {reads:,} of {limit:,} ({reads / limit:.1%}){warning}"
    )


async def _found(settings: Settings, workspace: str | None) -> tuple[list[Tenant], int]:
    """The workspaces to show, and the reads of all of them."""
    async with broker(settings) as bus:
        found = await tenants(bus) if workspace is None else [await tenant(bus, workspace)]
        return [one for one in found if one.known], await metered(bus)


def _show(console: Console, tenant: Tenant) -> None:
    console.print(Text(tenant.workspace, style="bold"))
    for provider, name in NAMES.items():
        console.print(_row(name, tenant.standing(provider)))
    if (pull := tenant.pull_standing) is not None:
        console.print(_row("Pull", pull))
    if tenant.left_out is not None:
        console.print(Text(f"  {'':<{WIDTH}}").append(tenant.left_out, "bold red"))
    if tenant.reads:
        console.print(Text(f"  {'Reads':<{WIDTH}}{tenant.reads:,} metered this month"))
    console.print()


def _row(name: str, stands: Standing) -> Text:
    style = "green" if stands.good else "bold red" if stands.trouble else "dim"
    row = Text.assemble(f"  {name:<{WIDTH}}", (stands.state, style))
    if stands.detail:
        row.append(f"  {stands.detail}")
    if stands.fix is not None:
        row.append(f"\n  {'':<{WIDTH}}→ ", "dim").append(stands.fix)
    return row
