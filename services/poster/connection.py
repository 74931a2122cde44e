"""The Qonto side of a connection: which app asks, for which organization, and how it is taken back."""

import httpx
import structlog

from common import qonto as wire
from common.connections import Account, Renew
from common.errors import RetryLater
from common.http import repeated
from common.messages import Exchange
from common.oauth import OAuthApp, Tokens
from common.settings import Settings
from common.wire import WireError

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
    http: httpx.AsyncClient, app: OAuthApp, tokens: Tokens, renew: Renew, *, callback: str | None = None
) -> None:
    """Drop what the person agreed to (`DELETE /v2/oauth2/consents`), then revoke the refresh token.

    Before that, no more webhooks to `callback` are asked for. Dead if the grant is gone, RetryLater while Qonto does
    not answer.
    """
    if callback is not None and await _unsubscribe(http, tokens, callback) == 401:
        tokens = await renew()  # most often the access token has merely ended
        await _unsubscribe(http, tokens, callback)
    response = await _drop_consent(http, tokens)
    if response.status_code == 401:
        tokens = await renew()
        response = await _drop_consent(http, tokens)
    if response.status_code >= 500 or response.status_code == 429:
        raise RetryLater(f"Qonto does not drop the consent now: HTTP {response.status_code}")
    # Any other refusal means that there is nothing to drop.
    log.info("poster.consent_dropped", status=response.status_code)
    await app.revoke(http, tokens.refresh)


async def _unsubscribe(http: httpx.AsyncClient, tokens: Tokens, callback: str) -> int:
    """Remove our subscriptions; the last status. One that stays behind sends what nobody believes any more."""
    path, headers = "/v2/webhook_subscriptions", bearer(tokens.access)
    try:
        response = await http.get(path, headers=headers)
        if response.status_code == 200:
            for ident in wire.subscriptions(response.content, callback):
                response = await http.delete(f"{path}/{ident}", headers=headers)
    except httpx.HTTPError as error:
        raise RetryLater(f"Qonto cannot be reached to end its webhooks: {type(error).__name__}") from None
    except WireError as error:
        log.warning("poster.still_subscribed", error=str(error))
        return 0
    log.info("poster.unsubscribed", status=response.status_code)
    return response.status_code


async def _drop_consent(http: httpx.AsyncClient, tokens: Tokens) -> httpx.Response:
    try:
        return await http.delete("/v2/oauth2/consents", headers=bearer(tokens.access))
    except httpx.HTTPError as error:
        raise RetryLater(f"Qonto cannot be reached to drop the consent: {type(error).__name__}") from None
