"""Signing in by a link, what a session is good for, and what each role may do."""

from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from msgspec.structs import replace

from common.buckets import Bucket
from common.bus import Bus
from common.errors import UserError
from common.invitations import GOOD_FOR, Invitation, Invitations
from common.messages import now
from common.people import EVERYWHERE, People, Person, Role
from common.settings import Settings
from common.tenants import Connection
from common.tokens import Tokens
from services.console.attempts import EACH
from services.console.live import OPENED, TOPICS, topics
from services.console.sessions import IDLE, LONGEST, Session, Sessions
from services.console.signin import inside
from tests.console.stand import PERSON, console, process, served, sign_in, stranger
from tests.puller.stand import WS

OTHER = "fictional-mill"


async def connected(bus: Bus, *workspaces: str) -> None:
    for workspace in workspaces:
        made = Connection(workspace=workspace, account=f"{workspace}-1", state="connected", since=now())
        await Bucket(bus, "connections", Connection).create(f"{workspace}.quickbooks", made)


async def test_a_link_signs_in_once_and_the_session_can_be_ended(settings: Settings, bus: Bus, tmp_path: Path) -> None:
    await People(bus).grant(PERSON, EVERYWHERE, Role.OWNER)
    async with process(settings, tmp_path / "log") as url, stranger(url) as browser, stranger(url) as second:
        away = await browser.get("/workspaces?x=1")
        assert (away.status_code, away.headers["Location"]) == (303, "/signin?back=%2Fworkspaces%3Fx%3D1")
        asked = await browser.get(away.headers["Location"])
        assert "weir people link" in asked.text
        for shown_at, there in ((str(browser.base_url.join("/w/x")), "/signin?back=%2Fw%2Fx"), ("http://[", "/signin")):
            ended = await browser.get("/w/x", headers={"HX-Request": "true", "HX-Current-URL": shown_at})
            assert (ended.status_code, ended.headers["HX-Redirect"]) == (401, there)

        link = await Invitations(bus).make(PERSON)
        for _looked_at in range(2):
            shown = await browser.get("/signin", params={"link": link})
            assert (shown.status_code, link in shown.text, PERSON in shown.text) == (200, True, True)
        entered = await browser.post("/signin", data={"link": link, "back": "/workspaces"})
        assert (entered.status_code, entered.headers["Location"]) == (303, "/workspaces")
        set_cookie = entered.headers["Set-Cookie"]
        for part in (f"weir-{browser.base_url.port}=", "HttpOnly", "SameSite=lax", "Path=/"):
            assert part in set_cookie
        for part in ("Secure", "Max-Age", "expires", "Domain"):
            assert part not in set_cookie
        listed = await browser.get("/workspaces")
        assert PERSON in listed.text

        again = await second.post("/signin", data={"link": link})
        assert (again.status_code, "used already" in again.text) == (403, True)
        assert (await second.get("/signin", params={"link": link})).status_code == 403
        assert (await second.post("/signin", data={"link": "x" * 43})).status_code == 403
        assert (await second.get("/workspaces")).status_code == 303

        assert (await browser.post("/signout")).status_code == 403  # without what the form carries
        (token,) = {part.split('"')[0] for part in listed.text.split('name="csrf" value="')[1:]}
        left = await browser.post("/signout", data={"csrf": token})
        assert (left.status_code, left.headers["Location"]) == (303, "/signin")
        kept = set_cookie.partition("=")[2].partition(";")[0]
        stale = await second.get("/workspaces", headers={"Cookie": f"weir-{browser.base_url.port}={kept}"})
        assert stale.status_code == 303
        said = (tmp_path / "log").read_text()
        assert link not in said
        assert kept not in said
        assert PERSON not in said


async def test_what_was_made_for_somebody_whose_roles_were_taken_stays_ended(settings: Settings, bus: Bus) -> None:
    await connected(bus, WS)
    async with served(settings) as url, stranger(url) as browser, stranger(url) as program:
        await sign_in(browser, bus, PERSON, {WS: Role.OWNER})
        token = await Tokens(bus).make(PERSON, {WS: Role.OWNER}, good_for=timedelta(days=1))
        program.headers["Authorization"] = f"Bearer {token}"
        link = await Invitations(bus).make(PERSON)
        assert await Invitations(bus).find(link) == PERSON
        asked = ((browser, f"/w/{WS}/connections", 303), (program, f"/api/workspaces/{WS}", 401))
        for client, path, _refused in asked:
            assert (await client.get(path)).status_code == 200, path

        await People(bus).revoke(PERSON)
        await People(bus).grant(PERSON, WS, Role.VIEWER)
        for client, path, refused in asked:
            assert (await client.get(path)).status_code == refused, path
        assert (await browser.post("/signin", data={"link": link})).status_code == 403
        await sign_in(browser, bus, PERSON, {})
        assert (await browser.get(f"/w/{WS}/connections")).status_code == 200


