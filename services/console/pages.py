"""The console's pages: status, connecting and disconnecting a workspace."""

from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import structlog
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from common import subjects
from common.bus import Bus
from common.errors import RetryLater
from common.messages import (
    NAMES,
    Answer,
    Authorize,
    Connected,
    Disconnect,
    Done,
    Exchange,
    Provider,
    Redirect,
    Refusal,
)
from common.tenants import Tenant, tenant, tenants
from services.console.guard import Guard
from services.console.webhooks import webhooks

log = structlog.get_logger()

CALL_TIMEOUT = 60.0
"""Seconds for a call that waits for a provider."""
_HERE = Path(__file__).parent


class _Problem(Exception):  # noqa: N818 (answered with a page, never seen as an error)
    """Shown to the person as a page of its own."""

    def __init__(self, status: int, title: str, why: str, fix: str | None = None) -> None:
        super().__init__(why)
        self.status = status
        self.title = title
        self.why = why
        self.fix = fix


def application(bus: Bus, url: str) -> Starlette:
    """The console as an ASGI application; `url` is how browsers reach it."""
    console = _Console(bus, url.rstrip("/"))
    return Starlette(
        routes=[
            Route("/", console.status),
            Route("/api/workspaces", console.workspaces),
            Route("/connect", console.choose),
            Route("/connect/{workspace}/{provider}", console.connect),
            Route("/oauth/{provider}/callback", console.callback),
            Route("/connected/{workspace}/{provider}", console.connected),
            Route("/disconnect/{workspace}/{provider}", console.ask, methods=["GET"]),
            Route("/disconnect/{workspace}/{provider}", console.disconnect, methods=["POST"]),
            Route("/favicon.ico", console.icon),
            Mount("/static", StaticFiles(directory=_HERE / "static")),
            Mount("/webhooks", webhooks(bus)),
        ],
        middleware=[
            Middleware(
                Guard,
                url=url,
                providers=[bus.settings.quickbooks_authorize_url, bus.settings.qonto_oauth_url],
                refusal=lambda status, title, why: console.show(_Problem(status, title, why)),
            )
        ],
        exception_handlers={_Problem: console.problem, HTTPException: console.unroutable},
    )


