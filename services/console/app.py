"""The console's process: an HTTP server beside a broker connection.

There is no sign-in yet: it comes with the full console. Until then whoever reaches the port acts for every
workspace, so the console refuses to listen anywhere but on loopback.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import structlog
import uvicorn

from common.bus import Bus
from common.errors import UserError
from common.service import main
from common.settings import Settings, loopback
from services.console.pages import application

log = structlog.get_logger()

GRACE = 5
"""Seconds open requests have to end when the process is told to stop."""


class _Server(uvicorn.Server):
    """Uvicorn without its signal handlers (the bus owns SIGTERM and SIGINT), saying when it listens."""

    def __init__(self, config: uvicorn.Config, url: str) -> None:
        super().__init__(config)
        self._url = url

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        log.info("console.ready", url=self._url)


async def serve(settings: Settings) -> None:
    """Serve the console until the process is told to stop. UserError if it may not or cannot listen."""
    host = f"[{settings.console_host}]" if ":" in settings.console_host else settings.console_host
    if not loopback(f"http://{host}"):
        raise UserError(
            f"WEIR_CONSOLE_HOST {settings.console_host!r}: the console has no sign-in yet and listens on "
            "loopback only; set 127.0.0.1 and put what you trust in front of it"
        )
    listener = _listen(settings)
    url = f"http://{host}:{listener.getsockname()[1]}"
    bus = Bus(settings, "console")
    config = uvicorn.Config(
        application(bus, settings.console_url or url),
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
    )
    server = _Server(config, url)

    async def http() -> None:
        try:
            await server.serve(sockets=[listener])
        finally:
            if server.started:
                with anyio.CancelScope(shield=True):
                    await server.shutdown(sockets=[listener])

    await bus.run(http)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.console_host else socket.AF_INET
    try:
        return socket.create_server((settings.console_host, settings.console_port), family=family)
    except OSError as error:
        raise UserError(
            f"WEIR_CONSOLE_PORT {settings.console_port}: cannot listen ({error.strerror}); free it or set another"
        ) from None


def run() -> None:
    """The `weir console` command."""
    main("console", serve)
