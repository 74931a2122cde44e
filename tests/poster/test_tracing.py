"""A bill's trace where a person is asked in between."""

from collections.abc import Iterator

import pytest

from common import subjects, tracing
from common.messages import ReviewResolved
from common.settings import Settings
from tests.collector import Collector, Span, collecting
from tests.poster.desk import WS, Desk, bill
from tests.poster.test_reviews import ask


@pytest.fixture
def collector(settings: Settings) -> Iterator[Collector]:
    """What this process is traced to."""
    with collecting() as collector:
        tracing.configure("test", settings.model_copy(update={"otlp_url": collector.url}))
        yield collector
        tracing.close()


def found(collector: Collector, name: str) -> Span:
    (span,) = [span for span in collector.spans if span.name == name]
    return span


async def test_what_an_answer_does_is_linked_to_the_question(desk: Desk, collector: Collector) -> None:
    record, sequence = await desk.record("1", bill())
    await desk.decide(record, sequence, "review")
    with tracing.span("question"):
        request = await ask(desk, "1", bill())
    with tracing.span("answer"):
        await desk.answer("1", ReviewResolved(review=request.review, action="create", by="A. Tester"))
    await desk.closed("1", request.review)
    name = subjects.posting(desk.bus.region, WS, f"{desk.realm}-1")
    stored = (await desk.bus.latest(desk.bus.topology.postings, [name], object))[name]
    tracing.close()
    question, answer, verified = (found(collector, name) for name in ("question", "answer", "poster.verified"))
    (posted,) = [span for span in collector.spans if span.name == "poster.carry_out" and span.trace == answer.trace]
    assert (posted.parent, verified.parent) == (answer.id, posted.id)
    assert question.trace != answer.trace
    assert question.trace in posted.links
    assert tracing.ident(stored.trace) == answer.trace
    assert found(collector, "poster.upload").trace == answer.trace  # of this bill alone


def test_a_header_that_is_none_begins_a_trace(collector: Collector) -> None:
    for header in ("", "00-nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", None):
        tracing.begin("step", parent=header, root=True).end()
    tracing.close()
    assert len({span.trace for span in collector.spans}) == 4
    assert {span.parent for span in collector.spans} == {""}


def test_where_tracing_is_off_a_step_is_nothing() -> None:
    step = tracing.begin("step", {"record": "9-1"}, parent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")
    with step.current(), tracing.span("inner") as inner, tracing.together("several", [step, inner]):
        assert step is inner is tracing.OFF
        assert (tracing.headers(), step.headers, step.trace, tracing.current_ident()) == ({}, {}, None, None)
