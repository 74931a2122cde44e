"""Wires the sandbox: one process, two listening ports, one store."""

import asyncio
import logging
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import anyio
import msgspec
import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from common.service import main
from common.settings import Settings
from services.sandbox.calls import Calls
from services.sandbox.control import Control
from services.sandbox.faults import Faults
from services.sandbox.gate import Gate
from services.sandbox.qonto import api as qonto_api
from services.sandbox.qonto import oauth as qonto_oauth
from services.sandbox.qonto import people as qonto_people
from services.sandbox.qonto import wire as qonto_wire
from services.sandbox.qonto.ocr import Reader
from services.sandbox.qonto.webhooks import Webhooks as QontoWebhooks
from services.sandbox.quickbooks import api as quickbooks_api
from services.sandbox.quickbooks import oauth as quickbooks_oauth
from services.sandbox.quickbooks import people as quickbooks_people
from services.sandbox.quickbooks import wire as quickbooks_wire
from services.sandbox.quickbooks.webhooks import Webhooks
from services.sandbox.store import Store
from services.sandbox.traffic import Traffic
from services.sandbox.world import Credentials, World

log = structlog.get_logger()

HOST = "127.0.0.1"
GRACE = 5  # seconds open calls get at a stop
IDLE = 75  # seconds an idle connection is kept: longer than clients do, so that none sends on one that is being closed
URLS = "urls.json"
QUICKBOOKS, QONTO = "quickbooks", "qonto"
DEFAULTS = Credentials("sandbox-quickbooks", "sandbox-quickbooks-secret", "sandbox-qonto", "sandbox-qonto-secret")


class Urls(msgspec.Struct, frozen=True):
    """Where the two providers listen; `urls.json` in the sandbox's folder holds the same."""

    quickbooks: str
    qonto: str


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The two providers as ASGI applications; the reader of uploads and the webhooks must run beside them."""

    world: World
    quickbooks: ASGIApp
    qonto: ASGIApp
    reader: Reader
    webhooks: Webhooks
    hooks: QontoWebhooks
    calls: Calls


def build(folder: Path, credentials: Credentials) -> Sandbox:
    """Opens the store in `folder` and puts everything together."""
    world = World(Store(folder / "sandbox.sqlite3"), credentials)
    faults, calls, traffic = Faults(), Calls(), Traffic()
    reader, webhooks = Reader(world), Webhooks(world)
    intuit, qonto = quickbooks_oauth.OAuth(world, traffic), qonto_oauth.OAuth(world)
    hooks = QontoWebhooks(world)
    control = Control(world, faults, calls, traffic, webhooks, intuit, qonto, reader, hooks)
    people = [*quickbooks_people.People(world).routes(), *qonto_people.People(world).routes()]
    accounting = quickbooks_api.Api(world, intuit)
    business = qonto_api.Api(world, qonto, reader, hooks)
    return Sandbox(
        world=world,
        quickbooks=Gate(
            Starlette(routes=[*intuit.routes(), *control.routes(), *people, *accounting.routes()]),
            QUICKBOOKS,
            world,
            faults,
            calls,
            traffic,
            quickbooks_wire.throttled,
        ),
        qonto=Gate(
            Starlette(
                routes=[*qonto.routes(), *business.routes()],
                exception_handlers={404: _unknown_route, 405: _unknown_route},
            ),
            QONTO,
            world,
            faults,
            calls,
            traffic,
            qonto_wire.throttled,
        ),
        reader=reader,
        webhooks=webhooks,
        hooks=hooks,
        calls=calls,
    )


async def _unknown_route(request: Request, error: Exception) -> Response:
    del request, error
    return qonto_wire.gateway_not_found()


class _Server(uvicorn.Server):
    """Leaves signals to the process that runs it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(sandbox: Sandbox, folder: Path, quickbooks_port: int = 0, qonto_port: int = 0) -> AsyncIterator[Urls]:
    """Both providers listen while the block runs. Port 0 means: as last time, or any free one."""
    sockets = _bound(folder, quickbooks_port, qonto_port)
    stop, ready = anyio.Event(), anyio.Event()
    # A task of its own, so that the block may end in another task than it began in, as fixtures do.
    task = asyncio.create_task(_listen(sandbox, folder, sockets, stop, ready))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if task.done():
        await task
    try:
        yield _urls(sockets)
    finally:
        stop.set()
        await task


