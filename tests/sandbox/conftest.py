"""One sandbox process for the session, a company of its own for each test that asks."""

from collections.abc import Iterator

import msgspec
import pytest

from services.sandbox.switches import Switches
from tests.sandbox.desk import QUIET, Company, Desk, Process


@pytest.fixture(scope="session")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = Process(tmp_path_factory.mktemp("sandbox"))
    yield process
    process.stop()


@pytest.fixture
def desk(process: Process) -> Iterator[Desk]:
    """The control API, switches at their defaults but quick and without limits."""
    desk = Desk(process.urls)
    desk.call("DELETE", "/faults")
    desk.turn(**{**msgspec.to_builtins(Switches()), **QUIET})
    yield desk
    desk.http.close()


@pytest.fixture
def company(desk: Desk) -> Company:
    return desk.company()
