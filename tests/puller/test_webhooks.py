"""Webhooks bring the next pull forward, once, and only for what was not read yet."""

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import anyio
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pydantic import SecretStr
from structlog.testing import capture_logs

from common import http, masterkeys, subjects
from common.buckets import Bucket
from common.bus import Bus
from common.connections import Account, Connection, Connections
from common.errors import Refused
from common.lease import lease
from common.messages import AccountClaim, Bill, Done, Exchange, Refusal, Tick, Webhook, now
from common.oauth import OAuthApp, Tokens
from common.quickbooks.events import Event
from common.settings import Settings
from services.puller import schedule, webhooks
from services.puller.entities import DELETIONS, ENTITIES
from services.puller.marker import Marker
from services.puller.schedule import GAP, wait_for_quiet
from services.puller.webhooks import (
    AHEAD,
    Webhooks,
    genuine,
    identity,
    pulled,
    unread,
)
from services.puller.window import Window
from tests.puller.stand import KEY, World, puller, until

pytestmark = pytest.mark.usefixtures("swift")

VERIFIER = "fictional-verifier-token"
READ = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)
"""Where the markers of the pure tests stand."""
SECOND = timedelta(seconds=1)

Format = Literal["legacy", "cloud"]
FORMATS: tuple[Format, ...] = ("legacy", "cloud")
OPERATIONS = {"created": "Create", "updated": "Update", "deleted": "Delete", "merged": "Merge", "voided": "Void"}

BODIES = st.binary(min_size=1, max_size=300)
TOKENS = st.text(min_size=1, max_size=40)
OFFSETS = st.integers(-400_000_000, 250_000_000).map(lambda part: timedelta(microseconds=part))
CHANGES = st.builds(
    Event,
    st.just("9341000000000001"),
    st.sampled_from([*(entity.name.lower() for entity in ENTITIES), "invoice", "purchase", "account"]),
    st.sampled_from(["created", "updated", "deleted", "merged", "voided", "emailed", "archived"]),
    st.integers(1, 9).map(str),
    OFFSETS.map(READ.__add__),
)


def sign(body: bytes, verifier: str = VERIFIER) -> str:
    """As Intuit signs."""
    return base64.b64encode(hmac.new(verifier.encode(), body, hashlib.sha256).digest()).decode()


def body_of(told: Iterable[Event], format_: Format) -> bytes:
    """The body of a delivery that tells these events."""
    if format_ == "legacy":
        companies = [
            {
                "realmId": event.realm,
                "dataChangeEvent": {
                    "entities": [
                        {
                            "name": event.entity.capitalize(),
                            "id": event.id,
                            "operation": OPERATIONS.get(event.operation, event.operation),
                            "lastUpdated": event.at.strftime("%Y-%m-%dT%H:%M:%S%z"),
                        }
                    ]
                },
            }
            for event in told
        ]
        return json.dumps({"eventNotifications": companies}).encode()
    return json.dumps(
        [
            {
                "specversion": "1.0",
                "id": secrets.token_hex(8),
                "type": f"qbo.{event.entity}.{event.operation}.v1",
                "time": f"{event.at:%Y-%m-%dT%H:%M:%S.%f}000Z",
                "intuitentityid": event.id,
                "intuitaccountid": event.realm,
            }
            for event in told
        ]
    ).encode()


def marked(**markers: Marker) -> Any:
    """Gives the marker of a name as `Markers` does; every other one stands at READ."""
    return lambda name: markers.get(name, Marker(until=READ))


@given(BODIES, TOKENS)
def test_what_intuit_signs_is_genuine(body: bytes, verifier: str) -> None:
    assert genuine(body, sign(body, verifier), verifier)


@given(BODIES, TOKENS, st.data())
def test_any_changed_byte_is_refused(body: bytes, verifier: str, data: st.DataObject) -> None:
    signature = sign(body, verifier)
    place = data.draw(st.integers(0, len(body) - 1))
    flip = data.draw(st.integers(1, 255))
    changed = body[:place] + bytes([body[place] ^ flip]) + body[place + 1 :]
    assert not genuine(changed, signature, verifier)
    assert not genuine(body + b" ", signature, verifier)
    assert not genuine(body[:-1], signature, verifier)
    place = data.draw(st.integers(0, len(signature) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda letter: letter != signature[place]))
    assert not genuine(body, signature[:place] + other + signature[place + 1 :], verifier)
    assert not genuine(body, signature[:-1], verifier)
    assert not genuine(body, "", verifier)
    assert not genuine(body, signature, verifier + "x")


