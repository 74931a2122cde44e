"""The broker of our own: starts, keeps what it was given, comes back, and never outlives its parent."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import nats
import psutil
import pytest
from nats.js.api import StorageType

from common import embedded, topology
from common.bus import Bus
from common.errors import RetryLater, UserError
from common.settings import load
from tests.conftest import ROOT


def gone(pid: int) -> None:
    """Wait for a process that is not our child to be gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(10)


def server_of(tether_pid: int) -> int:
    return int(psutil.Process(tether_pid).children()[0].pid)


async def test_it_keeps_what_it_was_given(tmp_path: Path) -> None:
    async with embedded.broker(tmp_path) as first:
        client = await nats.connect(first.url, token=first.token)
        await client.jetstream().add_stream(name="KEPT", subjects=["kept"])
        await client.jetstream().publish("kept", b"value")
        await client.close()
        pid = server_of(first.process.pid)
    gone(pid)
    async with embedded.broker(tmp_path) as second:
        client = await nats.connect(second.url, token=second.token)
        assert (await client.jetstream().get_last_msg("KEPT", "kept")).data == b"value"
        await client.close()


async def test_it_asks_for_its_token_and_listens_on_loopback_only(tmp_path: Path) -> None:
    async with embedded.broker(tmp_path) as broker:
        with pytest.raises(nats.errors.Error):
            await nats.connect(broker.url, allow_reconnect=False, error_cb=_quiet)
        listening = {
            c.laddr.ip for c in psutil.Process(server_of(broker.process.pid)).net_connections() if c.status == "LISTEN"
        }
        assert listening == {"127.0.0.1"}
        assert (tmp_path / "nats.conf").stat().st_mode & 0o077 == 0


async def test_it_comes_back_after_a_kill(tmp_path: Path) -> None:
    async with embedded.broker(tmp_path) as broker:
        client = await nats.connect(broker.url, token=broker.token, reconnect_time_wait=0.1, error_cb=_quiet)
        pid = server_of(broker.process.pid)
        os.kill(pid, signal.SIGKILL)
        gone(pid)
        with anyio.fail_after(15):
            while True:
                try:
                    await client.jetstream(timeout=1).account_info()
                    break
                except (nats.errors.Error, OSError):
                    await anyio.sleep(0.1)
        await client.close()


def test_it_stops_when_its_parent_is_killed(tmp_path: Path) -> None:
    code = (
        "import anyio, pathlib, sys\nfrom common import embedded\n"
        "async def main():\n"
        "    async with embedded.broker(pathlib.Path(sys.argv[1])) as broker:\n"
        "        print(broker.process.pid, flush=True)\n"
        "        await anyio.sleep_forever()\n"
        "anyio.run(main)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert parent.stdout is not None
    tether = int(parent.stdout.readline())
    server = server_of(tether)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    gone(server)
    gone(tether)


async def test_a_store_it_cannot_use_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("not a directory")
    with pytest.raises(UserError, match="did not start"):
        async with embedded.broker(tmp_path):
            pytest.fail("it started")


async def _quiet(_error: Exception) -> None:
    """Refused connections are what these tests provoke."""


async def test_everything_a_region_needs_is_there_again_after_a_restart(tmp_path: Path) -> None:
    async with embedded.broker(tmp_path) as broker:
        bus = Bus(load(nats_url=broker.url, nats_token=broker.token, region="eu"), "test")
        await bus.connect()
        await topology.ensure(bus.js, bus.topology)
        hour, subject = bus.topology.pace("hour"), "eu.pace.hour.fictional"
        assert await bus.admit(hour, subject)
        pid = server_of(broker.process.pid)
        os.kill(pid, signal.SIGKILL)
        gone(pid)
        with anyio.fail_after(20):
            while not (admitted := await _admitted(bus, hour, subject)):
                await anyio.sleep(0.05)
        assert admitted
        assert (await bus.js.stream_info(hour)).state.messages == 2  # the call before the restart counts as well
        assert await topology.ensure(bus.js, bus.topology) == []
        await bus.close()


async def test_limits_that_were_kept_in_memory_move_to_disk(bus: Bus) -> None:
    hour = next(stream for stream in bus.topology.streams if stream.name == bus.topology.pace("hour"))
    await bus.js.delete_stream(str(hour.name))
    await bus.js.add_stream(hour.evolve(storage=StorageType.MEMORY))
    assert await topology.ensure(bus.js, bus.topology) == [hour.name]
    assert await topology.ensure(bus.js, bus.topology) == []


async def _admitted(bus: Bus, stream: str, subject: str) -> bool:
    try:
        return await bus.admit(stream, subject)
    except RetryLater:  # the broker is away
        return False
