"""Signing in through an OpenID Connect provider: the authorization code flow with PKCE, state and nonce.

What a sign-in under way has to remember is kept by the browser that began it, in a cookie that goes to this console
alone: an answer that another browser was sent is none. OpenID Connect Core 1.0, sections 3.1 and 16; RFC 7636.
"""

import base64
import binascii
import hmac
import time
from typing import Any, TypeVar

import anyio
import httpx
import joserfc.errors
import msgspec
import structlog
from authlib.common.security import generate_token
from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from common import codec
from common.settings import Settings, loopback
from services.console.problem import Problem

log = structlog.get_logger()
T = TypeVar("T")

WITHIN = 600
"""Seconds a person may take at the provider."""
LEEWAY = 60
"""Seconds by which the provider's clock may differ from ours."""
TIMEOUT = 10.0
AGAIN = 5.0
"""Seconds for which a provider that could not be asked what it is like is not asked again: people wait in a queue."""
ALGORITHMS = frozenset("RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA".split())
"""How an id token may be signed: with a key that only the provider has."""


class _Metadata(msgspec.Struct):
    """What the provider says of itself (OpenID Connect Discovery 1.0, section 3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    id_token_signing_alg_values_supported: tuple[str, ...] = ("RS256",)
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class _Tokens(msgspec.Struct):
    id_token: str
    access_token: str | None = None


class _Keys(msgspec.Struct):
    keys: list[Any]


class Begun(msgspec.Struct, frozen=True):
    """What a sign-in under way remembers, in the browser."""

    state: str
    nonce: str
    verifier: str
    back: str

    def sealed(self) -> str:
        """As the value of a cookie."""
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode()

    def is_of(self, state: str) -> bool:
        """Whether an answer with this state is one to this sign-in."""
        return hmac.compare_digest(self.state.encode(), state.encode())

    @classmethod
    def read(cls, value: str | None) -> "Begun | None":
        """From the value of a cookie; None if it is none."""
        try:
            return codec.decode(base64.urlsafe_b64decode(value or ""), cls)
        except (binascii.Error, ValueError, msgspec.MsgspecError):
            return None


class Oidc:
    """The provider, as `settings` name it; `base_url` is how browsers reach the console."""

    def __init__(self, settings: Settings, base_url: str) -> None:
        self._issuer = settings.required("console_oidc_issuer")
        self._client = settings.required("console_oidc_client_id")
        self._secret = settings.required("console_oidc_client_secret")
        self._redirect = f"{base_url}/signin/callback"
        self._metadata: _Metadata | None = None
        self._keys: KeySet | None = None
        self._failure: Problem | None = None
        self._again_at = 0.0
        self._lock = anyio.Lock()

    async def begin(self, back: str) -> tuple[str, Begun]:
        """Where to send the person, and what the browser is to remember meanwhile."""
        metadata = await self._described()
        begun = Begun(generate_token(32), generate_token(32), generate_token(64), back)
        parameters = {
            "response_type": "code",
            "client_id": self._client,
            "redirect_uri": self._redirect,
            "scope": "openid email",
            "state": begun.state,
            "nonce": begun.nonce,
            "code_challenge": create_s256_code_challenge(begun.verifier),
            "code_challenge_method": "S256",
        }
        return add_params_to_uri(metadata.authorization_endpoint, parameters.items()), begun

    async def finish(self, begun: Begun, code: str) -> str:
        """The verified e-mail address of who came back; Problem if the answer proves nobody."""
        tokens = await self._exchanged(code, begun.verifier)
        try:
            claims = await self._claims(tokens, begun.nonce)
        except (joserfc.errors.JoseError, ValueError) as error:
            log.warning("console.id_token_refused", error=error)
            raise _refused("the provider's answer does not hold") from None
        email = claims.get("email")
        if not isinstance(email, str) or not email:
            raise _refused("the provider tells no e-mail address", "Have the provider release the claim email.")
        if not email.isascii():
            # Two that look alike, or that Unicode takes for one, may be addresses of two people.
            raise _refused("your e-mail address has letters beyond ASCII", "Have another one registered there.")
        if claims.get("email_verified") is not True:
            raise _refused("the provider has not verified your e-mail address", "Have it verified there.")
        return email

    async def _claims(self, tokens: _Tokens, nonce: str) -> CodeIDToken:
        metadata = await self._described()
        algorithms = sorted(ALGORITHMS.intersection(metadata.id_token_signing_alg_values_supported))
        registry = JWSRegistry(algorithms=algorithms, strict_check_header=False)
        try:
            token = jwt.decode(tokens.id_token, await self._signers(), registry=registry)
        except (joserfc.errors.InvalidKeyIdError, joserfc.errors.BadSignatureError):
            token = jwt.decode(tokens.id_token, await self._signers(anew=True), registry=registry)  # keys are rotated
        options: Any = {
            "iss": {"essential": True, "value": metadata.issuer},
            "aud": {"essential": True, "value": self._client},
        }
        known = {"nonce": nonce, "client_id": self._client, "access_token": tokens.access_token}
        claims = CodeIDToken(token.claims, token.header, options, known)
        claims.validate(leeway=LEEWAY)
        return claims

    async def _described(self) -> _Metadata:
        async with self._lock:
            if self._metadata is None:
                if self._failure is not None and time.monotonic() < self._again_at:
                    raise self._failure.with_traceback(None)
                try:
                    self._metadata = await self._describe()
                except Problem as problem:
                    self._failure, self._again_at = problem, time.monotonic() + AGAIN
                    raise
            return self._metadata

    async def _describe(self) -> _Metadata:
        answer = await self._ask("GET", f"{self._issuer}/.well-known/openid-configuration")
        found = _read(answer, _Metadata)
        if found.issuer.rstrip("/") != self._issuer:
            raise _unfit(f"it calls itself {found.issuer:.100}")
        if not ALGORITHMS.intersection(found.id_token_signing_alg_values_supported):
            raise _unfit(f"it signs in none of the ways {', '.join(sorted(ALGORITHMS))}")
        return found

    async def _signers(self, *, anew: bool = False) -> KeySet:
        if self._keys is None or anew:
            answer = await self._ask("GET", (await self._described()).jwks_uri)
            try:
                self._keys = KeySet.import_key_set({"keys": _read(answer, _Keys).keys})
            except (joserfc.errors.JoseError, ValueError, KeyError) as error:
                raise _unfit(f"its keys cannot be read ({type(error).__name__})") from None
        return self._keys

    async def _exchanged(self, code: str, verifier: str) -> _Tokens:
        metadata = await self._described()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect,
            "code_verifier": verifier,
        }
        options: dict[str, Any] = {}
        if "client_secret_basic" in metadata.token_endpoint_auth_methods_supported:
            options["auth"] = httpx.BasicAuth(self._client, self._secret)
        else:
            form |= {"client_id": self._client, "client_secret": self._secret}
        answer = await self._ask("POST", metadata.token_endpoint, data=form, **options)
        return _read(answer, _Tokens)

    async def _ask(self, method: str, url: str, **options: Any) -> httpx.Response:
        if not url.startswith("https://") and not loopback(url):
            raise _unfit("it names an address without TLS")
        try:
            async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=not loopback(url)) as http:
                answer = await http.request(method, url, **options)
        except httpx.TransportError as error:
            log.warning("console.oidc_unreachable", url=url, error=error)
            why = "The identity provider does not answer."
            raise Problem(503, "Not just now", why, "Try again in a moment.") from None
        if answer.status_code != 200:
            log.warning("console.oidc_refused", url=url, status=answer.status_code)
            if answer.status_code == 400 and b"invalid_grant" in answer.content:  # RFC 6749, section 5.2
                raise _refused("the provider does not know the code that came back")
            raise _unfit(f"it answered HTTP {answer.status_code}")
        return answer


def _read(answer: httpx.Response, type_: type[T]) -> T:
    try:
        return codec.decode(answer.content, type_)
    except msgspec.MsgspecError as error:
        raise _unfit(f"its answer cannot be read ({error})") from None


def _refused(why: str, fix: str = "Begin the sign-in anew.") -> Problem:
    return Problem(403, "Not signed in", f"{why[0].upper()}{why[1:]}.", fix)


def _unfit(why: str) -> Problem:
    log.error("console.oidc_unfit", why=why)
    return Problem(
        502, "The identity provider cannot be used", f"Of the provider: {why}.", "Check WEIR_CONSOLE_OIDC_ISSUER."
    )