@given(CHANGES)
def test_only_what_came_before_the_markers_second_was_read(event: Event) -> None:
    of_interest = pulled([event], READ + timedelta(days=1))
    assert bool(of_interest) == (event.entity in {entity.name.lower() for entity in ENTITIES})
    for wanted in of_interest:
        assert unread(wanted, marked()) == (event.at >= READ)


def test_entities_are_judged_by_their_own_marker() -> None:
    bill = Event("1", "bill", "updated", "1", READ - SECOND)
    assert not unread(bill, marked(Vendor=Marker()))
    assert unread(bill, marked(Bill=Marker()))
    assert unread(bill, marked(Bill=Marker(until=READ - 2 * SECOND)))
    gone = bill._replace(operation="deleted")
    assert not unread(gone, marked())
    for behind in (Marker(), Marker(until=READ - 2 * SECOND)):
        assert unread(gone, marked(**{DELETIONS: behind}))
        assert not unread(bill, marked(**{DELETIONS: behind}))


def test_an_open_window_tells_how_far_reading_is() -> None:
    bill = Event("1", "bill", "updated", "1", READ)
    early, late = READ - timedelta(days=30), READ + timedelta(minutes=5)
    first = marked(Bill=Marker(window=Window(since=early)))
    assert unread(bill, first)
    assert not unread(bill._replace(at=early - SECOND), first)
    assert unread(bill._replace(at=early), first)
    rewound = marked(Bill=Marker(until=READ, window=Window(since=early), republish=True))
    assert unread(bill, rewound)
    assert not unread(bill._replace(at=READ - SECOND), rewound)
    beyond = marked(Bill=Marker(until=READ, window=Window(since=late)))
    assert not unread(bill, beyond)
    assert unread(bill._replace(at=late), beyond)


def test_the_future_is_not_believed() -> None:
    at = READ + AHEAD
    near, far = (Event("1", "bill", "updated", "1", at + step) for step in (timedelta(0), SECOND))
    with capture_logs() as logs:
        assert pulled([near], READ) == [near]
    assert not logs
    with capture_logs() as logs:
        assert pulled([far, near], READ) == [near]
    assert [entry["event"] for entry in logs] == ["webhook.from_the_future"]


