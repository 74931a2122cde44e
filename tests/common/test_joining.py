"""Joining a broker that turns us away."""

import asyncio
import contextlib
import gc
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from common import joining
from common.errors import UserError
from common.settings import load

_INFO = b'INFO {"server_id":"x","version":"2.11.0","max_payload":1048576,"auth_required":true,"headers":true}\r\n'
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER by which the end of a connection is a reset."""


@asynccontextmanager
async def resetting(answer: bytes) -> AsyncIterator[str]:
    """A broker that says this after its greeting, and resets the connection; its address."""

    async def turn_away(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_INFO)
        with contextlib.suppress(OSError):
            await reader.readline()
            writer.write(answer)
            await writer.drain()
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()

    async with await asyncio.start_server(turn_away, "127.0.0.1", 0) as server:
        yield f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@contextmanager
def kept() -> Iterator[None]:
    """Nothing in a cycle is freed meanwhile."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def unheard() -> set[int]:
    """Futures whose error asyncio prints with a traceback if what holds it is freed in the wrong order."""
    futures = (one for one in gc.get_objects() if issubclass(type(one), asyncio.Future))
    return {id(one) for one in futures if one._log_traceback}


@pytest.mark.parametrize("answer", [b"-ERR 'Authorization Violation'\r\n", b""])
async def test_a_reset_connection_leaves_no_error_that_nobody_heard(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "FIRST_CONNECTION", 1.0)
    gc.collect()
    with kept():
        before = unheard()
        async with resetting(answer) as url:
            with pytest.raises(UserError, match="WEIR_NATS_URL"):
                await joining.check_reachable(load(nats_url=url), "operator")
        assert unheard() <= before
