"""Signing in, by a one-time link or through the OpenID Connect provider, and out."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

import structlog
from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromQuery
from litestar.response import Redirect

from common.bus import Bus
from common.invitations import Invitations
from common.people import People
from services.console.access import PUBLIC, SIGNED_IN, Cookie
from services.console.attempts import Attempts
from services.console.oidc import WITHIN, Begun, Oidc
from services.console.page import Page
from services.console.problem import Problem
from services.console.sessions import Sessions

log = structlog.get_logger()

LONGEST_WAY = 1000
"""Bytes of the way back that a sign-in remembers: browsers drop a cookie of more than 4 kB."""


@dataclass
class Entering:
    """The form of the page to sign in."""

    link: str
    back: str = ""


class SignIn(Controller):
    """`/signin` and `/signout`."""

    @get("/signin", needs=PUBLIC)
    async def ask(
        self,
        bus: NamedDependency[Bus],
        page: NamedDependency[Page],
        oidc: NamedDependency[Oidc | None],
        link: FromQuery[str] = "",
        back: FromQuery[str] = "",
    ) -> Response[str]:
        """How to sign in; with a link, the button that uses it up: what only looks at addresses must not."""
        person = await Invitations(bus).find(link) if link else None
        if link and person is None:
            raise _spent()
        return page("signin.html", link=link, person=person, back=inside(back), oidc=oidc is not None)

    @post("/signin", needs=PUBLIC)
    async def enter(
        self,
        request: Request[Any, Any, Any],
        data: Annotated[Entering, Body(media_type=RequestEncodingType.URL_ENCODED)],
        bus: NamedDependency[Bus],
        cookie: NamedDependency[Cookie],
        attempts: NamedDependency[Attempts],
    ) -> Response[Any]:
        """Use the link up and begin a session."""
        person = await Invitations(bus).take(data.link)
        if person is None:
            attempts.failed(_address(request))
            log.warning("console.signin_refused", how="link")
            raise _spent()
        if await People(bus).get(person) is None:
            raise _unknown(person)
        return await entered(request, bus, cookie, person, inside(data.back), how="link")

    @get("/signin/oidc", needs=PUBLIC)
    async def leave_for_provider(
        self, oidc: NamedDependency[Oidc | None], cookie: NamedDependency[Cookie], back: FromQuery[str] = ""
    ) -> Response[Any]:
        """To the provider, where the person proves who they are."""
        if oidc is None:
            raise Problem(404, "Not set up", "No identity provider is set up here.", "Set WEIR_CONSOLE_OIDC_ISSUER.")
        url, begun = await oidc.begin(inside(back))
        response = Redirect(url, status_code=303)
        response.set_cookie(cookie.set(begun.sealed(), "signin", max_age=WITHIN))
        return response

    @get("/signin/callback", needs=PUBLIC)
    async def come_back(
        self,
        request: Request[Any, Any, Any],
        bus: NamedDependency[Bus],
        oidc: NamedDependency[Oidc | None],
        cookie: NamedDependency[Cookie],
        attempts: NamedDependency[Attempts],
    ) -> Response[Any]:
        """Back from the provider: a session, if the person is known here."""
        if oidc is None:
            raise Problem(404, "Not set up", "No identity provider is set up here.", "Set WEIR_CONSOLE_OIDC_ISSUER.")
        given, begun = request.query_params, Begun.read(cookie.of(request, "signin"))
        if begun is None or not begun.is_of(given.get("state", "")):
            # Not counted: any page can have a browser ask for this address.
            why = "This browser did not begin this sign-in, or too long ago."
            raise Problem(403, "Not signed in", why, "Begin the sign-in anew.")
        try:
            if "error" in given:
                raise Problem(403, "Not signed in", f"The provider says: {given['error']:.100}.", "Begin anew.")
            email = await oidc.finish(begun, given.get("code", ""))
            person = await People(bus).get(email)
            if person is None:
                raise _unknown(email)
        except Problem as problem:
            if problem.status == HTTPStatus.FORBIDDEN:
                attempts.failed(_address(request))
                log.warning("console.signin_refused", how="oidc", why=problem.title)
            raise
        response = await entered(request, bus, cookie, person.name, inside(begun.back), how="oidc")
        response.set_cookie(cookie.set("", "signin"))
        return response

    @post("/signout", needs=SIGNED_IN)
    async def leave(
        self, request: Request[Any, Any, Any], bus: NamedDependency[Bus], cookie: NamedDependency[Cookie]
    ) -> Response[Any]:
        """End the session."""
        value = cookie.of(request)
        if value is not None:
            await Sessions(bus).end(value)
        response = Redirect("/signin", status_code=303)
        response.set_cookie(cookie.set(""))
        return response


async def entered(
    request: Request[Any, Any, Any], bus: Bus, cookie: Cookie, person: str, back: str, *, how: str
) -> Response[Any]:
    """Begin a session, in the place of the one this browser had, and lead to where the person wanted to go."""
    if (before := cookie.of(request)) is not None:
        await Sessions(bus).end(before)
    value = await Sessions(bus).begin(person)
    log.info("console.signed_in", how=how)
    response = Redirect(back or "/", status_code=303)
    response.set_cookie(cookie.set(value))
    return response


def _spent() -> Problem:
    return Problem(
        403, "Not signed in", "This link was used already, or is too old.", "`weir people link` makes another."
    )


def _unknown(person: str) -> Problem:
    fix = f"An owner gives you one: `weir people grant {person} WORKSPACE ROLE`."
    return Problem(403, "Not known here", f"{person} has no role in any workspace.", fix)


def inside(path: str) -> str:
    """`path` if it is one of this console, else nothing: a link must lead nobody elsewhere."""
    here = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if here and len(path.encode()) <= LONGEST_WAY else ""


def _address(request: Request[Any, Any, Any]) -> str:
    return request.client.host if request.client else ""
