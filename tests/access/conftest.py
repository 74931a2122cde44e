"""A broker with the configuration that Weir writes: two regions, reviewers of two workspaces, a store under a key."""

import os
import secrets
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import nats
import pytest
from nats.aio.client import Client

from common import brokerconf, embedded, rights, topology
from common.bus import Bus
from common.keys import Keys
from common.rights import Identity
from common.settings import Settings, load
from tests.console.desk.asking import WS

OTHER = "fictional-weir"
"""Another workspace than WS, with reviewers of its own."""


@dataclass
class Someone:
    """A client with one key, and every refusal it was told of."""

    client: Client
    denied: list[str] = field(default_factory=list)

    async def tell(self, subject: str, body: bytes = b"", reply: str = "") -> bool:
        """Publish, and whether the broker let it pass."""
        before = len(self.denied)
        await self.client.publish(subject, body, reply=reply)
        await self.settled()
        return len(self.denied) == before

    async def settled(self) -> None:
        """Wait until the broker has seen all that was sent, and we its words on it."""
        await self.client.flush()
        await self.client.flush()  # the first may overtake what waits to be written


@dataclass(frozen=True)
class Guarded:
    """The broker, its keys and where its data is."""

    url: str
    keys: Keys
    store: Path
    process: subprocess.Popen[bytes]

    def settings(self, region: str, who: Identity) -> Settings:
        """What a process is told that joins as this identity."""
        return load(nats_url=self.url, nats_seed_file=self.keys.file(region, who), region=region)

    def seed(self, region: str, who: Identity) -> str:
        """The key of an identity."""
        return self.keys.file(region, who).read_text().strip()

    @asynccontextmanager
    async def bus(self, region: str, who: Identity) -> AsyncIterator[Bus]:
        """An identity as the services are."""
        bus = Bus(self.settings(region, who), who)
        await bus.connect()
        yield bus
        await bus.close()

    @asynccontextmanager
    async def someone(self, seed: str, inbox: str = "_INBOX", **options: Any) -> AsyncIterator[Someone]:
        """A plain client with a key."""
        denied: list[str] = []

        async def remember(error: Exception) -> None:
            denied.append(str(error))

        client = await nats.connect(
            self.url, nkeys_seed_str=seed, inbox_prefix=inbox, error_cb=remember, allow_reconnect=False, **options
        )
        yield Someone(client, denied)
        await client.close()

    def identity(self, region: str, who: Identity) -> Any:
        """A plain client with the key of an identity."""
        return self.someone(self.seed(region, who), rights.inbox(who))

    def reviewer(self, workspace: str) -> Any:
        """A plain client with the key of a workspace's reviewers, in eu."""
        return self.someone(self.keys.reviewer_file("eu", workspace).read_text().strip())


def serve(directory: Path, config: str, keys: Keys) -> subprocess.Popen[bytes]:
    """Start a nats-server with this configuration and wait until it is ready."""
    brokerconf.write(directory, brokerconf.accounts(keys))
    brokerconf.write(directory, config, "nats.conf")
    log = directory / "nats.log"
    process = subprocess.Popen(
        [str(embedded.binary()), "-c", str(directory / "nats.conf"), "-l", str(log)],
        stdin=subprocess.DEVNULL,
        env={**os.environ, "NATS_STORE_KEY": secrets.token_hex(32)},
    )
    ready = time.monotonic() + 15
    while not log.exists() or "Server is ready" not in log.read_text():
        assert process.poll() is None, log.read_text() if log.exists() else "no log"
        assert time.monotonic() < ready, "the broker did not start"
        time.sleep(0.02)
    return process


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A broker with keys for three regions, of which eu has its streams; ap has none."""
    directory = tmp_path_factory.mktemp("guarded")
    keys, port, store = Keys(directory / "keys"), embedded.free_port(), directory / "store"
    for region in ("ap", "eu", "us"):
        keys.make(region)
    for workspace in (WS, OTHER):
        keys.make_reviewer("eu", workspace)
    process = serve(directory, brokerconf.server(listen=f"127.0.0.1:{port}", store=str(store)), keys)
    guarded = Guarded(f"nats://127.0.0.1:{port}", keys, store, process)

    async def lay() -> None:
        async with guarded.bus("eu", "operator") as bus:
            await topology.ensure(bus.js, bus.topology)
            for workspace in (WS, OTHER):
                await topology.ensure_reviewer(bus.js, bus.topology, workspace)

    anyio.run(lay)
    yield guarded
    process.kill()
    process.wait(10)
