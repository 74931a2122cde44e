"""The Qonto side of a connection: which app asks, for which organization, and how it is taken back."""

import httpx
import structlog

from common import qonto as wire
from common.connections import Account, Renew
from common.errors import RetryLater
from common.http import repeated
from common.messages import Exchange, now
from common.oauth import OAuthApp, Tokens
from common.settings import Settings
from common.wire import WireError
from services.poster.limits import Place, Refusals, no_place

log = structlog.get_logger()

SCOPES = (
    "offline_access organization.read supplier_invoice.read supplier_invoice.write attachment.read attachment.write"
)


def oauth_app(settings: Settings, *, webhooks: bool = False) -> OAuthApp:
    """Weir as Qonto knows it, with the scope for `webhooks` if asked; UserError when the client is not configured."""
    return OAuthApp(
        provider="qonto",
        client_id=settings.required("qonto_client_id"),
        client_secret=settings.required("qonto_client_secret"),
        authorize_url=f"{settings.qonto_oauth_url}/oauth2/auth",
        token_url=f"{settings.qonto_oauth_url}/oauth2/token",
        revoke_url=f"{settings.qonto_oauth_url}/oauth2/revoke",
        scope=f"{SCOPES} webhook" if webhooks else SCOPES,
        credentials="body",
        pkce=True,
        headers=staging(settings),
    )


def staging(settings: Settings) -> dict[str, str]:
    """The header that Qonto's sandbox wants on every call."""
    token = settings.qonto_staging_token
    return {"X-Qonto-Staging-Token": token.get_secret_value()} if token is not None else {}


def bearer(access: str) -> dict[str, str]:
    """The header that carries an access token."""
    return {"Authorization": f"Bearer {access}"}


def needed(method: str, path: str) -> str:
    """The scope that a call needs (docs.qonto.com, "available scopes")."""
    if path.startswith("/v2/supplier_invoices"):
        return "supplier_invoice.read" if method == "GET" else "supplier_invoice.write"
    if "attachments" in path:
        return "attachment.read" if method == "GET" else "attachment.write"
    return "webhook" if path.startswith("/v2/webhook_subscriptions") else "organization.read"


async def identify(http: httpx.AsyncClient, tokens: Tokens, _callback: Exchange) -> Account:
    """The organization a fresh grant is for, which Qonto tells only when asked (`GET /v2/organization`)."""
    try:
        response = await repeated(http, "GET", "/v2/organization", headers=bearer(tokens.access))
    except httpx.HTTPError as error:
        raise RetryLater(f"Qonto does not tell the organization: {type(error).__name__}") from None
    if "html" in response.headers.get("Content-Type", ""):
        raise RetryLater("Qonto answers with a web page instead of data; check WEIR_QONTO_STAGING_TOKEN")
    if response.status_code != 200:
        told = wire.problems(response.status_code, response.content)
        missing = " (organization.read)" if response.status_code == 403 else ""
        reason = f": {told[0].detail}{missing}" if told else ""
        raise RetryLater(f"Qonto does not tell the organization: HTTP {response.status_code}{reason}")
    organization = wire.organization(response.content)
    return Account(organization.id, organization.name)


async def take_back(
    http: httpx.AsyncClient,
    app: OAuthApp,
    refusals: Refusals,
    tokens: Tokens,
    renew: Renew,
    *,
    callback: str | None = None,
) -> None:
    """Drop what the person agreed to (`DELETE /v2/oauth2/consents`), then revoke the refresh token.

    Before that, no more webhooks to `callback` are asked for. Dead if the grant is gone, RetryLater while Qonto does
    not answer.
    """
    leaving = _Leaving(http, refusals, tokens, renew)
    if callback is not None:
        await _unsubscribe(leaving, callback)
    response = await leaving.send("DELETE", "/v2/oauth2/consents")
    if response.status_code >= 500 or response.status_code == 429:
        raise RetryLater(f"Qonto does not drop the consent now: HTTP {response.status_code}")
    # Any other refusal means that there is nothing to drop.
    log.info("poster.consent_dropped", status=response.status_code)
    await app.revoke(http, leaving.tokens.refresh)


class _Leaving:
    """The last calls with a grant; its tokens are renewed once, where the access token has ended or may have."""

    def __init__(self, http: httpx.AsyncClient, refusals: Refusals, tokens: Tokens, renew: Renew) -> None:
        self._http = http
        self._refusals = refusals
        self._renew = renew
        self._renewed = False
        self.tokens = tokens

    async def send(self, method: str, path: str) -> httpx.Response:
        """The answer; RetryLater without one, or without room for Qonto to refuse."""
        while True:
            place = await self._place()
            status = 0
            try:
                response = await self._http.request(method, path, headers=bearer(self.tokens.access))
                status = response.status_code
            except httpx.HTTPError as error:
                raise RetryLater(f"Qonto cannot be reached to end the access: {type(error).__name__}") from None
            finally:
                await place.answered(status)
            if status != 401 or self._renewed:
                return response
            await self._refresh()  # most often the access token has merely ended

    async def _place(self) -> Place:
        place = None
        if self._renewed or self.tokens.expires_at > now():
            place = await self._refusals.reserve(self.tokens.access, "fresh" if self._renewed else "kept")
        if place is None and not self._renewed:
            await self._refresh()
            place = await self._refusals.reserve(self.tokens.access, "fresh")
        if place is None:
            raise no_place()
        return place

    async def _refresh(self) -> None:
        self.tokens = await self._renew()
        self._renewed = True


async def _unsubscribe(leaving: _Leaving, callback: str) -> None:
    """Remove our subscriptions. One that stays behind sends what nobody believes any more."""
    path = "/v2/webhook_subscriptions"
    response = await leaving.send("GET", path)
    if response.status_code == 200:
        try:
            for ident in wire.subscriptions(response.content, callback):
                response = await leaving.send("DELETE", f"{path}/{ident}")
        except WireError as error:
            log.warning("poster.still_subscribed", error=str(error))
            return
    log.info("poster.unsubscribed", status=response.status_code)
