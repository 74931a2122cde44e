"""`weir up`: everything comes up, Ctrl-C ends all of it, and so does a kill -9 of the command itself."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from common import embedded
from tests.conftest import ROOT

SERVICES = ("puller", "poster", "console", "scorer", "scorer")


def free_ports(count: int) -> int:
    """The first of so many free ports in a row, where no system picks one by itself."""
    for first in range(20_000 + os.getpid() % 1000 * 10, 32_000, count):
        with ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
            return first
    pytest.fail("there are no free ports")


@contextmanager
def up(directory: Path, ops_port: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`weir up --sandbox` in `directory`; the process and the link that signs in to the console."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("WEIR_")}
    variables |= {"PYTHONPATH": str(ROOT), "WEIR_LOG_FORMAT": "json"}
    variables |= {f"WEIR_{name}_PORT": str(embedded.free_port()) for name in ("CONSOLE", "SANDBOX_QUICKBOOKS")}
    variables["WEIR_SANDBOX_QONTO_PORT"] = str(embedded.free_port())
    variables["WEIR_OPS_PORT"] = str(ops_port)
    process = subprocess.Popen(
        [sys.executable, "-m", "services.cli.app", "up", "--sandbox", "--scorers", "2"],
        cwd=directory,
        env=variables,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        for line in iter(process.stderr.readline, ""):
            if "/signin?link=" in line:
                break
        else:
            pytest.fail("it did not come up")
        yield process, line.split()[-1]
    finally:
        if process.poll() is None:
            process.kill()
        process.stderr.close()
        process.wait(30)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_running(number: signal.Signals, tmp_path: Path) -> None:
    ops_port = free_ports(len(SERVICES))
    with up(tmp_path, ops_port) as (process, link):
        for port, service in enumerate(SERVICES, ops_port):
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as operator:
                assert operator.get("/livez").status_code == 200
                assert f'weir_ready{{region="eu",service="{service}"}}' in operator.get("/metrics").text
        children = psutil.Process(process.pid).children(recursive=True)
        commands = [" ".join(child.cmdline()) for child in children]
        for service in ("sandbox", "puller", "poster", "console", "nats-server"):
            assert any(service in command for command in commands), service
        assert sum("services.scorer" in command for command in commands) == 2
        page, _, secret = link.partition("?link=")
        with httpx.Client(trust_env=False, follow_redirects=True) as browser:
            entered = browser.post(page, data={"link": secret})
        assert (entered.status_code, entered.url.path) == (200, "/workspaces")
        assert f"WEIR_CONSOLE_URL={page.removesuffix('/signin')}\n" in (tmp_path / ".weir/weir.env").read_text()
        process.send_signal(number)
        _, alive = psutil.wait_procs(children, timeout=40)
        assert alive == []
        assert process.wait(30) is not None
    key = tmp_path / ".weir/master.key"
    assert key.stat().st_mode & 0o077 == 0
