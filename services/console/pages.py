"""The console's pages: status, connecting and disconnecting a workspace."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import structlog
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from common import subjects
from common.bus import Bus
from common.errors import RetryLater
from common.messages import Answer, Authorize, Connected, Disconnect, Done, Exchange, Provider, Redirect, Refusal
from services.console.guard import Guard
from services.console.tenants import tenants

log = structlog.get_logger()

NAMES: dict[Provider, str] = {"quickbooks": "QuickBooks Online", "qonto": "Qonto"}
CALL_TIMEOUT = 60.0
"""Seconds for a call that waits for a provider."""
_HERE = Path(__file__).parent

Page = Callable[[Request], Awaitable[Response]]


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
            Route("/disconnect/{workspace}/{provider}", console.disconnect, methods=["POST"]),
            Mount("/static", StaticFiles(directory=_HERE / "static")),
        ],
        middleware=[
            Middleware(Guard, url=url, providers=[bus.settings.quickbooks_authorize_url, bus.settings.qonto_oauth_url])
        ],
        exception_handlers={_Problem: console.problem},
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
        """Back from the provider: the code goes to the service that owns it, unread."""
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
                return self._page("connected.html", connected=connected, name=NAMES[provider])
            case other:
                raise _refused(NAMES[provider], other)

    async def disconnect(self, request: Request) -> Response:
        """Revoke and forget, then back to the status."""
        workspace, provider = _named(request.path_params)
        match await self._call(provider, "disconnect", Disconnect(workspace=workspace)):
            case Done():
                return RedirectResponse("/", 303)
            case other:
                raise _refused(NAMES[provider], other)

    async def problem(self, _request: Request, error: Exception) -> Response:
        """The page of a `_Problem`."""
        assert isinstance(error, _Problem)  # noqa: S101 (Starlette hands us what we registered for)
        return self._page("problem.html", error.status, problem=error)

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
    except subjects.BadTokenError as error:
        raise _Problem(400, "No such workspace", str(error), "Use 1 to 40 of a-z, 0-9 and -.") from None
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
