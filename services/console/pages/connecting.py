"""Connecting a workspace to a provider and disconnecting it: the way out to the provider and back."""

import hmac
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import structlog
from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect

from common.bus import Bus
from common.consent import STATE_TTL
from common.messages import NAMES, Authorize, Connected, Disconnect, Done, Exchange
from common.messages import Redirect as Away
from common.people import Role
from services.console import calls
from services.console.access import PUBLIC, SIGNED_IN, Cookie, named
from services.console.page import Page
from services.console.pages.connections import known
from services.console.problem import Problem
from services.console.sessions import Visitor

log = structlog.get_logger()


class Connecting(Controller):
    """`/connect`, `/oauth`, `/connected` and `/disconnect`."""

    @get("/connect", needs=SIGNED_IN)
    async def choose(self, workspace: FromQuery[str] = "", provider: FromQuery[str] = "") -> Response[Any]:
        """Where the form for a new workspace leads: to the address of its connection."""
        return Redirect(f"/connect/{named(workspace.strip())}/{calls.provider(provider)}", status_code=303)

    @get("/connect/{workspace:str}/{provider:str}", needs=Role.OWNER)
    async def connect(
        self,
        workspace: FromPath[str],
        provider: FromPath[str],
        bus: NamedDependency[Bus],
        base_url: NamedDependency[str],
        cookie: NamedDependency[Cookie],
        visitor: NamedDependency[Visitor],
    ) -> Response[Any]:
        """To the provider, where a person approves; the browser remembers what it began."""
        owner = calls.provider(provider)
        callback = f"{base_url}/oauth/{owner}/callback"
        authorize = Authorize(workspace=workspace, redirect_uri=callback, by=visitor.person.name)
        match await calls.ask(bus, owner, "authorize", authorize):
            case Away(url=url):
                response = Redirect(url, status_code=302)
                state = parse_qs(urlsplit(url).query)["state"][0]
                response.set_cookie(cookie.set(state, owner, max_age=STATE_TTL))
                return response
            case other:
                raise calls.refused(NAMES[owner], other)

    @get("/oauth/{provider:str}/callback", needs=PUBLIC)
    async def callback(
        self,
        provider: FromPath[str],
        request: Request[Any, Any, Any],
        bus: NamedDependency[Bus],
        base_url: NamedDependency[str],
        cookie: NamedDependency[Cookie],
    ) -> Response[Any]:
        """Back from the provider: the code goes to the service that owns it, unread.

        Only in the browser that began: whoever was sent the address of a consent would bind an account of theirs to
        a workspace of somebody else. Answered with a redirect: a reload repeats nothing, and the code stays in no
        address bar or history.
        """
        owner, given = calls.provider(provider), request.query_params
        if not given.get("state"):
            raise Problem(400, "Nothing to connect", "The provider sent no state with the answer.", "Connect again.")
        begun = cookie.of(request, owner) or ""
        if not hmac.compare_digest(begun.encode(), given["state"].encode()):
            why = "This browser did not begin this connection, or did so too long ago, or began another one since."
            # A cookie belongs to one host: who began at localhost comes back to 127.0.0.1 without it.
            fix = f"Connect again at {base_url}, all in one browser."
            raise Problem(403, f"{NAMES[owner]} is not connected", why, fix)
        exchange = Exchange(
            state=given["state"], code=given.get("code"), realm=given.get("realmId"), error=given.get("error")
        )
        match await calls.ask(bus, owner, "exchange", exchange):
            case Connected() as connected:
                log.info("console.connected", workspace=connected.workspace, provider=owner)
                response = Redirect(f"/connected/{quote(connected.workspace)}/{owner}", status_code=303)
                response.set_cookie(cookie.set("", owner))
                return response
            case other:
                raise calls.refused(NAMES[owner], other)

    @get("/connected/{workspace:str}/{provider:str}", needs=Role.VIEWER)
    async def connected(
        self, workspace: FromPath[str], provider: FromPath[str], bus: NamedDependency[Bus], page: NamedDependency[Page]
    ) -> Response[Any]:
        """What a connection just made leads to: the other one, or the pull."""
        owner, found = calls.provider(provider), await known(bus, workspace)
        missing = [other for other in NAMES if not found.connected(other)]
        if owner in missing:  # an old address; the page of connections has what is true now
            return Redirect(f"/w/{workspace}/connections", status_code=303)
        return page("connected.html", tenant=found, provider=owner, missing=missing)

    @get("/disconnect/{workspace:str}/{provider:str}", needs=Role.OWNER)
    async def ask(
        self, workspace: FromPath[str], provider: FromPath[str], bus: NamedDependency[Bus], page: NamedDependency[Page]
    ) -> Response[Any]:
        """Whether the person means to disconnect, and what that stops."""
        owner, found = calls.provider(provider), await known(bus, workspace)
        if not found.bound(owner):
            return Redirect(f"/w/{workspace}/connections", status_code=303)
        return page("disconnect.html", provider=owner, connection=found.connections[owner], name=NAMES[owner])

    @post("/disconnect/{workspace:str}/{provider:str}", needs=Role.OWNER)
    async def disconnect(
        self, workspace: FromPath[str], provider: FromPath[str], bus: NamedDependency[Bus]
    ) -> Response[Any]:
        """Revoke and forget, then back to the connections."""
        owner = calls.provider(provider)
        match await calls.ask(bus, owner, "disconnect", Disconnect(workspace=workspace)):
            case Done():
                return Redirect(f"/w/{workspace}/connections", status_code=303)
            case other:
                raise calls.refused(NAMES[owner], other)
