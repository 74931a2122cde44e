"""Intuit's OAuth 2.0: discovery, consent, tokens and their rotation, revocation, and the ID token."""

import base64
import binascii
import secrets
from collections.abc import Mapping
from math import ceil
from typing import Any, cast
from urllib.parse import parse_qsl

import msgspec
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.sandbox import consent
from services.sandbox.quickbooks.wire import headers
from services.sandbox.store import Memo
from services.sandbox.tokens import Grant, Token, Tokens
from services.sandbox.traffic import Traffic
from services.sandbox.world import World

SIDE = "quickbooks"
BRAND = "#2ca01c"
CODE_LIFETIME = 300.0  # seconds
REFRESH_LIFETIME = 8_640_000.0  # seconds: 100 days, from each refresh on
GRACE = 86_400.0  # seconds an older refresh token lives after a rotation, in that mode


class TokenError(Exception):
    """An OAuth error answer."""

    def __init__(self, error: str, description: str = "", status: int = 400) -> None:
        super().__init__(error)
        self.body = {"error_description": description, "error": error} if description else {"error": error}
        self.status = status


class OAuth:
    def __init__(self, world: World, traffic: Traffic) -> None:
        self.world = world
        self._traffic = traffic
        self.tokens = Tokens(world.store)

    def routes(self) -> list[Route]:
        return [
            Route("/.well-known/openid_configuration", self.discovery),
            Route("/.well-known/openid_sandbox_configuration", self.discovery),
            Route("/connect/oauth2", self.authorize, methods=["GET", "POST"]),
            Route("/oauth2/v1/tokens/bearer", self.token, methods=["POST"]),
            Route("/v2/oauth2/tokens/revoke", self.revoke, methods=["POST"]),
            Route("/v1/openid_connect/userinfo", self.userinfo),
            Route("/op/v1/jwks", self.jwks),
        ]

    async def discovery(self, request: Request) -> Response:
        base = str(request.base_url)
        return JSONResponse(
            {
                "issuer": f"{base}op/v1",
                "authorization_endpoint": f"{base}connect/oauth2",
                "token_endpoint": f"{base}oauth2/v1/tokens/bearer",
                "userinfo_endpoint": f"{base}v1/openid_connect/userinfo",
                "revocation_endpoint": f"{base}v2/oauth2/tokens/revoke",
                "jwks_uri": f"{base}op/v1/jwks",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "scopes_supported": ["openid", "email", "profile", "address", "phone"],
                "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
                "claims_supported": ["aud", "exp", "iat", "iss", "realmid", "sub"],
            }
        )

    async def authorize(self, request: Request) -> Response:
        form = await request.form() if request.method == "POST" else {}
        given = {key: str(value) for key, value in {**request.query_params, **form}.items()}
        if given.get("client_id") != self.world.credentials.quickbooks_client_id:
            return consent.refusal("Intuit", BRAND, "The client_id is not that of a known app.")
        if not given.get("redirect_uri", "").startswith(("https://", "http://localhost", "http://127.0.0.1")):
            return consent.refusal("Intuit", BRAND, "The redirect_uri query parameter value is invalid.")
        state, redirect_uri = given.get("state", ""), given["redirect_uri"]
        if given.get("response_type") != "code" or not given.get("scope"):
            return consent.back(redirect_uri, error="invalid_request", state=state)
        approval = self.world.switches.approval
        if given.get("decision") == "deny" or approval == "deny":
            return consent.back(redirect_uri, error="access_denied", state=state)
        companies = self.companies()
        realm = given.get("company", "")
        if not realm and approval == "auto" and companies:
            realm = self.world.switches.approve_company
            realm = realm if realm in dict(companies) else companies[0][0]
        if realm not in dict(companies):
            return consent.page(
                provider="Intuit",
                brand=BRAND,
                app="Weir",
                companies=companies,
                scopes=given["scope"].split(),
                fields={k: v for k, v in given.items() if k not in ("company", "decision")},
                action="/connect/oauth2",
            )
        with self.world.store.transaction():
            code = self.code(realm, given["scope"], redirect_uri)
        return consent.back(redirect_uri, code=code, state=state, realmId=realm)

    def companies(self) -> list[tuple[str, str]]:
        """Realm and name of every company, the newest first."""
        rows = self.world.store.table("sandbox", "company").values()
        newest = sorted(rows, key=lambda row: row.created, reverse=True)
        return [(row.id, row.body["name"]) for row in newest]

    def code(self, realm: str, scope: str, redirect_uri: str) -> str:
        now = self.world.now()
        grant = self.tokens.grant(SIDE, self.world.credentials.quickbooks_client_id, realm, scope, now)
        value = f"XAB11{secrets.token_urlsafe(34)}"
        return self.tokens.issue(grant, "code", value, now, CODE_LIFETIME, redirect_uri=redirect_uri).value

    async def token(self, request: Request) -> Response:
        form = {key: str(value) for key, value in (await request.form()).items()}
        with_hard = request.headers.get("x-include-refresh-token-hard-expires-in", "").lower() == "true"
        failure: TokenError
        try:
            with self.world.store.transaction():
                self._client(request, form)
                answer = self._exchange(form, str(request.base_url), with_hard)
        except TokenError as error:
            failure = error
        else:
            return self._json(answer)
        if isinstance(failure, Reused):
            self._revoke(failure.grant)
        return self._json(failure.body, failure.status)

    def _json(self, body: dict[str, Any], status: int = 200) -> Response:
        return Response(
            msgspec.json.encode(body),
            status,
            {**headers(), "Cache-Control": "no-cache, no-store", "pragma": "no-cache"},
            "application/json;charset=UTF-8",
        )

    def _client(self, request: Request, form: Mapping[str, str]) -> None:
        """Basic or in the form; both are taken."""
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        client, secret = form.get("client_id", ""), form.get("client_secret", "")
        if scheme.lower() == "basic":
            try:
                client, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                raise TokenError("invalid_client", status=401) from None
        known = self.world.credentials
        if (client, secret) != (known.quickbooks_client_id, known.quickbooks_client_secret):
            raise TokenError("invalid_client", status=401)

    def _exchange(self, form: Mapping[str, str], base_url: str, with_hard: bool) -> dict[str, Any]:
        match form.get("grant_type"):
            case "authorization_code":
                refresh = self._redeem(form)
            case "refresh_token":
                refresh = self._refresh(form.get("refresh_token", ""))
            case _:
                raise TokenError("invalid_request")
        return self._pair(refresh, base_url, with_hard)

    def connect(self, realm: str, scope: str, base_url: str) -> dict[str, Any]:
        """A new grant with its first pair, as the token endpoint answers it."""
        client = self.world.credentials.quickbooks_client_id
        grant = self.tokens.grant(SIDE, client, realm, scope, self.world.now())
        return {**self._pair(self._new_refresh(grant), base_url, False), "realmId": realm}

    def _pair(self, refresh: Token, base_url: str, with_hard: bool) -> dict[str, Any]:
        now, grant = self.world.now(), refresh.grant
        lifetime = self.world.switches.access_lifetime
        access = self.tokens.issue(grant, "access", f"eyJlbmMi{secrets.token_urlsafe(600)}", now, lifetime)
        answer = {
            "token_type": "bearer",
            "access_token": access.value,
            "expires_in": int(lifetime),
            "refresh_token": refresh.value,
            "x_refresh_token_expires_in": ceil(refresh.expires - now),
        }
        if grant.allows("openid"):
            answer["id_token"] = self._id_token(grant, f"{base_url}op/v1")
        if with_hard:
            answer["x_refresh_token_hard_expires_in"] = ceil(self._end(grant) - now)
        return answer

    def _redeem(self, form: Mapping[str, str]) -> Token:
        token = self.tokens.find(SIDE, form.get("code", ""), "code")
        now = self.world.now()
        if token is not None and token.spent is not None:
            if self.world.switches.reuse_revokes:
                raise Reused(token.grant, "Invalid authorization code")
            token = None
        if (
            token is None
            or token.grant.revoked
            or token.expires <= now
            or token.extra["redirect_uri"] != form.get("redirect_uri")
        ):
            raise TokenError("invalid_grant", "Invalid authorization code")
        self.tokens.spend(token, now)
        return self._new_refresh(token.grant)

    def _refresh(self, value: str) -> Token:
        """The same value within the rotation's day, a new one after; then the old one dies as switched."""
        switches, now = self.world.switches, self.world.now()
        token = self.tokens.find(SIDE, value, "refresh")
        if token is not None and token.spent is not None:
            self._traffic.note(token.grant.tenant, "stale_refreshes")
        if token is None or token.grant.revoked or min(token.expires, self._end(token.grant)) <= now:
            raise TokenError("invalid_grant", "Incorrect or invalid refresh token")
        if token.spent is not None:
            if switches.reuse_revokes:
                raise Reused(token.grant, "Incorrect or invalid refresh token")
            newest = self.tokens.newest(token.grant, "refresh")
            if not switches.grace or token.spent + GRACE <= now or newest is None:
                raise TokenError("invalid_grant", "Incorrect or invalid refresh token")
            token = newest
        self._traffic.note(token.grant.tenant, "refreshes")
        if now - token.issued >= switches.rotate_after:
            self.tokens.spend(token, now)
            return self._new_refresh(token.grant)
        return self.tokens.extend(token, min(now + REFRESH_LIFETIME, self._end(token.grant)))

    def _new_refresh(self, grant: Grant) -> Token:
        now = self.world.now()
        lifetime = min(REFRESH_LIFETIME, self._end(grant) - now)
        return self.tokens.issue(grant, "refresh", f"RT1-{secrets.token_urlsafe(34)}", now, lifetime)

    def _end(self, grant: Grant) -> float:
        return grant.created + self.world.switches.hard_expiry

    async def revoke(self, request: Request) -> Response:
        body = await request.body()
        try:
            if "json" in request.headers.get("content-type", ""):
                given = msgspec.json.decode(body, type=dict[str, Any])
            else:
                given = dict(parse_qsl(body.decode()))
            self._client(request, {})
            token = self.tokens.find(SIDE, str(given.get("token", "")), "access", "refresh")
            if token is None or token.grant.revoked:
                raise TokenError("invalid_request")
        except (msgspec.DecodeError, UnicodeDecodeError):
            return self._json({"error": "invalid_request"}, 400)
        except TokenError as error:
            return self._json(error.body, error.status)
        self._revoke(token.grant)
        return Response(b"", 200, headers())

    def _revoke(self, grant: Grant) -> None:
        with self.world.store.transaction():
            if self.world.switches.one_grant:
                self.tokens.revoke_tenant(SIDE, grant.tenant)
            else:
                self.tokens.revoke(grant)
        self._traffic.note(grant.tenant, "revocations")

    def bearer(self, request: Request) -> tuple[Token | None, str | None]:
        """The access token of a call, or why there is none, in the gateway's words."""
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        token = self.tokens.find(SIDE, value, "access") if scheme.lower() == "bearer" else None
        if token is None:
            return None, "Malformed bearer token: too short or too long" if value else None
        if token.grant.revoked:
            return None, "Token revoked"
        if token.expires <= self.world.now():
            return None, f"Token expired: {value}"
        return token, None

    async def userinfo(self, request: Request) -> Response:
        token, detail = self.bearer(request)
        if token is None or not token.grant.allows("openid"):
            return self._json({"error": "invalid_token", "error_description": detail or ""}, 401)
        return self._json({"sub": token.grant.id, "email": "owner@company.example", "emailVerified": True})

    def _key(self) -> rsa.RSAPrivateKey:
        kept = self.world.store.memo("sandbox", "id-token-key")
        if kept is None:
            key = rsa.generate_private_key(65537, 2048)
            raw = key.private_bytes(
                serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            kept = Memo(0, raw, 0.0)
            self.world.store.put_memo("sandbox", "id-token-key", kept)
        return cast("rsa.RSAPrivateKey", serialization.load_der_private_key(kept.body, None))

    async def jwks(self, request: Request) -> Response:
        del request
        numbers = self._key().public_key().public_numbers()
        key = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "sandbox"}
        return self._json({"keys": [{**key, "n": _number(numbers.n), "e": _number(numbers.e)}]})

    def _id_token(self, grant: Grant, issuer: str) -> str:
        now = int(self.world.now())
        claims = {"sub": grant.id, "aud": [grant.client], "realmid": grant.tenant, "iss": issuer,
                  "iat": now, "auth_time": now, "exp": now + 3600}  # fmt: skip
        parts = [msgspec.json.encode(part) for part in ({"alg": "RS256", "kid": "sandbox"}, claims)]
        signed = ".".join(map(_unpadded, parts))
        return f"{signed}.{_unpadded(self._key().sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


class Reused(TokenError):  # noqa: N818
    """A code or token came a second time in the mode that then revokes everything."""

    def __init__(self, grant: Grant, description: str) -> None:
        super().__init__("invalid_grant", description)
        self.grant = grant


def _unpadded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _number(value: int) -> str:
    return _unpadded(value.to_bytes((value.bit_length() + 7) // 8, "big"))
