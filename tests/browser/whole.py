"""Weir whole, as in the field: both stand-ins, every service at work, and a console that knows where they are."""

import asyncio
import base64
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from common import http
from common.bus import Bus
from common.settings import Settings
from services.poster.app import build as build_poster
from services.poster.connection import staging
from services.puller.app import build as build_puller
from services.sandbox.app import DEFAULTS, build, serving
from services.scorer.app import build as build_scorer
from tests.console.stand import process


@dataclass
class Whole:
    """What a test reaches of it."""

    bus: Bus
    settings: Settings
    control: httpx.AsyncClient
    """The stand-ins' controls."""
    console: str = ""

    async def company(self, bills: int) -> dict[str, Any]:
        """A new company with its organization in Qonto."""
        answer = await self.control.post("/sandbox/companies", json={"seed": "weir", "bills": bills})
        answer.raise_for_status()
        return dict(answer.json())

    async def switch(self, **values: Any) -> None:
        """Turn switches of the stand-ins."""
        (await self.control.put("/sandbox/switches", json=values)).raise_for_status()


@asynccontextmanager
async def _serving(bus: Bus) -> AsyncIterator[None]:
    task = asyncio.create_task(bus.run())
    try:
        with anyio.fail_after(15):
            await bus.started.wait()
        yield
    finally:
        bus.stop()
        await task


@pytest.fixture
async def whole(bus: Bus, settings: Settings, tmp_path: Path) -> AsyncIterator[Whole]:
    """Nothing connected yet; people have to pick a company on the consent pages."""
    folder = tmp_path / "sandbox"
    folder.mkdir()
    async with AsyncExitStack() as stack:
        urls = await stack.enter_async_context(serving(build(folder, DEFAULTS), folder))
        pointed = Settings.model_validate(
            {
                **settings.model_dump(),
                "quickbooks_api_url": urls.quickbooks,
                "quickbooks_authorize_url": f"{urls.quickbooks}/connect/oauth2",
                "quickbooks_token_url": f"{urls.quickbooks}/oauth2/v1/tokens/bearer",
                "quickbooks_revoke_url": f"{urls.quickbooks}/v2/oauth2/tokens/revoke",
                "quickbooks_client_id": DEFAULTS.quickbooks_client_id,
                "quickbooks_client_secret": DEFAULTS.quickbooks_client_secret,
                "qonto_api_url": urls.qonto,
                "qonto_oauth_url": urls.qonto,
                "qonto_client_id": DEFAULTS.qonto_client_id,
                "qonto_client_secret": DEFAULTS.qonto_client_secret,
                "master_key": base64.b64encode(os.urandom(32)).decode(),
            }
        )
        control = await stack.enter_async_context(httpx.AsyncClient(base_url=urls.quickbooks, timeout=30))
        whole = Whole(bus, pointed, control)
        await whole.switch(approval="manual")
        puller, scorer, poster = (Bus(pointed, name) for name in ("puller", "scorer", "poster"))
        build_puller(puller, await stack.enter_async_context(http.client()))
        build_scorer(scorer)
        client = http.client(pointed.qonto_api_url, staging(pointed))
        build_poster(poster, await stack.enter_async_context(client))
        for service in (puller, scorer, poster):
            await stack.enter_async_context(_serving(service))
        whole.console = await stack.enter_async_context(
            process(
                pointed,
                tmp_path / "console.log",
                {
                    "WEIR_QUICKBOOKS_AUTHORIZE_URL": pointed.quickbooks_authorize_url,
                    "WEIR_QONTO_OAUTH_URL": pointed.qonto_oauth_url,
                },
            )
        )
        yield whole


@pytest.fixture
def console(whole: Whole) -> str:
    """The address of its console."""
    return whole.console
