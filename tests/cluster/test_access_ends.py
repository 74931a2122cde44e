"""A process whose access to the broker ends says so in one line and exits, for its supervisor to start it anew."""

import signal
import subprocess
import sys
from pathlib import Path

import anyio
import psutil

from common import embedded
from common.settings import load
from tests.conftest import environment


async def test_a_process_whose_access_is_taken_away_exits_and_says_why(tmp_path: Path) -> None:
    log = tmp_path / "scorer.log"
    async with embedded.broker(tmp_path / "broker") as broker:
        variables = environment(load(nats_url=broker.url, nats_token=broker.token, data_dir=tmp_path))
        with log.open("wb") as output:
            command = [sys.executable, "-m", "services.scorer"]
            process = await anyio.open_process(command, env=variables, stdin=subprocess.DEVNULL, stderr=output)
        try:
            with anyio.fail_after(60):
                while "service.ready" not in log.read_text():
                    await anyio.sleep(0.05)
                config = tmp_path / "broker" / "nats.conf"
                config.write_text(config.read_text().replace(broker.token, "another"))
                for server in psutil.Process(broker.process.pid).children():
                    server.send_signal(signal.SIGHUP)  # it reads its configuration again
                await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
            await process.aclose()
    assert process.returncode == 1
    assert "weir scorer: the broker closed the connection for good" in log.read_text().splitlines()
