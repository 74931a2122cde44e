"""The files in deploy/ are taken by the programs they are for, and name things that exist."""

import os
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from common import brokerconf, embedded
from common.keys import Keys
from services.cli.app import app
from tests.access.test_tls import issued
from tests.conftest import ROOT


def test_the_broker_takes_its_configuration(tmp_path: Path) -> None:
    cert, private = issued(tmp_path, "broker")
    keys = Keys(tmp_path / "keys")
    keys.make("eu")
    keys.make_reviewer("eu", "fictional-lock")
    brokerconf.write(tmp_path, brokerconf.accounts(keys))
    config = (ROOT / "deploy/nats.conf").read_text()
    for there, here in (
        ("/var/lib/nats", tmp_path / "store"),
        ("/etc/nats/tls/tls.crt", cert),
        ("/etc/nats/tls/tls.key", private),
    ):
        config = config.replace(there, str(here))
    (tmp_path / "nats.conf").write_text(config)
    checked = subprocess.run(
        [str(embedded.binary()), "-t", "-c", str(tmp_path / "nats.conf")],
        env={**os.environ, "NATS_STORE_KEY": "fictional"},
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
