"""How the connections of a workspace stand, and what a person can do about them."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from common import subjects
from common.bus import Bus
from common.messages import Notice, Provider, now
from common.people import Role
from common.settings import loopback
from common.standing import Connection
from common.tenants import Tenant, metered, tenant
from common.ticks import ask_for_pull
from services.console.access import unknown
from services.console.page import Page
from services.console.running import Missing, missing

SOON = timedelta(days=7)
"""Before a grant ends, people are asked to renew it."""


class Health(msgspec.Struct, frozen=True):
    """All that the page shows. `reads` are this month's metered reads of all workspaces, `plan` what is included."""

    tenant: Tenant
    missing: list[Missing]
    notice: Notice | None
    reads: int
    plan: int
    hooks: Mapping[Provider, str]
    reachable: bool

    def ends_soon(self, connection: Connection) -> bool:
        """Whether the grant ends unless somebody renews it now."""
        return connection.ends_at is not None and connection.ends_at < now() + SOON


class Connections(Controller):
    """`/w/{workspace}/connections`."""

    path = "/w/{workspace:str}"

    @get("/connections", needs=Role.VIEWER)
    async def show(
        self,
        workspace: FromPath[str],
        bus: NamedDependency[Bus],
        page: NamedDependency[Page],
        base_url: NamedDependency[str],
    ) -> Response[str]:
        """The page."""
        return page("connections.html", health=await health(bus, workspace, base_url))

    @get("/connections/state", needs=Role.VIEWER)
    async def state(
        self,
        workspace: FromPath[str],
        bus: NamedDependency[Bus],
        page: NamedDependency[Page],
        base_url: NamedDependency[str],
    ) -> Response[str]:
        """The part of the page that moves, asked for when an event says that it did."""
        return page("connections_state.html", health=await health(bus, workspace, base_url))

    @post("/pull", needs=Role.REVIEWER)
    async def pull(self, workspace: FromPath[str], bus: NamedDependency[Bus]) -> Response[Any]:
        """Pull now instead of at the next scheduled time."""
        await known(bus, workspace)
        await ask_for_pull(bus, workspace, "asked")
        return Redirect(f"/w/{workspace}/connections", status_code=303)


async def health(bus: Bus, workspace: str, base_url: str) -> Health:
    """How the workspace stands; Problem if it was never connected."""
    found = await known(bus, workspace)
    notice = await bus.newest(bus.topology.notices, subjects.notice(bus.region, workspace), Notice)
    return Health(
        found,
        await missing(bus),
        notice.message if notice else None,
        await metered(bus),
        bus.settings.quickbooks_monthly_reads,
        {"quickbooks": f"{base_url}/webhooks/quickbooks", "qonto": f"{base_url}/webhooks/qonto"},
        not loopback(base_url),
    )


async def known(bus: Bus, workspace: str) -> Tenant:
    """The workspace; Problem if it was never connected."""
    found = await tenant(bus, workspace)
    if found.known:
        return found
    raise unknown(workspace)
