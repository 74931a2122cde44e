"""Undoing one link or creation: exactly that, once, wherever the poster dies, and nothing comes back by itself."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from common import http
from common.bus import Bus
from common.messages import Decision, Refusal, ReviewResolved, Undo, Undone
from services.poster.app import connected
from services.poster.connection import staging
from services.poster.ledger import Ledger, State
from services.poster.limits import Refusals, keep_within_limits
from services.poster.qonto import Qonto
from services.poster.undoing import Undoing
from tests.poster.desk import WS, Desk, bill


def asking(desk: Desk, ident: str = "1", **more: Any) -> Undo:
    return Undo(workspace=WS, bill=f"{desk.realm}-{ident}", by="Ida Imaginary", **more)


async def again(desk: Desk, decision: Decision, **changes: Any) -> Decision:
    """The same decision as after another reading of the same bill."""
    new = msgspec.structs.replace(decision, id=f"{decision.id}-again", **changes)
    await desk.redeliver(new)
    return new


async def test_a_creation_is_taken_back_and_waits_for_a_person(desk: Desk) -> None:
    one, two = await desk.create("1"), await desk.create("2", bill("F-200"))
    made = await desk.posting(one)
    await desk.posting(two)
    other_one = await desk.call("undo", asking(desk, entry="what stood there once"))
    assert isinstance(other_one, Refusal)
    assert f"{made.entry} stands for bill {desk.realm}-1 by now" in other_one.why
    assert len(await desk.live("1")) == 1
    answer = await desk.call("undo", asking(desk, note="sent twice", entry=made.entry))
    assert isinstance(answer, Undone)
    assert (answer.entry, answer.why) == (made.entry, "undone by Ida Imaginary: sent twice")
    assert await desk.live("1") == []
    assert len(await desk.live("2")) == 1
    audit = (await desk.postings("1"))[-1]
    assert (audit.outcome, audit.by, audit.why) == ("withdrawn", "Ida Imaginary", answer.why)
    review = await desk.asked("1", "undone")
    # Twice is once.
    assert await desk.call("undo", asking(desk)) == answer
    assert len(await desk.postings("1")) == 2
    # The old decision again, and one on the bill as it was pulled again: a person is asked, nothing is made.
    await desk.redeliver(one)
    record, sequence = await desk.record("1", bill())
    await desk.decide(record, sequence, "create")
    three = await desk.create("3", bill("F-300"))
    await desk.posting(three)
    newest = await desk.until(lambda: other(desk, review.review))
    assert await desk.live("1") == []
    # The person says so: it is created again, as a new revision.
    await desk.answer("1", ReviewResolved(review=newest, action="create", by="Ida Imaginary"))
    assert (await desk.closed("1", newest)).outcome == "created"
    assert [one["file_name"].split("__")[0][-2:] for one in await desk.live("1")] == ["r2"]


async def other(desk: Desk, before: str) -> str | None:
    asked = (await desk.asked("1", "undone")).review
    return asked if asked != before else None


async def test_a_changed_bill_is_decided_anew(desk: Desk) -> None:
    await desk.posting(await desk.create("1"))
    assert isinstance(await desk.call("undo", asking(desk)), Undone)
    changed = await desk.create("1", bill(total="240.00"))
    assert (await desk.posting(changed)).outcome == "created"


async def test_a_link_is_let_go_and_only_our_document_comes_off(desk: Desk) -> None:
    await desk.mirror()
    target = next(entry for entry in await desk.entries("transaction") if not entry.attachments)
    record, sequence = await desk.record("1", bill())
    decision = await desk.decide(record, sequence, "link", entry=target.id, entry_kind="transaction")
    assert (await desk.posting(decision)).outcome == "linked"
    answer = await desk.call("undo", asking(desk))
    assert isinstance(answer, Undone)
    assert answer.why.endswith("let go, its document removed")
    assert await desk.claim("transaction", target.id) is None
    assert (await desk.entry("transaction", target.id)).attachments == ()
    # Another bill may have it now.
    record, sequence = await desk.record("2", bill("F-200"))
    decision = await desk.decide(record, sequence, "link", entry=target.id, entry_kind="transaction")
    assert (await desk.posting(decision)).outcome == "linked"


async def test_what_qonto_does_not_allow_changes_nothing(desk: Desk) -> None:
    made = await desk.posting(await desk.create("1"))
    await desk.patch(str(made.entry), status="paid")
    answer = await desk.call("undo", asking(desk))
    assert isinstance(answer, Refusal)
    assert "cannot be rejected" in answer.why
    assert (await desk.page("1")).value.state == "verified"  # type: ignore[union-attr]
    nothing = await desk.call("undo", asking(desk, "99"))
    assert isinstance(nothing, Refusal)
    assert "nothing in Qonto" in nothing.why


@asynccontextmanager
async def second(desk: Desk) -> AsyncIterator[Bus]:
    """Another poster's bus, that of a process which is about to die."""
    bus = Bus(desk.settings, "poster")
    await bus.connect()
    try:
        yield bus
    finally:
        await bus.close()


