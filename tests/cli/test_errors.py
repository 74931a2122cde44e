"""What a person sees when something is wrong: one line that names the field and the fix, and a code that is not 0."""

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.settings import Settings
from tests.conftest import ROOT, RunningBroker, environment

KEY = base64.b64encode(bytes(32)).decode()
APPS = {
    "WEIR_QUICKBOOKS_CLIENT_ID": "id",
    "WEIR_QUICKBOOKS_CLIENT_SECRET": "not-so-secret",
    "WEIR_QONTO_CLIENT_ID": "id",
    "WEIR_QONTO_CLIENT_SECRET": "not-so-secret",
}


def weir(*arguments: str, cwd: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the command line as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "services.cli.app", *arguments],
        cwd=cwd,
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def plain(**variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WEIR_")}
    return {**kept, "PYTHONPATH": str(ROOT), **variables}


def the_line(ended: subprocess.CompletedProcess[str]) -> str:
    """The one line a failed command leaves on stderr."""
    lines = [line for line in ended.stderr.splitlines() if line.startswith("weir")]
    assert ended.returncode == 2, ended.stderr
    assert len(lines) == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    return lines[0]


@pytest.mark.parametrize(
    "command, variables, words",
    [
        (["scorer"], {}, "WEIR_NATS_URL is not set"),
        (["scorer"], {"WEIR_NATS_URL": "localhost"}, "nats://"),
        (["setup"], {"WEIR_NATS_URL": "nats://127.0.0.1:9", "WEIR_REGION": "eu"}, "nats://127.0.0.1:9"),
        (["settings"], {"WEIR_REGION": "Europe"}, "WEIR_REGION"),
        (["demo", "--bills", "1"], {}, "--bills 1"),
        (["pull", "Not.A.Workspace"], {}, "workspace"),
        (["connections", "*"], {}, "workspace: '*'"),
        (["connections", ""], {}, "workspace: ''"),
        (["rewind", "fictional-lock", "--to", "0024-01-01"], {}, "--to 0024-01-01T00:00:00: name a date from 2000"),
        (["rewind", "fictional-lock", "--to", "0001-01-01T00:00:00+14:00"], {}, "--to 0001-01-01"),
        (["backfill", "fictional-lock", "--from", "9999-12-31T23:59:59-08:00"], {}, "--from 9999-12-31"),
    ],
)
def test_bad_settings_name_the_variable_and_the_fix(
    command: list[str], variables: dict[str, str], words: str, tmp_path: Path
) -> None:
    assert words in the_line(weir(*command, cwd=tmp_path, variables=plain(**variables)))


@pytest.mark.parametrize(
    "service, missing", [("puller", "WEIR_QUICKBOOKS_CLIENT_ID"), ("poster", "WEIR_QONTO_CLIENT_ID")]
)
def test_a_service_says_which_setting_it_lacks(service: str, missing: str, settings: Settings, tmp_path: Path) -> None:
    ended = weir(service, cwd=tmp_path, variables=environment(settings, WEIR_MASTER_KEY=KEY))
    assert missing in the_line(ended)


@pytest.mark.parametrize("service", ["puller", "poster"])
@pytest.mark.parametrize("key, words", [(None, "is not set"), ("short", "base64"), ("c2hvcnQ=", "32 are needed")])
def test_a_missing_or_malformed_master_key(
    service: str, key: str | None, words: str, settings: Settings, tmp_path: Path
) -> None:
    variables = environment(settings, **APPS, **({"WEIR_MASTER_KEY": key} if key else {}))
    line = the_line(weir(service, cwd=tmp_path, variables=variables))
    assert "WEIR_MASTER_KEY" in line
    assert words in line
    assert key is None or key not in line


def test_another_master_key_than_the_regions(settings: Settings, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "services.puller"],
        cwd=tmp_path,
        env=environment(settings, **APPS, WEIR_MASTER_KEY=KEY, WEIR_LOG_FORMAT="json"),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert any("service.ready" in line for line in iter(process.stderr.readline, ""))
    process.terminate()
    process.wait(30)
    process.stderr.close()
    other = base64.b64encode(bytes(range(32))).decode()
    line = the_line(weir("poster", cwd=tmp_path, variables=environment(settings, **APPS, WEIR_MASTER_KEY=other)))
    assert "WEIR_MASTER_KEY" in line
    assert "not the key this region is sealed with" in line
    assert other not in line


def test_a_wrong_broker_token(broker: RunningBroker, tmp_path: Path) -> None:
    variables = plain(WEIR_NATS_URL=broker.url, WEIR_NATS_TOKEN="wrong-token-value")
    line = the_line(weir("setup", cwd=tmp_path, variables=variables))
    assert "WEIR_NATS_TOKEN" in line
    assert "wrong-token-value" not in line


def test_setup_twice_says_there_is_nothing_to_do(settings: Settings, tmp_path: Path) -> None:
    variables = environment(settings)
    first = weir("setup", cwd=tmp_path, variables=variables)
    second = weir("setup", cwd=tmp_path, variables=variables)
    assert (first.returncode, second.returncode) == (0, 0)
    assert "made or upgraded RECORDS" in first.stdout
    assert "nothing to do" in second.stdout


def test_settings_never_show_a_secret(tmp_path: Path) -> None:
    ended = weir("settings", cwd=tmp_path, variables=plain(WEIR_MASTER_KEY=KEY, WEIR_QONTO_CLIENT_SECRET="hush-hush"))
    assert ended.returncode == 0
    assert "WEIR_QONTO_CLIENT_SECRET = set" in ended.stdout
    assert KEY not in ended.stdout
    assert "hush-hush" not in ended.stdout


def test_a_new_key_can_be_used(tmp_path: Path) -> None:
    ended = weir("setup", "--new-key", cwd=tmp_path, variables=plain())
    assert len(base64.b64decode(ended.stdout.strip(), validate=True)) == 32
