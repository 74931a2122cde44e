"""What was left half done, met by a world that moved on: finished or given up, and never for good in between."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from common import subjects
from common.buckets import Bucket
from common.delivery import Delivery
from common.errors import AskPerson
from common.failures import Failures
from common.messages import BillLine, Decision, Entry, ReviewResolved
from services.poster.job import Job
from services.poster.ledger import Page
from services.poster.plan import Order
from services.poster.qonto import Unknown
from tests.poster.desk import WS, Desk, bill, poster
from tests.poster.lives import carried_out, hurry


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
async def alone(idle: Desk) -> Desk:
    """A connected workspace with a whole mirror, and nobody at work."""
    async with poster(idle.settings):
        await idle.connect()
        await idle.mirror()
    return idle


async def done(desk: Desk, order: Decision | Order, **how: Any) -> Job:
    """What a life made of an order, which must not end before."""
    job = await carried_out(desk.settings, order, **how)
    assert job is not None
    return job


async def page(desk: Desk, ident: str = "1") -> Page:
    kept = await desk.page(ident)
    assert kept is not None
    return kept.value


async def free_entry(desk: Desk, kind: Any = "invoice") -> Entry:
    found = [entry for entry in await desk.entries(kind) if entry.origin is None and entry.live]
    return next(one for one in found if kind == "transaction" or one.status == "to_review")


async def linking(desk: Desk, entry: Entry, ident: str = "1", **shape: Any) -> Decision:
    record, sequence = await desk.record(ident, bill(f"F-{ident}", **shape))
    return await desk.decide(record, sequence, "link", entry=entry.id, entry_kind=entry.kind)


def by(decision: Decision, review: str, **changes: Any) -> Order:
    """The order that a person gives by answering `review`."""
    order = msgspec.structs.replace(Order.of(decision), id=review, by="A. Tester")
    return msgspec.structs.replace(order, **changes)


async def test_a_new_revision_that_a_person_deleted_halfway_is_uploaded_anew(alone: Desk) -> None:
    """It stood beside the old one when the poster died."""
    old = (await done(alone, await alone.create("1"))).page.entry
    changed = await alone.create("1", bill(total="144.00"))
    assert await carried_out(alone.settings, changed, before="POST .*/reject") is None
    [new] = [one["id"] for one in await alone.live("1") if one["id"] != old]
    await alone.control.delete(f"/sandbox/companies/{alone.realm}/qonto/supplier_invoices/{new}")
    job = await done(alone, changed)
    assert job.error is None
    assert [one["id"] for one in await alone.live("1")] == [(await page(alone)).entry] != [old]
    assert (await page(alone)).state == "verified"


async def test_a_new_revision_that_has_to_go_again_goes_even_if_the_old_one_could_later(alone: Desk) -> None:
    """The old one is paid when its turn comes, so the new one is taken back; Qonto's answer to that is lost."""
    old = (await done(alone, await alone.create("1"))).page.entry
    changed = await alone.create("1", bill(total="144.00"))
    assert await carried_out(alone.settings, changed, before="POST .*/reject") is None
    await alone.patch(str(old), status="paid")
    await alone.fault("drop_after", "/reject$")
    assert isinstance((await done(alone, changed)).error, Unknown)
    await alone.patch(str(old), status="to_review")
    assert (await done(alone, changed)).error is None
    [standing] = await alone.live("1")
    assert ((await page(alone)).entry, (await page(alone)).state) == (standing["id"], "verified")


async def test_a_bill_linked_to_its_own_upload_is_superseded_when_it_changes(alone: Desk) -> None:
    """What a person is told to do with an upload that was never answered."""
    own = (await done(alone, await alone.create("1"))).page.entry
    kept = await alone.page("1")
    assert kept is not None
    await Bucket(alone.bus, "idempotency", Page).delete(kept.key, kept.revision)
    record, sequence = await alone.record("1", bill())
    decision = await alone.decide(record, sequence, "link", entry=own, entry_kind="invoice")
    linked = await done(alone, decision)
    assert (linked.error, linked.posting and linked.posting.outcome) == (None, "linked")
    changed = await done(alone, await alone.create("1", bill(total="144.00")))
    assert (changed.error, changed.posting and changed.posting.outcome) == (None, "superseded")
    assert [one["file_name"].split("__")[0][-2:] for one in await alone.live("1")] == ["r2"]


async def test_what_qonto_does_not_let_be_paid_stands_all_the_same(alone: Desk) -> None:
    entry = await free_entry(alone)
    await alone.patch(entry.id, status="scheduled")
    job = await done(alone, await linking(alone, entry, balance=Decimal(0)))
    assert isinstance(job.error, AskPerson)
    assert job.error.gate == "status forbids"
    assert ((await page(alone)).state, (await page(alone)).entry) == ("linked", entry.id)
    assert [one.outcome for one in await alone.postings("1")] == ["linked"]


@pytest.mark.parametrize("action", ["review", "refuse"])
async def test_what_was_begun_and_is_not_wanted_any_more_is_closed(alone: Desk, action: Any) -> None:
    """A poster died right after it took the page of a create, and of a supersede."""
    created = await alone.create("1")
    assert await carried_out(alone.settings, created, before="GET .*supplier_invoices$") is None
    await done(alone, await alone.create("2", bill("F-2")))
    changed = await alone.create("2", bill("F-2", "144.00"))
    assert await carried_out(alone.settings, changed, before="GET .*supplier_invoices$") is None
    states = []
    for ident in ("1", "2"):
        assert (await page(alone, ident)).open
        record, sequence = await alone.record(ident, bill(f"F-{ident}", "168.00"))
        assert (await done(alone, await alone.decide(record, sequence, action))).error is None
        states.append((await page(alone, ident)).state)
    assert states == ["withdrawn", "verified"]


