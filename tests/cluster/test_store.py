"""The broker's disk is full, or can no longer be written: it is said, and nothing is lost."""

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from common import embedded, topology
from common.bus import Bus
from common.messages import Connected
from common.settings import Settings, load
from tests.puller.stand import World, differences, puller, running_sandbox, sandbox, until, wired, world

__all__ = ["running_sandbox", "sandbox", "wired", "world"]

SIZE = 24 << 20
LEFT = 200 << 10
"""Bytes left on the disk: enough for a connection, too little for a company."""


def mount(*words: str) -> None:
    subprocess.run(["/usr/bin/env", "mount", *words], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own for a broker's store."""
    place = tmp_path / "broker" / "store"
    place.mkdir(parents=True)
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    mount("-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place))
    yield place
    subprocess.run(["/usr/bin/env", "umount", "-l", str(place)], check=True)


class Server:
    """A broker that stores on the small disk, whichever incarnation of it is running."""

    def __init__(self, disk: Path) -> None:
        self.url, self.token = f"nats://127.0.0.1:{(port := embedded.free_port())}", "fictional"
        self.log = disk.parent / "nats.log"
        self._config = disk.parent / "nats.conf"
        self._config.write_text(
            f'listen: 127.0.0.1:{port}\nauthorization {{ token: "{self.token}" }}\nmax_payload: 8MB\n'
            f'jetstream {{ store_dir: "{disk}"\n sync_interval: always }}\n'
        )
        self.start()

    def start(self) -> None:
        """Start it, or start it again on what it kept."""
        command = [str(embedded.binary()), "-c", str(self._config), "-l", str(self.log)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        """End it by kill -9."""
        self.process.kill()
        self.process.wait(10)


@pytest.fixture
def server(disk: Path) -> Iterator[Server]:
    found = Server(disk)
    yield found
    found.kill()


@pytest.fixture
def settings(server: Server, region: str, tmp_path: Path) -> Settings:
    """Settings that point at the broker on the small disk."""
    return load(nats_url=server.url, nats_token=server.token, region=region, data_dir=tmp_path)


@pytest.fixture
async def bus(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bus]:
    """A connected bus that does not wait for long; the broker goes with the test, and with it all that it keeps."""
    bus = Bus(settings, "test")
    await bus.connect()
    await topology.ensure(bus.js, bus.topology)
    monkeypatch.setattr("common.bus.PUBLISH_TIMEOUT", 0.5)
    yield bus
    await bus.close()


async def back(world: World, service: Bus) -> None:
    """Wait until all are connected to the broker again, and it answers."""

    async def connected() -> bool:
        return all(bus.client.is_connected for bus in (world.bus, service))

    await until(connected)


async def test_a_full_disk_is_said_and_nothing_is_lost(world: World, disk: Path, server: Server) -> None:
    room = os.statvfs(disk)
    filler = disk / "filler"
    async with puller(world.settings) as service:
        assert isinstance(await world.connect(), Connected)
        filler.write_bytes(bytes(room.f_bavail * room.f_bsize - LEFT))

        async def full() -> bool:
            return bool(service.storing.mute)

        await until(full)
        filler.unlink()
        server.kill()
        server.start()
        await back(world, service)
        await world.pull()
        assert not service.storing.mute
        assert await differences(world) == []


async def test_a_store_that_became_read_only_is_taken_up_again(world: World, disk: Path, server: Server) -> None:
    async with puller(world.settings) as service:
        await world.first_pull()
        for bill in list(world.sandbox.bills(world.realm))[:3]:
            world.sandbox.patch(f"{world.realm}/quickbooks/bill/{bill}", {"PrivateNote": "edited"})
        server.kill()
        mount("-o", "remount,ro", str(disk))
        server.start()
        assert server.process.wait(10) != 0
        assert "Can't start JetStream: storage directory is not writable" in server.log.read_text()

        async def gone() -> bool:
            return not service.client.is_connected

        await until(gone)
        mount("-o", "remount,rw", str(disk))
        server.start()
        await back(world, service)
        await world.pull()
        assert await differences(world) == []