class _Console:
    def __init__(self, bus: Bus, url: str) -> None:
        self._bus = bus
        self._url = url
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    async def status(self, _request: Request) -> Response:
        """Every workspace with its two connections."""
        return self._page("status.html", tenants=await tenants(self._bus), names=NAMES)

    async def workspaces(self, _request: Request) -> Response:
        """The same as JSON."""
        body = msgspec.json.encode({"workspaces": await tenants(self._bus)})
        return Response(body, media_type="application/json")

    async def choose(self, request: Request) -> Response:
        """Where the form for a new workspace leads: to the address of its connection."""
        workspace, provider = _named(request.query_params)
        return RedirectResponse(f"/connect/{quote(workspace)}/{provider}", 303)

    async def connect(self, request: Request) -> Response:
        """To the provider, where a person approves."""
        workspace, provider = _named(request.path_params)
        authorize = Authorize(workspace=workspace, redirect_uri=f"{self._url}/oauth/{provider}/callback")
        match await self._call(provider, "authorize", authorize):
            case Redirect(url=url):
                return RedirectResponse(url, 302)
            case other:
                raise _refused(NAMES[provider], other)

    async def callback(self, request: Request) -> Response:
        """Back from the provider: the code goes to the service that owns it, unread.

        Answered with a redirect: a reload repeats nothing, and the code stays in no address bar or history.
        """
        provider = _provider(request.path_params)
        given = request.query_params
        if not given.get("state"):
            raise _Problem(400, "Nothing to connect", "The provider sent no state with the answer.", "Connect again.")
        exchange = Exchange(
            state=given["state"], code=given.get("code"), realm=given.get("realmId"), error=given.get("error")
        )
        match await self._call(provider, "exchange", exchange):
            case Connected() as connected:
                log.info("console.connected", workspace=connected.workspace, provider=provider)
                return RedirectResponse(f"/connected/{quote(connected.workspace)}/{provider}", 303)
            case other:
                raise _refused(NAMES[provider], other)

    async def connected(self, request: Request) -> Response:
        """What a connection just made leads to: the other one, or the pull."""
        workspace, provider = _named(request.path_params)
        found = await self._tenant(workspace)
        missing = [other for other in NAMES if not found.connected(other)]
        if provider in missing:
            return RedirectResponse("/", 303)  # an old address; the list has what is true now
        return self._page("connected.html", tenant=found, provider=provider, missing=missing, names=NAMES)

    async def ask(self, request: Request) -> Response:
        """Whether the person means to disconnect."""
        workspace, provider = _named(request.path_params)
        found = await self._tenant(workspace)
        if not found.bound(provider):
            return RedirectResponse("/", 303)
        connection = found.connections[provider]
        return self._page("disconnect.html", workspace=workspace, connection=connection, name=NAMES[provider])

    async def disconnect(self, request: Request) -> Response:
        """Revoke and forget, then back to the status."""
        workspace, provider = _named(request.path_params)
        match await self._call(provider, "disconnect", Disconnect(workspace=workspace)):
            case Done():
                return RedirectResponse("/", 303)
            case other:
                raise _refused(NAMES[provider], other)

    async def icon(self, _request: Request) -> Response:
        """For what has no HTML to name the icon in, such as JSON: browsers ask for this address by themselves."""
        return FileResponse(_HERE / "static" / "favicon.svg")

    async def problem(self, _request: Request, error: Exception) -> Response:
        """The page of a `_Problem`."""
        assert isinstance(error, _Problem)  # noqa: S101 (Starlette hands us what we registered for)
        return self.show(error)

    async def unroutable(self, _request: Request, error: Exception) -> Response:
        """The page for an address or a method Weir does not have."""
        assert isinstance(error, HTTPException)  # noqa: S101 (as above)
        status = HTTPStatus(error.status_code)
        why = "Weir has no page at this address." if status == HTTPStatus.NOT_FOUND else f"{status.description}."
        response = self.show(_Problem(status, status.phrase, why))
        response.headers.update(error.headers or {})
        return response

    def show(self, problem: _Problem) -> HTMLResponse:
        """A problem as a page."""
        return self._page("problem.html", problem.status, problem=problem)

    async def _tenant(self, workspace: str) -> Tenant:
        found = await tenant(self._bus, workspace)
        if found.known:
            return found
        raise _Problem(404, "No such workspace", f"Weir knows no workspace {workspace}.")

    async def _call(self, provider: Provider, verb: str, message: Any) -> Answer:
        try:
            return await self._bus.call(subjects.call(self._bus.region, provider, verb), message, timeout=CALL_TIMEOUT)
        except RetryLater as error:
            log.warning("console.no_answer", provider=provider, verb=verb, error=error)
            why = f"The service that speaks with {NAMES[provider]} does not answer."
            raise _Problem(503, "Not just now", why, "Start it, or try again in a moment.") from None

    def _page(self, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        return HTMLResponse(self._templates.get_template(template).render(values), status)


def _named(given: Any) -> tuple[str, Provider]:
    try:
        workspace = subjects.workspace(given.get("workspace", "").strip())
    except subjects.BadTokenError:
        raise _Problem(400, "Not a workspace name", "Workspace names use 1 to 40 of a-z, 0-9 and -.") from None
    return workspace, _provider(given)


def _provider(given: Any) -> Provider:
    match given.get("provider"):
        case "quickbooks":
            return "quickbooks"
        case "qonto":
            return "qonto"
        case _:
            raise _Problem(404, "No such provider", "Weir connects quickbooks and qonto.")


def _refused(name: str, answer: Answer) -> _Problem:
    match answer:
        case Refusal(why=why, fix=fix, retry=retry):
            return _Problem(503 if retry else 400, f"{name} is not connected", why, fix)
        case _:
            return _Problem(502, "Unexpected answer", f"A service answered with {type(answer).__name__}.")
