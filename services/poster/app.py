"""The poster's process: wires the Qonto connection, the mirror, and the decisions and answers it carries out."""

from functools import partial

import httpx

from common import http, subjects
from common.bus import Bus
from common.connections import Account, Connections
from common.consume import batches
from common.messages import Decision, Exchange, Mirror, ReviewResolved, Undo, Webhook
from common.oauth import Tokens
from common.service import main
from common.settings import Settings
from common.vault import Vault
from services.poster.answers import Answers
from services.poster.connection import identify, oauth_app, staging, take_back
from services.poster.limits import Refusals, keep_within_limits
from services.poster.mirror import QontoMirror
from services.poster.posting import Poster
from services.poster.qonto import Qonto
from services.poster.subscriptions import Subscriptions, callback
from services.poster.undoing import Undoing
from services.poster.webhooks import Webhooks

DECISIONS = 100
"""Decisions taken at a time: enough to fill uploads, few enough to hand over within a minute."""
ANSWERS = 20


def build(bus: Bus, client: httpx.AsyncClient) -> None:
    """Register everything the poster does on `bus`; UserError if a setting it needs is missing."""
    pace = keep_within_limits(client, bus)
    connections = connected(bus, client)
    connections.serve()
    qonto = Qonto(client, connections, pace, Refusals(bus))
    subscriptions = Subscriptions(bus, Vault(bus.settings.sealing_key()), connections, qonto)
    connections.when_connected(subscriptions.ensure)
    webhooks = Webhooks(connections, subscriptions, bus.settings.required("qonto_client_id"))
    bus.answers(subjects.call(bus.region, "qonto", "webhook"), Webhook, webhooks.take)
    mirror = QontoMirror(bus, qonto, connections, subscriptions)
    bus.answers(subjects.call(bus.region, "qonto", "mirror"), Mirror, mirror.bring_up)
    bus.answers(subjects.call(bus.region, "qonto", "undo"), Undo, Undoing(bus, qonto).undo)
    batches(bus, bus.topology.poster, Decision, Poster(bus, qonto, "decisions").handle, size=DECISIONS)
    answers = Answers(bus, Poster(bus, qonto, "answers"))
    batches(bus, bus.topology.answers, ReviewResolved, answers.handle, size=ANSWERS, unreadable=answers.unreadable)


def connected(bus: Bus, client: httpx.AsyncClient) -> Connections:
    """The connections to Qonto; UserError if a setting is missing."""
    url = callback(bus.settings)
    app, vault = oauth_app(bus.settings, webhooks=url is not None), Vault(bus.settings.sealing_key())

    async def prove(tokens: Tokens, request: Exchange, _workspace: str) -> Account:
        return await identify(client, tokens, request)

    return Connections(bus, vault, app, client, prove, take_back=partial(take_back, client, app, callback=url))


async def serve(settings: Settings) -> None:
    """Post until the process is told to stop."""
    async with http.client(settings.qonto_api_url, staging(settings)) as client:
        bus = Bus(settings, "poster")
        build(bus, client)
        await bus.run()


def run() -> None:
    """The `weir poster` command."""
    main("poster", serve)
