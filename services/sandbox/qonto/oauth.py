"""Qonto's OAuth host, which behaves like Ory Hydra: consent, tokens that rotate at each use, revocation."""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.sandbox import consent
from services.sandbox.qonto.wire import staging_page
from services.sandbox.tokens import Grant, Token, Tokens
from services.sandbox.world import World

SIDE = "qonto"
BRAND = "#5a3fd6"
CODE_LIFETIME = 600.0  # seconds
REFRESH_LIFETIME = 90 * 86_400.0  # seconds
GRACE = 60.0  # seconds a refresh token can be used again after its first use
SHORTEST_STATE = 8
SCOPES = frozenset(
    [
        "openid",
        "offline_access",
        "organization.read",
        "user_organization.read",
        "membership.read",
        "membership.write",
        "team.read",
        "team.write",
        "attachment.read",
        "attachment.write",
        "supplier_invoice.read",
        "supplier_invoice.write",
        "client.read",
        "client.write",
        "client_invoices.read",
        "client_invoice.write",
        "product.read",
        "product.write",
        "bank_account.write",
        "internal_transfer.write",
        "payment.write",
        "international_transfer.write",
        "card.read",
        "card.write",
        "request_review.read",
        "request_review.write",
        "request_cards.write",
        "request_transfers.write",
        "insurance_contract.read",
        "insurance_contract.write",
        "payment_link.read",
        "payment_link.write",
        "sepa_direct_debit.read",
        "sepa_direct_debit.write",
        "terminal.read",
        "terminal.write",
        "cash_flow_category.read",
        "cash_flow_category.write",
        "einvoicing.read",
        "subscription.read",
        "embed_auth_link.write",
        "webhook",
    ]
)


class TokenError(Exception):
    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(error)
        self.body = {"error": error, "error_description": description}
        self.status = status


