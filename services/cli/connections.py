"""`weir connections`: what is connected, how it stands, and what to do about what does not work."""

from typing import Annotated

import anyio
import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from common.bus import Bus
from common.messages import Provider, PullState, now
from common.settings import Settings, load
from common.tenants import Connection, Tenant, tenants
from services.cli.pull import outcome, progress

NAMES: dict[Provider, str] = {"quickbooks": "QuickBooks", "qonto": "Qonto"}
WIDTH = 12
"""Characters of the column of names."""


def connections(
    workspace: Annotated[str | None, Parameter(help="Only this one.")] = None,
    *,
    json: Annotated[bool, Parameter(negative="", help="As JSON, for programs.")] = False,
) -> None:
    """List workspaces with their two connections, pulls, and this month's metered reads."""
    settings = load()
    found = anyio.run(_tenants, settings)
    shown = [tenant for tenant in found if workspace in {None, tenant.workspace}]
    console = Console(soft_wrap=True, highlight=False)
    if json:
        console.print(msgspec.json.encode({"workspaces": shown}).decode(), markup=False)
        return
    if not shown:
        console.print(f"no workspace{f' {workspace}' if workspace else ''} yet; connect one in the console")
        return
    for one in shown:
        _show(console, one)
    reads, limit = sum(one.reads for one in found), settings.quickbooks_monthly_reads
    warning = "; Intuit may stop answering before the month ends" if reads >= 0.8 * limit else ""
    console.print(
        f"Metered reads of QuickBooks in {now():%B %Y}: {reads:,} of {limit:,} ({reads / limit:.1%}){warning}"
    )


async def _tenants(settings: Settings) -> list[Tenant]:
    bus = Bus(settings, "cli")
    await bus.connect()
    try:
        return await tenants(bus)
    finally:
        await bus.close()


def _show(console: Console, tenant: Tenant) -> None:
    console.print(Text(tenant.workspace, style="bold"))
    for provider, name in NAMES.items():
        console.print(_row(name, _state(tenant.connections.get(provider))))
    if tenant.pull is not None:
        console.print(_row("Pull", _pull(tenant, tenant.pull)))
    console.print()


def _row(name: str, said: Text) -> Text:
    return Text(f"  {name:<{WIDTH}}").append_text(said)


def _state(connection: Connection | None) -> Text:
    if connection is None:
        return Text("not connected", style="dim")
    since = f"since {connection.since:%Y-%m-%d %H:%M} UTC"
    if connection.paused is not None:
        return _trouble("paused", f"{connection.label}: {connection.paused.why}", connection.paused.fix)
    if connection.state == "connected":
        left = f", good until {connection.ends_at:%Y-%m-%d}" if connection.ends_at else ""
        return Text.assemble(("connected", "green"), f"  {connection.label}, {since}{left}")
    why = f"{connection.label}: {connection.why or since}"
    return _trouble(connection.state, why, "connect it in the console")


def _pull(tenant: Tenant, state: PullState) -> Text:
    if state.failing is not None:
        return _trouble("failing", state.failing, state.fix)
    if tenant.pulling or state.finished_at is None:
        return Text(progress(state))
    due = f", next {state.next_at:%H:%M} UTC" if state.next_at else ""
    when = f"{state.finished_at:%Y-%m-%d %H:%M} UTC{due}"
    return Text(f"{outcome(state)}, {when}; {tenant.reads:,} metered reads this month")


def _trouble(state: str, why: str, fix: str | None) -> Text:
    said = Text.assemble((state, "bold red"), f"  {why}")
    return said if fix is None else said.append(f"\n  {'':<{WIDTH}}→ ", "dim").append(fix)
