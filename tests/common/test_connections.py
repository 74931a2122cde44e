"""Connecting, refreshing and losing a grant, against a token endpoint over real HTTP, several processes' worth."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import anyio
import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from common import http, subjects
from common.buckets import Bucket
from common.bus import Bus
from common.connections import Connection, Connections
from common.errors import NotConnected, Refused, RetryLater
from common.messages import Authorize, Disconnect, Exchange, Notice, Tick, now
from common.oauth import OAuthApp, Tokens
from common.settings import Settings
from common.vault import Vault
from tests.loopback import listening

WS = "fictional-lock"
KEY = bytes(range(32))


@dataclass
class Provider:
    """A token endpoint that rotates at every refresh and takes any replay of an old token for theft."""

    url: str = ""
    valid: str = "r0"
    number: int = 0
    revoked: list[str] = field(default_factory=list)
    calls: list[dict[str, str]] = field(default_factory=list)
    lose_answers: int = 0
    pause: float = 0.0
    status: int = 200
    life: int = 3600

    def routes(self) -> list[Route]:
        return [Route("/token", self.token, methods=["POST"]), Route("/revoke", self.revoke, methods=["POST"])]

    async def token(self, request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        self.calls.append(form)
        if self.status != 200:
            return JSONResponse({"error": "invalid_client"}, status_code=self.status)
        if form["grant_type"] == "refresh_token" and form["refresh_token"] != self.valid:
            self.valid = "none: the family is revoked"
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        if form["grant_type"] == "authorization_code" and form["code"] != "good":
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        if self.lose_answers:
            self.lose_answers -= 1
            return Response("gateway time-out", status_code=504)
        await anyio.sleep(self.pause)
        self.number += 1
        self.valid = f"r{self.number}"
        return JSONResponse({"access_token": f"a{self.number}", "refresh_token": self.valid, "expires_in": self.life})

    async def revoke(self, request: Request) -> Response:
        self.revoked.append((await request.json())["token"])
        return Response()


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = Provider()
    async with listening(provider.routes()) as provider.url:
        yield provider


def app(provider: Provider) -> OAuthApp:
    return OAuthApp(
        provider="quickbooks",
        client_id="id",
        client_secret="not-so-secret",
        authorize_url=f"{provider.url}/authorize",
        token_url=f"{provider.url}/token",
        revoke_url=f"{provider.url}/revoke",
        scope="accounting",
        credentials="basic",
        pkce=True,
    )


async def identify(_tokens: Tokens, callback: Exchange) -> str:
    return callback.realm or ""


@pytest.fixture
async def made(bus: Bus, provider: Provider) -> AsyncIterator[Connections]:
    async with http.client() as client:
        yield Connections(bus, Vault(KEY), app(provider), client, identify)


async def connect(made: Connections, **callback: Any) -> Exchange:
    redirect = await made.authorize(Authorize(workspace=WS, redirect_uri="http://127.0.0.1/cb"))
    query = dict(httpx.URL(redirect.url).params)
    assert query["code_challenge_method"] == "S256"
    assert query["scope"] == "accounting"
    return Exchange(**{"state": query["state"], "code": "good", "realm": "9130350000000001", **callback})


async def expire(bus: Bus, made: Connections) -> None:
    """Make the stored access token look nearly expired."""
    bucket = Bucket(bus, "connections", Connection)
    kept = await bucket.get(f"{WS}.quickbooks")
    assert kept is not None
    tokens = made._open(kept.value)
    old = Tokens(access=tokens.access, refresh=tokens.refresh, expires_at=now() + timedelta(seconds=5))
    await bucket.put(kept.key, made._connection(WS, kept.value.account, old))


async def test_a_connection_is_made_once_per_state(made: Connections, bus: Bus) -> None:
    callback = await connect(made)
    connected = await made.exchange(callback)
    assert connected.account == "9130350000000001"
    assert (await made.grant(WS)).access == "a1"
    with pytest.raises(Refused, match="used"):
        await made.exchange(callback)
    with pytest.raises(Refused):
        await made.exchange(Exchange(state="f" * 48, code="good"))
    tick = await bus.newest(bus.topology.pulls, subjects.pull(bus.region, WS), Tick)
    assert tick is not None
    assert tick.message.reason == "connected"


async def test_what_is_stored_holds_no_readable_token(made: Connections, bus: Bus) -> None:
    await made.exchange(await connect(made))
    raw = await (await Bucket(bus, "connections", Connection).store()).get(f"{WS}.quickbooks")
    assert raw.value
    assert b"access" not in raw.value
    assert b'refresh"' not in raw.value


async def test_a_denied_or_bad_callback_is_refused(made: Connections) -> None:
    with pytest.raises(Refused, match="access_denied"):
        await made.exchange(await connect(made, error="access_denied", code=None))
    with pytest.raises(Refused):
        await made.exchange(await connect(made, code="stolen"))
    with pytest.raises(NotConnected):
        await made.grant(WS)


async def test_many_processes_refresh_once(made: Connections, bus: Bus, settings: Settings, provider: Provider) -> None:
    await made.exchange(await connect(made))
    await expire(bus, made)
    before = len(provider.calls)
    grants: list[str] = []

    async def one_process() -> None:
        other = Bus(settings, "puller")
        await other.connect()
        async with http.client() as client:
            connections = Connections(other, Vault(KEY), app(provider), client, identify)
            grants.append((await connections.grant(WS)).access)
        await other.close()

    async with anyio.create_task_group() as group:
        for _ in range(6):
            group.start_soon(one_process)
    assert set(grants) == {"a2"}
    assert len(provider.calls) == before + 1


async def test_a_rejected_token_is_refreshed_once_and_a_newer_one_is_used(
    made: Connections, provider: Provider
) -> None:
    await made.exchange(await connect(made))
    assert (await made.grant(WS, rejected="a1")).access == "a2"
    calls = len(provider.calls)
    assert (await made.grant(WS, rejected="a1")).access == "a2"
    assert len(provider.calls) == calls


async def test_a_lost_answer_keeps_the_token_and_tries_it_again(
    made: Connections, bus: Bus, provider: Provider
) -> None:
    await made.exchange(await connect(made))
    await expire(bus, made)
    provider.lose_answers = 1
    with pytest.raises(RetryLater):
        await made.grant(WS)
    assert (await made.grant(WS)).access == "a2"


async def test_a_refresh_that_is_cut_short_keeps_what_the_provider_gave(
    made: Connections, bus: Bus, provider: Provider
) -> None:
    await made.exchange(await connect(made))
    await expire(bus, made)
    provider.pause = 0.3
    with anyio.move_on_after(0.1):
        await made.grant(WS)
    provider.pause = 0.0
    assert (await made.grant(WS)).access == "a2"


async def test_a_workspace_that_is_connected_is_listed(made: Connections) -> None:
    await made.exchange(await connect(made))
    assert [workspace async for workspace in made.connected()] == [WS]
    await made.disconnect(Disconnect(workspace=WS))
    assert [workspace async for workspace in made.connected()] == []


async def test_a_dead_grant_needs_a_person_and_is_asked_for_only_once(
    made: Connections, bus: Bus, provider: Provider
) -> None:
    await made.exchange(await connect(made))
    await expire(bus, made)
    provider.valid = "somebody else's"
    for _ in range(3):
        with pytest.raises(NotConnected):
            await made.grant(WS)
    assert sum(call["grant_type"] == "refresh_token" for call in provider.calls) == 1
    notice = await bus.newest(bus.topology.notices, subjects.notice(bus.region, WS), Notice)
    assert notice is not None
    assert (notice.message.kind, bool(notice.message.fix)) == ("needs-reconnect", True)


async def test_bad_client_credentials_do_not_cost_the_grant(made: Connections, bus: Bus, provider: Provider) -> None:
    await made.exchange(await connect(made))
    await expire(bus, made)
    provider.status = 401
    with pytest.raises(RetryLater, match="WEIR_QUICKBOOKS"):
        await made.grant(WS)
    provider.status = 200
    assert (await made.grant(WS)).access == "a2"


async def test_disconnect_revokes_and_forgets_and_reconnect_resumes(made: Connections, provider: Provider) -> None:
    await made.exchange(await connect(made))
    await made.disconnect(Disconnect(workspace=WS))
    assert provider.revoked == ["r1"]
    with pytest.raises(NotConnected):
        await made.grant(WS)
    await made.disconnect(Disconnect(workspace=WS))
    assert provider.revoked == ["r1"]
    await made.exchange(await connect(made))
    assert (await made.grant(WS)).access == "a2"
