"""The list of reviews, one review and the record over HTTP, with nobody behind the console: what is shown and taken."""

import base64
import html
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import httpx
import pytest

from common import answering, subjects
from common.buckets import Bucket, Documents
from common.bus import Bus
from common.messages import Document, Entry, Policy, Record, Ref, ReviewRequested, now
from common.people import EVERYWHERE, People, Role
from common.tenants import Connection
from services.console.web import WAITS, application
from tests.console.desk.asking import REALM, WS, answer, ask, candidate, close, closing, key, question, resolved
from tests.console.stand import PERSON, sign_in

URL = "http://127.0.0.1:8460"
LIST = f"/w/{WS}/reviews"
API = f"/api/workspaces/{WS}/reviews"


@pytest.fixture
async def connected(bus: Bus) -> Bus:
    """A workspace whose company is known."""
    made = Connection(workspace=WS, account=REALM, state="connected", since=now())
    for provider in ("quickbooks", "qonto"):
        await Bucket(bus, "connections", Connection).create(f"{WS}.{provider}", made)
    return bus


@asynccontextmanager
async def browsing(bus: Bus, person: str = PERSON, **roles: Role) -> AsyncIterator[httpx.AsyncClient]:
    """A person at a console in this process; the owner of everything if no roles are said (by workspace, _ for -)."""
    app, live = application(bus, URL)
    transport = httpx.ASGITransport(app=cast("Any", app))
    async with httpx.AsyncClient(transport=transport, base_url=URL, timeout=30) as browser:
        held = {name.replace("_", "-"): role for name, role in roles.items()} or {EVERYWHERE: Role.OWNER}
        await sign_in(browser, bus, person, held)
        yield browser
    live.close()


async def record(bus: Bus, asked: ReviewRequested, *documents: Document) -> None:
    """The bill that a question is about, as it was pulled."""
    bill = Record(
        workspace=WS,
        realm=REALM,
        id=asked.bill,
        kind="bill",
        content_hash="x",
        pulled_at=now(),
        body=asked.summary,
        documents=documents,
    )
    await bus.publish(subjects.record(bus.region, WS, "bill", bill.key), bill, stream=bus.topology.records)


