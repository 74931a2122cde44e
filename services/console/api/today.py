"""`/api/workspaces/{workspace}/today`."""

from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from common.bus import Bus
from common.messages import Done
from common.people import Role
from common.ticks import ask_for_pull
from services.console.desk.flow import Flow
from services.console.desk.present import Desks, Present
from services.console.desk.queue import Queue
from services.console.desk.shelf import Shelf
from services.console.pages.today import known
from services.console.sessions import Visitor


class TodayApi(Controller):
    """How a workspace stands."""

    path = "/api/workspaces/{workspace:str}"

    @get("/today", needs=Role.VIEWER)
    async def show(
        self,
        workspace: FromPath[str],
        bus: NamedDependency[Bus],
        visitor: NamedDependency[Visitor],
        flows: NamedDependency[Shelf[Flow]],
        queues: NamedDependency[Shelf[Queue]],
    ) -> Present:
        """What flowed on each day of the last weeks, what waits, and what people must do."""
        return await known(bus, Desks(flows, queues), workspace, visitor)

    @post("/pull", needs=Role.REVIEWER, status_code=202)
    async def pull(self, workspace: FromPath[str], bus: NamedDependency[Bus]) -> Done:
        """Have the workspace pulled as soon as a puller is free."""
        await ask_for_pull(bus, workspace, "asked")
        return Done()
