"""Each service runs with what its own extra brings, and its image holds nothing else."""

import json
import subprocess
import sys

import pytest

from tests.deploy.closure import OWN, ROOT, brought_by, distributions, holders
from tests.test_boundaries import imported

SERVICES = ("puller", "scorer", "poster", "console", "sandbox")

_IMPORT = """
import json, sys
lacking = set(json.loads(sys.argv[1]))
class Lacking:
    def find_spec(self, module, path=None, target=None):
        if path is None and module in lacking:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
sys.meta_path.insert(0, Lacking())
for module in sys.argv[2:]:
    __import__(module)
"""


def lacking(extra: str | None) -> list[str]:
    """Top-level modules that are installed here and not where only the extra was asked for."""
    return sorted(top for top, found in holders().items() if not found & brought_by(extra) and top not in OWN)


def imports(extra: str | None, *modules: str) -> str:
    """What is said when these modules are imported where only the extra was installed: nothing if that works."""
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT, json.dumps(lacking(extra)), *modules],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=100,
        check=False,
    )
    return done.stderr


def written(package: str) -> dict[str, set[str]]:
    """Distributions that the files of a package import, wherever in the file, and those of `common` they reach."""
    found: dict[str, set[str]] = {}
    todo = sorted((ROOT / package).rglob("*.py"))
    seen = set(todo)
    while todo:
        path = todo.pop()
        names = imported(path.read_text())
        found[str(path.relative_to(ROOT))] = distributions(names)
        for one in names:
            parts = ROOT.joinpath(*one.split("."))
            for file in (parts.with_suffix(".py"), parts / "__init__.py"):
                if one.split(".")[0] == "common" and file.exists() and file not in seen:
                    seen.add(file)
                    todo.append(file)
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_starts_with_its_extra_alone(service: str) -> None:
    assert imports(service, "services.cli.app", f"services.{service}.app") == ""


def test_what_an_extra_lacks_would_be_seen() -> None:
    assert "No module named 'httpx'" in imports("scorer", "httpx")


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_imports_nothing_later_that_its_extra_lacks(service: str) -> None:
    there = brought_by(service) | brought_by("telemetry")  # traces are sent where that was installed as well
    assert {file: lacking for file, used in written(f"services/{service}").items() if (lacking := used - there)} == {}


def test_the_command_line_needs_no_service() -> None:
    whole = {"demo", "up", "installation", "bookkeeper", "tally", "report"}  # with everything on one machine
    modules = [
        f"services.cli.{file.stem}" for file in sorted((ROOT / "services/cli").glob("*.py")) if file.stem not in whole
    ]
    assert "services.cli.setup" in modules
    assert imports("cli", *modules) == ""


@pytest.mark.parametrize("library", ["httpx", "cryptography", "stamina", "uvicorn", "litestar"])
def test_the_scorers_image_has_no_client_and_no_secrets(library: str) -> None:
    assert library not in brought_by("scorer")
