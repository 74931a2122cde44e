"""A consent that is withdrawn in Qonto's pages ends the connection at once; nothing else that is sent does."""

import base64
import hmac
import json
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import httpx
import pytest
from pydantic import SecretStr

from common import masterkeys, subjects
from common.buckets import Bucket
from common.connections import Connection
from common.messages import Done, Refusal, Rewrap, Webhook, now
from common.rewrapping import Rewrapping, Shelf
from common.vault import Vault
from services.poster.subscriptions import Subscription, callback
from services.poster.webhooks import WINDOW, genuine
from services.sandbox.app import DEFAULTS
from services.sandbox.qonto.webhooks import signature
from tests.console.stand import webhooks
from tests.loopback import serving
from tests.poster.desk import WS, Desk, poster

SUBSCRIPTIONS = "/v2/webhook_subscriptions"


@pytest.fixture
async def heard(idle: Desk) -> AsyncIterator[Desk]:
    """A connected workspace whose console Qonto can reach."""
    async with serving(webhooks(idle.bus)) as url:
        idle.settings = idle.settings.model_copy(update={"console_url": url})
        async with poster(idle.settings):
            await idle.connect()
            yield idle


async def _state(desk: Desk) -> str:
    kept = await Bucket(desk.bus, "connections", Connection).get(f"{WS}.qonto")
    assert kept is not None
    return kept.value.state


async def _subscriptions(desk: Desk) -> list[dict[str, Any]]:
    secret = f"{desk.company['slug']}:{desk.company['secret_key']}"
    async with httpx.AsyncClient(base_url=desk.settings.qonto_api_url) as client:
        answer = await client.get(SUBSCRIPTIONS, headers={"Authorization": secret})
    found: list[dict[str, Any]] = answer.json()["subscriptions"]
    return found


async def _kept(desk: Desk) -> Subscription:
    kept = await Bucket(desk.bus, "subscriptions", Subscription).get(desk.company["organization"])
    assert kept is not None
    return kept.value


async def _withdraw(desk: Desk) -> None:
    await desk.control.delete(f"/sandbox/companies/{desk.realm}/tokens/qonto")


async def test_a_withdrawn_consent_ends_the_connection_without_a_failing_call(heard: Desk) -> None:
    [subscribed] = await _subscriptions(heard)
    assert subscribed["types"] == ["v1/consent-revocations"]
    before = await heard.calls()
    await _withdraw(heard)

    async def ended() -> bool:
        return await _state(heard) == "needs-reconnect"

    await heard.until(ended)
    [notice] = [one for one in await heard.notices() if one.kind == "needs-reconnect"]
    assert "withdrawn in Qonto" in notice.why
    assert await heard.calls() == before
    await heard.connect()
    assert await _state(heard) == "connected"
    assert len(await _subscriptions(heard)) == 1


async def test_a_disconnect_removes_the_subscription(heard: Desk) -> None:
    assert isinstance(await heard.disconnect(), Done)
    assert await _subscriptions(heard) == []
    assert await _state(heard) == "disconnected"


async def test_the_secret_is_sealed_and_leaves_the_poster_for_qonto_alone(heard: Desk) -> None:
    [subscribed] = await _subscriptions(heard)
    entry = await heard.bus.js.get_last_msg(
        f"KV_{heard.bus.topology.bucket('subscriptions')}",
        f"$KV.{heard.bus.topology.bucket('subscriptions')}.{heard.company['organization']}",
    )
    assert subscribed["secret"].encode() not in (entry.data or b"")
    assert (await _kept(heard)).id == subscribed["id"]


def _event(desk: Desk, **changes: Any) -> bytes:
    data = {"client_id": DEFAULTS.qonto_client_id, "revoked_at": now().isoformat(), **changes.pop("data", {})}
    event = {"id": "1", "organization_id": desk.company["organization"], "type": "v1/consent-revocations", "data": data}
    return json.dumps({**event, **changes}).encode()