class OAuth:
    def __init__(self, world: World) -> None:
        self.world = world
        self.tokens = Tokens(world.store)

    def routes(self) -> list[Route]:
        return [
            Route("/oauth2/auth", self.authorize, methods=["GET", "POST"]),
            Route("/oauth2/token", self.token, methods=["POST"]),
            Route("/oauth2/revoke", self.revoke, methods=["POST"]),
        ]

    def gated(self, request: Request) -> bool:
        """Whether the staging token is needed and missing. Browser calls pass another way."""
        needed = self.world.credentials.qonto_staging_token
        return bool(needed) and request.headers.get("x-qonto-staging-token") != needed

    async def authorize(self, request: Request) -> Response:
        form = await request.form() if request.method == "POST" else {}
        given = {key: str(value) for key, value in {**request.query_params, **form}.items()}
        if given.get("client_id") != self.world.credentials.qonto_client_id or not given.get("redirect_uri"):
            return consent.refusal("Qonto", BRAND, "The requested OAuth 2.0 Client does not exist.")
        redirect_uri, state = given["redirect_uri"], given.get("state", "")
        if problem := self._problem(given):
            error, description = problem
            return consent.back(redirect_uri, error=error, error_description=description, state=state)
        approval = self.world.switches.approval
        if given.get("decision") == "deny" or approval == "deny":
            denied = "The resource owner denied the request"
            return consent.back(redirect_uri, error="access_denied", error_description=denied, state=state)
        organizations = self.organizations()
        chosen = given.get("company", "")
        if not chosen and approval == "auto" and organizations:
            wanted = given.get("organization_id") or self._preferred()
            chosen = wanted if wanted in dict(organizations) else organizations[0][0]
        if chosen not in dict(organizations):
            asked = given.get("organization_id")
            return consent.page(
                provider="Qonto",
                brand=BRAND,
                app="Weir",
                companies=[one for one in organizations if asked in (None, one[0])],
                scopes=given["scope"].split(),
                fields={key: value for key, value in given.items() if key not in ("company", "decision")},
                action="/oauth2/auth",
            )
        with self.world.store.transaction():
            code = self._code(chosen, given)
        return consent.back(redirect_uri, code=code, scope=given["scope"], state=state)

    def _problem(self, given: Mapping[str, str]) -> tuple[str, str] | None:
        if given.get("response_type") != "code":
            return "unsupported_response_type", "The authorization server does not support this response type"
        if len(given.get("state", "")) < SHORTEST_STATE:
            return "invalid_state", "The state is missing or has less than 8 characters"
        for scope in given.get("scope", "").split():
            if scope not in SCOPES:
                return "invalid_scope", f"The OAuth 2.0 Client is not allowed to request scope '{scope}'."
        if given.get("code_challenge") and given.get("code_challenge_method") != "S256":
            return "invalid_request", "Clients must use code_challenge_method=S256"
        return None

    def organizations(self) -> list[tuple[str, str]]:
        """Id and name of every organization, the newest first."""
        rows = self.world.store.table("sandbox", "company").values()
        newest = sorted(rows, key=lambda row: row.created, reverse=True)
        return [(row.body["organization"], row.body["name"]) for row in newest]

    def _preferred(self) -> str:
        row = self.world.store.get("sandbox", "company", self.world.switches.approve_company)
        return "" if row is None else str(row.body["organization"])

    def _code(self, organization: str, given: Mapping[str, str]) -> str:
        now = self.world.now()
        grant = self.tokens.grant(SIDE, given["client_id"], organization, given["scope"], now)
        return self.tokens.issue(
            grant,
            "code",
            f"ory_ac_{secrets.token_urlsafe(48)}",
            now,
            CODE_LIFETIME,
            redirect_uri=given["redirect_uri"],
            challenge=given.get("code_challenge", ""),
        ).value

    async def token(self, request: Request) -> Response:
        if self.gated(request):
            return staging_page()
        form = {key: str(value) for key, value in (await request.form()).items()}
        try:
            with self.world.store.transaction():
                self._client(form)
                return _uncached(self._exchange(form))
        except TokenError as error:
            return _uncached(error.body, error.status)

    def _client(self, form: Mapping[str, str]) -> None:
        """Credentials travel in the body; Basic is not described and not taken."""
        known = self.world.credentials
        if (form.get("client_id"), form.get("client_secret")) != (known.qonto_client_id, known.qonto_client_secret):
            raise TokenError(
                "invalid_client",
                "Client authentication failed (e.g., unknown client, no client authentication included, "
                "or unsupported authentication method).",
                401,
            )

    def _exchange(self, form: Mapping[str, str]) -> dict[str, Any]:
        match form.get("grant_type"):
            case "authorization_code":
                grant = self._redeem(form)
            case "refresh_token":
                grant = self._refresh(form.get("refresh_token", ""))
            case _:
                raise TokenError("unsupported_grant_type", "The authorization grant type is not supported")
        return self.issue(grant)

    def issue(self, grant: Grant) -> dict[str, Any]:
        """A fresh pair on a grant, as the token endpoint answers it."""
        now, lifetime = self.world.now(), self.world.switches.access_lifetime
        access = self.tokens.issue(grant, "access", f"ory_at_{secrets.token_urlsafe(48)}", now, lifetime)
        answer: dict[str, Any] = {
            "access_token": access.value,
            "expires_in": int(lifetime),
            "scope": grant.scope,
            "token_type": "bearer",
        }
        if grant.allows("offline_access"):
            answer["refresh_token"] = self.tokens.issue(
                grant, "refresh", f"ory_rt_{secrets.token_urlsafe(48)}", now, REFRESH_LIFETIME
            ).value
        return answer

    def _redeem(self, form: Mapping[str, str]) -> Grant:
        token, now = self.tokens.find(SIDE, form.get("code", ""), "code"), self.world.now()
        if token is None or token.grant.revoked or token.spent is not None or token.expires <= now:
            raise TokenError("invalid_grant", "The authorization code is invalid, expired or was already used.")
        if token.extra["redirect_uri"] != form.get("redirect_uri"):
            raise TokenError("invalid_grant", "The 'redirect_uri' from this request does not match the one from "
                             "the authorize request.")  # fmt: skip
        self._verify(token.extra["challenge"], form.get("code_verifier", ""))
        self.tokens.spend(token, now)
        return token.grant

    def _verify(self, challenge: str, verifier: str) -> None:
        """PKCE, checked only when a challenge was sent."""
        if not challenge:
            return
        digest = hashlib.sha256(verifier.encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != challenge:
            raise TokenError("invalid_grant", "The PKCE code challenge did not match the code verifier.")

    def _refresh(self, value: str) -> Grant:
        token, now = self.tokens.find(SIDE, value, "refresh"), self.world.now()
        if (
            token is None
            or token.grant.revoked
            or token.expires <= now
            or (token.spent is not None and token.spent + GRACE <= now)
        ):
            raise TokenError("invalid_grant", "The refresh token is invalid, expired, revoked or was already used.")
        if token.spent is None:
            self.tokens.spend(token, now)
        return token.grant

    async def revoke(self, request: Request) -> Response:
        if self.gated(request):
            return staging_page()
        form = {key: str(value) for key, value in (await request.form()).items()}
        try:
            self._client(form)
        except TokenError as error:
            return _uncached(error.body, error.status)
        token = self.tokens.find(SIDE, form.get("token", ""), "access", "refresh")
        if token is not None:
            with self.world.store.transaction():
                if token.kind == "refresh":
                    self.tokens.revoke(token.grant)
                else:
                    self.tokens.kill(token)
        return Response(b"", 200)

    def bearer(self, value: str) -> Token | None:
        token = self.tokens.find(SIDE, value, "access")
        live = token is not None and not token.grant.revoked and token.expires > self.world.now()
        return token if live else None


def _uncached(body: dict[str, Any], status: int = 200) -> Response:
    return JSONResponse(body, status, {"Cache-Control": "no-store", "Pragma": "no-cache"})
