"""Fetching a file from the host that QuickBooks' links lead to.

Whoever holds a link may read the file: it is not logged, and our token does not go there.

Redirects are not followed. A signed link is final, so a redirect is not expected; and following one safely
would mean to resolve the name, check the address and connect to just that address, in our own code.
"""

import ipaddress

import anyio
import httpx
import stamina
from httpx import codes

from common import http as requests
from common.errors import RetryLater, WeirError
from common.settings import loopback

LARGEST_FILE = 40 * 2**20
"""Bytes of an attachment that is fetched. Qonto takes files of 10 MB, but larger ones can mostly be reduced."""

LONGEST = 120.0
"""Seconds one download may take: a host that drips holds up a whole company."""

_NOT_NOW = frozenset({codes.REQUEST_TIMEOUT, codes.TOO_EARLY, codes.TOO_MANY_REQUESTS})


class Unobtainable(WeirError):  # noqa: N818
    """The link does not give the file; another link may."""


class TooLarge(Unobtainable):
    """The file is larger than LARGEST_FILE, whatever link it is fetched by."""


class NotNow(RetryLater):
    """The file host cannot give the file now; it may later."""


async def download(http: httpx.AsyncClient, link: str, *, local: bool = False) -> bytes:
    """The bytes behind `link`, which may lead to this machine only if `local`.

    Unobtainable or TooLarge if the host will not give them, NotNow if it cannot now.
    """
    if not _acceptable(link, local=local):
        raise Unobtainable("QuickBooks gave a link that is not https to a public host")
    try:
        with anyio.fail_after(LONGEST):
            async for attempt in stamina.retry_context(on=httpx.TransportError, attempts=3, timeout=None):
                with attempt:
                    return await _stream(http, link)
    except TimeoutError:
        raise NotNow(f"the file host took longer than {LONGEST:.0f} s for one file") from None
    except httpx.TransportError as error:
        raise NotNow(f"a file cannot be fetched: {type(error).__name__}") from None
    except httpx.DecodingError:
        raise Unobtainable("the file host sent something that cannot be unpacked") from None
    raise AssertionError("stamina ends by returning or raising")


def _acceptable(link: str, *, local: bool) -> bool:
    try:
        url = httpx.URL(link)
    except httpx.InvalidURL:
        return False
    if loopback(link):
        return local and url.scheme in {"http", "https"}
    try:
        public = ipaddress.ip_address(url.host).is_global
    except ValueError:
        public = "." in url.host  # a name of the public internet has a dot
    return url.scheme == "https" and public


async def _stream(http: httpx.AsyncClient, link: str) -> bytes:
    async with http.stream("GET", link, follow_redirects=False) as response:
        status = response.status_code
        if codes.is_server_error(status) or status in _NOT_NOW:
            wait = requests.retry_after(response)
            raise NotNow(f"the file host answered with HTTP {status}", delay=wait)
        if status != codes.OK:
            raise Unobtainable(f"the file host answered with HTTP {status}")
        told = response.headers.get("Content-Length", "")
        data = bytearray()
        if told.isdecimal() and int(told) > LARGEST_FILE:
            raise _too_large()
        async for chunk in response.aiter_bytes():
            data += chunk
            if len(data) > LARGEST_FILE:
                raise _too_large()
        return bytes(data)


def _too_large() -> TooLarge:
    return TooLarge(f"the file is larger than {LARGEST_FILE >> 20} MB")
