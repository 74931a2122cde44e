"""What every command needs: the broker for as long as it runs, the workspace it is about, and a line to say."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rich.console import Console

from common import subjects
from common.bus import Bus
from common.errors import UserError
from common.settings import Settings, load
from common.tenants import Tenant, tenant


@asynccontextmanager
async def broker(settings: Settings | None = None) -> AsyncIterator[Bus]:
    """The broker that the settings name, for one command."""
    bus = Bus(settings or load(), "cli")
    await bus.connect()
    try:
        yield bus
    finally:
        await bus.close()


def named(workspace: str) -> str:
    """The workspace's name as it was given; UserError if it cannot be one."""
    try:
        return subjects.workspace(workspace)
    except subjects.BadTokenError as error:
        raise UserError(str(error)) from None


def bill(record: str) -> str:
    """A bill's id or record key as it was given; UserError if it cannot be one."""
    try:
        return str(subjects.RecordKey.parse(record)) if "-" in record else subjects.token(record, "record")
    except subjects.BadTokenError as error:
        raise UserError(str(error)) from None


async def known(bus: Bus, workspace: str) -> Tenant:
    """The workspace; UserError if nobody ever connected it."""
    found = await tenant(bus, workspace)
    if not found.known:
        raise unknown(workspace)
    return found


@asynccontextmanager
async def at(workspace: str) -> AsyncIterator[tuple[Bus, Tenant]]:
    """The broker, for one command about one workspace; UserError if nobody ever connected it."""
    async with broker() as bus:
        yield bus, await known(bus, workspace)


def key_of(found: Tenant, record: str) -> str:
    """The record key of a bill named by its id in QuickBooks, or as REALM-ID; UserError if its company is not known."""
    if "-" in record:
        return record
    company = found.connections.get("quickbooks")
    if company is None:
        raise UserError(f"record {record}: QuickBooks is not connected; name the bill as REALM-{record}")
    return f"{company.account}-{record}"


def unknown(workspace: str) -> UserError:
    """What is said of a workspace that is not there."""
    return UserError(f"workspace {workspace} is not known here; connect it in the console, or check WEIR_REGION")


def screen() -> Console:
    """The terminal, with lines as long as they are."""
    return Console(soft_wrap=True, highlight=False)


def say(line: str) -> None:
    """One line, as it is."""
    screen().print(line, markup=False)
