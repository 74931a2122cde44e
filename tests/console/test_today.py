"""Today over HTTP: how a workspace stands, what is next, and what does not run."""

import re
import uuid
from datetime import timedelta

from common import subjects
from common.buckets import Bucket
from common.bus import Bus
from common.messages import (
    Action,
    Decision,
    Outcome,
    Posting,
    Precision,
    PullState,
    ReviewRequested,
    SelfCheck,
    now,
)
from common.people import Role
from common.settings import Settings
from common.tenants import Connection
from tests.console.stand import console, served, sign_in, stranger
from tests.poster.desk import bill
from tests.puller.stand import WS

PAGE = f"/w/{WS}"
API = f"/api/workspaces/{WS}/today"
REALM = "4711"


async def connected(bus: Bus, *providers: str) -> None:
    for provider in providers:
        made = Connection(workspace=WS, account=REALM, name="Fictional Lock Ltd", state="connected", since=now())
        await Bucket(bus, "connections", Connection).create(f"{WS}.{provider}", made)


async def decided(bus: Bus, ident: str, action: Action, *, days: int = 0, outcome: Outcome | None = None) -> None:
    """A decision of some days ago, and what came of it."""
    at = now() - timedelta(days=days)
    decision = Decision(
        id=uuid.uuid4().hex,
        workspace=WS,
        realm=REALM,
        bill=ident,
        action=action,
        score=0.9,
        why="a test says so",
        record_hash="x",
        record_seq=1,
        entries_seq=0,
        policy_version=1,
        model_version="test",
        decided_at=at,
    )
    await bus.publish(subjects.decision(bus.region, WS, decision.key), decision, stream=bus.topology.decisions)
    if action in {"review", "refuse"}:
        asked = ReviewRequested(
            review=decision.id,
            workspace=WS,
            realm=REALM,
            bill=ident,
            requested_at=at,
            score=0.6,
            why="a near tie",
            summary=bill(),
        )
        step = "requested" if action == "review" else "refused"
        await bus.publish(subjects.review(bus.region, step, WS, decision.key), asked, stream=bus.topology.reviews)
    if outcome is not None:
        posting = Posting(
            id=uuid.uuid4().hex,
            workspace=WS,
            realm=REALM,
            bill=ident,
            decision=decision.id,
            outcome=outcome,
            revision=1,
            posted_at=at,
            verified_at=None if outcome == "failed" else at,
        )
        await bus.publish(subjects.posting(bus.region, WS, decision.key), posting, stream=bus.topology.postings)


def step(text: str) -> str:
    """The title of the step that is next."""
    found = re.search(r'aria-current="step">.*?<h3>([^<]+)', text, re.DOTALL)
    assert found, text
    return found[1]


async def test_from_nothing_on_one_thing_is_next(bus: Bus, wired: Settings) -> None:
    pulls = Bucket(bus, "pulls", PullState)
    async with console(wired) as browser:
        assert (await browser.get(PAGE)).status_code == 404
        assert (await browser.get(API)).status_code == 404
        await connected(bus, "qonto")
        page = (await browser.get(PAGE)).text
        assert step(page) == "Connect QuickBooks"
        assert page.count('class="button main"') == 1
        for service in ("Puller", "Scorer", "Poster"):
            assert f"{service} does not run." in page
        await connected(bus, "quickbooks")
        assert step((await browser.get(PAGE)).text) == "First pull"
        running = PullState(
            realm=REALM, began_at=now(), entity="Bill", read_until=now(), counts={"bill": 3}, first=True
        )
        await pulls.put(WS, running)
        part = (await browser.get(f"{PAGE}/state")).text
        assert (step(part), "3 bills so far" in part) == ("First pull", True)
        await pulls.put(WS, PullState(realm=REALM, began_at=now(), finished_at=now(), counts={"bill": 3}))
        assert step((await browser.get(PAGE)).text) == "First decisions"
        await decided(bus, "1", "review")
        page = (await browser.get(PAGE)).text
        assert step(page) == "First bill in Qonto, read back"
        assert "Every bill so far needs a person first." in page
        await decided(bus, "2", "create", outcome="created")
        assert "Your first synced bill" not in (await browser.get(PAGE)).text


async def test_who_owns_what_is_not_connected_yet_begins_there(bus: Bus, wired: Settings) -> None:
    async with served(wired) as url, stranger(url) as owner, stranger(url) as viewer:
        await sign_in(owner, bus, "Olive", {WS: Role.OWNER})
        await sign_in(viewer, bus, "Vera", {WS: Role.VIEWER})
        assert (await owner.get("/")).headers["Location"] == PAGE
        assert step((await owner.get(PAGE)).text) == "Connect QuickBooks"
        assert (await viewer.get("/")).headers["Location"] == "/workspaces"
        assert (await viewer.get(PAGE)).status_code == 404


async def test_it_tells_what_flowed_what_waits_and_how_right_it_was(bus: Bus, wired: Settings) -> None:
    await connected(bus, "quickbooks", "qonto")
    await Bucket(bus, "pulls", PullState).put(WS, PullState(realm=REALM, began_at=now(), finished_at=now()))
    await decided(bus, "1", "link", days=40, outcome="linked")
    await decided(bus, "2", "create", days=5, outcome="created")
    await decided(bus, "3", "refuse", days=2)
    await decided(bus, "4", "review")
    await decided(bus, "5", "create")
    check = SelfCheck(
        at=now(),
        target=0.95,
        overall=Precision(right=30, cases=32, at_least=0.81),
        vendors={f"{REALM}-7": Precision(right=4, cases=6, at_least=0.3, name="Imaginary Quarry Ltd")},
        held=(f"{REALM}-7",),
    )
    await Bucket(bus, "selfchecks", SelfCheck).create(WS, check)
    async with served(wired) as url, stranger(url) as browser, stranger(url) as viewer:
        await sign_in(browser, bus, "Olive", {WS: Role.OWNER})
        await sign_in(viewer, bus, "Vera", {WS: Role.VIEWER})

        async def many(span: str) -> list[int]:
            text = (await browser.get(PAGE, params={"span": span})).text
            return [int(number) for number in re.findall(r'class="many[^>]*><data value="(\d+)"', text)]

        # Pulled, linked, created, for review, refused, verified; the columns of the weeks come after.
        assert (await many("today"))[:6] == [2, 0, 1, 1, 0, 0]
        assert (await many("week"))[:6] == [4, 0, 2, 1, 1, 1]
        assert (await many("all"))[:6] == [5, 1, 2, 1, 1, 2]
        assert (await browser.get(PAGE, params={"span": "year"})).status_code == 400
        page = re.sub(r"\s+", " ", (await browser.get(PAGE)).text)
        assert '<a href="/w/fictional-lock/reviews"><data value="2">' in page
        assert "Imaginary Quarry Ltd" in page
        assert "at least 30 %" in page
        assert "at least <b>81.0 %</b>" in page
        assert "Pull now" in page
        assert ">you<" in page
        seen = (await viewer.get(PAGE)).text
        assert "Pull now" not in seen
        assert "a reviewer" in seen

        told = (await browser.get(API)).json()
        assert (told["waiting"], told["standing"]["verified"], told["standing"]["decided"]) == (2, 2, 1)
        assert len(told["days"]) == 84
        assert [one["duty"] for one in told["must"]] == ["reviews", "held"]
        asked = await browser.post(f"/api/workspaces/{WS}/pull")
        assert asked.status_code == 202
        assert await bus.subjects(bus.topology.pulls, f"{bus.region}.pull.{WS}")
        assert (await viewer.post(f"/api/workspaces/{WS}/pull")).status_code == 403
