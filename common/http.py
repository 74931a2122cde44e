"""HTTP to the providers: TLS 1.3 off loopback, time-outs, bounded retries with jitter, `Retry-After`.

Only what is safe to repeat is retried here. A request with an effect (an upload, a refresh) is sent once;
what follows from an unknown outcome is its caller's business.
"""

import email.utils
import ssl
from collections.abc import Mapping
from typing import Any

import httpx
import stamina
import structlog

from common.messages import now
from common.settings import loopback

log = structlog.get_logger()

ATTEMPTS = 5
LONGEST_WAIT = 60.0
"""Seconds; a server that asks for more gets the message back later instead of a waiting process."""
TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_REPEATABLE = frozenset({429, 502, 503, 504})


class NotRepeated(httpx.HTTPError):
    """The server keeps asking to wait, or for longer than we wait in place."""

    def __init__(self, response: httpx.Response, wait: float | None) -> None:
        super().__init__(f"HTTP {response.status_code} from {response.request.url.host}")
        self.response = response
        self.wait = wait


class _Again(Exception):  # noqa: N818
    def __init__(self, response: httpx.Response, wait: float | None) -> None:
        super().__init__(f"HTTP {response.status_code}")
        self.response = response
        self.wait = wait


def client(base_url: str = "", headers: Mapping[str, str] | None = None) -> httpx.AsyncClient:
    """A client that speaks at least TLS 1.3, follows no redirects and gives up after TIMEOUT."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return httpx.AsyncClient(
        base_url=base_url,
        headers=headers,
        verify=context,
        timeout=TIMEOUT,
        follow_redirects=False,
        trust_env=not loopback(base_url) if base_url else True,
        limits=httpx.Limits(max_connections=50, max_keepalive_connections=20),
        event_hooks={"request": [_only_secure]},
    )


async def repeated(http: httpx.AsyncClient, method: str, url: str, **options: Any) -> httpx.Response:
    """Send a request that is safe to repeat, until it is answered with something else than "not now".

    Transport errors and 429/502/503/504 are repeated with jitter, honouring `Retry-After`. Raises NotRepeated
    when the server asks for more than LONGEST_WAIT seconds or ATTEMPTS are used up, httpx.TransportError
    when it cannot be reached.
    """
    try:
        async for attempt in stamina.retry_context(
            on=_wait_before_repeating, attempts=ATTEMPTS, timeout=None, wait_initial=0.2, wait_max=10.0, wait_jitter=1.0
        ):
            with attempt:
                response = await http.request(method, url, **options)
                if response.status_code in _REPEATABLE:
                    raise _Again(response, retry_after(response))
                return response
    except _Again as again:
        raise NotRepeated(again.response, again.wait) from None
    raise AssertionError("stamina ends by returning or raising")


def _wait_before_repeating(error: Exception) -> bool | float:
    match error:
        case _Again(wait=None):
            return True
        case _Again(wait=float() as wait):
            return wait if wait <= LONGEST_WAIT else False
        case httpx.TransportError():
            return not isinstance(error, httpx.UnsupportedProtocol)
        case _:
            return False


def retry_after(response: httpx.Response) -> float | None:
    """Seconds the server asks to wait (RFC 9110 §10.2.3: a number or a date), or None."""
    value = response.headers.get("Retry-After", "").strip()
    if not value:
        return None
    if value.isdigit():
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (moment - now()).total_seconds())


async def _only_secure(request: httpx.Request) -> None:
    if request.url.scheme != "https" and not loopback(str(request.url)):
        raise httpx.UnsupportedProtocol(f"refusing plain http to {request.url.host}")
