"""A token endpoint on loopback, and connections to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from common.bus import Bus
from common.connections import Account, Connections
from common.messages import Authorize, Connected, Exchange
from common.oauth import OAuthApp, Tokens
from common.vault import Vault

WS = "fictional-lock"
OTHER_WS = "imaginary-quarry"
REALM = "9130350000000001"
OTHER_REALM = "9130350000000002"
KEY = bytes(range(32))


@dataclass
class Provider:
    """A token endpoint that rotates at every refresh and takes any replay of an old token for theft.

    All tokens for one realm are one grant: revoking one ends them all. `alive` has the realm of each refresh token
    that was not revoked.
    """

    url: str = ""
    valid: str = "r0"
    number: int = 0
    alive: dict[str, str] = field(default_factory=dict)
    revoked: list[str] = field(default_factory=list)
    calls: list[dict[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    lose_answers: int = 0
    asked: anyio.Event = field(default_factory=anyio.Event)
    go: anyio.Event | None = None
    status: int = 200
    revoke_status: int = 200
    revoke_tries: int = 0
    life: int = 3600
    more: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def holding(self) -> Iterator[anyio.Event]:
        """Hold the tokens back until the block ends; what it gives is set as soon as they are asked for."""
        self.asked, self.go = anyio.Event(), anyio.Event()
        try:
            with anyio.fail_after(10):
                yield self.asked
        finally:
            self.go.set()

    def routes(self) -> list[Route]:
        return [Route("/token", self.token, methods=["POST"]), Route("/revoke", self.revoke, methods=["POST"])]

    async def token(self, request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        self.calls.append(form)
        self.headers.append(dict(request.headers))
        if self.status != 200:
            return JSONResponse({"error": "invalid_client"}, status_code=self.status)
        if form["grant_type"] == "refresh_token" and form["refresh_token"] != self.valid:
            self.valid = "none: the family is revoked"
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        if form["grant_type"] == "authorization_code" and not form["code"].startswith("good:"):
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        if self.lose_answers:
            self.lose_answers -= 1
            return Response("gateway time-out", status_code=504)
        self.asked.set()
        if self.go is not None:
            await self.go.wait()
        self.number += 1
        self.valid = f"r{self.number}"
        if form["grant_type"] == "authorization_code":
            self.alive[self.valid] = form["code"].removeprefix("good:")
        else:
            self.alive[self.valid] = self.alive.pop(form["refresh_token"], "")
        answer = {"access_token": f"a{self.number}", "refresh_token": self.valid, "expires_in": self.life}
        return JSONResponse({**answer, **self.more})

    async def revoke(self, request: Request) -> Response:
        told_as_json = request.headers["content-type"] == "application/json"
        token = str((await request.json() if told_as_json else await request.form())["token"])
        self.revoke_tries += 1
        if self.revoke_status == 200:
            self.revoked.append(token)
            realm = self.alive.get(token)
            self.alive = {other: of for other, of in self.alive.items() if of != realm}
        return Response(status_code=self.revoke_status)


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


def stated(callback: Exchange) -> str:
    return callback.realm or ""


async def identify(_tokens: Tokens, callback: Exchange, _workspace: str) -> Account:
    return Account(callback.realm or "", "Fictional Lock Ltd")


def maker(bus: Bus, provider: Provider, client: httpx.AsyncClient) -> Connections:
    return Connections(bus, Vault(KEY), app(provider), client, identify, stated=stated)


async def approved(made: Connections, workspace: str = WS, **callback: Any) -> Exchange:
    redirect = await made.authorize(Authorize(workspace=workspace, redirect_uri="http://127.0.0.1/cb"))
    query = dict(httpx.URL(redirect.url).params)
    assert query["code_challenge_method"] == "S256"
    assert query["scope"] == "accounting"
    realm = callback.get("realm", REALM)
    return Exchange(**{"state": query["state"], "code": f"good:{realm}", "realm": realm, **callback})


async def connect(made: Connections, workspace: str = WS, **callback: Any) -> Connected:
    return await made.exchange(await approved(made, workspace, **callback))
