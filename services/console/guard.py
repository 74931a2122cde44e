"""What stands before every page: which hosts and origins may ask, and the headers of every answer."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.settings import loopback

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """ASGI wrapper. `url` is how browsers reach the console, `providers` where its forms may lead.

    A request for a foreign host is refused (a page elsewhere whose name was pointed at this machine), and so
    is a write a browser sends for another site's page. Clients other than browsers send neither header.
    """

    def __init__(self, app: ASGIApp, url: str, providers: list[str]) -> None:
        self._app = app
        self._url = urlsplit(url)
        forms = " ".join(["'self'", *sorted({_origin(provider) for provider in providers})])
        self._headers = {
            "Content-Security-Policy": (
                "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; "
                f"frame-ancestors 'none'; form-action {forms}"
            ),
            "Referrer-Policy": "no-referrer",
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
            await PlainTextResponse("This console does not answer for that host.", 421)(scope, receive, guarded)
        elif scope["method"] not in _SAFE and not self._own_page(headers):
            await PlainTextResponse("Refused: the request came from another site.", 403)(scope, receive, guarded)
        else:
            await self._app(scope, receive, guarded)

    def _known_host(self, host: str) -> bool:
        name = urlsplit(f"//{host}").hostname
        return name is not None and (name == self._url.hostname or loopback(f"//{host}"))

    def _own_page(self, headers: Headers) -> bool:
        site = headers.get("sec-fetch-site")
        if site is not None and site not in {"same-origin", "none"}:
            return False
        origin = headers.get("origin")
        return origin is None or origin in {_origin(self._url.geturl()), f"http://{headers.get('host', '')}"}


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
