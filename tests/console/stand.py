"""A real console process and a browser that is signed in to it."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
import uvicorn
from litestar import Litestar
from litestar.di import Provide

from common import embedded
from common.bus import Bus
from common.invitations import Invitations
from common.people import EVERYWHERE, People, Role
from common.settings import Settings
from services.console.app import configured
from services.console.sessions import csrf
from services.console.web import application
from services.console.webhooks import Webhooks
from tests.conftest import environment
from tests.puller.stand import until

PERSON = "olive@fictional-lock.example"


@asynccontextmanager
async def process(
    settings: Settings,
    log: Path,
    more: Mapping[str, str] | None = None,
    *,
    terminal: int | None = None,
    port: int | None = None,
) -> AsyncIterator[str]:
    """A console in a process of its own, with `more` settings, in a `terminal` if one is given; its address."""
    port = port or embedded.free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: ASYNC220 (starting takes no time worth awaiting)
            [sys.executable, "-m", "services.console"],
            env=environment(settings, WEIR_CONSOLE_PORT=str(port), WEIR_LOG_FORMAT="json", **(more or {})),
            stdout=terminal,
            stderr=output,
        )
    try:

        async def ready() -> bool:
            return f'"url": "http://127.0.0.1:{port}"' in await anyio.Path(log).read_text()

        await until(ready, 20)
        yield f"http://127.0.0.1:{port}"
        process.terminate()
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()


@asynccontextmanager
async def served(settings: Settings, **more: object) -> AsyncIterator[str]:
    """A console in this process, with `more` settings, on a socket of its own; its address."""
    bus = Bus(settings.model_copy(update=more), "console")
    await bus.connect()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        app, live = application(bus, bus.settings.console_url or url, port)
        server = uvicorn.Server(configured(app, bus.settings))
        # A task, not a task group: pytest ends a fixture in another task than it began in.
        task = asyncio.create_task(server.serve([listener]))
        try:
            yield url
        finally:
            live.close()
            server.should_exit = True
            await task
            await bus.close()


@asynccontextmanager
async def console(settings: Settings, log: Path | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """A console, in a process of its own where it has a `log`, and a browser signed in as the owner of everything.

    The browser follows nothing by itself.
    """
    running = served(settings) if log is None else process(settings, log)
    async with running as url, stranger(url) as browser:
        bus = Bus(settings, "test")
        await bus.connect()
        try:
            await sign_in(browser, bus, PERSON, {EVERYWHERE: Role.OWNER})
        finally:
            await bus.close()
        yield browser


def webhooks(bus: Bus) -> Litestar:
    """The routes of webhooks alone, to be served in this process."""
    return Litestar([Webhooks], dependencies={"bus": Provide(lambda: bus, sync_to_thread=False)}, openapi_config=None)


def stranger(url: str) -> httpx.AsyncClient:
    """A browser nobody has signed in with."""
    return httpx.AsyncClient(base_url=url, timeout=30, trust_env=False)


async def sign_in(browser: httpx.AsyncClient, bus: Bus, person: str, roles: dict[str, Role]) -> None:
    """Grant the roles and use a one-time link; from then on the browser's writes carry what its forms would."""
    for workspace, role in roles.items():
        await People(bus).grant(person, workspace, role)
    entered = await browser.post("/signin", data={"link": await Invitations(bus).make(person)})
    assert (entered.status_code, entered.headers["Location"]) == (303, "/"), entered.text
    (value,) = browser.cookies.values()
    browser.headers["X-CSRF-Token"] = csrf(value)
