"""`/api/openapi.json`: what programs may call, and what they get. It says nothing of any workspace."""

from importlib.metadata import version
from typing import Any

from litestar import Router
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from services.console.access import NEEDS, PUBLIC
from services.console.problem import Problem

PATH = "/api/openapi.json"


def config() -> OpenAPIConfig:
    """How the description is made, and where it is served."""
    # Litestar would serve a page of its own at every other address below the router's.
    router = Router("/api", route_handlers=[], guards=[_nothing_else], opt={NEEDS: PUBLIC}, include_in_schema=False)
    return OpenAPIConfig(
        title="Weir",
        version=version("weir"),
        description="What the console shows, for programs. `weir people token` makes tokens. What cannot be done is "
        "answered with `error`, `why` and, where there is one, `fix`.",
        components=Components(security_schemes={"token": SecurityScheme(type="http", scheme="bearer")}),
        security=[{"token": []}],
        use_handler_docstrings=True,
        openapi_router=router,
        render_plugins=[JsonRenderPlugin()],
    )


def _nothing_else(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
    if connection.url.path != PATH:
        raise Problem(404, "Not found", f"Weir has no such call; {PATH} describes all.")
