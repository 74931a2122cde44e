"""What stands before every page: which hosts and origins may ask, and the headers of every answer."""

from collections.abc import Callable
from urllib.parse import urlsplit

import anyio
from litestar.datastructures import Headers, MutableScopeHeaders
from litestar.enums import HttpMethod, ScopeType
from litestar.types import ASGIApp, HTTPReceiveMessage, Message, Receive, Scope, Send, WebSocketReceiveMessage

from common.settings import loopback
from services.console.problem import Problem

PATIENCE = 30.0
"""Seconds in which the whole of a request has to be there: who sends it drop by drop would hold a connection."""
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_PROBES = frozenset({"/livez", "/readyz"})
"""What is asked by supervisors on this machine, by whatever name they have for it."""


class Guard:
    """ASGI wrapper. `url` is how browsers reach the console, `providers` where its forms may lead.

    `refusal` makes the page of a refusal from its title and reason.

    A request for a foreign host is refused (a page elsewhere whose name was pointed at this machine), and so
    is a write a browser sends for another site's page. Clients other than browsers send neither header.
    """

    def __init__(self, app: ASGIApp, url: str, providers: list[str], refusal: Callable[[str, str], str]) -> None:
        self._app = app
        self._url = urlsplit(url)
        self._refusal = refusal
        forms = " ".join(["'self'", *sorted({_origin(provider) for provider in providers})])
        self._headers = {
            "Content-Security-Policy": (
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
                f"frame-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action {forms}"
            ),
            # Not no-referrer: with that, Chromium sends `Origin: null` even with a form of our own.
            "Referrer-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cache-Control": "no-store",
        }
        self._local = loopback(url)
        if self._url.scheme == "https":
            self._headers["Strict-Transport-Security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on and add the headers that the answer does not bring itself."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableScopeHeaders.from_message(message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        headers = Headers.from_scope(scope)
        if scope["path"] not in _PROBES and not self._known_host(headers.get("host", "")):
            await self._refuse(guarded, 421, "Wrong address", "This console does not answer for that host.")
        elif scope["method"] not in _SAFE and not self._own_page(headers):
            await self._refuse(guarded, 403, "Refused", "The request came from another site.")
        else:
            # What answers GET answers HEAD; the server leaves the body out.
            asked: Scope = {**scope, "method": HttpMethod.GET} if scope["method"] == "HEAD" else scope
            await self._app(asked, _patient(receive), guarded)

    async def _refuse(self, send: Send, status: int, title: str, why: str) -> None:
        body = self._refusal(title, why).encode()
        headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    def _known_host(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        return name is not None and (name == self._url.hostname or (self._local and loopback(f"//{host}")))

    def _own_page(self, headers: Headers) -> bool:
        # The browser's own judgement, which no page can forge, decides where it is given.
        site = headers.get("sec-fetch-site")
        if site is not None:
            return site in {"same-origin", "none"}
        origin = headers.get("origin")
        ours = {_origin(self._url.geturl())}
        if self._local:
            ours.add(f"http://{headers.get('host', '')}")
        return origin is None or origin in ours


def _patient(receive: Receive) -> Receive:
    """The same, but Problem, which ends the connection too, if PATIENCE ends before the request is whole."""
    until, whole = anyio.current_time() + PATIENCE, False

    async def received() -> HTTPReceiveMessage | WebSocketReceiveMessage:
        nonlocal whole
        if whole:  # what is awaited now is that the browser goes away
            return await receive()
        try:
            with anyio.fail_after(until - anyio.current_time()):
                message = await receive()
        except TimeoutError:
            why = f"The request did not come whole within {PATIENCE:g} seconds."
            raise Problem(408, "Too slow", why, "Send it again.", headers={"Connection": "close"}) from None
        whole = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    return received


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
