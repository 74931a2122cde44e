"""Laws of the ledger's steps and of the plan, for any page and any order."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.messages import Action, BillPayment, Decision, Entry, Record, Ref
from services.poster.document import shown
from services.poster.ledger import KEY_HELD, OPEN, STEPS, Doubt, ImpossibleStep, Page, State, document_key, doubt, step
from services.poster.plan import (
    UNDONE,
    Ask,
    Create,
    Finish,
    LinkTo,
    Nothing,
    Order,
    Stale,
    Supersede,
    Withdraw,
    paid_on,
    payment,
    plan,
)
from tests.poster.desk import bill

AT = datetime(2026, 3, 1, tzinfo=UTC)
STATES: tuple[State, ...] = get_args(State)
RECORD = Record(workspace="w", realm="9", id="1", kind="bill", content_hash="h", pulled_at=AT, body=bill())
NOW_SHOWN = shown(RECORD)
BEGUN: dict[str, Any] = {
    "revision": 1,
    "epoch": 1,
    "owner": "o",
    "deadline": AT,
    "record_seq": 1,
    "record_hash": "h",
    "decision": "d",
}


SOURCE = Decision(
    id="d", workspace="w", realm="9", bill="1", action="create", score=0.9, why="", record_hash="h",
    record_seq=1, entries_seq=0, policy_version=1, model_version="m", decided_at=AT,
)  # fmt: skip


@st.composite
def pages(draw: st.DrawFn) -> Page:
    """Pages as the poster leaves them."""
    state = draw(st.sampled_from(STATES))
    standing = state in {"verified", "linked", "superseding"} or (state == "uncertain" and draw(st.booleans()))
    made = standing and state != "linked"
    sent = state in {"sent", "uncertain"} or (state == "superseding" and draw(st.booleans()))
    return Page(
        state=state,
        revision=draw(st.integers(1, 5)) if made or state in {"claimed", "sent", "failed"} else draw(st.integers(0, 5)),
        epoch=1,
        owner="o",
        deadline=AT,
        record_seq=draw(st.integers(1, 5)),
        record_hash="h",
        decision=draw(st.sampled_from(["d", "other"])),
        drafted=draw(st.sampled_from([NOW_SHOWN, "old", None])),
        document=draw(st.sampled_from([NOW_SHOWN, "old"])) if standing else None,
        sent_at=AT if sent else None,
        entry="E1" if standing else None,
        entry_kind="invoice" if standing else None,
        made=made,
        paid=draw(st.booleans()),
    )


@st.composite
def orders(draw: st.DrawFn) -> Order:
    """Orders of the scorer and of people."""
    action: Action = draw(st.sampled_from(get_args(Action)))
    by = draw(st.sampled_from([None, "A. Tester"])) if action in {"link", "create"} else None
    return Order(
        id="d",
        workspace="w",
        realm="9",
        bill="1",
        action=action,
        record_seq=draw(st.integers(1, 6)),
        record_hash=draw(st.sampled_from(["h", "h", "h", "older"])),
        source=SOURCE,
        entry=draw(st.sampled_from(["E1", "E2"])) if action == "link" else None,
        entry_kind="invoice" if action == "link" else None,
        by=by,
    )


def entry(**changes: Any) -> Entry:
    values = {"workspace": "w", "organization": "o", "id": "E1", "kind": "invoice", "status": "to_review"}
    return Entry(**{**values, "updated_at": AT, **changes})


standing = st.sampled_from([None, entry(), entry(status="rejected"), entry(status="paid"), entry(deleted=True)])


@given(st.none() | pages(), st.sampled_from(STATES))
def test_only_listed_steps_are_taken(page: Page | None, state: State) -> None:
    allowed = state in STEPS[page.state if page is not None else None]
    base = {
        "revision": 1,
        "epoch": 1,
        "owner": "o",
        "deadline": AT,
        "record_seq": 1,
        "record_hash": "h",
        "decision": "d",
    }
    if not allowed:
        with pytest.raises(ImpossibleStep):
            step(page, state, **base)
    else:
        assert step(page, state, **base).state == state


def test_every_open_state_can_end_and_every_end_can_begin_again() -> None:
    for state in OPEN:
        assert {"verified", "uncertain", "failed", "linked"} & STEPS[state]
    for state in set(STATES) - OPEN:
        assert {"claimed", "superseding"} & STEPS[state]


@given(st.none() | pages(), orders(), standing)
def test_the_laws_of_the_plan(page: Page | None, order: Order, known: Entry | None) -> None:
    effect = plan(page, order, RECORD, NOW_SHOWN, known if page is not None and page.entry else None)
    if order.record_hash != "h" or (page is not None and order.record_seq < page.record_seq):
        assert isinstance(effect, Stale)
        return
    if page is not None and page.open and page.sent_at is not None:
        assert isinstance(effect, Finish)
    if isinstance(effect, Create | Supersede):
        assert order.action in {"create", "link"}
    if isinstance(effect, Create | Supersede) and page is not None:
        fresh = effect.revision > page.revision
        assert fresh or (page.state in {"claimed", "failed"} and page.drafted == NOW_SHOWN)
        if page.state == "uncertain":
            assert order.by is not None
        alive = known is None or known.live
        if page.state == "verified" and alive:
            assert isinstance(effect, Supersede)
            assert page.document != NOW_SHOWN
    if isinstance(effect, Supersede):
        assert page is not None
        assert page.made
    if isinstance(effect, LinkTo) and page is not None and page.settled:
        assert order.by is not None
    if order.action == "withdraw" and not isinstance(effect, Finish):
        assert isinstance(effect, Withdraw | Nothing)
    if order.action in {"review", "refuse"}:
        assert isinstance(effect, Nothing | Finish)


@given(pages(), st.booleans(), st.sampled_from(["to_review", "paid", "scheduled", "rejected"]), st.booleans())
def test_a_mark_is_only_taken_back_by_who_made_it(page: Page, paid: bool, status: str, matched: bool) -> None:
    body = bill(balance=Decimal(0)) if paid else bill()
    wanted = payment(page, body, entry(status=status, matched=("T",) if matched else ()))
    if wanted == "unpay":
        assert page.paid
        assert not matched
        assert not paid
    if wanted == "pay":
        assert paid
        assert status not in {"paid", "rejected"}
    if paid and status == "scheduled":
        assert wanted == "pay"


def test_the_day_of_payment_is_the_last_one_and_never_in_the_future() -> None:
    def payment_on(day: date | None, **changes: Any) -> Record:
        body = BillPayment(vendor=Ref(id="7"), total=Decimal(1), currency="EUR", paid_on=day)
        values: dict[str, Any] = {"workspace": "w", "realm": "9", "id": "90", "kind": "billpayment"}
        return Record(**{**values, "content_hash": "x", "pulled_at": AT, "body": body, **changes})

    today = date(2026, 3, 10)
    days = [payment_on(date(2026, 3, 2)), payment_on(date(2026, 3, 5)), payment_on(date(2026, 3, 7), deleted=True)]
    assert paid_on(RECORD, days, today) == date(2026, 3, 5)
    assert paid_on(RECORD, [payment_on(None)], today) == AT.date()
    assert paid_on(RECORD, [payment_on(date(2027, 1, 1))], today) == today


def test_the_key_is_the_revision_s_and_not_the_attempt_s() -> None:
    assert document_key("w", "9", "1", 1) == document_key("w", "9", "1", 1)
    keys = {
        document_key(*parts)
        for parts in (("w", "9", "1", 1), ("w", "9", "1", 2), ("w", "9", "11", 1), ("v", "9", "1", 1))
    }
    assert len(keys) == 4


def test_doubt_ends_with_the_life_of_the_key() -> None:
    page = step(
        None, "claimed", revision=1, epoch=1, owner="o", deadline=AT, record_seq=1, record_hash="h", decision="d"
    )
    assert doubt(page, AT) is Doubt.NONE
    page = step(page, "sent", sent_at=AT)
    assert doubt(page, AT + KEY_HELD * 0.99) is Doubt.REPEATABLE
    assert doubt(page, AT + KEY_HELD) is Doubt.UNKNOWABLE


def settled_page(**changes: Any) -> Page:
    values: dict[str, Any] = {**BEGUN, "state": "linked", "action": "link", "entry": "E1", "entry_kind": "invoice"}
    return Page(**{**values, "document": NOW_SHOWN, "review": "R", "outcome": "linked", **changes})


def answer(action: Action, named: str | None = None) -> Order:
    return Order(
        id="R",
        workspace="w",
        realm="9",
        bill="1",
        action=action,
        record_seq=1,
        record_hash="h",
        source=SOURCE,
        entry=named,
        entry_kind="invoice" if named else None,
        by="A. Tester",
    )


@pytest.mark.parametrize(
    "page, order, stale",
    [
        (settled_page(), answer("link", "E1"), False),
        (settled_page(), answer("link", "E2"), True),
        (settled_page(), answer("create"), True),
        (settled_page(), answer("withdraw"), True),
        (settled_page(review="earlier"), answer("create"), False),
        (settled_page(state="verified", action="create", made=True), answer("create"), False),
        (settled_page(state="verified", action="create", made=True), answer("link", "E1"), False),
        (settled_page(state="withdrawn", outcome="withdrawn"), answer("create"), True),
        (settled_page(state="withdrawn", outcome="withdrawn"), answer("withdraw"), False),
        (settled_page(state="withdrawn", outcome=None), answer("link", "E2"), False),  # on its way to E2
    ],
)
def test_the_first_answer_to_a_review_is_the_one_that_counts(page: Page, order: Order, stale: bool) -> None:
    assert isinstance(plan(page, order, RECORD, NOW_SHOWN, None), Stale) == stale


@pytest.mark.parametrize("state", ["verified", "linked", "withdrawn"])
@pytest.mark.parametrize("action", ["create", "link"])
def test_what_is_being_undone_is_left_to_a_person(state: State, action: Action) -> None:
    made = state == "verified"
    page = settled_page(state=state, action="create" if made else "link", made=made, undone=NOW_SHOWN, review=None)
    order = msgspec.structs.replace(answer(action, "E1" if action == "link" else None), id="d", by=None)
    effect = plan(page, order, RECORD, NOW_SHOWN, None)
    assert isinstance(effect, Ask)
    assert effect.gate == UNDONE
    other = plan(msgspec.structs.replace(page, undone="another version"), order, RECORD, NOW_SHOWN, None)
    assert not isinstance(other, Ask)