async def test_a_second_answer_to_a_review_does_not_undo_the_first(alone: Desk) -> None:
    """The poster died after it had carried the first out and before the review was closed."""
    entry = await free_entry(alone)
    decision = await linking(alone, entry)
    assert (await done(alone, by(decision, "R"))).error is None
    second = await done(alone, by(decision, "R", action="create", entry=None, entry_kind=None))
    assert (second.posting and second.posting.outcome) == "stale"
    assert (await done(alone, by(decision, "R"))).error is None
    assert ((await page(alone)).entry, await alone.live("1")) == (entry.id, [])


async def test_a_decision_that_cannot_be_carried_out_holds_up_no_other(desk: Desk) -> None:
    """One names another bill than its subject, one asks a question larger than the broker takes."""
    await desk.mirror()
    record, sequence = await desk.record("1", bill())
    bad = await desk.decide(record, sequence)
    await desk.posting(bad)
    entry = await free_entry(desk)
    await desk.posting(await linking(desk, entry, "2"))
    name = subjects.decision(desk.bus.region, WS, f"{desk.realm}-3")
    stray = [msgspec.structs.replace(bad, id=f"stray-{ident}", bill=ident) for ident in ("1", "no.bill", "4")]
    large = bill("F-5", lines=(BillLine(description="x" * 5_000_000),))
    record, sequence = await desk.record("5", large)
    news = [(name, one) for one in stray]
    news.append(
        (
            subjects.decision(desk.bus.region, WS, f"{desk.realm}-5"),
            msgspec.structs.replace(
                bad,
                id="large",
                bill="5",
                action="link",
                entry=entry.id,
                entry_kind="invoice",
                record_seq=sequence,
                record_hash=record.content_hash,
                counterfactual="x" * 5_000_000,
            ),
        )
    )
    for subject, decision in news:
        await desk.bus.publish(subject, decision, stream=desk.bus.topology.decisions)
    others = [await desk.create(str(number), bill(f"F-{number}")) for number in range(6, 12)]
    for decision in others:
        assert (await desk.posting(decision)).outcome == "created"

    async def standing() -> list[str] | None:
        there = sorted(failure.id for failure in await Failures(desk.bus).standing(WS))
        return there if len(there) > 1 else None

    assert await desk.until(standing) == [f"poster.{desk.realm}-{number}" for number in (3, 5)]
    assert await desk.invoices("4") == []


async def test_a_refused_question_is_not_asked_again_by_an_old_decision(desk: Desk) -> None:
    await desk.mirror()
    entry = await free_entry(desk)
    await desk.posting(await linking(desk, entry, "1"))
    decision = await linking(desk, entry, "2")
    review = await desk.asked("2", "contested")
    await desk.answer("2", ReviewResolved(review=review.review, action="refuse", by="A. Tester"))
    await desk.closed("2", review.review)
    reviews = (await desk.bus.js.stream_info(desk.bus.topology.reviews)).config
    await desk.bus.js.update_stream(reviews.evolve(duplicate_window=0.1))  # as after two minutes
    await desk.redeliver(decision)
    await desk.posting(await desk.create("3", bill("F-3")))
    name = subjects.review(desk.bus.region, "requested", WS, f"{desk.realm}-2")
    assert len(await desk.history(name, type(review))) == 1


async def test_what_waits_for_its_retry_does_not_come_after_what_is_newer(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first version meets a Qonto that is away; the second is carried out before the first is tried again."""
    pauses: list[float] = []
    plain = Delivery.later

    async def later(self: Delivery[Any], seconds: float) -> None:
        pauses.append(seconds)
        await plain(self, seconds)

    monkeypatch.setattr(Delivery, "later", later)
    await desk.posting(await desk.create("9", bill("F-9")))
    await desk.fault("drop_before", "/v2/", method="GET", times=6)
    first = await desk.create("1")

    async def waits() -> bool:
        return bool(pauses)

    await desk.until(waits)
    await desk.control.delete("/sandbox/faults")
    second = await desk.create("1", bill(total="144.00"))
    assert (await desk.posting(second)).outcome == "created"
    assert (await desk.posting(first)).outcome == "stale"
    [entry] = await desk.invoices("1")
    assert (await page(desk)).record_hash == second.record_hash
    assert (await page(desk)).entry == entry["id"]


async def test_a_question_leaves_nothing_begun(alone: Desk) -> None:
    """A poster died at the beginning of a supersede and of a link; then what it was about to do is forbidden."""
    old = (await done(alone, await alone.create("1"))).page.entry
    changed = await alone.create("1", bill(total="144.00"))
    assert await carried_out(alone.settings, changed, before="GET .*supplier_invoices$") is None
    await alone.patch(str(old), status="paid")
    entry = await free_entry(alone, "transaction")
    linked = await linking(alone, entry, "2")
    assert await carried_out(alone.settings, linked, before="POST .*/attachments$") is None
    assert await alone.claim("transaction", entry.id) is not None
    await alone.fault("status", "/v2/transactions/", method="GET", status=404, body="{}")
    for decision in (changed, linked):
        assert isinstance((await done(alone, decision)).error, AskPerson)
    assert ((await page(alone)).state, (await page(alone)).entry) == ("verified", old)
    assert (await page(alone, "2")).state == "withdrawn"
    assert await alone.claim("transaction", entry.id) is None
