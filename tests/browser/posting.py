"""A poster between the broker and a sandbox of its own, and a console of the same region in front of it."""

from collections.abc import AsyncIterator

import pytest

from common.bus import Bus
from common.settings import Settings
from tests.console.stand import served
from tests.poster.conftest import desk, idle, sandbox

__all__ = ["console", "desk", "idle", "sandbox"]


@pytest.fixture
async def console(settings: Settings, bus: Bus) -> AsyncIterator[str]:
    """A console that needs no provider; its address."""
    assert bus.region  # the buckets exist
    async with served(settings) as url:
        yield url
