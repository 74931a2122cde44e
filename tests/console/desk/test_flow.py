"""The flow: what a full reading says whichever stream is read first, on a real broker too, and what people must do."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal, NamedTuple, get_args

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from common import codec, subjects
from common.bus import Bus
from common.messages import Action, Decision, Failure, Outcome, Posting, Precision, PullState, SelfCheck, now
from common.standing import Connection
from common.tenants import Tenant
from services.console.desk.duties import who_must
from services.console.desk.flow import Course, Flow, Standing, flows
from tests.console.desk.asking import WS, key
from tests.console.desk.test_record import decision, put

DAY = date(2026, 5, 4)
BEGAN = datetime(2026, 5, 4, tzinfo=UTC)


class Said(NamedTuple):
    """A decision or a posting on a bill, `after` so many quarters of a day since the one said before."""

    bill: str
    what: Literal["decision", "posting", "posting on an older one"]
    action: Action
    outcome: Outcome
    after: int


def posting(ident: str, decided: str, outcome: Outcome, at: datetime, **fields: Any) -> Posting:
    """A posting, read back where that is what its outcome means."""
    verified = at if outcome not in {"stale", "failed", "uncertain"} else None
    given = {"id": f"p-{at}", "revision": 1, "verified_at": verified, **fields}
    return Posting(workspace=WS, realm="9", bill=ident, decision=decided, outcome=outcome, posted_at=at, **given)


def told(steps: Sequence[Said]) -> tuple[list[Decision], list[Posting]]:
    """Both streams after these steps."""
    decisions: list[Decision] = []
    postings: list[Posting] = []
    at = BEGAN
    for step in steps:
        at += timedelta(hours=6 * step.after, seconds=1)
        if step.what == "decision":
            decisions.append(decision(step.bill, id=f"d-{len(decisions)}", action=step.action, decided_at=at))
        else:
            before = [one.id for one in decisions if one.bill == step.bill] or ["d-none"]
            decided = before[-1] if step.what == "posting" else before[0]
            postings.append(posting(step.bill, decided, step.outcome, at))
    return decisions, postings


_STEPS = st.lists(
    st.builds(
        Said,
        st.sampled_from("12"),
        st.sampled_from(["decision", "posting", "posting on an older one"]),
        st.sampled_from(get_args(Action)),
        st.sampled_from(["created", "failed", "stale", "unchanged", "withdrawn"]),
        st.integers(0, 3),
    ),
    max_size=12,
)


@given(_STEPS, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=100)
def test_whichever_stream_is_read_first_the_same_is_told(steps: list[Said], random: Any) -> None:
    decisions, postings = told(steps)
    left: list[list[Any]] = [list(decisions), list(postings)]
    course = Course()
    while any(left):
        feed = random.choice([one for one in left if one])
        message = feed.pop(0)
        (course.decided if isinstance(message, Decision) else course.posted)(codec.encode(message))
    counts: Counter[tuple[date, str]] = Counter()
    names = {"link": "linked", "create": "created", "review": "review", "refuse": "refused", "withdraw": "withdrawn"}
    results = {"created": "verified", "unchanged": "verified", "withdrawn": "verified", "failed": "failed"}
    counts.update(
        (day, names[action])
        for (_, day), action in {(one.bill, one.decided_at.date()): one.action for one in decisions}.items()
    )
    counted = [one for one in postings if one.outcome != "stale"]
    counts.update(
        (day, results[outcome])
        for (_, day), outcome in {(one.bill, one.posted_at.date()): one.outcome for one in counted}.items()
    )
    days = course.days(DAY, DAY + timedelta(days=20))
    assert {(day.day, name): many for day in days for name, many in day.counts.items()} == dict(counts)
    for stand in course.newest():
        ours = [one for one in decisions if key(one.bill) == stand.key]
        theirs = [one for one in counted if key(one.bill) == stand.key]
        made, last = (ours[-1] if ours else None), (theirs[-1] if theirs else None)
        for_it = last and (not made or last.decision == made.id or last.posted_at > made.decided_at)
        asked = "asked" if ours and ours[-1].action in {"review", "refuse"} else "decided"
        assert stand.state == (results[last.outcome] if last and for_it else asked)
    standing = course.standing()
    assert standing.bills == len(course) == standing.asked + standing.decided + standing.verified + standing.failed
    course.forget(BEGAN + timedelta(days=400))
    assert len(course) == 0
    assert not any(day.counts for day in course.days(DAY, DAY + timedelta(days=20)))


async def test_the_last_weeks_are_read_and_what_comes_is_seen(bus: Bus) -> None:
    at = now()
    await put(bus, decision("1", id="d-1", action="create", decided_at=at - timedelta(minutes=20)))
    await put(bus, decision("2", id="d-2", action="review", decided_at=at))
    shelf = flows(bus)
    async with anyio.create_task_group() as group:
        group.start_soon(shelf.run)
        seen = await shelf.look(WS, within=10)
        course = seen.picture.course
        assert not seen.loading
        assert course.standing() == Standing(
            bills=2, asked=1, decided=1, verified=0, failed=0, oldest=at - timedelta(minutes=20)
        )
        before = seen.picture.reached
        await put(bus, posting("1", "d-1", "created", now()))
        await bus.publish(subjects.posting(bus.region, WS, key("3")), {"type": "?"}, stream=bus.topology.postings)
        await shelf.look(WS)
        assert seen.picture.reached != before
        assert course.standing().verified == 1
        assert [one.key for one in course.newest(1)] == [key("1")]
        assert [one.key for one in course.newest(state="asked")] == [key("2")]
        await shelf.stop()
    elsewhere = Flow(bus, "elsewhere")
    assert await elsewhere.read(within=10)
    assert elsewhere.size == 0
    await elsewhere.close()


def test_what_people_must_do_is_told_with_the_next_step() -> None:
    at = now()
    assert [one.duty for one in who_must(Tenant(workspace=WS), at)] == ["connect", "connect"]
    company = Connection(workspace=WS, account="9", state="connected", since=at)
    bank = Connection(workspace=WS, account="o", state="needs-reconnect", since=at, why="the grant was withdrawn")
    pull = PullState(realm="9", began_at=at, failing="QuickBooks answers 500", fix="wait", left_out=("bill 7",))
    troubled = Tenant(workspace=WS, connections={"quickbooks": company, "qonto": bank}, pull=pull)
    failure = Failure(
        id="poster.9-1",
        workspace=WS,
        stage="poster",
        record="9-1",
        why="the file is too large",
        first_seen=at,
        last_seen=at,
        attempts=1,
        subject="s",
        stream="t",
        sequence=1,
        retryable=True,
    )
    check = SelfCheck(
        at=at,
        target=0.95,
        overall=Precision(right=9, cases=10, at_least=0.6),
        vendors={"9-7": Precision(right=9, cases=10, at_least=0.6, name="Sluice & Sons SARL")},
        held=("9-7",),
    )
    late = Standing(bills=4, asked=0, decided=4, verified=0, failed=0, oldest=at - timedelta(hours=1))
    musts = who_must(troubled, at, waiting=1234, failures=[failure], standing=late, check=check)
    assert [one.duty for one in musts] == ["reconnect", "pull", "failures", "reviews", "held", "left out"]
    assert "the grant was withdrawn" in musts[0].why
    assert musts[3].why == "1,234 bills wait for a decision"
    assert "Sluice & Sons SARL" in musts[4].why
    sound = Tenant(
        workspace=WS,
        connections={
            "quickbooks": company,
            "qonto": Connection(workspace=WS, account="o", state="connected", since=at),
        },
        pull=PullState(realm="9", began_at=at, finished_at=at),
    )
    assert who_must(sound, at) == []
    assert [one.duty for one in who_must(sound, at, standing=late)] == ["late"]
