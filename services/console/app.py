"""The console's process: an HTTP server beside a broker connection."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import anyio
import structlog
import uvicorn
from litestar.types import ASGIApp

from common import tether
from common.bus import Bus
from common.errors import UserError
from common.invitations import Invitations, address
from common.service import main
from common.settings import Settings, loopback
from services.console.gauges import Gauges
from services.console.web import application

log = structlog.get_logger()

GRACE = 5
"""Seconds open requests have to end when the process is told to stop."""
CONNECTIONS = 900
"""Connections at a time; who comes beyond is told to try later. Below the 1024 files a process may open by default."""


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
    _may_listen(settings, host)
    listener = _listen(settings)
    port = listener.getsockname()[1]
    url = f"http://{host}:{port}"
    bus = Bus(settings, "console")
    app, live = application(bus, settings.console_url or url, port)
    server = _Server(configured(app, settings), url)

    async def http() -> None:
        # With a key of its own the console may make nobody an owner: `weir people link` does.
        alone = sys.stdout.isatty() and not tether.tethered() and not settings.keyed
        if alone and settings.console_oidc_issuer is None:
            link = address(settings.console_url or url, await Invitations(bus).for_operator())
            print(f"Sign in once within ten minutes at {link}")  # noqa: T201 (for the person, and in no log)
        try:
            await server.serve(sockets=[listener])
        finally:
            live.close()
            if server.started:
                with anyio.CancelScope(shield=True):
                    await server.shutdown(sockets=[listener])

    bus.health.needs("the stream of reviews", partial(bus.reachable, bus.topology.reviews))
    await bus.run(http, *([Gauges(bus).run] if settings.ops_port else []))


def configured(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    """How the server serves `app`."""
    return uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=GRACE,
        # Nobody else is believed who a request is from: it says which failures to sign in count together.
        proxy_headers=settings.console_proxies is not None,
        forwarded_allow_ips=settings.console_proxies or "",
    )


def _may_listen(settings: Settings, host: str) -> None:
    """UserError if the console would be reached from elsewhere without what that takes."""
    if loopback(f"http://{host}"):
        return
    if settings.console_oidc_issuer is None and not settings.console_behind_proxy:
        raise UserError(
            f"WEIR_CONSOLE_HOST {settings.console_host!r}: off loopback people sign in through your identity provider; "
            "set WEIR_CONSOLE_OIDC_ISSUER, or WEIR_CONSOLE_BEHIND_PROXY=true where a proxy with TLS stands in front, "
            "or listen on 127.0.0.1"
        )
    if settings.console_url is None or not settings.console_url.startswith("https:"):
        raise UserError(
            f"WEIR_CONSOLE_HOST {settings.console_host!r}: off loopback browsers must come by TLS; "
            "set WEIR_CONSOLE_URL to the https address they use"
        )


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
