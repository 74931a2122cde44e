"""`weir people`: who may use the console and the API, and what each may do in which workspace."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated, TypeVar

import anyio
from cyclopts import App, Parameter
from rich.console import Console
from rich.text import Text

from common import codec
from common.bus import Bus
from common.errors import UserError
from common.invitations import GOOD_FOR, Invitations, address, operator
from common.messages import said
from common.people import EVERYWHERE, People, Person, Role
from common.settings import load
from common.tokens import LONGEST, Token, Tokens, limited

people = App(name="people", help="Who may use the console, and what each may do.")
T = TypeVar("T")

_Name = Annotated[str, Parameter(help="An e-mail address where people sign in with OIDC, else any name.")]
_Workspace = Annotated[str, Parameter(help="The workspace's name; * is all of them, those to come included.")]
_Role = Annotated[Role, Parameter(help="viewer looks, reviewer decides too, owner also connects and sets the policy.")]
_Json = Annotated[bool, Parameter(negative="", help="As JSON, for programs.")]


@people.command(name="ls")
def ls(*, json: _Json = False) -> None:
    """List people with their roles, and the tokens that act for them."""
    found, tokens = anyio.run(_on_bus, _all)
    console = _console()
    if json:
        listed = [{"id": ident, "token": token} for ident, token in tokens]
        console.print(codec.encode({"people": found, "tokens": listed}).decode(), markup=False)
        return
    for person in found:
        roles = ", ".join(f"{role} of {_everywhere(place)}" for place, role in sorted(person.roles.items()))
        console.print(Text.assemble((person.name, "bold"), f"  {roles}"))
        for ident, token in tokens:
            if token.person == person.name:
                console.print(Text(f"  token {ident}  {token.purpose or '-'}, until {said(token.expires_at)}", "dim"))
    if not found:
        console.print("nobody yet; `weir people grant` adds the first")


@people.command
def grant(name: _Name, workspace: _Workspace, role: _Role) -> None:
    """Give NAME a role in WORKSPACE, in place of the one held there; it holds from the next request on."""

    async def do(bus: Bus) -> Person:
        return await People(bus).grant(name, workspace, role)

    person = anyio.run(_on_bus, do)
    _console().print(f"{person.name} is {role} of {_everywhere(workspace)}", markup=False)


@people.command
def revoke(name: _Name, workspace: Annotated[str | None, Parameter(help="Only the role there.")] = None) -> None:
    """Take NAME's role in WORKSPACE, or every role; sessions and tokens end with it, at once."""

    async def do(bus: Bus) -> Person | None:
        if await People(bus).get(name) is None:
            raise UserError(f"{name} is not known here; `weir people ls` lists everybody")
        return await People(bus).revoke(name, workspace)

    left = anyio.run(_on_bus, do)
    console = _console()
    if left is None:
        console.print(f"{name} may do nothing any more", markup=False)
    else:
        roles = ", ".join(f"{role} of {_everywhere(place)}" for place, role in left.roles.items())
        console.print(f"{left.name} is still {roles}", markup=False)


@people.command
def link(name: Annotated[str | None, Parameter(help="Default: you, as an owner of everything.")] = None) -> None:
    """Print a link that signs NAME in to the console, once, within ten minutes."""
    settings = load()
    url = settings.console_url or f"http://{settings.console_host}:{settings.console_port}"

    async def do(bus: Bus) -> str:
        if name is None:
            return await Invitations(bus).for_operator()
        person = await People(bus).get(name)
        if person is None:
            raise UserError(f"{name} has no role yet; `weir people grant {name} WORKSPACE ROLE` first")
        return await Invitations(bus).make(person.name)

    secret = anyio.run(_on_bus, do)
    console = _console()
    console.print(address(url, secret), markup=False)
    minutes = GOOD_FOR.total_seconds() / 60
    Console(stderr=True, highlight=False).print(f"good once, for {minutes:g} minutes, for {name or operator()}")


@people.command
def token(
    name: _Name,
    workspace: _Workspace = EVERYWHERE,
    role: _Role = Role.VIEWER,
    *,
    days: Annotated[int, Parameter(help=f"How long it is good for, up to {LONGEST.days}.")] = 90,
    purpose: Annotated[str, Parameter(help="What it is for, to know it by later.")] = "",
) -> None:
    """Print a bearer token with which a program uses the API for NAME: at most with ROLE, and never more than NAME may.

    It is shown once and kept only as a hash. `weir people untoken` ends it.
    """
    if not 0 < days <= LONGEST.days:
        raise UserError(f"--days {days}: a token is good for 1 to {LONGEST.days} days")

    async def do(bus: Bus) -> str:
        person = await People(bus).get(name)
        if person is None:
            raise UserError(f"{name} has no role yet; `weir people grant {name} WORKSPACE ROLE` first")
        if not limited(person, {workspace: role}).roles:
            raise UserError(f"{person.name} has no role in {_everywhere(workspace)}, so the token could do nothing")
        return await Tokens(bus).make(person.name, {workspace: role}, good_for=timedelta(days=days), purpose=purpose)

    _console().print(anyio.run(_on_bus, do), markup=False)


@people.command
def untoken(ident: Annotated[str, Parameter(name="ID", help="The token, as `weir people ls` names it.")]) -> None:
    """End a token at once."""

    async def do(bus: Bus) -> Token | None:
        return await Tokens(bus).revoke(ident)

    ended = anyio.run(_on_bus, do)
    if ended is None:
        raise UserError(f"no token {ident}; `weir people ls` lists those that are good")
    _console().print(f"token {ident} of {ended.person} is ended", markup=False)


async def _all(bus: Bus) -> tuple[list[Person], list[tuple[str, Token]]]:
    found = [person async for person in People(bus).all()]
    tokens = [one async for one in Tokens(bus).all()]
    return sorted(found, key=lambda person: person.name.casefold()), sorted(tokens, key=lambda one: one[1].made_at)


async def _on_bus(do: Callable[[Bus], Awaitable[T]]) -> T:
    bus = Bus(load(), "cli")
    await bus.connect()
    try:
        return await do(bus)
    finally:
        await bus.close()


def _everywhere(place: str) -> str:
    return "every workspace" if place == EVERYWHERE else place


def _console() -> Console:
    return Console(soft_wrap=True, highlight=False)
