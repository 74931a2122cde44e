"""The API: bearer tokens that act for a person, and the description of what there is."""

import html
import json
import re
from datetime import timedelta

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import subjects
from common.bus import Bus
from common.messages import ReviewResolved, now
from common.people import EVERYWHERE, People, Person, Role
from common.settings import Settings
from common.tokens import LONGEST, Tokens, limited
from services.console.pages.workspaces import MANY
from services.console.sessions import csrf
from tests.console.stand import console, served, stranger
from tests.console.test_signin import OTHER, connected
from tests.puller.stand import WS

ROLES = st.dictionaries(st.sampled_from([WS, OTHER, EVERYWHERE]), st.sampled_from(list(Role)))
DAY = timedelta(days=1)


@given(ROLES, ROLES)
def test_a_token_does_the_lower_of_its_own_and_its_person(mine: dict[str, Role], theirs: dict[str, Role]) -> None:
    person = Person(name="x", roles=mine, since=now())
    token = Person(name="x", roles=theirs, since=now())
    left = limited(person, theirs)
    for workspace in (WS, OTHER, "one-that-comes-later"):
        for role in Role:
            assert left.may(role, workspace) == (person.may(role, workspace) and token.may(role, workspace))


async def test_a_token_acts_for_its_person_and_ends(
    settings: Settings, bus: Bus, capsys: pytest.CaptureFixture[str]
) -> None:
    await connected(bus, WS, OTHER)
    people, tokens = People(bus), Tokens(bus)
    await people.grant("Ada", EVERYWHERE, Role.OWNER)
    secret = await tokens.make("Ada", {WS: Role.VIEWER}, good_for=DAY, purpose="a report")
    ((ident, kept),) = [one async for one in tokens.all()]
    assert secret not in f"{ident} {kept}"
    async with served(settings) as url, stranger(url) as program:
        program.headers["Authorization"] = f"Bearer {secret}"
        listed = (await program.get("/api/workspaces")).json()["workspaces"]
        assert [one["workspace"] for one in listed] == [WS]
        assert (await program.get(f"/api/workspaces/{WS}")).json()["workspace"] == WS
        hidden = await program.get(f"/api/workspaces/{OTHER}")
        assert (hidden.status_code, hidden.json()["error"]) == (404, "No such workspace")
        # Pages are for people.
        assert (await program.get(f"/w/{WS}/connections")).status_code == 303

        await tokens.revoke(ident)
        gone = await program.get("/api/workspaces")
        assert (gone.status_code, gone.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert "weir people token" in gone.json()["fix"]
        program.headers["Authorization"] = f"Bearer {await tokens.make('Ada', {WS: Role.OWNER}, good_for=DAY)}"
        assert (await program.get(f"/api/workspaces/{WS}")).status_code == 200
        await people.revoke("Ada")
        assert (await program.get(f"/api/workspaces/{WS}")).status_code == 401
        for wrong in ("Bearer", "Bearer weir_x", "Basic x", f"bearer {csrf('x')}"):
            program.headers["Authorization"] = wrong
            assert (await program.get("/api/workspaces")).status_code == 401

        described = await program.get("/api/openapi.json")
        assert described.status_code == 200
        paths = described.json()["paths"]
        assert "/api/workspaces/{workspace}" in paths
        assert all(path.startswith("/api/") for path in paths)
        for path in ("/api/nothing", "/api", "/schema"):
            assert (await program.get(path)).status_code == 404
        assert (await program.get("/api/nothing")).json()["error"] == "Not found"
        assert secret not in f"{capsys.readouterr()}"


async def test_no_token_is_for_ever(bus: Bus) -> None:
    for span in (timedelta(0), -DAY, LONGEST + DAY):
        with pytest.raises(ValueError, match="days"):
            await Tokens(bus).make("Ada", {}, good_for=span)


async def test_many_workspaces_come_a_page_at_a_time(settings: Settings, bus: Bus) -> None:
    wanted = sorted(f"fictional-{number}" for number in range(MANY + 5))
    await connected(bus, *wanted)
    async with console(settings) as browser:
        read: list[str] = []
        after: str | None = ""
        while after is not None:
            page = (await browser.get("/api/workspaces", params={"after": after, "limit": 20})).json()
            read += [one["workspace"] for one in page["workspaces"]]
            after = page["next"]
        assert read == wanted
        for limit in ("0", "201", "x"):
            refused = await browser.get("/api/workspaces", params={"limit": limit})
            assert refused.status_code == 400
            assert "limit" in refused.json()["why"]
        first = (await browser.get("/workspaces")).text
        assert first.count("<section>") == MANY
        (following,) = re.findall(r'href="(\?find=[^"]*)"', first)
        assert (await browser.get(f"/workspaces{html.unescape(following)}")).text.count("<section>") == 5
        found = (await browser.get("/workspaces", params={"find": "-54"})).text
        assert found.count("<section>") == 1
        assert "No workspace is called so" in (await browser.get("/workspaces", params={"find": "mill"})).text
        for odd in ("%20fictional-1", "fictional-1%20", "*", "a.b", "%3E"):
            assert (await browser.get(f"/w/{odd}/connections")).status_code == 400, odd


async def events(program: httpx.AsyncClient, path: str, count: int, **headers: str) -> list[tuple[str, str, str]]:
    """So many events: name, id, data."""
    found: list[tuple[str, str, str]] = []
    said: dict[str, str] = {}
    async with program.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200
        async for line in answer.aiter_lines():
            name, _, value = line.partition(": ")
            if name:
                said[name] = value
            elif "event" in said:
                found.append((said["event"], said["id"], said.get("data", "")))
                said = {}
                if len(found) == count:
                    break
    return found


async def test_reviews_are_told_as_they_happen_and_none_is_left_out(settings: Settings, bus: Bus) -> None:
    async def publish(workspace: str, by: str) -> int:
        answer = ReviewResolved(review="r1", action="create", by=by)
        subject = subjects.review(bus.region, "resolved", workspace, "9341-1")
        return await bus.publish(subject, answer, stream=bus.topology.reviews)

    await People(bus).grant("Ada", EVERYWHERE, Role.OWNER)
    before = await publish(WS, "somebody before")
    path = f"/api/workspaces/{WS}/events"
    async with served(settings) as url, stranger(url) as program:
        program.headers["Authorization"] = f"Bearer {await Tokens(bus).make('Ada', {WS: Role.VIEWER}, good_for=DAY)}"
        ((name, last, _data),) = await events(program, path, 1)
        assert (name, last) == ("opened", str(before))
        await publish(OTHER, "somebody elsewhere")
        sequences = [await publish(WS, f"person {number}") for number in range(3)]
        told = await events(program, path, 4, **{"Last-Event-ID": last})
        assert [(name, int(ident)) for name, ident, _data in told[1:]] == [("resolved", at) for at in sequences]
        assert json.loads(told[1][2])["by"] == "person 0"
        assert "elsewhere" not in str(told)
        every = await events(program, path, 5, **{"Last-Event-ID": "0"})
        assert "somebody before" in every[1][2]

        async with anyio.create_task_group() as group:
            heard: list[tuple[str, str, str]] = []

            async def hear() -> None:
                heard.extend(await events(program, path, 2, **{"Last-Event-ID": str(sequences[-1])}))

            group.start_soon(hear)
            live = await publish(WS, "while it is open")
        assert heard[1][:2] == ("resolved", str(live))
        wrong = await program.get(path, headers={"Last-Event-ID": "x"})
        assert (wrong.status_code, "last_event_id" in wrong.json()["why"]) == (400, True), wrong.text
        assert (await program.get(f"/api/workspaces/{OTHER}/events")).status_code == 404
