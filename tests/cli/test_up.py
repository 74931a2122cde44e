"""`weir up`: everything comes up, Ctrl-C ends all of it, and so does a kill -9 of the command itself."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from common import embedded
from tests.conftest import ROOT


@contextmanager
def up(directory: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`weir up --sandbox` in `directory`; the process and the console's address."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("WEIR_")}
    variables |= {"PYTHONPATH": str(ROOT), "WEIR_LOG_FORMAT": "json"}
    variables |= {f"WEIR_{name}_PORT": str(embedded.free_port()) for name in ("CONSOLE", "SANDBOX_QUICKBOOKS")}
    variables["WEIR_SANDBOX_QONTO_PORT"] = str(embedded.free_port())
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
            if line.startswith("Weir is up"):
                break
        else:
            pytest.fail("it did not come up")
        yield process, f"http://127.0.0.1:{variables['WEIR_CONSOLE_PORT']}"
    finally:
        if process.poll() is None:
            process.kill()
        process.stderr.close()
        process.wait(30)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_running(number: signal.Signals, tmp_path: Path) -> None:
    with up(tmp_path) as (process, console):
        children = psutil.Process(process.pid).children(recursive=True)
        commands = [" ".join(child.cmdline()) for child in children]
        for service in ("sandbox", "puller", "poster", "console", "nats-server"):
            assert any(service in command for command in commands), service
        assert sum("services.scorer" in command for command in commands) == 2
        assert httpx.get(f"{console}/", trust_env=False).status_code == 200
        process.send_signal(number)
        _, alive = psutil.wait_procs(children, timeout=40)
        assert alive == []
        assert process.wait(30) is not None
    key = tmp_path / ".weir/master.key"
    assert key.stat().st_mode & 0o077 == 0
