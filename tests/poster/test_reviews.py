"""People answer: what is carried out, and what is refused with a reason."""

import uuid
from datetime import timedelta
from typing import Any, Literal

import pytest

from common import subjects
from common.delivery import Delivery
from common.messages import Bill, ReviewClosed, ReviewRequested, ReviewResolved, now
from tests.poster.desk import WS, Desk, bill


async def ask(desk: Desk, ident: str, body: Bill, step: str = "requested", **more: Any) -> ReviewRequested:
    """A review as the scorer raises it."""
    request = ReviewRequested(
        review=uuid.uuid4().hex,
        workspace=WS,
        realm=desk.realm,
        bill=ident,
        requested_at=more.pop("requested_at", now()),
        score=0.7,
        why="a test says so",
        summary=body,
        **more,
    )
    name = subjects.review(desk.bus.region, step, WS, f"{desk.realm}-{ident}")
    await desk.bus.publish(name, request, stream=desk.bus.topology.reviews)
    return request


@pytest.mark.parametrize("step", ["requested", "refused"])
async def test_create_is_carried_out_and_a_second_answer_is_refused(desk: Desk, step: str) -> None:
    record, sequence = await desk.record("1", bill())
    await desk.decide(record, sequence, "review")
    request = await ask(desk, "1", bill(), step)
    answer = ReviewResolved(review=request.review, action="create", by="A. Tester", note="looks right")
    await desk.answer("1", answer)
    closed = await desk.closed("1", request.review)
    posting = await desk.posting(request.review, bill="1")
    assert (closed.outcome, closed.by, closed.entry) == ("created", "A. Tester", posting.entry)
    assert len(await desk.invoices("1")) == 1
    await desk.answer("1", answer)
    second = await desk.closed("1", request.review, nth=2)
    assert second.outcome == "rejected"
    assert "already closed" in (second.why or "")
    assert len(await desk.invoices("1")) == 1


@pytest.mark.parametrize("action", ["create", "link", "refuse"])
async def test_an_answer_that_comes_again_is_recognised(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, action: Literal["create", "link", "refuse"]
) -> None:
    """Its acknowledgement is lost, and a later question has taken the place of the first."""
    done = Delivery.done
    handled: list[int] = []

    async def forget(self: Delivery[Any]) -> None:
        if ".resolved." in self.subject and not self.settled:
            handled.append(self.attempt)
            if self.attempt == 1:
                self.settled = True
                await self.raw.nak(delay=1.0)
                return
        await done(self)

    monkeypatch.setattr(Delivery, "done", forget)
    await desk.mirror()
    entry = (await desk.foreign_invoice()).id if action == "link" else None
    await desk.record("1", bill())
    request = await ask(desk, "1", bill())
    await desk.answer("1", ReviewResolved(review=request.review, action=action, entry=entry, by="A. Tester"))
    await desk.closed("1", request.review)
    await ask(desk, "1", bill())

    async def came_again() -> bool:
        return handled == [1, 2]

    await desk.until(came_again)
    name = subjects.review(desk.bus.region, "closed", WS, f"{desk.realm}-1")
    outcomes = [one.outcome for one in await desk.history(name, ReviewClosed)]
    assert outcomes == [{"create": "created", "link": "linked", "refuse": "refused"}[action]]


@pytest.mark.parametrize(
    "answer, review, field",
    [
        ({"review": "known", "action": "link", "by": "A. Tester"}, "known", "entry"),
        ({"review": "known", "action": "buy", "by": "A. Tester"}, "known", "action"),
        ({"review": 7, "action": "create", "by": "A. Tester"}, "", "review"),
        (["no", "answer"], "", "object"),
    ],
)
async def test_an_answer_that_cannot_be_read_is_refused_where_its_sender_looks(
    desk: Desk, answer: Any, review: str, field: str
) -> None:
    name = subjects.review(desk.bus.region, "resolved", WS, f"{desk.realm}-1")
    await desk.bus.publish(name, answer, stream=desk.bus.topology.reviews)
    closed = await desk.closed("1", review)
    assert (closed.outcome, closed.realm, closed.bill) == ("rejected", desk.realm, "1")
    assert field in (closed.why or "")
    await desk.bus.publish(f"{desk.bus.region}.review.resolved.{WS}.nobill", answer, stream=desk.bus.topology.reviews)

    async def told() -> bool:
        return any("own subject" in (notice.fix or "") for notice in await desk.notices())

    await desk.until(told)


