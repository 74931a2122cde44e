"""Who may import whom: services share `common` and nothing of one another."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SERVICES = sorted(path.name for path in (ROOT / "services").iterdir() if (path / "__init__.py").exists())


def imported(source: str) -> set[str]:
    """Every module a file imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def crossings(package: str) -> list[str]:
    """Imports of a package that reach into another service."""
    found = []
    for path in sorted((ROOT / package).rglob("*.py")):
        for name in sorted(imported(path.read_text())):
            parts = name.split(".")
            own = package.rsplit("/", maxsplit=1)[-1]
            if parts[0] == "services" and (len(parts) < 2 or parts[1] != own):
                found.append(f"{path.relative_to(ROOT)} imports {name}")
    return found


def test_every_service_is_looked_at() -> None:
    assert {"cli", "console", "poster", "puller", "sandbox", "scorer"} <= set(SERVICES)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_imports_no_other(service: str) -> None:
    assert crossings(f"services/{service}") == []


def test_common_imports_no_service() -> None:
    assert crossings("common") == []


def test_a_crossing_would_be_seen() -> None:
    assert "services.poster.ledger" in imported("def f():\n    from services.poster import ledger\n")


@pytest.mark.parametrize("library", ["httpx", "cryptography", "stamina"])
def test_the_scorer_needs_no_client_and_no_secrets(library: str) -> None:
    reached, todo = set(), ["services.scorer.app"]
    while todo:
        module = todo.pop()
        if module in reached:
            continue
        reached.add(module)
        path = ROOT / Path(*module.split("."))
        file = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
        if file.exists():
            names = imported(file.read_text())
            assert not any(name.split(".")[0] == library for name in names), f"{module} imports {library}"
            todo += [name for name in names if name.split(".")[0] in {"common", "services"}]
    assert "common.bus" in reached


IMPURE = frozenset("asyncio anyio nats faststream httpx os pathlib socket subprocess time random threading".split())


def test_the_matching_core_is_pure() -> None:
    for path in sorted((ROOT / "services/scorer/matching").glob("*.py")):
        for name in imported(path.read_text()):
            assert name.split(".")[0] not in IMPURE, f"{path.name} imports {name}"
            assert name != "common.bus", f"{path.name} imports {name}"
            inside = not name.startswith("services.") or name.startswith("services.scorer.matching")
            assert inside, f"{path.name} imports {name}"
