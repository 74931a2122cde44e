"""The puller's process: wires the QuickBooks connection, the calls it answers and the ticks it takes."""

import re
from functools import partial

import anyio
import httpx

from common import http, masterkeys, subjects
from common import quickbooks as wire
from common.bus import Bus
from common.connections import Account, Connections
from common.consume import batches
from common.errors import Refused, RetryLater
from common.messages import Backfill, Company, Exchange, Rewind, Tick, Webhook
from common.oauth import OAuthApp, Tokens
from common.rewrapping import Rewrapping
from common.service import main
from common.settings import Settings
from common.wire import WireError
from services.puller.limits import METERED_FOR, keep_within_limits
from services.puller.quickbooks import MINOR_VERSION, NOT_NOW, PAUSED
from services.puller.rewind import Rewinder
from services.puller.ticks import AT_ONCE, SLICE, Ticks
from services.puller.webhooks import Webhooks

SCOPE = "com.intuit.quickbooks.accounting"
"""Reads and writes: QuickBooks has no scope that only reads."""

PROOF_PATIENCE = 20.0
"""Seconds for QuickBooks to show the company just connected; a person waits for it."""

_REALM = re.compile(r"\d{10,19}\Z")


def build(bus: Bus, client: httpx.AsyncClient, *, seconds: float = SLICE) -> None:
    """Register everything the puller does on `bus`; UserError if a setting it needs is missing."""
    connections = connected(bus, client)
    connections.serve()
    Rewrapping(bus, connections.vault, "quickbooks").serve()
    rewinder = Rewinder(bus, connections)
    bus.answers(subjects.call(bus.region, "quickbooks", "rewind"), Rewind, rewinder.rewind)
    bus.answers(subjects.call(bus.region, "quickbooks", "backfill"), Backfill, rewinder.backfill)
    bus.answers(subjects.call(bus.region, "quickbooks", "webhook"), Webhook, Webhooks(bus, connections).take)
    ticks = Ticks(bus, connections, client, seconds=seconds)
    bus.before_serving(ticks.wake_forgotten)
    bus.add_task(ticks.keep_awake, ticks.stop)
    for _ in range(AT_ONCE):  # each takes a tick when it is done with one: nobody waits for a slow company
        batches(bus, bus.topology.puller, Tick, ticks.handle, size=1)


def connected(bus: Bus, client: httpx.AsyncClient) -> Connections:
    """The connections to QuickBooks, and `client` within its limits; UserError if a setting is missing."""
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
    prove = partial(identify, client, settings.quickbooks_api_url)
    keep_within_limits(client, bus)
    return Connections(bus, masterkeys.vault(settings), app, client, prove, stated=realm_of)


def realm_of(callback: Exchange) -> str:
    """The company the callback names, which is not proven by that; Refused if it names none properly."""
    if callback.realm is None or not _REALM.match(callback.realm):
        raise Refused(
            "QuickBooks did not say which company it connected", field="realmId", fix="connect again from the console"
        )
    return callback.realm


async def identify(
    client: httpx.AsyncClient, api_url: str, tokens: Tokens, callback: Exchange, workspace: str
) -> Account:
    """The company a fresh grant is for: the one of the callback, if QuickBooks shows it with this grant.

    `GET /v3/company/{realm}/companyinfo/{realm}`, one call, metered for the workspace. Refused if the grant is not good
    for that company, RetryLater if QuickBooks does not tell within PROOF_PATIENCE.
    """
    realm = realm_of(callback)
    try:
        with anyio.fail_after(PROOF_PATIENCE):
            response = await http.repeated(
                client,
                "GET",
                f"{api_url}/v3/company/{realm}/companyinfo/{realm}",
                params={"minorversion": MINOR_VERSION},
                headers={"Authorization": f"Bearer {tokens.access}", "Accept": "application/json"},
                extensions={METERED_FOR: workspace},
            )
    except (httpx.HTTPError, TimeoutError) as error:
        raise RetryLater(f"QuickBooks does not tell the company: {type(error).__name__}") from None
    if 400 <= response.status_code < 500:
        fault = wire.fault(response.status_code, response.content)
        if fault.code in PAUSED:
            why, fix = PAUSED[fault.code]
            raise Refused(f"{why}: HTTP {fault.status} code {fault.code}", fix=f"{fix}, then connect again")
        if fault.code in NOT_NOW:
            raise RetryLater(f"QuickBooks opens the company to nobody for now: {fault}")
        raise Refused(
            f"the grant is not for company {realm}: QuickBooks answers HTTP {fault.status} code {fault.code or '–'}",
            field="realmId",
            fix="connect again from the console, as an administrator of that company",
        )
    try:
        body = wire.company(wire.single(response.content, "CompanyInfo"), None).body
    except WireError as error:
        raise RetryLater(f"QuickBooks does not tell the company: HTTP {response.status_code}, {error}") from None
    return Account(realm, body.name if isinstance(body, Company) else None)


async def serve(settings: Settings) -> None:
    """Pull until the process is told to stop."""
    urls = (settings.quickbooks_api_url, settings.quickbooks_token_url, settings.quickbooks_revoke_url)
    async with http.client(provider="quickbooks", urls=urls) as client:
        bus = Bus(settings, "puller")
        build(bus, client)
        await bus.run()


def run() -> None:
    """The `weir puller` command."""
    main("puller", serve)
