"""The stream of what moves in a workspace, to which its pages listen."""

from typing import Any

from litestar import Controller, Request, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import ServerSentEvent

from common.people import Role
from services.console.access import Access
from services.console.live import Live
from services.console.sessions import Visitor


class Moving(Controller):
    """`/w/{workspace}/live`."""

    @get("/w/{workspace:str}/live", needs=Role.VIEWER)
    async def live(
        self,
        workspace: FromPath[str],
        request: Request[Any, Any, Any],
        live: NamedDependency[Live],
        access: NamedDependency[Access],
        visitor: NamedDependency[Visitor],
    ) -> ServerSentEvent:
        """Server-sent events, each named after the topic that moved."""
        live.admit(visitor.person.name)
        return ServerSentEvent(live.events(workspace, visitor.person.name, access.still(request, workspace)))
