"""Answers to reviews: one counts, whoever else answers is told who was faster, and all hear what became of it."""

from datetime import timedelta

import anyio
import pytest

from common import answering, subjects
from common.answering import NotOpen, Sent, Taken
from common.bus import Bus
from common.errors import Verdict, verdict
from common.failures import Failures
from common.messages import ReviewResolved, now
from tests.console.desk.asking import WS, answer, ask, close, closing, key, question, resolved


async def sent(bus: Bus, given: ReviewResolved, ident: str = "1") -> Sent:
    return await answering.answer(bus, WS, key(ident), given)


async def test_of_many_who_answer_at_once_one_wins_and_the_others_hear_who(bus: Bus) -> None:
    asked = question()
    await ask(bus, asked)
    won: list[tuple[str, Sent]] = []
    lost: list[Taken] = []

    async def decide(by: str) -> None:
        try:
            won.append((by, await sent(bus, resolved(asked, by=by))))
        except Taken as error:
            lost.append(error)

    async with anyio.create_task_group() as group:
        for number in range(6):
            group.start_soon(decide, f"Tester {number}")
    [(by, given)] = won
    assert [(error.by, error.action) for error in lost] == [(by, "create")] * 5
    assert all(abs(error.at - now()) < timedelta(minutes=1) for error in lost)
    assert by in str(lost[0])
    found = await answering.asked(bus, WS, key("1"))
    assert found is not None
    assert [one.sequence for one in found.given] == [given.sequence]
    assert not found.open


async def test_the_same_answer_twice_is_one(bus: Bus) -> None:
    asked = question()
    await ask(bus, asked)
    first = await sent(bus, resolved(asked))
    assert await sent(bus, resolved(asked)) == first
    with pytest.raises(Taken):
        await sent(bus, resolved(asked, note="another thought"))
    await close(bus, closing(asked, by="A. Tester"))
    assert await sent(bus, resolved(asked)) == first  # a second click, after a fast poster
    with pytest.raises(Taken):
        await sent(bus, resolved(asked, note="another thought"))
    with pytest.raises(Taken, match=r"A\. Tester decided it already"):
        await sent(bus, resolved(asked, by="Ida Imaginary"))


async def test_an_answer_comes_too_late_for_a_question_that_was_replaced(bus: Bus) -> None:
    old, new = question(), question()
    await ask(bus, old)
    await ask(bus, new, "refused")
    with pytest.raises(NotOpen, match="has taken its place"):
        await sent(bus, resolved(old))
    assert (await sent(bus, resolved(new, action="link", entry="e1"))).review == new.review


async def test_a_closed_review_says_who_closed_it(bus: Bus) -> None:
    with pytest.raises(NotOpen, match="no review was ever requested"):
        await sent(bus, resolved(question()))
    asked = question()
    await ask(bus, asked)
    await close(bus, closing(asked, "linked", by="Ida Imaginary"))
    with pytest.raises(Taken, match="Ida Imaginary decided it already") as raised:
        await sent(bus, resolved(asked))
    assert raised.value.action == "link"
    other = question("2")
    await ask(bus, other)
    await close(bus, closing(other, "superseded", why="a later decision: create"))
    with pytest.raises(NotOpen, match="superseded, a later decision") as ended:
        await sent(bus, resolved(other), "2")
    assert not isinstance(ended.value, Taken)
    again = question("2")
    await ask(bus, again)
    assert (await sent(bus, resolved(again), "2")).review == again.review


async def test_a_rejected_answer_leaves_the_review_open_for_another(bus: Bus) -> None:
    asked = question()
    await ask(bus, asked)
    first = await sent(bus, resolved(asked, by="Ida Imaginary", action="link", entry="gone"))
    with pytest.raises(Taken):
        await sent(bus, resolved(asked))
    await close(bus, closing(asked, "rejected", why="Qonto has no entry gone"), rejects=first.sequence)
    closed = await answering.outcome(bus, first, within=5)
    assert closed is not None
    assert (closed.outcome, closed.why) == ("rejected", "Qonto has no entry gone")
    second = await sent(bus, resolved(asked))
    assert await answering.outcome(bus, second, within=0.3) is None  # what came of another answer is not its end


async def test_whoever_waits_hears_of_the_end_of_another_answer_too(bus: Bus) -> None:
    asked = question()
    await ask(bus, asked)
    given = await sent(bus, resolved(asked))
    stranger = await answer(bus, asked, resolved(asked, by="A Plain Client", action="refuse"))
    ends = []

    async def wait() -> None:
        ends.append(await answering.outcome(bus, given, within=20))

    stream = bus.topology.reviews
    before = len(await bus.js.consumers_info(stream))
    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        with anyio.fail_after(10):
            while len(await bus.js.consumers_info(stream)) == before:
                await anyio.sleep(0.02)
        await close(bus, closing(asked, "rejected", by="A Plain Client"), rejects=stranger)
        await close(bus, closing(asked, "created", by="A. Tester"))
    assert [end.outcome for end in ends if end is not None] == ["created"]
    assert await answering.outcome(bus, Sent(WS, key("9"), "none", 1), within=0.1) is None
    assert len(await bus.js.consumers_info(stream)) == before  # who does not wait any more leaves nothing behind


async def test_an_answer_that_stands_among_the_failures_is_in_nobodys_way(bus: Bus) -> None:
    asked = question()
    await ask(bus, asked)
    given = await sent(bus, resolved(asked, by="Ida Imaginary"))
    name = subjects.review(bus.region, "resolved", WS, key("1"))
    reason: Verdict = verdict(ValueError("it breaks"), attempt=9)
    await Failures(bus).record(bus.topology.answers, name, given.sequence, reason)
    found = await answering.asked(bus, WS, key("1"))
    assert found is not None
    assert (found.open, found.given, found.given_up[0].answer.by) == (True, (), "Ida Imaginary")
    second = await sent(bus, resolved(asked))
    assert second.sequence > given.sequence
    await Failures(bus).record(bus.topology.answers, name, second.sequence, reason)
    found = await answering.asked(bus, WS, key("1"))
    assert found is not None
    assert [one.sequence for one in found.given_up] == [given.sequence, second.sequence]
    assert (await sent(bus, resolved(asked, by="Third"))).sequence > second.sequence


async def test_what_cannot_be_read_is_in_nobodys_way(bus: Bus) -> None:
    asked = question()
    await ask(bus, asked)
    name = subjects.review(bus.region, "resolved", WS, key("1"))
    await bus.publish(name, {"review": asked.review, "action": "link"}, stream=bus.topology.reviews)
    assert (await sent(bus, resolved(asked))).review == asked.review


async def test_a_workspace_that_is_none_is_refused(bus: Bus) -> None:
    with pytest.raises(subjects.BadTokenError):
        await answering.answer(bus, "*", key("1"), resolved(question()))
