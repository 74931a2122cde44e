"""Failures over HTTP, where nobody is there to try them again, and where one is over."""

from common import subjects
from common.bus import Bus
from common.messages import Failure, Stage, now
from common.people import Role
from common.settings import Settings
from tests.console.stand import served, sign_in, stranger
from tests.console.test_signin import connected
from tests.puller.stand import WS

PAGE = f"/w/{WS}/failures"
API = f"/api/workspaces/{WS}/failures"


async def failed(bus: Bus, stage: Stage, record: str, **more: object) -> None:
    failure = Failure(
        id=f"{stage}.{record}",
        workspace=WS,
        stage=stage,
        record=record,
        why="<b>no</b> such thing",
        first_seen=now(),
        last_seen=now(),
        attempts=1,
        subject=f"{bus.region}.{stage}.{WS}.{record}",
        stream=bus.topology.reviews,
        sequence=1,
        retryable=stage != "checker",
        **more,  # type: ignore[arg-type]
    )
    name = subjects.failure(bus.region, WS, stage, record)
    await bus.publish(name, failure, stream=bus.topology.failures)


async def test_they_are_listed_and_tried_by_whoever_may(settings: Settings, bus: Bus) -> None:
    await connected(bus, WS)
    async with served(settings) as url, stranger(url) as browser, stranger(url) as viewer:
        await sign_in(browser, bus, "Rita", {WS: Role.REVIEWER})
        await sign_in(viewer, bus, "Vera", {WS: Role.VIEWER})
        assert "Nothing has failed" in (await browser.get(PAGE)).text
        assert (await browser.get(API)).json() == {"failures": [], "count": 0}

        await failed(bus, "lessons", "4711-1")
        await failed(bus, "checker", "-")
        await failed(bus, "lessons", "4711-2", resolved_at=now(), resolution="tried again by Otto")
        page = (await browser.get(f"{PAGE}/list")).text
        assert "&lt;b&gt;no&lt;/b&gt; such thing" in page
        assert page.count(">Try again<") == 1
        assert "the whole workspace" in page
        assert "<button" not in (await viewer.get(f"{PAGE}/list")).text
        assert [one["id"] for one in (await viewer.get(API)).json()["failures"]] == ["lessons.4711-1", "checker.-"]
        assert (await viewer.post(f"{PAGE}/retry")).status_code == 403

        for path in (f"{API}/lessons.4711-1/retry", f"{API}/retry"):
            silent = await browser.post(path)
            assert (silent.status_code, "weir scorer" in silent.json()["fix"]) == (503, True)
        over = await browser.post(f"{API}/lessons.4711-2/retry")
        assert (over.status_code, over.json()["resolution"]) == (200, "tried again by Otto")
        whole = await browser.post(f"{PAGE}/lessons.4711-2/retry")
        assert (whole.status_code, whole.headers["Location"]) == (303, PAGE)
        assert "<h1>Failures</h1>" in (await browser.get(PAGE)).text
        part = await browser.post(f"{PAGE}/lessons.4711-2/retry", headers={"HX-Request": "true"})
        assert "<h1>" not in part.text
        assert "is over: tried again by Otto" in part.text
        for ident in ("lessons.4711-3", "nothing", "lessons.a b"):
            assert (await browser.post(f"{API}/{ident}/retry")).status_code == 404
