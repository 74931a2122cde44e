"""`/api/workspaces/{workspace}/events`: what happens to the reviews of a workspace, as it happens."""

from typing import Annotated, Any

from litestar import Controller, Request, get
from litestar.di import NamedDependency
from litestar.params import FromPath, HeaderParameter
from litestar.response import ServerSentEvent

from common.people import Role
from services.console.access import Access
from services.console.live import Live
from services.console.sessions import Visitor

LastEvent = Annotated[
    int | None,
    HeaderParameter(
        name="Last-Event-ID", ge=0, description="The id of the last event that came, to go on behind it; 0 is all."
    ),
]


class EventsApi(Controller):
    """Reviews as server-sent events."""

    path = "/api/workspaces/{workspace:str}/events"
    include_in_schema = True

    @get("/", needs=Role.VIEWER)
    async def follow_reviews(
        self,
        workspace: FromPath[str],
        request: Request[Any, Any, Any],
        live: NamedDependency[Live],
        access: NamedDependency[Access],
        visitor: NamedDependency[Visitor],
        last_event_id: LastEvent = None,
    ) -> ServerSentEvent:
        """First `opened`, then `requested`, `refused`, `resolved` and `closed`, each with the message of the broker.

        None is left out, and after a break none comes twice: send the last id, as browsers do by themselves.
        """
        live.admit(visitor.person.name)
        reader = visitor.person.name, last_event_id, access.still(request, workspace)
        return ServerSentEvent(live.reviews(workspace, *reader))
