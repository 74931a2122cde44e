"""Every workspace of the person who asks, and the way to a new one."""

from typing import Any

import anyio
import msgspec
from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery
from litestar.response import Redirect

from common.bus import Bus
from common.people import EVERYWHERE, Role
from common.tenants import Tenant, names, tenant
from services.console.access import SIGNED_IN, may_begin
from services.console.page import Page
from services.console.sessions import Visitor

MANY = 50
"""Workspaces on one page."""


class Listed(msgspec.Struct, frozen=True):
    """A page of workspaces, by name; `next` is where the following one begins, None after the last."""

    workspaces: list[Tenant]
    next: str | None = None


class Workspaces(Controller):
    """`/` and `/workspaces`."""

    @get("/", needs=SIGNED_IN)
    async def front(self, bus: NamedDependency[Bus], visitor: NamedDependency[Visitor]) -> Response[Any]:
        """Straight to the only workspace, else to the list."""
        found = await _theirs(bus, visitor)
        return Redirect(f"/w/{found[0]}" if len(found) == 1 else "/workspaces", status_code=303)

    @get("/workspaces", needs=SIGNED_IN)
    async def show(
        self,
        bus: NamedDependency[Bus],
        page: NamedDependency[Page],
        visitor: NamedDependency[Visitor],
        find: FromQuery[str] = "",
        after: FromQuery[str] = "",
    ) -> Response[str]:
        """The list, with how each stands; `find` narrows it to names that contain it."""
        listed = await listing(bus, visitor, find=find.strip(), after=after)
        return page("workspaces.html", listed=listed, find=find.strip(), after=after, may_begin=may_begin(visitor))


async def listing(bus: Bus, visitor: Visitor, *, find: str = "", after: str = "", many: int = MANY) -> Listed:
    """The workspaces in which the person has a role, `many` of those behind `after`."""
    found = [name for name in await _theirs(bus, visitor) if name > after and find in name]
    read: dict[str, Tenant] = {}

    async def look(name: str) -> None:
        read[name] = await tenant(bus, name)

    async with anyio.create_task_group() as group:
        for name in found[:many]:
            group.start_soon(look, name)
    return Listed([read[name] for name in found[:many]], found[many - 1] if len(found) > many else None)


async def _theirs(bus: Bus, visitor: Visitor) -> list[str]:
    """Those there are, and those that the person owns and is still to connect."""
    known, roles = await names(bus), visitor.person.roles
    owned = {name for name, role in roles.items() if role is Role.OWNER and name != EVERYWHERE}
    return sorted(owned.union(known if EVERYWHERE in roles else [name for name in known if name in roles]))
