"""`/api/workspaces`."""

from typing import Annotated

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from common.bus import Bus
from common.people import Role
from common.tenants import Tenant
from services.console.access import SIGNED_IN
from services.console.pages.connections import known
from services.console.pages.workspaces import MANY, Listed, listing
from services.console.sessions import Visitor

Many = Annotated[int, QueryParameter(ge=1, le=200, description="Workspaces in one answer.")]


class WorkspacesApi(Controller):
    """How the workspaces of the person who asks stand."""

    path = "/api/workspaces"
    include_in_schema = True

    @get("/", needs=SIGNED_IN)
    async def list_workspaces(
        self,
        bus: NamedDependency[Bus],
        visitor: NamedDependency[Visitor],
        find: FromQuery[str] = "",
        after: FromQuery[str] = "",
        limit: Many = MANY,
    ) -> Listed:
        """Workspaces with their two connections and their pull, by name; `after` is the `next` of the answer before."""
        return await listing(bus, visitor, find=find, after=after, many=limit)

    @get("/{workspace:str}", needs=Role.VIEWER)
    async def get_workspace(self, workspace: FromPath[str], bus: NamedDependency[Bus]) -> Tenant:
        """One workspace with its two connections and its pull."""
        return await known(bus, workspace)
