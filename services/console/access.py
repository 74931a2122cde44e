"""Who may do what: every route says what it needs, and nothing is served before that is checked.

A route without `needs` is refused, so one that forgets to say is not open to everybody. Routes of a workspace
carry it in their path as `workspace`.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie as SetCookie
from litestar.handlers import BaseRouteHandler

from common import subjects
from common.bus import Bus
from common.errors import RetryLater
from common.people import EVERYWHERE, People, Person, Role
from common.tokens import Tokens, limited
from services.console.problem import Problem
from services.console.sessions import Sessions, Visitor, csrf

PUBLIC: Literal["public"] = "public"
"""Needs nothing: what strangers and providers must reach."""
SIGNED_IN: Literal["signed-in"] = "signed-in"
"""Needs somebody, of whatever workspace; the route shows only what is theirs."""
NEEDS = "needs"
"""The name under which a route says what it needs: PUBLIC, SIGNED_IN or a role in the path's workspace."""

API = "/api/"
CSRF_FIELD = "csrf"
CSRF_HEADER = "x-csrf-token"
UNASKED = "x-unasked"
"""The header of what a page asks for by itself, because something moved: nobody is at work for it."""
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Cookie:
    """The session's cookie. `url` is how browsers reach the console."""

    def __init__(self, url: str, port: int | None) -> None:
        self.secure = url.startswith("https:")
        # Without TLS, on this machine only, every port shares the cookies of the host.
        self.name = "__Host-weir" if self.secure else f"weir-{port}"

    def of(self, connection: ASGIConnection[Any, Any, Any, Any], kind: str = "") -> str | None:
        """What the browser holds, or None. `kind` names what is kept beside the session."""
        return connection.cookies.get(f"{self.name}{kind}")

    def set(self, value: str, kind: str = "", *, max_age: int | None = None) -> SetCookie:
        """For an answer: the browser is to hold this; an empty value it is to forget."""
        return SetCookie(
            key=f"{self.name}{kind}",
            value=value,
            path="/",
            httponly=True,
            secure=self.secure,
            # Not strict: coming back from a provider is a request that another site began.
            samesite="lax",
            max_age=max_age if value else 0,
        )


class Access:
    """Checks each request before its handler; tells the handler who it is by `scope["user"]`."""

    def __init__(self, bus: Bus, cookie: Cookie) -> None:
        self._bus = bus
        self._people = People(bus)
        self._sessions = Sessions(bus)
        self._tokens = Tokens(bus)
        self._cookie = cookie

    async def __call__(self, connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        """Return if the request may pass; Problem with what to do if not."""
        needs = handler.opt.get(NEEDS)
        if needs == PUBLIC:
            return
        if needs is None:
            raise Problem(405, "Not allowed", "Weir does not answer this kind of request here.")
        if not self._bus.client.is_connected:
            raise RetryLater("the broker is not connected")
        visitor = await self.visitor(connection, used=UNASKED not in connection.headers)
        if visitor is None:
            raise stranger(connection)
        connection.scope["user"] = visitor
        if needs != SIGNED_IN:
            _in_workspace(visitor, Role(needs), connection.path_params)
        if not _safe(connection) and not visitor.wrote(await _token(connection)):
            why = "The form was not one that this session was given; perhaps you signed in anew meanwhile."
            raise Problem(403, "Refused", why, "Go back, load the page again, and repeat it.")

    async def visitor(self, connection: ASGIConnection[Any, Any, Any, Any], *, used: bool = True) -> Visitor | None:
        """Who asks; None if nobody is signed in, or the person is no longer known.

        A session that is only looked at, not `used`, ends when it would have.
        """
        if connection.headers.get("authorization", "").lower().startswith("bearer "):
            return await self._program(connection)
        value = self._cookie.of(connection)
        session = None if value is None else await self._sessions.find(value, used=used)
        person = None if session is None else await self._person(session.person, session.began_at)
        return None if value is None or person is None else Visitor(person, csrf(value))

    def still(self, connection: ASGIConnection[Any, Any, Any, Any], workspace: str) -> Callable[[], Awaitable[bool]]:
        """For answers that go on for long: whether the person behind a request may still look at the workspace."""

        async def looks() -> bool:
            visitor = await self.visitor(connection, used=False)  # an open page is nobody at work
            return visitor is not None and visitor.person.may(Role.VIEWER, workspace)

        return looks

    async def _program(self, connection: ASGIConnection[Any, Any, Any, Any]) -> Visitor | None:
        """For whom a bearer token acts, with what it may do at most; tokens are for the API alone."""
        if not connection.url.path.startswith(API):
            return None
        token = await self._tokens.find(connection.headers["authorization"][len("bearer ") :].strip())
        person = None if token is None else await self._person(token.person, token.made_at)
        return None if token is None or person is None else Visitor(limited(person, token.roles))

    async def _person(self, name: str, made_at: datetime) -> Person | None:
        """For whom something was made; None if that person is no longer known, or only was made known again."""
        person = await self._people.get(name)
        return None if person is None or made_at < person.since else person


def stranger(connection: ASGIConnection[Any, Any, Any, Any]) -> Problem:
    """What somebody is told who is not signed in: pages lead to the sign-in, and back from there."""
    if connection.url.path.startswith(API):
        why, fix = "This needs a bearer token or a session.", "`weir people token` makes a token."
        return Problem(401, "Not signed in", why, fix, headers={"WWW-Authenticate": "Bearer"})
    if "hx-request" in connection.headers:  # a part of a page: the whole of it has to go there
        there = _signin(connection.headers.get("hx-current-url", ""))
        return Problem(401, "Not signed in", "Your session has ended.", headers={"HX-Redirect": there})
    there = _signin(str(connection.url)) if _safe(connection) else "/signin"
    return Problem(303, "Not signed in", "Sign in first.", headers={"Location": there})


def _signin(back: str) -> str:
    try:
        parts = urlsplit(back)
    except ValueError:  # a browser says where it is, but so may anybody
        return "/signin"
    return f"/signin?back={quote(parts.path + (f'?{parts.query}' if parts.query else ''), safe='')}"


def _in_workspace(visitor: Visitor, role: Role, parameters: dict[str, Any]) -> None:
    workspace = named(parameters.get("workspace", ""))
    held = visitor.person.role(workspace)
    if held is None:  # said as of one that does not exist: names of others are nobody's business
        raise unknown(workspace)
    if not held.includes(role):
        why = f"This takes the role {role} in workspace {workspace}; yours is {held}."
        raise Problem(403, "Not yours to do", why, "Ask an owner of the workspace.")


def may_begin(visitor: Visitor) -> bool:
    """Whether the person may make workspaces that do not exist yet."""
    return visitor.person.may(Role.OWNER, EVERYWHERE)


def named(workspace: str) -> str:
    """The workspace's name; Problem if it cannot be one."""
    try:
        return subjects.workspace(workspace)
    except subjects.BadTokenError:
        raise Problem(400, "Not a workspace name", "Workspace names use 1 to 40 of a-z, 0-9 and -.") from None


def unknown(workspace: str) -> Problem:
    """There is no such workspace, or not for this person."""
    return Problem(404, "No such workspace", f"Weir knows no workspace {workspace} of yours.")


def _safe(connection: ASGIConnection[Any, Any, Any, Any]) -> bool:
    return connection.scope.get("method") in _SAFE


async def _token(connection: ASGIConnection[Any, Any, Any, Any]) -> str | None:
    header = connection.headers.get(CSRF_HEADER)
    if header is not None or not isinstance(connection, Request):
        return header
    given = (await connection.form()).get(CSRF_FIELD)
    return given if isinstance(given, str) else None
