"""A poster in a process of its own, between a broker that fsyncs every write and the sandbox's Qonto over HTTP."""

import base64
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from common import embedded, topology
from common.bus import Bus
from common.settings import load
from services.sandbox.app import DEFAULTS, Sandbox, build, serving
from tests.conftest import ROOT, environment
from tests.poster.desk import Desk


@dataclass(slots=True)
class Scene:
    """What a bench acts on; `command` is how the poster's process is started."""

    sandbox: Sandbox
    bus: Bus
    desk: Desk
    command: Sequence[str]
    variables: dict[str, str]
    process: subprocess.Popen[bytes]

    async def kill(self) -> None:
        """The poster dies at whatever line it is, and another one takes its place."""
        self.process.kill()
        await anyio.to_thread.run_sync(self.process.wait)
        self.process = _started(self.command, self.variables)
        await _answering(self.bus)


@asynccontextmanager
async def scene(broker: embedded.Embedded, region: str, folder: Path, command: Sequence[str]) -> AsyncIterator[Scene]:
    """A broker region, a sandbox and a poster of its own, connected to the sandbox's company."""
    await anyio.Path(folder).mkdir()
    sandbox = build(folder, DEFAULTS)
    async with serving(sandbox, folder) as urls:
        settings = load(
            nats_url=broker.url,
            nats_token=broker.token,
            region=region,
            log_level="warning",
            qonto_api_url=urls.qonto,
            qonto_oauth_url=urls.qonto,
            qonto_client_id=DEFAULTS.qonto_client_id,
            qonto_client_secret=DEFAULTS.qonto_client_secret,
            master_key=base64.b64encode(os.urandom(32)).decode(),
        )
        variables = environment(
            settings,
            WEIR_LOG_LEVEL="warning",
            WEIR_QONTO_API_URL=urls.qonto,
            WEIR_QONTO_OAUTH_URL=urls.qonto,
            WEIR_QONTO_CLIENT_ID=DEFAULTS.qonto_client_id,
            WEIR_QONTO_CLIENT_SECRET=DEFAULTS.qonto_client_secret,
            WEIR_MASTER_KEY=settings.required("master_key"),
        )
        bus = Bus(settings, "bench")
        await bus.connect()
        await topology.ensure(bus.js, bus.topology)
        desk = Desk(bus, settings, urls.quickbooks)
        await desk.open()
        made = Scene(sandbox, bus, desk, command, variables, _started(command, variables))
        try:
            await _answering(bus)
            await desk.connect()
            yield made
        finally:
            made.process.terminate()
            made.process.wait(30)
            await desk.control.aclose()
            await bus.close()


def _started(command: Sequence[str], variables: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", *command], cwd=ROOT, env=variables, stdin=subprocess.DEVNULL)


async def _answering(bus: Bus) -> None:
    with anyio.fail_after(30):
        while not (await bus.js.consumer_info(bus.topology.decisions, bus.topology.poster.name)).num_waiting:
            await anyio.sleep(0.05)
