"""Real parts for tests: a NATS server for the session, a region of its own for each test."""

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import nats.js.errors
import pytest
import structlog
from hypothesis import settings as laws

from common import embedded, topology
from common.bus import Bus
from common.settings import Settings, load

ROOT = Path(__file__).parent.parent
_STORED = 4 << 30
"""Bytes that the brokers of a run may store, and many times what they do."""

# How long an example takes says nothing on a machine that does other things beside it. The same code is tried on the
# same examples each time, so that what is red was made red; `make draws` looks for others.
laws.register_profile("weir", deadline=None, max_examples=50, derandomize=True)
laws.register_profile("anew", deadline=None, max_examples=200, print_blob=True)
laws.load_profile(os.environ.get("WEIR_TEST_LAWS", "weir"))

# What is told in this process is read only where a test fails; a drawn traceback takes seconds of a large message.
*_processors, _ = structlog.get_config()["processors"]
_plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
structlog.configure(processors=[*_processors, _plain])


@dataclass(frozen=True)
class RunningBroker:
    """A broker started for the session."""

    url: str
    token: str
    pid: int


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("WEIR_")}
    yield
    os.environ.update(kept)


@pytest.fixture(scope="session")
def broker() -> Iterator[RunningBroker]:
    """A nats-server with JetStream on a free loopback port; what it stores lies in memory where there is room."""
    with tempfile.TemporaryDirectory(prefix="weir-nats-", dir=_roomy(), ignore_cleanup_errors=True) as directory:
        yield from _broker(Path(directory))


def _roomy() -> Path | None:
    """A directory in memory that holds what a broker stores during a run, None if there is none."""
    memory = Path("/dev/shm")  # noqa: S108 (a directory of our own is made in it)
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > _STORED else None


def _broker(directory: Path) -> Iterator[RunningBroker]:
    port, token = embedded.free_port(), secrets.token_hex(8)
    config = directory / "nats.conf"
    config.write_text(
        f'listen: 127.0.0.1:{port}\nauthorization {{ token: "{token}" }}\nmax_payload: 8MB\n'
        f'jetstream {{ store_dir: "{directory}/store" }}\n'
    )
    process = subprocess.Popen(
        [str(embedded.binary()), "-c", str(config), "-l", str(directory / "nats.log")], stdin=subprocess.DEVNULL
    )
    ready = time.monotonic() + 15
    while "Server is ready" not in _text(directory / "nats.log"):
        assert process.poll() is None, _text(directory / "nats.log")
        assert time.monotonic() < ready, "the broker did not start"
        time.sleep(0.02)
    yield RunningBroker(f"nats://127.0.0.1:{port}", token, process.pid)
    process.kill()  # nothing of it is kept, and closing thousands of streams in good order takes its time
    process.wait(10)


@pytest.fixture
def region() -> str:
    """A region nobody else uses."""
    return "t" + secrets.choice("abcdefghijklmnopqrstuvwxyz") + secrets.token_hex(3)


@pytest.fixture
def settings(broker: RunningBroker, region: str, tmp_path: Path) -> Settings:
    """Settings that point at the session's broker and the test's own region."""
    return load(nats_url=broker.url, nats_token=broker.token, region=region, data_dir=tmp_path)


@pytest.fixture
async def bus(settings: Settings) -> AsyncIterator[Bus]:
    """A connected bus on a fresh region; the broker forgets it afterwards, for each it keeps slows down the next."""
    bus = Bus(settings, "test")
    await bus.connect()
    await bus.js.add_stream(name="stays", subjects=["stays"])  # the broker removes their directory with the last one
    await topology.ensure(bus.js, bus.topology)
    yield bus
    async with anyio.create_task_group() as group:
        for stream in bus.topology.streams:
            group.start_soon(_forget, bus, str(stream.name))
    await bus.close()


async def _forget(bus: Bus, stream: str) -> None:
    with contextlib.suppress(nats.js.errors.NotFoundError):
        await bus.js.delete_stream(stream)


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """The environment that gives a child process these settings."""
    assert settings.nats_url
    assert settings.nats_token
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("WEIR_")},
        "WEIR_NATS_URL": settings.nats_url,
        "WEIR_NATS_TOKEN": settings.nats_token.get_secret_value(),
        "WEIR_REGION": settings.region,
        "WEIR_DATA_DIR": str(settings.data_dir),
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        **more,
    }


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
