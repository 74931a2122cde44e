"""The puller's process: wires the QuickBooks connection, the calls it answers and the ticks it takes."""

import re

import httpx

from common import http, subjects
from common.bus import Bus
from common.connections import Connections
from common.consume import batches
from common.errors import Refused
from common.messages import Exchange, Rewind, Tick
from common.oauth import OAuthApp, Tokens
from common.service import main
from common.settings import Settings
from common.vault import Vault
from services.puller.limits import keep_pace
from services.puller.rewind import Rewinder
from services.puller.ticks import AT_ONCE, SLICE, Ticks

SCOPE = "com.intuit.quickbooks.accounting"
"""Reads and writes: QuickBooks has no scope that only reads."""

_REALM = re.compile(r"\d{10,19}\Z")


def build(bus: Bus, client: httpx.AsyncClient, *, seconds: float = SLICE) -> None:
    """Register everything the puller does on `bus`; UserError if a setting it needs is missing."""
    settings = bus.settings
    app = OAuthApp(
        provider="quickbooks",
        client_id=settings.required("quickbooks_client_id"),
        client_secret=settings.required("quickbooks_client_secret"),
        authorize_url=settings.quickbooks_authorize_url,
        token_url=settings.quickbooks_token_url,
        revoke_url=settings.quickbooks_revoke_url,
        scope=SCOPE,
        credentials="basic",
    )
    connections = Connections(bus, Vault(settings.sealing_key()), app, client, identify)
    connections.serve()
    keep_pace(client, settings.quickbooks_api_url)
    bus.answers(subjects.call(bus.region, "quickbooks", "rewind"), Rewind, Rewinder(bus, connections).rewind)
    ticks = Ticks(bus, connections, client, seconds=seconds)
    bus.before_serving(ticks.wake_forgotten)
    batches(bus, bus.topology.puller, Tick, ticks.handle, size=AT_ONCE)


async def identify(_tokens: Tokens, callback: Exchange) -> str:
    """The realm a grant is for, which QuickBooks tells only in the callback."""
    if callback.realm is None or not _REALM.match(callback.realm):
        raise Refused(
            "QuickBooks did not say which company it connected", field="realmId", fix="connect again from the console"
        )
    return callback.realm


async def serve(settings: Settings) -> None:
    """Pull until the process is told to stop."""
    async with http.client() as client:
        bus = Bus(settings, "puller")
        build(bus, client)
        await bus.run()


def run() -> None:
    """The `weir puller` command."""
    main("puller", serve)