@given(st.lists(CHANGES, min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_the_same_events_are_the_same_tick(told: list[Event], dice: Any) -> None:
    again = told + dice.choices(told, k=dice.randrange(5))
    dice.shuffle(again)
    assert identity(again) == identity(told)
    newer = told[0]._replace(at=max(event.at for event in told) + SECOND)
    assert identity([*told, newer]) != identity(told)
    assert identity([*told, newer]) == identity([newer])


@given(st.none() | OFFSETS.map(READ.__sub__))
def test_a_company_is_left_alone_for_a_while(began_at: datetime | None) -> None:
    wait = wait_for_quiet(began_at, READ)
    assert 0 <= wait <= GAP
    if began_at is None:
        assert wait == 0
    elif began_at <= READ:
        assert max(READ, began_at + timedelta(seconds=GAP)) == READ + timedelta(seconds=wait)
    else:
        assert wait == GAP  # another host's clock is ahead


@dataclass
class Desk:
    """Webhooks on a broker with nobody who takes the ticks."""

    bus: Bus
    webhooks: Webhooks

    async def connect(self, workspace: str, realm: str, *, state: Literal["connected", "disconnected"]) -> None:
        await Bucket(self.bus, "accounts", AccountClaim).put(
            f"quickbooks.{realm}", AccountClaim(workspace=workspace, at=now())
        )
        made = Connection(workspace=workspace, account=realm, state=state, since=now())
        await Bucket(self.bus, "connections", Connection).put(f"{workspace}.quickbooks", made)

    async def company(self, until: datetime = READ) -> tuple[str, str]:
        """A connected company that was read up to an instant: its workspace and its realm."""
        workspace, realm = f"fictional-{secrets.token_hex(4)}", f"9341{secrets.randbelow(10**12):012}"
        await self.connect(workspace, realm, state="connected")
        for name in (*(entity.name for entity in ENTITIES), DELETIONS):
            await self.mark(workspace, realm, name, Marker(until=until))
        return workspace, realm

    async def mark(self, workspace: str, realm: str, name: str, marker: Marker) -> None:
        await Bucket(self.bus, "markers", Marker).put(f"{workspace}.{realm}.{name}", marker)

    async def send(self, told: Iterable[Event], format_: Format = "legacy") -> None:
        body = body_of(told, format_)
        assert await self.webhooks.take(Webhook(body=body, signature=sign(body))) == Done()

    async def published(self) -> int:
        """How many ticks the stream ever took."""
        return int((await self.bus.js.stream_info(self.bus.topology.pulls)).state.last_seq)

    async def tick(self, workspace: str) -> Tick | None:
        stored = await self.bus.newest(self.bus.topology.pulls, subjects.pull(self.bus.region, workspace), Tick)
        return None if stored is None else stored.message

    async def taken(self, workspace: str) -> None:
        """The tick is acknowledged."""
        stream = self.bus.topology.pulls
        await self.bus.js.purge_stream(stream, subject=subjects.pull(self.bus.region, workspace))


@pytest.fixture
async def desk(bus: Bus, settings: Settings) -> AsyncIterator[Desk]:
    verified = settings.model_copy(update={"quickbooks_webhook_verifier": SecretStr(VERIFIER)})
    own = Bus(verified, "puller")
    await own.connect()
    async with http.client() as client:
        assert bus.region == own.region
        yield Desk(own, Webhooks(own, connections(own, client)))
    await own.close()


def connections(bus: Bus, client: Any) -> Connections:
    app = OAuthApp(
        provider="quickbooks",
        client_id="fictional",
        client_secret="fictional",
        authorize_url="http://127.0.0.1/authorize",
        token_url="http://127.0.0.1/token",
        revoke_url="http://127.0.0.1/revoke",
        scope="fictional",
        credentials="basic",
    )
    vault = masterkeys.vault(bus.settings.model_copy(update={"master_key": KEY}))

    async def nobody(_tokens: Tokens, _callback: Exchange, _workspace: str) -> Account:
        raise AssertionError("nobody connects anything here")

    return Connections(bus, vault, app, client, nobody)


def change(realm: str, at: datetime, ident: str = "1", *, entity: str = "bill", operation: str = "updated") -> Event:
    return Event(realm, entity, operation, ident, at)


@pytest.mark.parametrize("format_", FORMATS)
async def test_a_change_brings_the_pull_forward_once(desk: Desk, format_: Format) -> None:
    workspace, realm = await desk.company()
    news = [change(realm, READ + SECOND, str(number)) for number in range(100)]
    await desk.send(news, format_)
    tick = await desk.tick(workspace)
    assert tick is not None
    assert (tick.workspace, tick.reason) == (workspace, "webhook")
    await desk.send(news, format_)  # the tick waits
    await desk.taken(workspace)
    await desk.send(reversed(news), format_)  # its pull runs or ran: the same news again
    assert await desk.published() == 1
    assert await desk.tick(workspace) is None
    await desk.send([change(realm, READ + 2 * SECOND)], format_)
    assert await desk.published() == 2


async def test_late_and_replayed_events_change_nothing(desk: Desk) -> None:
    workspace, realm = await desk.company()
    for format_ in FORMATS:
        for age in (timedelta(microseconds=1), SECOND, timedelta(days=1), timedelta(days=4000)):
            await desk.send([change(realm, READ - age)], format_)
            await desk.send([change(realm, READ - age, operation="deleted")], format_)
    assert (await desk.published(), await desk.tick(workspace)) == (0, None)


async def test_companies_are_told_apart(desk: Desk) -> None:
    one, other, quiet, gone = [await desk.company() for _ in range(4)]
    await desk.connect(*gone, state="disconnected")
    with capture_logs() as logs:
        await desk.send(
            [
                *(change(realm, READ + SECOND, str(number)) for _, realm in (one, other) for number in range(3)),
                change(quiet[1], READ - SECOND),
                change(gone[1], READ + SECOND),
                *(change(str(9342000000000000 + number), READ + SECOND) for number in range(20)),
            ]
        )
    assert await desk.published() == 2
    assert [await desk.tick(workspace) is not None for workspace, _ in (one, other, quiet, gone)] == [
        True,
        True,
        False,
        False,
    ]
    (strangers,) = [entry for entry in logs if entry["event"] == "webhook.strangers"]
    assert strangers["count"] == 21


async def test_thirty_companies_are_seen_to_within_intuits_patience(desk: Desk) -> None:
    told = [change((await desk.company())[1], READ + SECOND) for _ in range(30)]
    for _ in ("new", "waiting"):
        with anyio.fail_after(3):
            await desk.send(told)
    assert await desk.published() == 30


async def test_what_weir_does_not_pull_is_ignored(desk: Desk) -> None:
    _, realm = await desk.company()
    await desk.send([change(realm, READ + SECOND, entity=entity) for entity in ("invoice", "purchase", "hologram")])
    await desk.send([change(realm, now() + AHEAD + timedelta(minutes=1))])
    assert await desk.published() == 0


async def test_nothing_read_yet_is_all_new(desk: Desk) -> None:
    workspace, realm = await desk.company()
    await desk.mark(workspace, realm, "Bill", Marker(window=Window(since=READ - timedelta(days=900))))
    await desk.send([change(realm, READ - timedelta(days=800))])
    assert await desk.published() == 1


async def test_a_pull_that_runs_may_be_past_the_change(desk: Desk) -> None:
    workspace, realm = await desk.company()
    await desk.send([change(realm, READ + SECOND)])
    async with lease(desk.bus, f"pull.{workspace}"):
        await desk.send([change(realm, READ + 2 * SECOND)])
        assert await desk.published() == 2
    await desk.send([change(realm, READ + 3 * SECOND)])
    assert await desk.published() == 2


async def test_the_tick_of_a_pull_that_has_just_ended_does_not_count(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "SETTLES", 3.0)
    workspace, realm = await desk.company()
    await desk.send([change(realm, READ + SECOND)])
    looked = await desk.bus.client.subscribe(f"$JS.API.STREAM.MSG.GET.{desk.bus.topology.pulls}")
    sending = asyncio.create_task(desk.send([change(realm, READ + 2 * SECOND)]))
    await looked.next_msg(timeout=5)
    await looked.unsubscribe()
    await desk.taken(workspace)
    await sending
    assert await desk.tick(workspace) is not None
    assert await desk.published() == 2


@given(
    offsets=st.lists(st.integers(-5, 5), min_size=1, max_size=8),
    runs=st.booleans(),
    format_=st.sampled_from(FORMATS),
    dice=st.randoms(use_true_random=False),
)
@examples(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_order_and_no_duplicate_brings_a_second_tick(
    desk: Desk, offsets: Sequence[int], runs: bool, format_: Format, dice: Any
) -> None:
    workspace, realm = await desk.company()
    told = [change(realm, READ + offset * SECOND, str(number)) for number, offset in enumerate(offsets)]
    before = await desk.published()

    async def deliver() -> None:
        for _ in range(3):
            some = told + dice.choices(told, k=2)
            dice.shuffle(some)
            await desk.send(some, format_)

    if runs:
        async with lease(desk.bus, f"pull.{workspace}"):
            await deliver()
    else:
        await deliver()
    new = any(offset >= 0 for offset in offsets)
    assert await desk.published() - before == (1 if new else 0)


async def test_what_cannot_be_trusted_or_read_is_refused(desk: Desk, settings: Settings) -> None:
    _, realm = await desk.company()
    body = body_of([change(realm, READ + SECOND)], "legacy")
    forged = await desk.webhooks.take(Webhook(body=body, signature=sign(body, "another token")))
    assert isinstance(forged, Refusal)
    assert (forged.reason, forged.retry) == ("forged", False)
    for broken in (b"{", b"{}", b"\x00"):
        with pytest.raises(Refused, match="webhook"):
            await desk.webhooks.take(Webhook(body=broken, signature=sign(broken)))
    async with http.client() as client:
        for unset in (None, SecretStr("")):
            nobody = Bus(settings.model_copy(update={"quickbooks_webhook_verifier": unset}), "puller")
            refused = await Webhooks(nobody, connections(nobody, client)).take(
                Webhook(body=body, signature=sign(body, ""))
            )
            assert isinstance(refused, Refusal)
            assert refused.reason == "not-set-up"
            assert "WEIR_QUICKBOOKS_WEBHOOK_VERIFIER" in (refused.fix or "")
    assert await desk.published() == 0


@pytest.mark.parametrize("format_", FORMATS)
async def test_a_change_is_pulled_long_before_it_is_due(
    world: World, monkeypatch: pytest.MonkeyPatch, format_: Format
) -> None:
    monkeypatch.setattr(schedule, "GAP", 0.5)
    settings = world.settings.model_copy(update={"quickbooks_webhook_verifier": SecretStr(VERIFIER)})
    async with puller(settings):
        await world.first_pull()
        bill = min(world.sandbox.bills(world.realm))
        before = await world.bill(bill)
        changed_at = now()
        world.sandbox.patch(f"{world.realm}/quickbooks/bill/{bill}", {"PrivateNote": "told at once"})
        body = body_of([change(world.realm, changed_at, bill)], format_)
        webhook = Webhook(body=body, signature=sign(body))
        with anyio.fail_after(3):
            assert await world.bus.call(world.subject("webhook"), webhook) == Done()

        async def told() -> bool:
            return (await world.bill(bill)).sequence > before.sequence

        await until(told)
        await world.pulled()
        body_after = (await world.bill(bill)).message.body
        assert isinstance(body_after, Bill)
        assert body_after.memo == "told at once"
        stream = world.bus.topology.pulls
        ticks = (await world.bus.js.stream_info(stream)).state.last_seq
        for _ in range(3):
            assert await world.bus.call(world.subject("webhook"), webhook) == Done()
        assert (await world.bus.js.stream_info(stream)).state.last_seq == ticks