def shown(page: httpx.Response) -> str:
    """A page as people read it."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page.text)))


def rows(page: httpx.Response) -> list[str]:
    """The bills of the list."""
    return re.findall(r'id="row-([^"]+)"', page.text)


def mark(sort: str, value: str) -> str:
    """A mark of a page as somebody makes one up."""
    made = {"sort": sort, "descending": False, "value": value, "key": key("1")}
    return base64.urlsafe_b64encode(json.dumps(made).encode()).decode().rstrip("=")


async def test_the_list_is_narrowed_sorted_and_paged_and_programs_read_the_same(connected: Bus) -> None:
    for number in range(1, 121):
        fields: dict[str, Any] = {"total": number, "gate": "near tie" if number % 2 else "policy"}
        if number == 7:
            fields |= {"vendor": Ref(id="8", name="<b>Écluse</b> & Cie"), "candidates": ()}
        await ask(connected, question(str(number), **fields), "refused" if number == 9 else "requested")
    async with browsing(connected) as browser:
        first = await browser.get(LIST)
        assert (first.status_code, rows(first)[0], len(rows(first))) == (200, key("1"), 50)
        assert "120 bills wait" in shown(first)
        assert "<b>Écluse" not in first.text
        assert "<b>Écluse</b> & Cie" in shown(first)
        seen, page = rows(first), first
        while following := re.search(r'rel="next"[^>]*href="([^"]+)"', page.text):
            page = await browser.get(html.unescape(following[1]))
            seen += rows(page)
        assert seen == [key(str(number)) for number in range(1, 121)]

        for words, found in (
            ("text=ecluse", ["7"]),
            ("step=refused", ["9"]),
            ("gate=policy&least=117", ["118", "120"]),
            ("most=2&sort=total&descending=1", ["2", "1"]),
            (f"vendor={REALM}-8", ["7"]),
            ("days=3650", []),
        ):
            assert rows(await browser.get(f"{LIST}?{words}")) == [key(one) for one in found], words
            told = (await browser.get(f"{API}?{words}&limit=200")).json()
            assert [one["bill"]["key"] for one in told["rows"]] == [key(one) for one in found], words
            assert (told["count"], told["loading"], told["next"]) == (len(found), False, None)
        assert "No bill like this waits" in shown(await browser.get(f"{LIST}?text=nothing"))
        for words, field in (
            ("least=much", "least"),
            ("most=NaN", "most"),
            ("most=1E%2B99999999", "most"),
            ("sort=luck", "sort"),
            ("days=0", "days"),
            ("after=x", "after"),
            (f"sort=total&after={mark('total', 'NaN')}", "after"),
            (f"sort=since&after={mark('since', '2026-01-01T00:00:00')}", "after"),
        ):
            for address in (LIST, API):
                wrong = await browser.get(f"{address}?{words}")
                assert (wrong.status_code, field in wrong.text) == (400, True), (address, words)
        for limit in ("0", "201", "-1", "9" * 5000):
            wrong = await browser.get(API, params={"limit": limit})
            assert (wrong.status_code, "limit" in wrong.text) == (400, True), limit[:9]
        # In the middle of a list the next and the previous one are those of that list.
        one = await browser.get(f"{LIST}/{key('118')}?gate=policy&least=116")
        assert "2 of 3 like this" in shown(one)
        assert f'rel="prev" data-key="k" href="{LIST}/{key("116")}?gate=policy' in one.text
        assert f'href="{LIST}/{key("120")}?gate=policy' in one.text


async def test_a_review_shows_both_sides_and_takes_one_answer(connected: Bus) -> None:
    likely = candidate("e-1", 0.71, reference=0.2)
    first = question("1", candidates=(likely,), counterfactual="would have linked had the reference matched")
    second = question("2")
    for asked in (first, second):
        await ask(connected, asked)
        await record(connected, asked)
    entry = Entry(
        workspace=WS,
        organization="o",
        id="e-1",
        kind="invoice",
        status="to_review",
        updated_at=now(),
        counterparty="Fictional <Sluice>",
    )
    name = subjects.entry(connected.region, WS, "invoice", "e-1")
    await connected.publish(name, entry, stream=connected.topology.entries)
    async with browsing(connected) as browser:
        page = await browser.get(f"{LIST}/{key('1')}")
        words = shown(page)
        for part in (
            "Held back: near tie",
            "It would have linked had the reference matched",
            "1. 71 %",
            "Fictional <Sluice>",
            "Number ✗ differs",
            "Supplier ✓ agrees",
        ):
            assert part in words, part
        assert 'data-key="c"' in page.text

        async def decide(ident: str, **form: str) -> httpx.Response:
            return await browser.post(f"{LIST}/{key(ident)}", data=form)

        for form, field in (
            ({"choice": "refuse", "review": first.review}, "note"),
            ({"choice": "buy", "review": first.review}, "choice"),
            ({"choice": "link", "review": first.review}, "entry"),
            ({"choice": "create", "review": first.review, "note": "x" * 501}, "note"),
        ):
            wrong = await decide("1", **form)
            assert (wrong.status_code, field in wrong.text) == (400, True), form
        stale = await decide("1", choice="create", review="another")
        assert (stale.status_code, "taken its place" in stale.text) == (409, True)

        given = await decide("1", choice="link e-1", review=first.review, note="the same")
        assert given.status_code == 303
        where = given.headers["Location"]
        assert where.startswith(f"{LIST}/{key('2')}?done={key('1')}&")
        asked_now = await answering.asked(connected, WS, key("1"))
        assert asked_now is not None
        told = asked_now.given[0].answer
        assert (told.action, told.entry, told.by, told.note) == ("link", "e-1", PERSON, "the same")
        # The page that follows asks what became of it.
        became = re.search(r'hx-get="([^"]+became[^"]+)"', (await browser.get(where)).text)
        assert became is not None
        await close(connected, closing(first, "linked", by=PERSON, entry="e-1"))
        toast = await browser.get(html.unescape(became[1]))
        assert "Bill 1 : linked, and Qonto shows it" in shown(toast)
        assert 'data-key="u"' in toast.text
        assert """hx-vals='{"entry": "e-1"}'""" in toast.text
        # Who comes second hears who decided.
        late = await decide("1", choice="create", review=first.review)
        assert late.status_code == 409
        assert f"too late: {PERSON} decided it already" in shown(late)
        assert "linked it" in shown(late)
        assert 'id="decide"' not in late.text
        # Nobody answers for the poster.
        undo = f"/w/{WS}/bills/{key('1')}/undo"
        undone = await browser.post(undo, data={"note": "wrong"}, headers={"HX-Request": "true"})
        assert "was not undone" in undone.text
        assert (await browser.post(undo, data={"note": "wrong"})).status_code == 503
        assert "weir poster" in undone.text
        found = await browser.get(f"{LIST}/{key('2')}/find", params={"text": "sluice"})
        assert "weir scorer" in found.text

        for address in (f"{LIST}/{key('77')}", f"{LIST}/{key('77')}/standing"):
            assert (await browser.get(address)).status_code == 404, address
        assert (await browser.get(f"{LIST}/nonsense")).status_code == 404


async def test_programs_decide_as_people_do(connected: Bus) -> None:
    first, second = question("1"), question("2")
    await ask(connected, first)
    await ask(connected, second)
    async with browsing(connected) as browser, anyio.create_task_group() as group:
        asked = (await browser.get(f"{API}/{key('1')}")).json()
        assert (asked["question"]["review"], asked["step"], asked["closed"]) == (first.review, "requested", None)

        async def carry_out() -> None:
            while (await answering.asked(connected, WS, key("1"))).open:  # type: ignore[union-attr]
                await anyio.sleep(0.02)
            await close(connected, closing(first, "created", by=PERSON, entry="e-9"))

        group.start_soon(carry_out)
        order = {"review": first.review, "action": "create"}
        given = await browser.post(f"{API}/{key('1')}?within=20", json=order)
        assert (given.status_code, given.json()["closed"]["outcome"]) == (200, "created"), given.text
        late = await browser.post(f"{API}/{key('1')}", json={**order, "action": "refuse", "note": "no"})
        assert (late.status_code, PERSON in late.json()["why"]) == (409, True)
        await answer(connected, second, resolved(second, by="Ida Imaginary"))
        taken = await browser.post(f"{API}/{key('2')}", json={"review": second.review, "action": "create"})
        assert (taken.status_code, "Ida Imaginary decided it already" in taken.json()["why"]) == (409, True)
        for within in ("61", "x", "9" * 5000):
            wrong = await browser.post(f"{API}/{key('1')}", params={"within": within}, json=order)
            assert (wrong.status_code, "within" in wrong.text) == (400, True), within[:9]
        wrong = await browser.post(f"{API}/{key('1')}", json={"review": "r", "action": "buy"})
        assert wrong.status_code == 400, wrong.text
        history = (await browser.get(f"/api/workspaces/{WS}/bills/{key('1')}")).json()
        assert [one["what"] for one in history["steps"]] == ["review", "answer", "closed"]
        assert (await browser.get(f"{API}/{key('77')}")).status_code == 404


async def test_a_person_waits_for_so_many_answers_at_a_time(connected: Bus) -> None:
    asked = [question(str(number)) for number in range(1, WAITS + 2)]
    for one in asked:
        await ask(connected, one)
    async with browsing(connected) as browser:
        told: list[httpx.Response] = []

        async def decide(one: ReviewRequested) -> None:
            order = {"review": one.review, "action": "create"}
            told.append(await browser.post(f"{API}/{key(one.bill)}?within=20", json=order))

        async with anyio.create_task_group() as group:
            for one in asked:
                group.start_soon(decide, one)
            with anyio.fail_after(10):
                while not told:
                    await anyio.sleep(0.02)
            assert (told[0].status_code, "was not given" in told[0].text) == (429, True)
            waited = await browser.get(f"{LIST}/{key('1')}/became", params={"review": asked[0].review, "answer": 1})
            assert "not carried out yet" in waited.text
            for one in asked:
                await close(connected, closing(one, by=PERSON))
    assert sorted(one.status_code for one in told) == [200] * WAITS + [429]


async def test_several_alike_are_confirmed_together_after_being_shown(connected: Bus) -> None:
    await Bucket(connected, "policies", Policy).put(WS, Policy(review=0.6))
    asked = [question(str(number), candidates=(candidate(f"e-{number}", 0.7),)) for number in range(1, 5)]
    unlike = question("5", candidates=(candidate("e-5", 0.7, name=0.1),))
    unlikely = question("6", candidates=(candidate("e-6", 0.58),))
    for one in (*asked, unlike, unlikely):
        await ask(connected, one)
    async with browsing(connected) as browser:
        bulk = f"{LIST}/bulk"
        page = await browser.get(bulk, params={"bill": key("1")})
        items = re.findall(r'name="item" value="([^"]+)"', page.text)
        assert items == [f"{key(one.bill)} {one.review} e-{one.bill}" for one in asked]
        chosen = await browser.get(bulk, params={"bill": [key("1"), key("3"), key("5"), key("6")]})
        assert len(re.findall(r'name="item"', chosen.text)) == 2
        assert "other fields differ" in chosen.text
        assert "not likely enough" in chosen.text
        assert "4 alike" not in (await browser.get(f"{LIST}/{key('5')}")).text
        assert "Confirm with 3 more that are alike" in shown(await browser.get(f"{LIST}/{key('2')}"))

        # Meanwhile somebody else decides on the second, and the third is asked about anew.
        await answer(connected, asked[1], resolved(asked[1], by="Ida Imaginary"))
        await ask(connected, question("3"))
        given = await browser.post(bulk, data={"item": items, "note": "all the same"})
        assert given.status_code == 200
        words = shown(given)
        assert "0 of 2 carried out" in words
        assert "Ida Imaginary decided it already" in words
        assert f"{key('3')} : something changed since you were shown it" in words
        await close(connected, closing(asked[0], "linked", by=PERSON))
        sent = re.findall(r'name="sent" value="([^"]+)"', given.text)
        became = await browser.post(f"{bulk}/became", data={"sent": sent})
        assert "1 of 2 carried out" in shown(became)
        told = await answering.asked(connected, WS, key("4"))
        assert told is not None
        assert told.given[0].answer.note == "all the same"
        for text in (f"{key('1')} r {'9' * 5000}", f"{key('1')} r -1"):
            wrong = await browser.post(f"{bulk}/became", data={"sent": text})
            assert wrong.status_code == 400, wrong.text
        for text in ("", "no good", f"{key('1')} r e x"):
            assert (await browser.post(bulk, data={"item": text})).status_code == 400


async def test_a_file_is_given_to_who_may_see_the_bill_and_runs_nothing(connected: Bus) -> None:
    pdf, page = b"%PDF-1.4 fictional", b"<script>alert(1)</script>"
    documents = [
        Document(
            sha256=await Documents(connected).put(data), name=name, content_type=type_, size=len(data), attachable="1"
        )
        for data, name, type_ in (
            (pdf, 'in"voice\r\n é.pdf', "application/pdf"),
            (page, "page.html", "text/html"),
        )
    ]
    await record(connected, question("1"), *documents)
    await record(connected, question("2"))
    async with browsing(connected) as browser:
        files = f"/w/{WS}/bills/{key('1')}/files"
        shown_one = await browser.get(f"{files}/{documents[0].sha256}")
        assert (shown_one.content, shown_one.headers["Content-Type"]) == (pdf, "application/pdf")
        assert shown_one.headers["Content-Disposition"] == 'inline; filename="in_voice__ _.pdf"'
        assert "frame-ancestors 'self'" in shown_one.headers["Content-Security-Policy"]
        assert "script" not in shown_one.headers["Content-Security-Policy"]
        assert shown_one.headers["X-Content-Type-Options"] == "nosniff"
        handed = await browser.get(f"{files}/{documents[1].sha256}")
        assert handed.headers["Content-Type"] == "application/octet-stream"
        assert handed.headers["Content-Disposition"] == 'attachment; filename="page.html"'
        other = await browser.get(f"/w/{WS}/bills/{key('2')}/files/{documents[0].sha256}")
        assert other.status_code == 404
        drawn = await browser.get(f"/w/{WS}/bills/{key('2')}/drawn")
        assert (drawn.status_code, "weir poster" in drawn.text) == (503, True)
        told = await browser.get(f"/w/{WS}/bills/{key('1')}")
        assert f"{documents[0].sha256}#toolbar=0" in told.text


async def test_a_viewer_looks_and_people_of_elsewhere_do_not(connected: Bus) -> None:
    asked = question("1")
    await ask(connected, asked)
    await record(connected, asked)
    order = {"review": asked.review, "choice": "create"}
    async with browsing(connected, "Vera", fictional_lock=Role.VIEWER) as vera:
        page = await vera.get(f"{LIST}/{key('1')}")
        assert page.status_code == 200
        assert "deciding takes the role reviewer" in page.text
        assert 'data-key="c"' not in page.text
        assert 'type="checkbox"' not in (await vera.get(LIST)).text
        for address in (f"{LIST}/{key('1')}", f"{LIST}/bulk", f"/w/{WS}/bills/{key('1')}/undo"):
            assert (await vera.post(address, data=order)).status_code == 403, address
        body = {"review": asked.review, "action": "create"}
        assert (await vera.post(f"{API}/{key('1')}", json=body)).status_code == 403
        assert (await vera.get(f"{LIST}/{key('1')}/find?text=x")).status_code == 403
    async with browsing(connected, "Eve", fictional_mill=Role.OWNER) as eve:
        for address in (LIST, f"{LIST}/{key('1')}", f"/w/{WS}/bills/{key('1')}", API, f"{API}/{key('1')}"):
            assert (await eve.get(address)).status_code == 404, address
        await People(connected).grant("Eve", WS, Role.REVIEWER)
        assert (await eve.post(f"{LIST}/{key('1')}", data=order)).status_code == 303
    found = await answering.asked(connected, WS, key("1"))
    assert found is not None
    assert [one.answer.by for one in found.given] == ["Eve"]