async def test_what_is_not_signed_is_old_or_means_somebody_else_changes_nothing(heard: Desk) -> None:
    [subscribed] = await _subscriptions(heard)
    secret, at = subscribed["secret"], int(now().timestamp())

    async def send(body: bytes, signed: str) -> object:
        return await heard.bus.call(
            subjects.call(heard.bus.region, "qonto", "webhook"), Webhook(body=body, signature=signed)
        )

    body = _event(heard)
    late = at - int(WINDOW.total_seconds()) - 1
    for forged in (
        signature(body, "x" * 64, at), signature(body + b" ", secret, at), signature(body, secret, late), "t=1", "v1=",
        f"t={at},v1=é",
    ):  # fmt: skip
        answer = await send(body, forged)
        assert isinstance(answer, Refusal)
        assert answer.reason == "forged"
    stranger = _event(heard, organization_id="unknown")
    assert isinstance(await send(stranger, signature(stranger, secret, at)), Refusal)
    for other in (
        _event(heard, type="v1/transactions"),
        _event(heard, data={"client_id": "another-app"}),
        _event(heard, data={"revoked_at": (now() - timedelta(days=1)).isoformat()}),
    ):
        assert await send(other, signature(other, secret, at)) == Done()
    assert await _state(heard) == "connected"
    for _ in range(2):
        assert await send(body, signature(body, secret, at)) == Done()
    assert await _state(heard) == "needs-reconnect"
    assert len([one for one in await heard.notices() if one.kind == "needs-reconnect"]) == 1


async def test_a_subscription_is_confirmed_though_its_secret_is_rewrapped_meanwhile(idle: Desk) -> None:
    new, old = os.urandom(32), masterkeys.vault(idle.settings)
    previous = SecretStr(base64.b64encode(new).decode())
    await idle.fault("delay", f"{SUBSCRIPTIONS}$", method="POST", seconds=1.0)
    async with serving(webhooks(idle.bus)) as url:
        idle.settings = idle.settings.model_copy(update={"console_url": url, "master_key_previous": previous})
        vault = Vault(new, *masterkeys.master_keys(idle.settings))
        shelf = Shelf(Bucket(idle.bus, "subscriptions", Subscription), "webhook", "sealed")
        async with poster(idle.settings), anyio.create_task_group() as group:
            group.start_soon(idle.connect)

            async def asked() -> bool:
                return await shelf.bucket.get(idle.company["organization"]) is not None

            await idle.until(asked)
            moved = await Rewrapping(idle.bus, vault, "qonto", [shelf]).rewrap(Rewrap(to=vault.fingerprint))
            assert (moved.moved, moved.stuck) == (2, 0)
            assert (await _kept(idle)).id is None

            async def confirmed() -> bool:
                return (await _kept(idle)).id is not None

            await idle.until(confirmed)
            [subscribed] = await _subscriptions(idle)
            kept = await _kept(idle)
            assert kept.id == subscribed["id"]
            assert kept.sealed.master == vault.fingerprint != old.fingerprint
            await _withdraw(idle)  # what the secret signs is believed

            async def ended() -> bool:
                return await _state(idle) == "needs-reconnect"

            await idle.until(ended)


async def test_an_app_that_may_not_have_webhooks_works_without(heard: Desk) -> None:
    await heard.disconnect()
    await heard.fault("status", f"{SUBSCRIPTIONS}$", status=403, body='{"message":"Forbidden"}')
    await heard.connect()
    assert await _state(heard) == "connected"
    assert await _subscriptions(heard) == []
    assert (await heard.mirror()).changed > 0
    before = (await heard.calls())[f"GET {SUBSCRIPTIONS}"]
    await heard.mirror()
    assert (await heard.calls())[f"GET {SUBSCRIPTIONS}"] == before


async def test_without_a_console_that_qonto_reaches_nothing_is_subscribed(desk: Desk) -> None:
    assert await _subscriptions(desk) == []
    public = desk.settings.model_copy(update={"console_url": "https://weir.example"})
    assert callback(public) == "https://weir.example/webhooks/qonto"
    real = {"qonto_api_url": "https://thirdparty.qonto.com", "console_url": "http://127.0.0.1:8460"}
    assert callback(desk.settings.model_copy(update=real)) is None


def test_a_signature_as_qonto_describes_it() -> None:
    at, body, secret = datetime.fromtimestamp(1704110400, UTC), b'{"test":"data"}', b"test-secret"
    made = "56aff06dc227db80d6568a5070f912c601c31f20451745d257cbc0b5dfa93805"
    assert genuine(body, f"t=1704110400,v1={made}", secret, at)
    assert genuine(body, f"t=1704110400, v1={'0' * 64}, v1={made}", secret, at + WINDOW)
    assert not genuine(body, f"t=1704110400,v1={made}", secret, at + WINDOW + timedelta(seconds=1))
    assert not genuine(body, f"t=1704110400,v1={made},t=1704110400", secret, at)
    assert not genuine(body, f"t=1704110400,v1={hmac.digest(secret, body, 'sha256').hex()}", secret, at)