async def test_an_answer_to_a_question_nobody_asked_is_refused(desk: Desk) -> None:
    await desk.answer("1", ReviewResolved(review="unheard-of", action="create", by="A. Tester"))
    closed = await desk.closed("1", "unheard-of")
    assert (closed.outcome, closed.by) == ("rejected", "A. Tester")
    assert "ever requested" in (closed.why or "")


async def test_link_needs_an_entry_that_is_there_live_and_free(desk: Desk) -> None:
    await desk.mirror()
    foreign = await desk.foreign_invoice()
    await desk.record("1", bill())
    request = await ask(desk, "1", bill())
    for number, (entry, why) in enumerate((("no.such", "cannot be used"), ("unknown", "no entry")), start=1):
        await desk.answer("1", ReviewResolved(review=request.review, action="link", entry=entry, by="A. Tester"))
        closed = await desk.closed("1", request.review, nth=number)
        assert closed.outcome == "rejected"
        assert why in (closed.why or "")
    await desk.answer("1", ReviewResolved(review=request.review, action="link", entry=foreign.id, by="A. Tester"))
    closed = await desk.closed("1", request.review, nth=3)
    assert (closed.outcome, closed.entry) == ("linked", foreign.id)
    await desk.record("2", bill("F-2"))
    other = await ask(desk, "2", bill("F-2"))
    await desk.answer("2", ReviewResolved(review=other.review, action="link", entry=foreign.id, by="A. Tester"))
    closed = await desk.closed("2", other.review)
    assert closed.outcome == "rejected"
    assert f"{desk.realm}-1" in (closed.why or "")


async def test_refuse_closes_without_any_effect(desk: Desk) -> None:
    await desk.record("1", bill())
    request = await ask(desk, "1", bill())
    await desk.answer("1", ReviewResolved(review=request.review, action="refuse", by="A. Tester", note="not ours"))
    closed = await desk.closed("1", request.review)
    assert (closed.outcome, closed.why) == ("refused", "not ours")
    assert await desk.invoices("1") == []


async def test_stale_answers_are_refused(desk: Desk) -> None:
    await desk.record("1", bill())
    old = await ask(desk, "1", bill())
    new = await ask(desk, "1", bill())
    await desk.answer("1", ReviewResolved(review=old.review, action="create", by="A. Tester"))
    closed = await desk.closed("1", old.review)
    assert closed.outcome == "rejected"
    assert "taken its place" in (closed.why or "")
    await desk.record("1", bill(total="144.00"))
    await desk.answer("1", ReviewResolved(review=new.review, action="create", by="A. Tester"))
    closed = await desk.closed("1", new.review)
    assert closed.outcome == "rejected"
    assert "bill changed" in (closed.why or "")
    assert await desk.invoices("1") == []


async def test_a_later_decision_closes_what_was_asked(desk: Desk) -> None:
    request = await ask(desk, "1", bill(), requested_at=now() - timedelta(minutes=5))
    posting = await desk.posting(await desk.create("1"))
    assert posting.outcome == "created"
    assert (await desk.closed("1", request.review)).outcome == "superseded"


async def test_a_person_may_move_a_bill_to_another_entry(desk: Desk) -> None:
    await desk.mirror()
    foreign = await desk.foreign_invoice()
    created = await desk.posting(await desk.create("1"))
    record, sequence = await desk.record("1", bill())
    await desk.decide(record, sequence, "link", entry=foreign.id, entry_kind="invoice")
    review = await desk.asked("1", "already posted")
    await desk.answer("1", ReviewResolved(review=review.review, action="link", entry=foreign.id, by="A. Tester"))
    assert (await desk.closed("1", review.review)).outcome == "linked"
    assert [one["status"] for one in await desk.invoices("1")] == ["rejected"]
    assert await desk.claim("invoice", str(created.entry)) is None
    assert await desk.claim("invoice", foreign.id) == f"{desk.realm}-1"
