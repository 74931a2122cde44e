"""What stands before every page: which hosts and origins may ask, and the headers of every answer."""

from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.settings import loopback

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """ASGI wrapper. `url` is how browsers reach the console, `providers` where its forms may lead.

    `refusal` makes the page of a refusal from its status, title and reason.

    A request for a foreign host is refused (a page elsewhere whose name was pointed at this machine), and so
    is a write a browser sends for another site's page. Clients other than browsers send neither header.
    """

    def __init__(
        self, app: ASGIApp, url: str, providers: list[str], refusal: Callable[[int, str, str], Response]
    ) -> None:
        self._app = app
        self._url = urlsplit(url)
        self._refusal = refusal
        forms = " ".join(["'self'", *sorted({_origin(provider) for provider in providers})])
        self._headers = {
            "Content-Security-Policy": (
                "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; "
                f"frame-ancestors 'none'; form-action {forms}"
            ),
            # Not no-referrer: with that, Chromium sends `Origin: null` even with a form of our own.
            "Referrer-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on and add the headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        headers = Headers(scope=scope)
        if not self._known_host(headers.get("host", "")):
            refused = self._refusal(421, "Wrong address", "This console does not answer for that host.")
            await refused(scope, receive, guarded)
        elif scope["method"] not in _SAFE and not self._own_page(headers):
            refused = self._refusal(403, "Refused", "The request came from another site.")
            await refused(scope, receive, guarded)
        else:
            await self._app(scope, receive, guarded)

    def _known_host(self, host: str) -> bool:
        name = urlsplit(f"//{host}").hostname
        return name is not None and (name == self._url.hostname or loopback(f"//{host}"))

    def _own_page(self, headers: Headers) -> bool:
        # The browser's own judgement, which no page can forge, decides where it is given.
        site = headers.get("sec-fetch-site")
        if site is not None:
            return site in {"same-origin", "none"}
        origin = headers.get("origin")
        return origin is None or origin in {_origin(self._url.geturl()), f"http://{headers.get('host', '')}"}


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
