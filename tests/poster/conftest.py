"""A poster between the session's broker and a sandbox of its own."""

import base64
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from common.bus import Bus
from common.settings import Settings
from services.sandbox.app import DEFAULTS, build, serving
from tests.poster.desk import Desk, poster


@pytest.fixture
async def sandbox(tmp_path: Path, settings: Settings) -> AsyncIterator[tuple[Settings, str]]:
    """A running sandbox: settings that point at its Qonto, and the address of its controls."""
    folder = tmp_path / "sandbox"
    folder.mkdir()
    async with serving(build(folder, DEFAULTS), folder) as urls:
        pointed = Settings.model_validate(
            {
                **settings.model_dump(),
                "qonto_api_url": urls.qonto,
                "qonto_oauth_url": urls.qonto,
                "qonto_client_id": DEFAULTS.qonto_client_id,
                "qonto_client_secret": DEFAULTS.qonto_client_secret,
                "master_key": base64.b64encode(os.urandom(32)).decode(),
            }
        )
        yield pointed, urls.quickbooks


@pytest.fixture
async def idle(bus: Bus, sandbox: tuple[Settings, str]) -> AsyncIterator[Desk]:
    """A company in the sandbox and nobody at work yet."""
    pointed, control = sandbox
    desk = Desk(bus, pointed, control)
    await desk.open()
    yield desk
    await desk.control.aclose()


@pytest.fixture
async def desk(idle: Desk) -> AsyncIterator[Desk]:
    """A connected workspace with a poster at work."""
    async with poster(idle.settings):
        await idle.connect()
        yield idle
