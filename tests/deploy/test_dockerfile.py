"""The Dockerfile: a target for each service, and what every image of ours keeps to. (No image is built here.)"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from services.cli.app import app
from tests.conftest import ROOT
from tests.deploy.closure import PROJECT

DOCKERFILE = ROOT / "deploy/Dockerfile"
SERVICES = ("puller", "scorer", "poster", "console", "sandbox")


def stages() -> dict[str, tuple[str, str]]:
    """What each stage starts from and does."""
    parts = re.split(r"^FROM (\S+) AS (\S+)$", DOCKERFILE.read_text(), flags=re.MULTILINE)[1:]
    return {name: (source, body) for source, name, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True)}


def lineage(stage: str) -> str:
    """Everything that is said of a stage, by those it starts from too."""
    said = ""
    while stage in stages():
        stage, body = stages()[stage]
        said = body + said
    return said


def test_a_linter_has_nothing_to_say() -> None:
    linter = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([str(linter), str(DOCKERFILE)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_has_an_image_with_its_extra_alone(service: str) -> None:
    said = lineage(service)
    assert json.loads(said[said.index("ENTRYPOINT") + len("ENTRYPOINT") :].splitlines()[0]) == ["weir", service]
    assert app[service] is not None
    assert re.findall(r"COPY --from=(\S+) /opt/weir /opt/weir", said) == [f"install-{service}"]
    assert re.findall(r"\[(\w+)(?:\$\{MORE\})?\]\"$", stages()[f"install-{service}"][1], re.MULTILINE) == [service]
    assert service in PROJECT["optional-dependencies"]


@pytest.mark.parametrize("service", [*SERVICES, "cli"])
def test_an_image_has_no_rights_and_can_be_stopped(service: str) -> None:
    said = lineage(service)
    assert re.findall(r"^USER (.*)$", said, re.MULTILINE) == ["10001:10001"]
    assert "STOPSIGNAL SIGTERM" in said
    assert "HEALTHCHECK" in said
    assert "pip uninstall" in said
    assert "apt-get" not in DOCKERFILE.read_text()


def test_health_is_asked_in_words_python_knows() -> None:
    for found in re.findall(r"HEALTHCHECK .* CMD (\[.*\])$", DOCKERFILE.read_text(), re.MULTILINE):
        program, option, code = json.loads(found)
        assert (program, option) == ("python", "-c")
        compile(code, "HEALTHCHECK", "exec")


def test_what_is_copied_gets_into_the_build() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        word
        for line in re.findall(r"^COPY (?!--)(.*) \S+$", DOCKERFILE.read_text(), re.MULTILINE)
        for word in line.split()
    }
    assert copied == let_in
    assert all((ROOT / name).exists() for name in copied)
    assert re.search(r"^\*$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
