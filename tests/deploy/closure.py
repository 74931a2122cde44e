"""What an extra brings: the distributions that `pip install '.[EXTRA]'` installs, and the modules they hold."""

import re
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OWN = frozenset({"common", "services"})


def name(text: str) -> str:
    """A distribution's name as registries compare them."""
    return re.sub(r"[-_.]+", "-", text).lower()


@cache
def brought_by(extra: str | None) -> frozenset[str]:
    """Distributions that an extra of ours brings (None: no extra), what they need in turn included."""
    declared = [*PROJECT["dependencies"], *(PROJECT["optional-dependencies"][extra] if extra else [])]
    found: set[str] = set()
    todo = [(Requirement(line), frozenset({""})) for line in declared]
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        wanted, extras = todo.pop()
        if wanted.marker and not any(wanted.marker.evaluate({"extra": one}) for one in extras):
            continue
        key = (name(wanted.name), frozenset(wanted.extras))
        if key in seen:
            continue
        seen.add(key)
        found.add(key[0])
        try:
            needed = distribution(wanted.name).requires or []
        except PackageNotFoundError:
            raise AssertionError(f"{wanted.name} is declared and not installed") from None
        todo += [(Requirement(line), frozenset({"", *wanted.extras})) for line in needed]
    return frozenset(found)


@cache
def holders() -> dict[str, frozenset[str]]:
    """The distributions that hold each top-level module."""
    return {top: frozenset(map(name, found)) for top, found in packages_distributions().items()}


def distributions(modules: Iterable[str]) -> set[str]:
    """The distributions that hold top-level modules; the standard library and our own packages hold none."""
    tops = {module.partition(".")[0] for module in modules} - OWN
    return {holder for top in tops for holder in holders().get(top, ())}
