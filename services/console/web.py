"""The console as an ASGI application: its pages and what they are given."""

import time
from typing import Any
from urllib.parse import urlsplit

import anyio
import msgspec
import structlog
from litestar import Litestar, MediaType, Request, Response, get
from litestar.datastructures import CacheControlHeader
from litestar.di import NamedDependency, Provide
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.response import File
from litestar.routes import HTTPRoute
from litestar.static_files import create_static_files_router
from litestar.types import ASGIApp, ControllerRouterHandler

from common.bus import Bus
from services.console.access import NEEDS, PUBLIC, Access, Cookie
from services.console.api import schema
from services.console.api.events import EventsApi
from services.console.api.failures import FailuresApi
from services.console.api.policy import PolicyApi
from services.console.api.reviews import BillsApi, ReviewsApi
from services.console.api.today import TodayApi
from services.console.api.workspaces import WorkspacesApi
from services.console.attempts import Attempts
from services.console.desk.shelves import Shelves
from services.console.guard import Guard
from services.console.live import Live
from services.console.oidc import Oidc
from services.console.page import STATIC, Page, environment
from services.console.pages.connecting import Connecting
from services.console.pages.connections import Connections
from services.console.pages.failures import FailuresPage
from services.console.pages.moving import Moving
from services.console.pages.policy import PolicyPage
from services.console.pages.queue import Reviews
from services.console.pages.record import Record
from services.console.pages.review import Review
from services.console.pages.today import Today
from services.console.pages.workspaces import Workspaces
from services.console.problem import Problem, Told, problem_of
from services.console.sessions import Visitor
from services.console.signin import SignIn
from services.console.turns import Turns
from services.console.webhooks import Webhooks, text

log = structlog.get_logger()

LARGEST_FORM = 2**18
"""Bytes a page's form or an API call may have."""
WAITS = 4
"""Requests of one person at a time that wait for what becomes of an answer."""
FILES = 4
"""Files at a time that are held in memory, and documents that posters are asked to draw."""
_YEAR = 365 * 24 * 3600


@get("/livez", needs=PUBLIC, media_type=MediaType.TEXT)
async def livez() -> str:
    """Whether the process answers."""
    return "ok"


@get("/readyz", needs=PUBLIC, media_type=MediaType.TEXT)
async def readyz(bus: NamedDependency[Bus]) -> Response[str]:
    """Whether the process can do its work: the broker is there."""
    return text("ok") if bus.client.is_connected else text("the broker is not connected", 503)


@get("/favicon.ico", needs=PUBLIC)
async def icon() -> File:
    """For what has no HTML to name the icon in, such as JSON: browsers ask for this address by themselves."""
    return File(STATIC / "favicon.svg", media_type="image/svg+xml", content_disposition_type="inline")


CONTROLLERS: tuple[ControllerRouterHandler, ...] = (
    SignIn,
    Workspaces,
    Today,
    Connections,
    Connecting,
    FailuresPage,
    PolicyPage,
    Moving,
    Reviews,
    Review,
    Record,
    WorkspacesApi,
    EventsApi,
    TodayApi,
    FailuresApi,
    PolicyApi,
    ReviewsApi,
    BillsApi,
    Webhooks,
    livez,
    readyz,
    icon,
)


def application(bus: Bus, url: str, port: int | None = None) -> tuple[ASGIApp, Live]:
    """The console, and its open streams, to be closed before it stops.

    `url` is how browsers reach it, `port` the one it listens on.
    """
    live, shelves = Live(bus), Shelves(bus)
    bus.add_task(shelves.run, shelves.stop)
    app = assembled(bus, url.rstrip("/"), Cookie(url, port or urlsplit(url).port), live, shelves)
    templates = environment()
    guard = Guard(
        app,
        url,
        [bus.settings.quickbooks_authorize_url, bus.settings.qonto_oauth_url],
        lambda title, why: Page(templates, None, None, "").problem(Problem(403, title, why)).content,
    )
    return guard, live


def assembled(bus: Bus, base_url: str, cookie: Cookie, live: Live, shelves: Shelves) -> Litestar:
    """The routes behind the guard; ValueError if one does not say what it needs."""
    templates, access = environment(), Access(bus, cookie)

    def page_of(request: Request[Any, Any, Any]) -> Page:
        visitor: Visitor | None = request.scope.get("user")
        workspace = request.path_params.get("workspace", "")
        theirs = visitor is not None and visitor.person.role(workspace) is not None
        return Page(templates, visitor, workspace if workspace and theirs else None, request.url.path)

    def visitor_of(request: Request[Any, Any, Any]) -> Visitor:
        found: Visitor = request.user
        return found

    def told(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        problem = problem_of(error)
        if problem is None:
            log.error("console.failed", path=request.url.path, error=error, exc_info=error)
            problem = Problem(500, "Something broke", "Weir met an error it did not foresee; its log says more.")
        return _answer(problem, request.url.path, page_of(request))

    app = Litestar(
        route_handlers=[
            *CONTROLLERS,
            create_static_files_router(
                "/static",
                directories=[STATIC],
                cache_control=CacheControlHeader(max_age=_YEAR, public=True, immutable=True),
                opt={NEEDS: PUBLIC},
            ),
        ],
        guards=[access],
        dependencies={
            "access": _given(access),
            "attempts": _given(Attempts(time.monotonic)),
            "base_url": _given(base_url),
            "bus": _given(bus),
            "cookie": _given(cookie),
            "live": _given(live),
            "waits": _given(Turns(WAITS)),
            "files": _given(anyio.CapacityLimiter(FILES)),
            "drawings": _given(anyio.CapacityLimiter(FILES)),
            "queues": _given(shelves.queues),
            "flows": _given(shelves.flows),
            "suppliers": _given(shelves.suppliers),
            "oidc": _given(Oidc(bus.settings, base_url) if bus.settings.console_oidc_issuer else None),
            "page": Provide(page_of, sync_to_thread=False),
            "visitor": Provide(visitor_of, sync_to_thread=False),
        },
        exception_handlers={Exception: told},
        openapi_config=schema.config(),
        include_in_schema=False,
        logging_config=None,
        request_max_body_size=LARGEST_FORM,
    )
    for path, handler in routed(app):
        if NEEDS not in handler.opt:
            raise ValueError(f"the route {path} does not say what it needs")
    return app


def routed(app: Litestar) -> list[tuple[str, BaseRouteHandler]]:
    """Every handler with the path it answers; those that Litestar adds for OPTIONS answer nobody."""
    return [
        (route.path, handler)
        for route in app.routes
        for handler in (route.route_handlers if isinstance(route, HTTPRoute) else [route.route_handler])
        if not isinstance(handler, HTTPRouteHandler) or handler.http_methods != {"OPTIONS"}
    ]


def _answer(problem: Problem, path: str, page: Page) -> Response[Any]:
    """A problem in the form that the asker reads."""
    if path.startswith("/webhooks/"):
        response: Response[Any] = text(problem.why, problem.status)
    elif path.startswith("/api/"):
        told = msgspec.json.encode(Told(problem.title, problem.why, problem.fix))
        response = Response(told, status_code=problem.status, media_type=MediaType.JSON)
    else:
        return page.problem(problem)
    response.headers.update(problem.headers)
    return response


def _given(value: Any) -> Provide:
    return Provide(lambda: value, sync_to_thread=False)
