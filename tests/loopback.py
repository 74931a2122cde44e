"""A small HTTP server on loopback for a test's own routes: real sockets, real HTTP."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route


def listening(routes: Sequence[Route]) -> AbstractAsyncContextManager[str]:
    """Serve `routes` during the block; its base URL."""
    return serving(Starlette(routes=list(routes)))


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """Serve an ASGI application during the block; its base URL."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        # A task, not a task group: pytest ends a fixture in another task than it began in.
        task = asyncio.create_task(server.serve([listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task
