"""`/api/workspaces/{workspace}/failures`."""

import msgspec
from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from common.bus import Bus
from common.failures import Failures
from common.messages import Failure
from common.people import Role
from services.console.pages.failures import MOST, Tried, all_retried, retried
from services.console.sessions import Visitor


class Standing(msgspec.Struct, frozen=True):
    """The failures that stand, at most MOST of them, longest standing first, and how many there are in all."""

    failures: list[Failure]
    count: int


class FailuresApi(Controller):
    """What could not be handled in a workspace, and trying it again."""

    path = "/api/workspaces/{workspace:str}/failures"

    @get("/", needs=Role.VIEWER)
    async def all(self, workspace: FromPath[str], bus: NamedDependency[Bus]) -> Standing:
        """Those that stand."""
        standing = await Failures(bus).standing(workspace)
        return Standing(standing[:MOST], len(standing))

    @post("/{ident:str}/retry", needs=Role.REVIEWER, status_code=200)
    async def retry(
        self,
        workspace: FromPath[str],
        ident: FromPath[str],
        bus: NamedDependency[Bus],
        visitor: NamedDependency[Visitor],
    ) -> Failure:
        """Try one again now; while it has no `resolved_at` it stands, for the reason it names."""
        [failure] = (await retried(bus, workspace, ident, visitor.person.name)).tried
        return failure

    @post("/retry", needs=Role.REVIEWER, status_code=200)
    async def retry_all(
        self, workspace: FromPath[str], bus: NamedDependency[Bus], visitor: NamedDependency[Visitor]
    ) -> Tried:
        """Try all again, one after the other, for at most a minute; `left` says how many were not."""
        return await all_retried(bus, workspace, visitor.person.name)
