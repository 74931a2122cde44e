"""A small OpenID Connect provider on loopback: real keys, real codes, and answers a test can spoil."""

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode

from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.loopback import listening

CLIENT = "weir-console"
SECRET = "fictional-oidc-secret"


@dataclass
class Identity:
    """The provider. Whoever is sent to it comes back as `email`; a test changes what it says of them."""

    email: str = "olive@fictional-lock.example"
    claims: dict[str, Any] = field(default_factory=dict)
    """Claims that differ from the honest ones; None leaves one out."""
    document: dict[str, Any] = field(default_factory=dict)
    """What its description says differently."""
    algorithm: str = "RS256"
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "first"}))
    published: RSAKey | None = None
    """The key it shows, where that is not the one it signs with."""
    shown: dict[str, Any] | None = None
    """What it shows in the place of its keys."""
    status: int = 200
    """What asking for tokens is answered with."""
    url: str = ""
    asked: dict[str, dict[str, str]] = field(default_factory=dict)

    async def describe(self, _request: Request) -> Response:
        honest = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize?tenant=fictional",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
        }
        return JSONResponse(honest | self.document)

    async def authorize(self, request: Request) -> Response:
        given = dict(request.query_params)
        assert given["tenant"] == "fictional"
        assert given["scope"] == "openid email"
        assert (given["response_type"], given["client_id"], given["code_challenge_method"]) == ("code", CLIENT, "S256")
        code = secrets.token_urlsafe(16)
        self.asked[code] = given
        return RedirectResponse(f"{given['redirect_uri']}?{urlencode({'state': given['state'], 'code': code})}", 302)

    async def token(self, request: Request) -> Response:
        if self.status != 200:
            return Response("Bad gateway", self.status)
        given = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        posted = (given.get("client_id"), given.get("client_secret")) == (CLIENT, SECRET)
        asked = self.asked.pop(given.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(given["code_verifier"].encode()).digest()).decode()
        if (
            asked is None
            or asked["redirect_uri"] != given["redirect_uri"]
            or asked["code_challenge"] != challenge.rstrip("=")
            or not (posted or request.headers.get("Authorization") == f"Basic {basic}")
        ):
            return JSONResponse({"error": "invalid_grant"}, 400)
        at = int(time.time())
        honest = {
            "iss": self.url,
            "aud": CLIENT,
            "sub": "fictional-subject",
            "iat": at,
            "exp": at + 300,
            "nonce": asked["nonce"],
            "email": self.email,
            "email_verified": True,
        }
        claims = {name: value for name, value in (honest | self.claims).items() if value is not None}
        header = {"alg": self.algorithm, "kid": str(self.key.kid)}
        signed = f"{_encoded(json.dumps(header).encode())}.{_encoded(json.dumps(claims).encode())}"
        match self.algorithm:
            case "none":
                token = f"{signed}."
            case "HS256":  # "signed" with the public key as if it were a shared secret: the classic forgery
                public = self.key.as_pem(private=False)
                token = f"{signed}.{_encoded(hmac.digest(public, signed.encode(), 'sha256'))}"
            case _:
                token = jwt.encode(header, claims, self.key)
        return JSONResponse({"id_token": token, "access_token": "fictional", "token_type": "Bearer"})

    async def keys(self, _request: Request) -> Response:
        if self.shown is not None:
            return JSONResponse(self.shown)
        return JSONResponse({"keys": [(self.published or self.key).as_dict(private=False)]})


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@asynccontextmanager
async def identity() -> AsyncIterator[Identity]:
    """The provider during the block."""
    provider = Identity()
    routes = [
        Route("/.well-known/openid-configuration", provider.describe),
        Route("/authorize", provider.authorize),
        Route("/token", provider.token, methods=["POST"]),
        Route("/keys", provider.keys),
    ]
    async with listening(routes) as url:
        provider.url = url
        yield provider
