"""A small company from its first pull to answered reviews, every service at work in this process."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx

from common import http, subjects
from common.buckets import Bucket
from common.bus import Bus
from common.messages import Authorize, Connected, Exchange, Provider, Redirect, Workspace, now
from common.settings import Settings
from services.cli.bookkeeper import Bookkeeper
from services.cli.tally import Tally
from services.poster.app import build as build_poster
from services.poster.connection import staging
from services.puller.app import build as build_puller
from services.sandbox.app import DEFAULTS, build, serving
from services.scorer.app import build as build_scorer

Ask = Callable[[str, Any], Awaitable[Any]]
WS = "sample-sas"
BACK = "http://127.0.0.1:8460/oauth/{}/callback"
MASTER_KEY = base64.b64encode(b"a master key for samples only...").decode()
"""Seals nothing but tokens of the sandbox, which no longer exists when they are read again."""


@dataclass
class Flow:
    """One region and its two providers; services are started by name."""

    bus: Bus
    settings: Settings
    http: httpx.AsyncClient
    """The sandbox's controls."""

    @asynccontextmanager
    async def at_work(self, *names: str) -> AsyncIterator[None]:
        """These services at work."""
        async with AsyncExitStack() as stack:
            for name in names:
                await stack.enter_async_context(self.serving(name))
            yield

    @asynccontextmanager
    async def serving(self, name: str) -> AsyncIterator[None]:
        """One service at work in this process, whatever the context it is started in makes of its messages."""
        async with AsyncExitStack() as stack:
            bus = Bus(self.settings, name)
            match name:
                case "puller":
                    build_puller(bus, await stack.enter_async_context(http.client()))
                case "poster":
                    client = http.client(self.settings.qonto_api_url, staging(self.settings))
                    build_poster(bus, await stack.enter_async_context(client))
                case _:
                    build_scorer(bus)
            task = asyncio.create_task(bus.run())
            try:
                with anyio.fail_after(20):
                    await bus.started.wait()
                yield
            finally:
                bus.stop()
                await task

    async def company(self, bills: int, seed: str = "samples") -> Bookkeeper:
        """A new company with its organization, and a workspace for both."""
        workspaces = Bucket(self.bus, "workspaces", Workspace)
        await workspaces.put(WS, Workspace(id=WS, region=self.bus.region, created_at=now()))
        return await Bookkeeper.new_company(self.http, seed, bills)

    async def connect(self, books: Bookkeeper, ask: Ask | None = None, *providers: Provider) -> None:
        """These accounts or both, Qonto first, through the providers' own pages; `ask` brings the calls."""
        ask = ask or self.bus.call
        chosen: dict[Provider, str] = {
            "qonto": f"organization_id={books.organization}",
            "quickbooks": f"company={books.realm}",
        }
        for provider in providers or chosen:
            asked = Authorize(workspace=WS, redirect_uri=BACK.format(provider))
            redirect = await ask(subjects.call(self.bus.region, provider, "authorize"), asked)
            assert isinstance(redirect, Redirect), redirect
            async with httpx.AsyncClient() as browser:
                back = await browser.get(f"{redirect.url}&{chosen[provider]}")
            given = parse_qs(urlsplit(back.headers["location"]).query)
            realm = given.get("realmId", [None])[0]
            callback = Exchange(state=given["state"][0], code=given["code"][0], realm=realm)
            answer = await ask(subjects.call(self.bus.region, provider, "exchange"), callback)
            assert isinstance(answer, Connected), answer

    async def settled(self, tally: Tally, within: float = 60) -> None:
        """Wait until nothing is under way and every bill has its answer."""
        with anyio.fail_after(within):
            calm = 0
            while calm < 2:  # twice in a row: what was just published may not have reached us yet
                calm = calm + 1 if await tally.settled() else 0
                await anyio.sleep(0.05)


@asynccontextmanager
async def flow(bus: Bus, settings: Settings, folder: Path) -> AsyncIterator[Flow]:
    """Nothing connected and nobody at work yet."""
    await anyio.Path(folder).mkdir(exist_ok=True)
    async with serving(build(folder, DEFAULTS), folder) as urls:
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
                "master_key": MASTER_KEY,
            }
        )
        async with httpx.AsyncClient(base_url=urls.quickbooks, timeout=60, trust_env=False) as control:
            yield Flow(bus, pointed, control)
