"""Compose for one host: every name in it is one that exists, and each service gets what it needs and no more."""

import re
import shutil
import subprocess
from functools import cache
from typing import Any

import pytest
import yaml

from common import topology
from services.sandbox.app import DEFAULTS
from tests.conftest import ROOT
from tests.deploy.variables import SETTINGS

DEPLOY = ROOT / "deploy"
SERVICES = ("puller", "scorer", "poster", "console")
SECRETS = {
    "nats": {"broker-cert", "broker-key", "store-key"},
    "setup": {"operator-seed", "ca"},
    "puller": {"puller-seed", "ca", "master-key", "quickbooks-client-secret"},
    "scorer": {"scorer-seed", "ca"},
    "poster": {"poster-seed", "ca", "master-key", "qonto-client-secret"},
    "console": {"console-seed", "ca"},
}


@cache
def compose(name: str) -> dict[str, Any]:
    """A Compose file as it stands; what its two tags say of merging (put in the place of, take away) is left aside."""
    found: dict[str, Any] = yaml.safe_load(re.sub(r"!(override|reset)\b", "", (DEPLOY / name).read_text()))
    return found


def base() -> dict[str, Any]:
    """The services of the file for one host."""
    found: dict[str, Any] = compose("compose.yaml")["services"]
    return found


@pytest.mark.parametrize("files", [["compose.yaml"], ["compose.yaml", "compose.sandbox.yaml"]])
def test_compose_takes_it(files: list[str]) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not installed")
    named = [part for file in files for part in ("-f", str(DEPLOY / file))]
    done = subprocess.run(
        [docker, "compose", *named, "config", "--quiet"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_each_sees_its_own_secrets_only() -> None:
    seen = {name: {one["source"] for one in service.get("secrets", [])} for name, service in base().items()}
    assert {name: secrets for name, secrets in seen.items() if secrets} == SECRETS
    declared = compose("compose.yaml")["secrets"]
    assert set(declared) == {secret for secrets in SECRETS.values() for secret in secrets}
    told = (ROOT / "docs/deploy.md").read_text()
    files = {one["file"].removeprefix("./").replace("${REGION:-eu}", "eu") for one in declared.values()}
    assert {file for file in files if file.removeprefix("secrets/") not in told} == set()


def test_secrets_are_where_the_variables_say() -> None:
    for name in (*SERVICES, "setup"):
        targets = {one["target"] for one in base()[name]["secrets"]}
        for variable, value in (base()[name]["environment"] or {}).items():
            if variable.endswith(("_FILE", "_CA")):
                assert value.removeprefix("/run/secrets/") in targets, (name, variable)
        files = {target for target in targets if target.startswith("WEIR_")}
        assert files <= SETTINGS
        assert not files or base()[name]["environment"]["WEIR_SECRETS_DIR"] == "/run/secrets"


@pytest.mark.parametrize("file", ["compose.yaml", "compose.sandbox.yaml"])
def test_variables_are_settings(file: str) -> None:
    for service in compose(file)["services"].values():
        assert {name for name in service.get("environment") or {} if name.startswith("WEIR_")} <= SETTINGS
    assert set(re.findall(r"\bWEIR_[A-Z_]+[A-Z]\b", (DEPLOY / file).read_text())) <= SETTINGS


@pytest.mark.parametrize("name", [*SERVICES, "setup", "nats", "store"])
def test_containers_have_no_rights(name: str) -> None:
    service = base()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"] == ("0:0" if name == "store" else "${RUN_AS:-10001:10001}")
    assert "privileged" not in service


def test_services_are_given_time_to_finish() -> None:
    for name in SERVICES:
        assert int(base()[name]["stop_grace_period"].removesuffix("s")) > topology.ACK_WAIT
        assert base()[name]["restart"] == "unless-stopped"
        assert base()[name]["depends_on"] == {"setup": {"condition": "service_completed_successfully"}}


def test_the_scorer_has_no_way_out() -> None:
    networks = compose("compose.yaml")["networks"]
    assert base()["scorer"]["networks"] == ["broker"]
    assert networks["broker"]["internal"] is True


def test_nothing_is_open_to_other_hosts() -> None:
    for file in ("compose.yaml", "compose.sandbox.yaml"):
        for service in compose(file)["services"].values():
            assert all(port.startswith("127.0.0.1:") for port in service.get("ports") or [])
    shared = [one for one in compose("compose.sandbox.yaml")["services"].values() if one.get("network_mode") == "host"]
    listening = {name: value for one in shared for name, value in one["environment"].items() if name.endswith("_HOST")}
    assert set(listening) == {"WEIR_OPS_HOST", "WEIR_CONSOLE_HOST"}
    assert set(listening.values()) == {"127.0.0.1"}
    ports = [one["environment"]["WEIR_OPS_PORT"] for one in shared if "WEIR_OPS_PORT" in one["environment"]]
    assert len(ports) == len(set(ports)) == 3


@pytest.mark.parametrize("file", ["compose.yaml", "compose.sandbox.yaml"])
def test_every_image_has_a_tag_and_a_target(file: str) -> None:
    stages = set(re.findall(r"^FROM \S+ AS (\S+)", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE))
    for service in compose(file)["services"].values():
        if "image" not in service:
            continue
        image, _, tag = service["image"].partition(":")
        assert tag not in {"", "latest"}
        if "build" in service:
            assert service["build"]["target"] in stages
            assert image == f"weir-{service['build']['target']}"
        else:
            assert image == "nats"


def test_the_stand_ins_know_what_they_are_sent() -> None:
    told = compose("compose.sandbox.yaml")["x-stand-ins"]
    for name in ("quickbooks_client_id", "quickbooks_client_secret", "qonto_client_id", "qonto_client_secret"):
        assert hasattr(DEFAULTS, name)
        assert told[f"WEIR_{name.upper()}"]
    services = compose("compose.sandbox.yaml")["services"]
    for name in ("puller", "poster", "sandbox"):
        assert told.items() <= services[name]["environment"].items()