async def test_signing_in_again_ends_the_session_before(settings: Settings, bus: Bus) -> None:
    async with served(settings) as url, stranger(url) as browser, stranger(url) as other:
        await sign_in(browser, bus, PERSON, {WS: Role.OWNER})
        other.cookies.update(browser.cookies)
        assert (await other.get("/workspaces")).status_code == 200
        await sign_in(browser, bus, PERSON, {})
        assert (await browser.get("/workspaces")).status_code == 200
        assert (await other.get("/workspaces")).status_code == 303
        unknown = await other.post("/signin", data={"link": await Invitations(bus).make("Nobody")})
        assert (unknown.status_code, "Nobody has no role" in unknown.text) == (403, True)


async def test_failures_count_by_the_address_that_is_known(settings: Settings, bus: Bus) -> None:
    assert bus.region  # the buckets exist
    for proxies, others in ((None, 429), ("127.0.0.1,10.0.0.0/24", 403)):
        async with served(settings, console_proxies=proxies) as url, stranger(url) as browser:

            async def fail(address: str, browser: httpx.AsyncClient = browser) -> int:
                headers = {"X-Forwarded-For": address}
                return (await browser.post("/signin", data={"link": "guess"}, headers=headers)).status_code

            assert {await fail("192.0.2.1") for _attempt in range(EACH)} == {403}
            assert await fail("192.0.2.1") == 429
            assert await fail("192.0.2.2") == others


async def test_a_link_or_a_session_that_is_too_old_is_none(bus: Bus) -> None:
    invitations, sessions = Invitations(bus), Sessions(bus)
    link = await invitations.make(PERSON)
    kept = [one async for one in Bucket(bus, "invitations", Invitation).items()]
    assert link not in str(kept)
    past = replace(kept[0].value, expires_at=now() - GOOD_FOR)
    await Bucket(bus, "invitations", Invitation).replace(kept[0].key, past, kept[0].revision)
    assert await invitations.take(link) is None

    bucket = Bucket(bus, "sessions", Session)
    for idle, began in ((IDLE, IDLE), (0 * IDLE, LONGEST)):
        value = await sessions.begin(PERSON)
        (one,) = [one async for one in bucket.items() if one.value.ends_at > now()]
        assert value not in str(one)
        assert await sessions.find(value) is not None
        aged = replace(one.value, seen_at=now() - idle, began_at=now() - began)
        await bucket.replace(one.key, aged, one.revision)
        assert await sessions.find(value) is None


async def test_a_session_goes_on_while_it_is_used(bus: Bus) -> None:
    sessions, bucket = Sessions(bus), Bucket(bus, "sessions", Session)
    value = await sessions.begin(PERSON)
    (one,) = [one async for one in bucket.items()]
    await bucket.replace(one.key, replace(one.value, seen_at=now() - IDLE / 2), one.revision)
    assert await sessions.find(value, used=False) is not None
    (same,) = [one async for one in bucket.items()]
    assert same.value.ends_at < now() + IDLE * 0.6
    assert await sessions.find(value) is not None
    (renewed,) = [one async for one in bucket.items()]
    assert renewed.value.ends_at > now() + IDLE * 0.9


async def test_an_open_page_keeps_no_session_alive(settings: Settings, bus: Bus) -> None:
    bucket = Bucket(bus, "sessions", Session)
    async with console(settings) as browser:
        (one,) = [one async for one in bucket.items()]
        await bucket.replace(one.key, replace(one.value, seen_at=now() - IDLE / 2), one.revision)
        for headers, goes_on in (({"X-Unasked": "true"}, False), ({}, True)):
            assert (await browser.get("/workspaces", headers=headers)).status_code == 200
            (one,) = [one async for one in bucket.items()]
            assert (one.value.ends_at > now() + IDLE * 0.9) == goes_on


async def test_roles_hold_per_workspace_and_end_at_once(settings: Settings, bus: Bus) -> None:
    await connected(bus, WS, OTHER)
    async with console(settings) as owner, stranger(str(owner.base_url)) as browser:
        assert (await owner.get("/")).headers["Location"] == "/workspaces"
        await sign_in(browser, bus, "Vera", {WS: Role.VIEWER})
        assert (await browser.get("/")).headers["Location"] == f"/w/{WS}"
        page = await browser.get(f"/w/{WS}/connections")
        assert (page.status_code, "/disconnect/" in page.text) == (200, False)
        listed = (await browser.get("/api/workspaces")).json()["workspaces"]
        assert [one["workspace"] for one in listed] == [WS]
        shown = await browser.get("/workspaces")
        assert (shown.status_code, "no pull has begun yet" in shown.text, OTHER in shown.text) == (200, True, False)
        for path in (f"/w/{OTHER}/connections", f"/connected/{OTHER}/quickbooks", "/w/nobody/connections"):
            hidden = await browser.get(path)
            assert (hidden.status_code, "No such workspace" in hidden.text) == (404, True), path
            assert "<nav" not in hidden.text
        low = await browser.get(f"/disconnect/{WS}/quickbooks")
        assert (low.status_code, "takes the role owner" in low.text) == (403, True)
        assert (await browser.post(f"/disconnect/{WS}/quickbooks")).status_code == 403
        assert (await browser.get("/connect/a-new-one/quickbooks")).status_code == 404

        await People(bus).grant("vera", WS, Role.OWNER)
        assert (await browser.get(f"/disconnect/{WS}/quickbooks")).status_code == 200
        await People(bus).revoke("VERA", WS)
        gone = await browser.get(f"/w/{WS}/connections")
        assert (gone.status_code, gone.headers["Location"].startswith("/signin")) == (303, True)
        asked = {"HX-Request": "true", "HX-Current-URL": f"{owner.base_url}/w/{WS}/connections"}
        part = await browser.get(f"/w/{WS}/connections/state", headers=asked)
        there = f"/signin?back=%2Fw%2F{WS}%2Fconnections"
        assert (part.status_code, part.headers["HX-Redirect"]) == (401, there)
        assert (await browser.get("/api/workspaces")).json()["error"] == "Not signed in"