class DeadError(Exception):
    """Stands for the end of the process."""


STEPS: list[tuple[str, str]] = [
    ("_effects", "retire"),
    ("_ledger", "take"),
    ("_claims", "release"),
    ("_telling", "report"),
    ("_reviews", "ask"),
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_poster_that_dies_is_finished_by_the_next(desk: Desk, after: bool) -> None:
    """Killed before, or just after, every step of the way; another then does what is left, and it is done once."""
    async with http.client(desk.settings.qonto_api_url, staging(desk.settings)) as client, second(desk) as bus:
        qonto = Qonto(client, connected(bus, client), keep_within_limits(client, bus), Refusals(bus))
        for number, (part, name) in enumerate(STEPS, start=1):
            ident = str(number)
            await desk.posting(await desk.create(ident, bill(f"F-{number}00")))
            doomed = Undoing(bus, qonto)
            whole = getattr(getattr(doomed, part), name)
            setattr(getattr(doomed, part), name, dying(whole, after))
            with pytest.raises(DeadError):
                await doomed.undo(asking(desk, ident))
            assert isinstance(await Undoing(bus, qonto).undo(asking(desk, ident)), Undone)
            assert await desk.live(ident) == []
            kept = await Ledger(desk.bus, "reader").read(Ledger.key(WS, desk.realm, ident))
            assert kept is not None
            assert kept.value.state == "withdrawn"
            assert [one.outcome for one in await desk.postings(ident)] == ["created", "withdrawn"]
            assert await desk.claim("invoice", str(kept.value.entry)) is None
            assert (await desk.asked(ident, "undone")).bill == ident


def dying(whole: Callable[..., Any], after: bool) -> Callable[..., Any]:
    async def dies(*values: Any, **named: Any) -> Any:
        if after:
            await whole(*values, **named)
        raise DeadError

    return dies


async def test_an_undo_that_was_cut_off_is_not_undone_by_a_decision(desk: Desk) -> None:
    """The mark of payment was taken back, then the poster died: no decision on the same bill marks it again."""
    await desk.mirror()
    entry = await desk.foreign_invoice()
    record, sequence = await desk.record("1", bill(balance=Decimal(0)))
    decision = await desk.decide(record, sequence, "link", entry=entry.id, entry_kind="invoice")
    assert (await desk.posting(decision)).why == "marked as paid"
    async with http.client(desk.settings.qonto_api_url, staging(desk.settings)) as client, second(desk) as bus:
        doomed = Undoing(bus, Qonto(client, connected(bus, client), keep_within_limits(client, bus), Refusals(bus)))
        whole = doomed._ledger.take

        async def dies(name: str, kept: Any, state: State, **changes: Any) -> Any:
            if state == "withdrawn":
                raise DeadError
            return await whole(name, kept, state, **changes)

        doomed._ledger.take = dies  # type: ignore[method-assign]
        with pytest.raises(DeadError):
            await doomed.undo(asking(desk))
    assert (await desk.entry("invoice", entry.id)).status == "to_review"
    await again(desk, decision)
    await desk.asked("1", "undone")
    await desk.mirror()
    assert (await desk.entry("invoice", entry.id)).status == "to_review"
    answer = await desk.call("undo", asking(desk))
    assert isinstance(answer, Undone)
    assert await desk.claim("invoice", entry.id) is None
