"""What stands before each provider: the start time, scripted faults, and the tally of calls."""

from collections.abc import Callable

import anyio
import structlog
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.sandbox.calls import Calls
from services.sandbox.faults import Fault, Faults
from services.sandbox.traffic import Traffic
from services.sandbox.world import World

log = structlog.get_logger()

BAD_GATEWAY = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    "<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)


async def hang_up(receive: Receive, *, after_sent: bool = False) -> None:
    """Closes the connection: at once, or when what was sent so far has left.

    ASGI has no word for it, so this reaches through uvicorn's bound `receive` to the transport.
    """
    transport = receive.__self__.transport  # type: ignore[attr-defined]
    if after_sent:
        transport.close()
    else:
        transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass


class Gate:
    """ASGI wrapper of one provider."""

    def __init__(
        self,
        app: ASGIApp,
        side: str,
        world: World,
        faults: Faults,
        calls: Calls,
        traffic: Traffic,
        throttled: Callable[[World, float], Response],
    ) -> None:
        self._app = app
        self._side = side
        self._world = world
        self._faults = faults
        self._calls = calls
        self._traffic = traffic
        self._throttled = throttled

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/sandbox/"):
            await self._app(scope, receive, send)
            return
        method, path = scope["method"], scope["path"]
        scope.setdefault("state", {})["started"] = self._world.now()
        self._traffic.arrive(path)
        answered = False

        def note(status: int) -> None:
            self._calls.note(self._side, method, path, status)
            self._traffic.answered(path, status)

        async def noting(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                # Before it leaves: who has the answer finds the call counted.
                answered = True
                note(message["status"])
            await send(message)

        fault = self._faults.take(self._side, method, path)
        if fault is None:
            await self._app(scope, receive, noting)
        else:
            log.info("sandbox.fault", side=self._side, method=method, path=path, kind=fault.kind)
            await self._stumble(fault, scope, receive, noting)
        if not answered:
            note(0)

    async def _stumble(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        match fault.kind:
            case "delay":
                await anyio.sleep(fault.seconds)
                await self._app(scope, receive, send)
            case "status":
                await Response(fault.body, fault.status, media_type="application/json")(scope, receive, send)
            case "storm429":
                await self._throttled(self._world, fault.seconds or 1.0)(scope, receive, send)
            case "html502":
                if fault.after:
                    await self._app(scope, receive, _discard)
                await HTMLResponse(BAD_GATEWAY, 502)(scope, receive, send)
            case "drop_before":
                await hang_up(receive)
            case "drop_after":
                await self._app(scope, receive, _discard)
                await hang_up(receive)
            case "truncate":
                await self._app(scope, receive, _halved(send))
                await hang_up(receive, after_sent=True)


async def _discard(message: Message) -> None:
    """An answer that nobody gets."""
    del message


def _halved(send: Send) -> Send:
    """Passes on the head and half of the first body part, and keeps the rest back."""
    sent = False

    async def halving(message: Message) -> None:
        nonlocal sent
        if message["type"] == "http.response.start":
            await send(message)
        elif not sent and message.get("body"):
            sent = True
            body = message["body"]
            await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})

    return halving