async def test_a_write_carries_what_its_session_was_given(settings: Settings, bus: Bus) -> None:
    await connected(bus, WS)
    async with console(settings) as browser, stranger(str(browser.base_url)) as other:
        await sign_in(other, bus, "Otto", {EVERYWHERE: Role.OWNER})
        own = browser.headers.pop("X-CSRF-Token")
        sent: tuple[tuple[dict[bytes, bytes], dict[str, str]], ...] = (
            ({}, {}),
            ({b"X-CSRF-Token": "é".encode()}, {}),
            ({}, {"csrf": "0" * 64}),
        )
        for headers, form in sent:
            refused = await browser.post(f"/disconnect/{WS}/elsewhere", headers=httpx.Headers(headers), data=form)
            assert (refused.status_code, "load the page again" in refused.text) == (403, True)
        foreign = {"X-CSRF-Token": other.headers["X-CSRF-Token"]}
        assert (await browser.post(f"/disconnect/{WS}/elsewhere", headers=foreign)).status_code == 403
        assert (await browser.post(f"/disconnect/{WS}/elsewhere", data={"csrf": own})).status_code == 404


async def test_events_tell_what_moved(settings: Settings, bus: Bus, tmp_path: Path) -> None:
    await connected(bus, WS)
    async with console(settings, tmp_path / "log") as browser, browser.stream("GET", f"/w/{WS}/live") as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        heard = (line.removeprefix("event: ") async for line in stream.aiter_lines() if line.startswith("event: "))
        assert await anext(heard) == "opened"
        await connected(bus, OTHER)
        bucket = Bucket(bus, "connections", Connection)
        kept = await bucket.get(f"{WS}.quickbooks")
        assert kept is not None
        await bucket.replace(kept.key, kept.value, kept.revision)
        assert await anext(heard) == "connections"
    # The process then ends in good order although a stream was open: `process` says if it did not.


async def test_people_are_the_same_however_they_are_spelled(bus: Bus) -> None:
    people = People(bus)
    await people.grant(" Ada@Fictional.example ", WS, Role.VIEWER)
    await people.grant("ada@fictional.EXAMPLE", OTHER, Role.REVIEWER)
    found = [one async for one in people.all()]
    assert [(one.name, one.roles) for one in found] == [
        ("Ada@Fictional.example", {WS: Role.VIEWER, OTHER: Role.REVIEWER})
    ]
    await people.grant("kurt@strasse.example", WS, Role.OWNER)
    for other in ("kurt@straße.example", "kurt@stra\u017fse.example"):
        assert await people.get(other) is None
    for name in ("", " ", "x" * 255, "two\nlines"):
        with pytest.raises(UserError, match="name or e-mail"):
            await people.grant(name, WS, Role.VIEWER)
    with pytest.raises(UserError, match="workspace"):
        await people.grant("Ada", "no.such", Role.VIEWER)


def test_the_highest_role_counts() -> None:
    person = Person(name="x", roles={EVERYWHERE: Role.REVIEWER, WS: Role.VIEWER}, since=now())
    assert (person.role(WS), person.role(OTHER)) == (Role.REVIEWER, Role.REVIEWER)
    assert person.may(Role.VIEWER, WS)
    assert not person.may(Role.OWNER, WS)


def test_a_way_back_leads_nowhere_else() -> None:
    assert inside("/w/a/reviews?x=1") == "/w/a/reviews?x=1"
    for path in (
        "https://elsewhere.example",
        "//elsewhere.example",
        "/\\elsewhere.example",
        "javascript:x",
        "/a\nb",
        "/" + "x" * 1000,
        "/" + "\u20ac" * 400,
        "",
    ):
        assert inside(path) == ""


def test_every_event_is_named_to_the_pages(settings: Settings) -> None:
    assert set(TOPICS) == {OPENED, *topics(Bus(settings, "test"), WS).values()}
