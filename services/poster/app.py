"""The poster's process: wires the Qonto connection, the mirror, and the decisions and answers it carries out."""

from functools import partial
from typing import get_args

import httpx

from common import http, masterkeys, metrics, subjects
from common.bus import Bus
from common.connections import Account, Connections
from common.consume import HEARTBEAT_CAP, batches
from common.messages import Decision, Draw, Exchange, Mirror, Outcome, Retry, ReviewResolved, Undo, Webhook
from common.oauth import Tokens
from common.rewrapping import Rewrapping
from common.service import main
from common.settings import Settings
from services.poster.answers import Answers
from services.poster.connection import identify, oauth_app, staging, take_back
from services.poster.damage import Rereading
from services.poster.drawing import Drawing
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
TOLD_AT = 10
"""Attempts after which what still waits stands among the failures: eight minutes of growing pauses."""


def build(bus: Bus, client: httpx.AsyncClient) -> None:
    """Register everything the poster does on `bus`; UserError if a setting it needs is missing."""
    for outcome in get_args(Outcome):
        metrics.POSTINGS.labels(outcome)  # an increase shows only of what was there before
    pace = keep_within_limits(client, bus)
    connections = connected(bus, client)
    connections.serve()
    qonto = Qonto(client, connections, pace, Refusals(bus))
    subscriptions = Subscriptions(bus, connections.vault, connections, qonto)
    connections.when_connected(subscriptions.ensure)
    Rewrapping(bus, connections.vault, "qonto", [subscriptions.shelf]).serve()
    webhooks = Webhooks(connections, subscriptions, bus.settings.required("qonto_client_id"))
    bus.answers(subjects.call(bus.region, "qonto", "webhook"), Webhook, webhooks.take)
    mirror = QontoMirror(bus, qonto, connections, subscriptions)
    bus.answers(subjects.call(bus.region, "qonto", "mirror"), Mirror, mirror.bring_up)
    bus.answers(subjects.retry(bus.region, "mirror"), Retry, Rereading(bus, qonto).retry)
    bus.answers(subjects.call(bus.region, "qonto", "undo"), Undo, Undoing(bus, qonto).undo)
    bus.answers(subjects.call(bus.region, "qonto", "document"), Draw, Drawing(bus).draw)
    decisions = Poster(bus, qonto, "decisions")
    batches(bus, bus.topology.poster, Decision, decisions.handle, size=DECISIONS, within=HEARTBEAT_CAP, told_at=TOLD_AT)
    answers = Answers(bus, Poster(bus, qonto, "answers"))
    batches(
        bus,
        bus.topology.answers,
        ReviewResolved,
        answers.handle,
        size=ANSWERS,
        unreadable=answers.unreadable,
        within=HEARTBEAT_CAP,
        told_at=TOLD_AT,
    )


def connected(bus: Bus, client: httpx.AsyncClient) -> Connections:
    """The connections to Qonto; UserError if a setting is missing."""
    url = callback(bus.settings)
    app, vault = oauth_app(bus.settings, webhooks=url is not None), masterkeys.vault(bus.settings)

    async def prove(tokens: Tokens, request: Exchange, _workspace: str) -> Account:
        return await identify(client, tokens, request)

    return Connections(
        bus, vault, app, client, prove, take_back=partial(take_back, client, app, Refusals(bus), callback=url)
    )


async def serve(settings: Settings) -> None:
    """Post until the process is told to stop."""
    urls = (settings.qonto_api_url, settings.qonto_oauth_url)
    async with http.client(settings.qonto_api_url, staging(settings), provider="qonto", urls=urls) as client:
        bus = Bus(settings, "poster")
        build(bus, client)
        await bus.run()


def run() -> None:
    """The `weir poster` command."""
    main("poster", serve)