async def listen(folder: Path, credentials: Credentials, *, quickbooks_port: int = 0, qonto_port: int = 0) -> None:
    """Serves until SIGTERM or SIGINT."""
    sandbox = build(folder, credentials)
    sockets = _bound(folder, quickbooks_port, qonto_port)
    stop = anyio.Event()
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with anyio.create_task_group() as group:
            group.start_soon(_listen, sandbox, folder, sockets, stop, anyio.Event())
            async for signum in signals:
                log.info("sandbox.stopping", signal=signum.name)
                break
            stop.set()


async def _listen(
    sandbox: Sandbox, folder: Path, sockets: list[socket.socket], stop: anyio.Event, ready: anyio.Event
) -> None:
    servers = [_server(app) for app in (sandbox.quickbooks, sandbox.qonto)]
    urls = _urls(sockets)
    async with anyio.create_task_group() as background:
        background.start_soon(sandbox.reader.run)
        background.start_soon(sandbox.webhooks.run)
        background.start_soon(sandbox.hooks.run)
        async with anyio.create_task_group() as listeners:
            for server, listening in zip(servers, sockets, strict=True):
                listeners.start_soon(server.serve, [listening])
            while not all(server.started for server in servers):  # noqa: ASYNC110 (uvicorn has no event for it)
                await anyio.sleep(0.01)
            written = folder / "urls.json.new"
            written.write_bytes(msgspec.json.encode(urls))
            written.replace(folder / URLS)
            log.info("sandbox.ready", quickbooks=urls.quickbooks, qonto=urls.qonto)
            ready.set()
            await stop.wait()
            for server in servers:
                server.should_exit = True
        background.cancel_scope.cancel()
    sandbox.world.store.close()
    log.info("sandbox.stopped")


def _server(app: ASGIApp) -> _Server:
    return _Server(
        uvicorn.Config(
            app, lifespan="off", log_level=logging.ERROR, access_log=False, timeout_graceful_shutdown=GRACE,
            timeout_keep_alive=IDLE, server_header=False, http="h11",
        )
    )  # fmt: skip


def _bound(folder: Path, quickbooks_port: int, qonto_port: int) -> list[socket.socket]:
    """A socket for each provider; raises OSError when a port named in the settings is taken."""
    try:
        before = msgspec.json.decode((folder / URLS).read_bytes(), type=Urls)
    except (FileNotFoundError, msgspec.DecodeError):
        before = Urls("", "")
    wanted = ((quickbooks_port, before.quickbooks), (qonto_port, before.qonto))
    return [_bind(port) if port else _bind_again(url) for port, url in wanted]


def _bind_again(url: str) -> socket.socket:
    """The port of last time, if there was one and it is still free; else any."""
    if url:
        try:
            return _bind(int(url.rpartition(":")[2]))
        except OSError:
            log.info("sandbox.port_taken", url=url)
    return _bind(0)


def _bind(port: int) -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        one.bind((HOST, port))
    except OSError:
        one.close()
        raise
    return one


def _urls(sockets: list[socket.socket]) -> Urls:
    return Urls(*(f"http://{HOST}:{one.getsockname()[1]}" for one in sockets))


async def serve(settings: Settings) -> None:
    """Serves as the settings say; credentials left unset are those of `DEFAULTS`."""

    def secret(name: str) -> str:
        return settings.required(name) if getattr(settings, name) is not None else str(getattr(DEFAULTS, name))

    await listen(
        settings.sandbox_dir or settings.data_dir / "sandbox",
        Credentials(**{one.name: secret(one.name) for one in fields(Credentials)}),
        quickbooks_port=settings.sandbox_quickbooks_port,
        qonto_port=settings.sandbox_qonto_port,
    )


def run() -> None:
    """The `weir sandbox` command."""
    main("sandbox", serve)
