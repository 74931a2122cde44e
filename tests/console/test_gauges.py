"""What a console measures of its region, on a real broker."""

from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Gauge

from common import metrics, subjects
from common.buckets import Bucket
from common.bus import Bus
from common.errors import RetryLater, verdict
from common.failures import Failures
from common.messages import Precision, PullState, ReviewRequested, SelfCheck, Tick, now
from common.register import Connection, Pause
from common.reviews import Step
from services.console import gauges
from services.console.gauges import Gauges, OpenReviews
from tests.console.desk.asking import WS, answer, close, closing, question, resolved


def told(gauge: Gauge) -> dict[tuple[str, ...], float]:
    """What a gauge shows, by its labels."""
    return {tuple(one.labels.values()): one.value for metric in gauge.collect() for one in metric.samples}


async def publish(bus: Bus, asked: ReviewRequested, step: Step) -> None:
    """Ask under the key that services ask with."""
    name = subjects.review(bus.region, step, asked.workspace, f"{asked.realm}-{asked.bill}")
    await bus.publish(name, asked, stream=bus.topology.reviews, key=f"requested-{asked.review}-0")


async def test_a_region_is_told_as_it_stands(bus: Bus) -> None:
    at = now()
    first, second = question("1"), question("2")
    await publish(bus, first, "requested")
    await publish(bus, second, "refused")
    await close(bus, closing(first, "rejected"), rejects=await answer(bus, first, resolved(first)))
    connections = Bucket(bus, "connections", Connection)
    ends = at + timedelta(days=5)
    known: dict[str, Any] = {"account": "9", "since": at, "expires_at": at, "refresh_expires_at": ends}
    for name, state in ((WS, "connected"), ("dead", "needs-reconnect")):
        connection = Connection(workspace=name, state=state, **known)  # type: ignore[arg-type]
        await connections.create(f"{name}.quickbooks", connection)
    paused = Connection(workspace=WS, state="connected", paused=Pause(why="lapsed", fix="renew it"), **known)
    await connections.create(f"{WS}.qonto", paused)
    pulls = Bucket(bus, "pulls", PullState)
    await pulls.create(WS, PullState(realm="9", began_at=at, finished_at=at - timedelta(hours=3)))
    await pulls.create("dead", PullState(realm="9", began_at=at))
    precision = Precision(right=90, cases=100, at_least=0.84)
    await Bucket(bus, "selfchecks", SelfCheck).create(WS, SelfCheck(at=at, target=0.95, overall=precision))
    await bus.count(subjects.meter(bus.region, "quickbooks", at, WS), 7)
    await bus.count(subjects.metered(bus.region, "quickbooks", at), 7)
    await bus.admit(bus.topology.pace("hour"), subjects.pace(bus.region, "hour", "qonto", "kept"))
    tick = Tick(workspace=WS, reason="asked", asked_at=at)
    sequence = await bus.publish(subjects.pull(bus.region, WS), tick, stream=bus.topology.pulls)
    why = verdict(RetryLater("not now"), 1)
    await Failures(bus).record(bus.topology.puller, subjects.pull(bus.region, WS), sequence, why)

    reading = Gauges(bus)
    assert await reading.read()
    assert told(metrics.REVIEWS) == {("requested",): 1, ("refused",): 1}
    assert 0 <= told(metrics.REVIEW_AGE)[WS,] < 60
    states = told(metrics.CONNECTIONS)
    assert (
        states["quickbooks", "connected"] == states["quickbooks", "needs-reconnect"] == states["qonto", "paused"] == 1
    )
    assert sum(states.values()) == 3
    assert told(metrics.GRANT_ENDS) == dict.fromkeys([(WS, "quickbooks"), (WS, "qonto")], ends.timestamp())
    assert told(metrics.PULLED_AT) == {(WS,): (at - timedelta(hours=3)).timestamp()}
    assert (told(metrics.PRECISION), told(metrics.PRECISION_TARGET)) == ({(WS,): 0.84}, {(WS,): 0.95})
    assert told(metrics.PRECISION_CASES) == {(WS,): 100}
    assert (told(metrics.READS), told(metrics.READS_OF)) == ({(): 7}, {(WS,): 7})
    assert told(metrics.PLACES_USED)["qonto", "hour"] == 1
    assert told(metrics.PENDING)["puller",] == 1
    assert 0 < told(metrics.OLDEST)["puller",] < 60
    assert told(metrics.OLDEST)["scorer",] == 0
    assert told(metrics.FAILURES)["puller",] == 1

    await close(bus, closing(first, "created"))
    kept = await connections.get(f"{WS}.quickbooks")
    assert kept is not None
    await connections.delete(kept.key, kept.revision)
    assert await reading.read()
    assert told(metrics.REVIEWS) == {("requested",): 0, ("refused",): 1}
    assert told(metrics.REVIEW_AGE) == told(metrics.PULLED_AT) == {}  # who left is not told of any more
    await bus.js.delete_consumer(bus.topology.pulls, "puller")
    await bus.count(subjects.metered(bus.region, "quickbooks", at), 1)
    assert not await reading.read()  # what is gone is not told of, and all else is
    assert told(metrics.READS) == {(): 8}


@given(st.dictionaries(st.integers(0, 2000), st.floats(0, 1e6), max_size=2000))
def test_a_gauge_tells_of_the_worst_and_of_no_more_than_may_be(ages: dict[int, float]) -> None:
    values: gauges.Values = {(str(number),): age for number, age in ages.items()}
    worst = gauges.worst(values)
    assert len(worst) == min(len(values), gauges.MOST)
    assert all(values[at] >= max((values[left] for left in values.keys() - worst), default=0) for at in worst)


def test_a_question_that_took_another_s_place_stays_open() -> None:
    reviews = OpenReviews()
    reviews.hear("eu.review.requested.ws.9-1", "review-old-1", 10.0)
    reviews.hear("eu.review.requested.ws.9-1", "requested-new-0", 20.0)
    reviews.hear("eu.review.closed.ws.9-1", "closed-old", 30.0)
    assert reviews.oldest() == {"ws": 20.0}
    reviews.hear("eu.review.closed.ws.9-1", "closed-new", 40.0)
    assert reviews.oldest() == {}
