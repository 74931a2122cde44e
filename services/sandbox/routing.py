"""What all routes of the control API share: loopback only, JSON in and out, errors that say why."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.sandbox.quickbooks import wire
from services.sandbox.store import DECODER, ENCODER
from services.sandbox.world import World

LOOPBACK = ("127.0.0.1", "::1", "testclient")
COMPANY = "/sandbox/companies/{realm}"


class Wrong(Exception):  # noqa: N818
    """A control call that makes no sense; the text says why."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


def route(method: str, path: str, handle: Callable[[Request], Awaitable[Any]]) -> Route:
    async def endpoint(request: Request) -> Response:
        if request.client is None or request.client.host not in LOOPBACK:
            return _json({"error": "The control API answers on loopback only"}, 403)
        try:
            return _json(await handle(request))
        except Wrong as wrong:
            return _json({"error": str(wrong)}, wrong.status)
        except wire.Fault as fault:
            return _json({"error": fault.detail or fault.message, "code": fault.code}, fault.status)
        except (msgspec.ValidationError, msgspec.DecodeError, ValueError) as error:
            return _json({"error": str(error)}, 400)

    return Route(path, endpoint, methods=[method])


def company_of(world: World, request: Request) -> dict[str, Any]:
    row = world.store.get("sandbox", "company", request.path_params["realm"])
    if row is None:
        raise Wrong("There is no such company", 404)
    return row.body


async def body_of(request: Request) -> dict[str, Any]:
    read = DECODER.decode(await request.body() or b"{}")
    if not isinstance(read, dict):
        raise Wrong("A JSON object is expected")
    return read


def _json(body: Any, status: int = 200) -> Response:
    return Response(ENCODER.encode(body), status, media_type="application/json")
