"""The files in deploy/ are taken by the programs they are for, and name things that exist."""

import os
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from common import embedded
from services.cli.app import app
from tests.conftest import ROOT


def test_the_broker_takes_its_configuration(tmp_path: Path) -> None:
    config = (ROOT / "deploy/nats.conf").read_text().replace("/var/lib/nats", str(tmp_path / "store"))
    (tmp_path / "nats.conf").write_text(config)
    checked = subprocess.run(
        [str(embedded.binary()), "-t", "-c", str(tmp_path / "nats.conf")],
        env={**os.environ, "WEIR_NATS_TOKEN": "fictional"},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    assert "sync_interval: always" in config


@pytest.mark.parametrize("service", ["puller", "scorer", "poster", "console"])
def test_the_unit_starts_commands_that_exist(service: str) -> None:
    unit = ConfigParser(strict=False, interpolation=None)
    unit.read(ROOT / "deploy/weir@.service")
    command = unit["Service"]["ExecStart"].replace("%i", service).split()
    assert command == ["/opt/weir/bin/weir", service]
    assert app[command[1]] is not None
    assert int(unit["Service"]["TimeoutStopSec"]) > 15
