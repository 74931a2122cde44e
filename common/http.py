"""HTTP to the providers: TLS 1.3 off loopback, time-outs, bounded retries with jitter, `Retry-After`.

Only what is safe to repeat is retried here. A request with an effect (an upload, a refresh) is sent once;
what follows from an unknown outcome is its caller's business.
"""

import email.utils
import re
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import stamina
import structlog

from common import metrics, tracing
from common.messages import Provider, now
from common.settings import loopback
from common.wire import WireError, utc

log = structlog.get_logger()

ATTEMPTS = 5
LONGEST_WAIT = 60.0
"""Seconds; a server that asks for more gets the message back later instead of a waiting process."""
LATEST = 86_400.0
"""Seconds after which a server is asked again whatever it says: it means a day at most, or something else."""
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


WAITED = "weir.waited"
"""Extension of a request that holds the seconds it waited for a place within the provider's limits."""
ELSEWHERE = "elsewhere"
"""The endpoint of what is no address of the provider itself: files behind links."""
_NAMED = re.compile(r"[a-z_]{1,40}|v[0-9]")
"""Parts of a path that are the provider's words; all others are ids."""


@contextmanager
def measured(request: httpx.Request, provider: Provider) -> Iterator[None]:
    """The block waits for a place within a provider's limits, which is no time of the request's own."""
    began = time.monotonic()
    try:
        yield
    finally:
        request.extensions[WAITED] = time.monotonic() - began
        metrics.LIMIT_WAITS.labels(provider).observe(request.extensions[WAITED])


class _Measured(httpx.AsyncClient):
    """Counts every request, repeats included, times it, and gives it a span."""

    def __init__(self, provider: Provider, urls: Iterable[str], **options: Any) -> None:
        super().__init__(**options)
        self._provider = provider
        self._hosts = {httpx.URL(url).netloc for url in urls}

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        where = endpoint(request.url.path) if request.url.netloc in self._hosts else ELSEWHERE
        began, status = time.monotonic(), "none"
        about = {"http.request.method": request.method, "url.template": where, "provider": self._provider}
        with tracing.span(f"{self._provider} {request.method} {where}", about, kind="client") as step:
            try:
                response = await super().send(request, **options)
                status = status_class(response.status_code)
                step.note({"http.response.status_code": response.status_code})
                return response
            finally:
                waited = float(request.extensions.get(WAITED, 0.0))
                metrics.REQUESTS.labels(self._provider, where, status).inc()
                metrics.REQUEST_SECONDS.labels(self._provider).observe(time.monotonic() - began - waited)


def endpoint(path: str) -> str:
    """A path without ids, of which there are few: `/v2/supplier_invoices/{id}`."""
    parts = [part if _NAMED.fullmatch(part) else "{id}" for part in path.split("/")[1:]]
    return "/" + "/".join(parts)


def status_class(status: int) -> str:
    """What metrics tell apart: 2xx to 5xx, 401 and 429 by themselves."""
    return str(status) if status in {401, 429} else f"{status // 100}xx"


def client(
    base_url: str = "",
    headers: Mapping[str, str] | None = None,
    *,
    provider: Provider | None = None,
    urls: Iterable[str] = (),
) -> httpx.AsyncClient:
    """A client that speaks at least TLS 1.3, follows no redirects and gives up after TIMEOUT.

    For a `provider`, whose own addresses are `urls`, its requests are measured and traced."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    options: dict[str, Any] = {
        "base_url": base_url,
        "headers": headers,
        "verify": context,
        "timeout": TIMEOUT,
        "follow_redirects": False,
        "trust_env": not loopback(base_url) if base_url else True,
        "limits": httpx.Limits(max_connections=50, max_keepalive_connections=20),
        "event_hooks": {"request": [_only_secure]},
    }
    return httpx.AsyncClient(**options) if provider is None else _Measured(provider, urls, **options)


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
    """Seconds the server asks to wait (RFC 9110 §10.2.3: a number or a date), LATEST at most, or None."""
    value = response.headers.get("Retry-After", "").strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return min(float(value), LATEST)
    try:
        moment = utc(email.utils.parsedate_to_datetime(value))
    except (ValueError, WireError):
        return None
    return min(max(0.0, (moment - now()).total_seconds()), LATEST)


async def _only_secure(request: httpx.Request) -> None:
    if request.url.scheme != "https" and not loopback(str(request.url)):
        raise httpx.UnsupportedProtocol(f"refusing plain http to {request.url.host}")
