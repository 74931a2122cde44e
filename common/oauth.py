"""OAuth 2.0 authorization code flow and refresh (RFC 6749, PKCE RFC 7636), as both providers speak it."""

import base64
import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Literal
from urllib.parse import urlencode

import httpx
import msgspec

from common import codec
from common.errors import RetryLater, WeirError
from common.http import retry_after
from common.messages import now


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """A grant as it is sealed. Instants are UTC, None where the provider does not say.

    Without use the refresh token ends at `refresh_expires_at`; at `hard_expires_at` it ends in any case.
    """

    access: str
    refresh: str
    expires_at: datetime
    refresh_expires_at: datetime | None = None
    hard_expires_at: datetime | None = None

    def __repr__(self) -> str:
        return f"Tokens(expires_at={self.expires_at.isoformat()})"


class Dead(WeirError):  # noqa: N818
    """The grant is gone (revoked, expired, replayed): only a person can connect anew."""


class BadClient(WeirError):  # noqa: N818
    """The provider does not accept our client id and secret."""


class _Answer(msgspec.Struct):
    access_token: str
    refresh_token: str
    expires_in: float
    x_refresh_token_expires_in: float | None = None
    x_refresh_token_hard_expires_in: float | None = None


class _Error(msgspec.Struct):
    error: str
    error_description: str | None = None


class OAuthApp(msgspec.Struct, frozen=True, kw_only=True):
    """One app at one provider. `credentials` says where the provider wants the client's id and secret."""

    provider: Literal["quickbooks", "qonto"]
    client_id: str
    client_secret: str
    authorize_url: str
    token_url: str
    revoke_url: str
    scope: str
    credentials: Literal["basic", "body"]
    pkce: bool = False
    headers: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"OAuthApp({self.provider}, {self.client_id})"

    @property
    def one_grant(self) -> bool:
        """Whether all consents to one account are one grant, so that revoking a token of one ends them all.

        Intuit knows one connection between an app and a company; with Qonto each consent has tokens of its own.
        What follows for revocations: `Accounts.revoking`.
        """
        return self.provider == "quickbooks"

    def authorize(self, redirect_uri: str, state: str, verifier: str) -> str:
        """The URL that asks a person for access; `verifier` counts only with PKCE."""
        query = {
            "client_id": self.client_id,
            "response_type": "code",
            "scope": self.scope,
            "redirect_uri": redirect_uri,
            "state": state,
        }
        if self.pkce:
            digest = hashlib.sha256(verifier.encode()).digest()
            query["code_challenge"] = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            query["code_challenge_method"] = "S256"
        return f"{self.authorize_url}?{urlencode(query)}"

    async def exchange(self, http: httpx.AsyncClient, code: str, redirect_uri: str, verifier: str) -> Tokens:
        """Trade a code for tokens, once: a code sent twice may cost the grant. Errors as in `refresh`."""
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        if self.pkce:
            form["code_verifier"] = verifier
        return await self._token(http, form)

    async def refresh(self, http: httpx.AsyncClient, refresh_token: str) -> Tokens:
        """New tokens for a refresh token, sent once; the caller keeps the result before using it.

        Dead when the provider says the grant is gone, BadClient when it refuses our credentials, RetryLater
        when the outcome is unknown or the provider is busy (the same token may be sent again then).
        """
        return await self._token(http, {"grant_type": "refresh_token", "refresh_token": refresh_token})

    async def revoke(self, http: httpx.AsyncClient, token: str) -> None:
        """Take the grant back; a token the provider no longer knows (HTTP 400) is as good as revoked.

        Intuit takes JSON, Qonto a form (RFC 7009); both answer 200. BadClient when our credentials are refused,
        RetryLater on every other answer and when there is none.
        """
        try:
            if self.provider == "quickbooks":
                response = await http.post(
                    self.revoke_url, json={"token": token}, auth=self._basic(), headers=self.headers
                )
            else:
                form = {"token": token, "client_id": self.client_id, "client_secret": self.client_secret}
                response = await http.post(self.revoke_url, data=form, headers=self.headers)
        except httpx.TransportError as error:
            raise RetryLater(f"{self.provider} cannot be reached to revoke: {type(error).__name__}") from None
        if response.status_code == 401 or _error_in(response) == "invalid_client":
            raise BadClient(f"{self.provider} refuses the client id and secret; check WEIR_{self.provider.upper()}_*")
        if not response.is_success and response.status_code != 400:
            raise RetryLater(f"{self.provider} does not revoke now: HTTP {response.status_code}")

    def _basic(self) -> httpx.BasicAuth:
        return httpx.BasicAuth(self.client_id, self.client_secret)

    async def _token(self, http: httpx.AsyncClient, form: dict[str, str]) -> Tokens:
        headers = {"Accept": "application/json", **self.headers}
        if self.provider == "quickbooks":
            headers["x-include-refresh-token-hard-expires-in"] = "true"
        asked_at = now()
        try:
            if self.credentials == "basic":
                response = await http.post(self.token_url, data=form, headers=headers, auth=self._basic())
            else:
                secret = {"client_id": self.client_id, "client_secret": self.client_secret}
                response = await http.post(self.token_url, data={**form, **secret}, headers=headers)
        except httpx.TransportError as error:
            raise RetryLater(f"{self.provider}'s token endpoint: {type(error).__name__}") from None
        return self._read(response, asked_at)

    def _read(self, response: httpx.Response, asked_at: datetime) -> Tokens:
        status = response.status_code
        if status == 200:
            try:
                answer = codec.decode(response.content, _Answer)
            except msgspec.MsgspecError:
                # A body with HTTP 200 but without both tokens is an error in disguise or a cut-off answer.
                if _error_in(response) == "invalid_grant":
                    raise Dead(f"{self.provider} says the grant is gone") from None
                raise RetryLater(f"{self.provider}'s token endpoint answered without tokens") from None
            return Tokens(
                access=answer.access_token,
                refresh=answer.refresh_token,
                expires_at=asked_at + timedelta(seconds=answer.expires_in),
                refresh_expires_at=_after(answer.x_refresh_token_expires_in, asked_at),
                hard_expires_at=_after(answer.x_refresh_token_hard_expires_in, asked_at),
            )
        if "html" in response.headers.get("Content-Type", "") and status < 500:
            hint = "; check WEIR_QONTO_STAGING_TOKEN" if self.provider == "qonto" else ""
            raise RetryLater(f"{self.provider}'s token endpoint answers with a web page instead of data{hint}")
        code = _error_in(response)
        if code == "invalid_grant":
            raise Dead(f"{self.provider} says the grant is gone")
        if status == 401 or code in {"invalid_client", "unauthorized_client"}:
            raise BadClient(f"{self.provider} refuses the client id and secret; check WEIR_{self.provider.upper()}_*")
        raise RetryLater(f"{self.provider}'s token endpoint: HTTP {status} {code}", retry_after(response))


def _after(seconds: float | None, moment: datetime) -> datetime | None:
    return moment + timedelta(seconds=seconds) if seconds else None


def _error_in(response: httpx.Response) -> str:
    try:
        return codec.decode(response.content, _Error).error
    except msgspec.MsgspecError:
        return ""


def new_state() -> str:
    """An unguessable `state` that is also a valid key."""
    return secrets.token_hex(24)


def new_verifier() -> str:
    """A PKCE code verifier (RFC 7636 §4.1)."""
    return secrets.token_urlsafe(48)
