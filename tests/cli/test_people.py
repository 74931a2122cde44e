"""`weir people`: granting, revoking, links and tokens, as a person uses them."""

import json
from collections.abc import Awaitable, Callable

import anyio
import pytest

from common.bus import Bus
from common.errors import UserError
from common.invitations import Invitations, operator
from common.people import EVERYWHERE, People, Role
from common.settings import Settings
from common.tokens import Tokens
from services.cli.app import app
from tests.conftest import environment

Say = Callable[..., Awaitable[str]]


@pytest.fixture
def said(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """What `weir people` answers."""
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)

    async def say(*arguments: str) -> str:
        capsys.readouterr()
        await anyio.to_thread.run_sync(app, ["people", *arguments])
        return capsys.readouterr().out

    return say


async def test_people_are_granted_listed_and_revoked(said: Say, bus: Bus) -> None:
    assert "nobody yet" in await said("ls")
    await said("grant", "Ada@fictional.example", "fictional-lock", "reviewer")
    await said("grant", "ada@fictional.example", "*", "viewer")
    person = await People(bus).get("ada@fictional.example")
    assert person is not None
    assert person.roles == {"fictional-lock": Role.REVIEWER, EVERYWHERE: Role.VIEWER}

    told = await said("token", "ada@fictional.example", "fictional-lock", "viewer", "--purpose", "report")
    secret = told.strip()
    ((ident, token),) = [one async for one in Tokens(bus).all()]
    assert await Tokens(bus).find(secret) == token
    listed = await said("ls")
    for words in ("reviewer of fictional-lock", "viewer of every workspace", f"token {ident}  report"):
        assert words in listed
    assert secret not in listed
    assert json.loads(await said("ls", "--json"))["tokens"][0]["id"] == ident
    await said("untoken", ident)
    assert await Tokens(bus).find(secret) is None

    assert "still viewer of every workspace" in await said("revoke", "ADA@fictional.example", "fictional-lock")
    assert "nothing any more" in await said("revoke", "ada@fictional.example")
    assert await People(bus).get("ada@fictional.example") is None
    await said("grant", "Ada [bold]", "*", "viewer")
    await said("grant", "Ada [bold]", "fictional-lock", "viewer")
    assert "Ada [bold] is still" in await said("revoke", "Ada [bold]", "fictional-lock")


async def test_a_link_is_for_whom_it_was_made(said: Say, bus: Bus) -> None:
    link = (await said("link")).strip()
    assert link.startswith("http://127.0.0.1:8460/signin?link=")
    assert await Invitations(bus).take(link.partition("link=")[2]) == operator()
    await said("grant", "Ada", "fictional-lock", "viewer")
    link = (await said("link", "ada")).strip()
    assert await Invitations(bus).take(link.partition("link=")[2]) == "Ada"


async def test_what_cannot_be_is_said_with_the_way_out(said: Say, bus: Bus) -> None:
    assert bus.region
    for arguments, words in (
        (("link", "Nobody"), "weir people grant Nobody"),
        (("token", "Nobody"), "weir people grant Nobody"),
        (("revoke", "Nobody"), "weir people ls"),
        (("untoken", "0123456789ab"), "weir people ls"),
        (("grant", "Ada", "No.Workspace", "viewer"), "workspace"),
        (("token", "Nobody", "--days", "0"), "1 to 366 days"),
    ):
        with pytest.raises(UserError, match=words):
            await said(*arguments)
