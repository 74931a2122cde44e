"""`/api/workspaces/{workspace}/policy`."""

from datetime import datetime
from typing import Any

import msgspec
from litestar import Controller, Request, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath

from common import codec, policies
from common.bus import Bus
from common.errors import UserError
from common.messages import Changes, Policy
from common.people import Role
from common.policies import FIELDS
from services.console.drafting import stored, what_if
from services.console.problem import Problem
from services.console.sessions import Visitor


class Since(msgspec.Struct, frozen=True):
    """A policy that was set, and when; None if the broker does not know."""

    policy: Policy
    since: datetime | None


class Present(msgspec.Struct, frozen=True):
    """The policy that holds for the records that come from now on, and those that were set, newest first."""

    policy: Policy
    versions: list[Since]


class PolicyApi(Controller):
    """What a workspace lets Weir do by itself."""

    path = "/api/workspaces/{workspace:str}/policy"

    @get("/", needs=Role.VIEWER)
    async def show(self, workspace: FromPath[str], bus: NamedDependency[Bus]) -> Present:
        """What holds, and the last 64 versions."""
        kept = await policies.present(bus, workspace)
        past = await policies.versions(bus, workspace)
        return Present(kept.value if kept else Policy(), [Since(*one) for one in past])

    @put("/", needs=Role.OWNER)
    async def set(
        self,
        workspace: FromPath[str],
        request: Request[Any, Any, Any],
        bus: NamedDependency[Bus],
        visitor: NamedDependency[Visitor],
    ) -> Policy:
        """Set the policy whole; `version` names the one it takes the place of, and 409 says that another holds."""
        base, wanted = await _wanted(bus, workspace, request)
        if wanted.version == base.version:
            return base
        try:
            await stored(bus, workspace, wanted, visitor.person.name)
        except policies.Overtaken as error:
            raise _overtaken(error) from None
        return msgspec.structs.replace(wanted, by=visitor.person.name)

    @post("/whatif", needs=Role.REVIEWER, status_code=200)
    async def try_out(
        self, workspace: FromPath[str], request: Request[Any, Any, Any], bus: NamedDependency[Bus]
    ) -> Changes:
        """What the policy would have made of everything decided so far; nothing is set."""
        _, wanted = await _wanted(bus, workspace, request)
        return await what_if(bus, workspace, wanted)


async def _wanted(bus: Bus, workspace: str, request: Request[Any, Any, Any]) -> tuple[Policy, Policy]:
    """What holds, and what is asked for in its place, one version on; Problem if it is not fit or not of this base."""
    try:
        asked = codec.decode(await request.body(), Policy)
    except msgspec.MsgspecError as error:
        raise Problem(400, "Bad request", f"The policy cannot be read: {error}.") from None
    kept = await policies.present(bus, workspace)
    base = kept.value if kept else Policy()
    if asked.version != base.version:
        raise _overtaken(f"version {base.version} holds, not {asked.version}")
    named = {name: value for name, field in FIELDS.items() if (value := getattr(asked, field)) not in {None, ()}}
    try:
        return base, policies.amended(base, named, clear=tuple(FIELDS), called=FIELDS.__getitem__)
    except UserError as error:
        raise Problem(400, "Bad request", f"{error}.") from None


def _overtaken(why: object) -> Problem:
    return Problem(409, "Overtaken", f"{why}.", "Read the policy again, and set yours on top of it.")
