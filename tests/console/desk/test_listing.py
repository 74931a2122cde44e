"""The laws of the list: what waits is what a full reading says, and no page loses or repeats a row."""

import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, NamedTuple, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from common import codec, waiting
from common.errors import UserError
from common.messages import Ref, ReviewClosed, ReviewRequested, ReviewResolved
from common.reviews import Review, Reviews, Said, rejected_by, rejection
from common.waiting import Waiting
from services.console.desk import listing
from services.console.desk.listing import Query, Row, Sort
from tests.console.desk.asking import candidate, closing, question, resolved

Act = Literal["requested", "refused", "answer", "stray answer", "close", "close an old one", "reject", "reject all"]


class Step(NamedTuple):
    bill: str
    act: Act


def stream(steps: list[Step]) -> list[Said]:
    """What a stream holds after these steps, each about the bill's newest question where it is about one."""
    told: list[Said] = []
    asked: dict[str, list[ReviewRequested]] = {}
    answers: dict[str, list[int]] = {}

    def say(step: str, bill: str, message: object, key: str | None = None) -> None:
        told.append(Said(f"eu.review.{step}.fictional-lock.9-{bill}", len(told) + 1, codec.encode(message), key))

    for bill, act in steps:
        questions, given_ = asked.setdefault(bill, []), answers.setdefault(bill, [])
        newest = questions[-1] if questions else question(bill)
        match act:
            case "requested" | "refused":
                questions.append(question(bill, number=f"F-{len(told)}"))
                say(act, bill, questions[-1])
            case "answer":
                say("resolved", bill, resolved(newest, by=f"Tester {len(told)}"))
                given_.append(len(told))
            case "stray answer":
                say("resolved", bill, resolved(question(bill)))
            case "close":
                say("closed", bill, closing(newest))
            case "close an old one":
                say("closed", bill, closing(questions[0] if questions else newest, "superseded"))
            case "reject" | "reject all":
                for sequence in given_[-1:] if act == "reject" else given_:
                    say("closed", bill, closing(newest, "rejected"), rejection(sequence))
    return told


def read_whole(told: list[Said]) -> dict[str, tuple[str, int, list[int]]]:
    """By bill: step, sequence and standing answers of what is open, read from the end as a person would."""
    found = {}
    for bill in {one.subject.rpartition(".")[2] for one in told}:
        about = [one for one in told if one.subject.endswith(f".{bill}")]
        questions = [one for one in about if one.subject.split(".")[2] in {"requested", "refused"}]
        if not questions:
            continue
        asked = codec.decode(questions[-1].data, ReviewRequested)
        later = [one for one in about if one.sequence > questions[-1].sequence]
        closed = [(codec.decode(one.data, ReviewClosed), one) for one in later if ".closed." in one.subject]
        closed = [(one, said) for one, said in closed if one.review == asked.review]
        if any(one.outcome != "rejected" for one, _ in closed):
            continue
        rejected = {rejected_by(said.key) for _, said in closed}
        given_ = [one for one in later if ".resolved." in one.subject]
        standing = [one.sequence for one in given_ if codec.decode(one.data, ReviewResolved).review == asked.review]
        kept = [sequence for sequence in standing if sequence not in rejected]
        found[bill] = (questions[-1].subject.split(".")[2], questions[-1].sequence, kept)
    return found


@given(st.lists(st.builds(Step, st.sampled_from("123"), st.sampled_from(get_args(Act))), max_size=25))
@settings(deadline=None, max_examples=100)
def test_what_waits_is_what_a_full_reading_says(steps: list[Step]) -> None:
    reviews = Reviews(waiting.brief)
    told = stream(steps)
    for number, said in enumerate(told, start=1):
        reviews.take(said)
        kept = {key: (one.step, one.sequence, list(one.answers)) for key, one in reviews.open.items()}
        assert kept == read_whole(told[:number])
    for key, one in reviews.open.items():
        assert (one.question.key, one.question.step, one.question.sequence) == (key, one.step, one.sequence)


def rows(*questions: ReviewRequested) -> dict[str, Review[Waiting]]:
    """Open reviews of these questions."""
    reviews = Reviews(waiting.brief, listing.text)
    for number, one in enumerate(questions, start=1):
        reviews.take(Said(f"eu.review.requested.fictional-lock.9-{one.bill}", number, codec.encode(one)))
    return reviews.open


_BILLS = st.builds(
    lambda minute, due, total, score, vendor: question(
        requested_at=datetime(2026, 5, 2, tzinfo=UTC) + timedelta(minutes=minute),
        due_on=date(2026, 5, due) if due else None,
        total=Decimal(total),
        score=score / 10,
        vendor=Ref(id="7", name=vendor),
    ),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(-1, 2),
    st.integers(0, 10),
    st.sampled_from([None, "Ärmel", "armel", "Zulu"]),
)


@given(
    bills=st.lists(_BILLS, max_size=14),
    sort=st.sampled_from(get_args(Sort)),
    descending=st.booleans(),
    limit=st.integers(1, 5),
    goes=st.sets(st.integers(0, 13), max_size=4),
    comes=st.lists(_BILLS, max_size=3),
)
@settings(deadline=None, max_examples=100)
def test_no_page_loses_or_repeats_a_row(
    bills: list[ReviewRequested],
    sort: Sort,
    descending: bool,
    limit: int,
    goes: set[int],
    comes: list[ReviewRequested],
) -> None:
    numbered = [replace(one, bill=str(number)) for number, one in enumerate(bills)]
    open_ = rows(*numbered)
    added = rows(*(replace(one, bill=f"new{number}") for number, one in enumerate(comes)))
    query = Query(sort=sort, descending=descending)
    seen: list[str] = []
    mark = None
    while True:
        page = listing.page(open_.values(), query, mark, limit)
        assert page.count == len(open_)
        seen += [row.bill.key for row in page.rows]
        mark = page.next
        if mark is None:
            break
        assert len(page.rows) == limit
        if goes:  # somebody decides on one, and another comes, between two pages
            open_.pop(f"9-{goes.pop()}", None)
        if added:
            open_.update([added.popitem()])
    assert len(seen) == len(set(seen))
    stayed = [key for key in open_ if not key.startswith("9-new")]
    assert set(stayed) <= set(seen)
    whole = [row.bill.key for row in listing.page(open_.values(), query, limit=200).rows]
    assert [key for key in seen if key in stayed] == [key for key in whole if key in stayed]


def test_words_gates_and_vendors_find_and_count_each_without_itself() -> None:
    open_ = rows(
        question("1", vendor=Ref(id="7", name="Société Écluse"), total=Decimal("1234.50")),
        question("2", vendor=Ref(id="7", name="Société Écluse"), gate="policy"),
        question("3", vendor=Ref(id="8", name="Imaginary Quarry Ltd"), gate="policy", number="INV-77"),
    )

    def found(**fields: Any) -> list[str]:
        return [row.bill.key for row in listing.page(open_.values(), Query(**fields)).rows]

    assert found(text="ecluse SOCIETE") == ["9-1", "9-2"]
    assert found(text="1,234") == found(text="1234.5") == ["9-1"]
    assert found(text="inv-77") == ["9-3"]
    assert found(text="nothing like it") == []
    assert found(text="ecluse 9-2 " * 100) == ["9-2"]
    assert found(gate="policy", vendor="9-7") == ["9-2"]
    assert found(least=Decimal(121)) == ["9-1"]
    assert found(most=Decimal(121), before=datetime(2026, 5, 2, 0, 3, tzinfo=UTC)) == ["9-2"]
    page = listing.page(open_.values(), Query(gate="policy", vendor="9-7"))
    assert (page.count, page.gates) == (1, {"near tie": 1, "policy": 1})
    assert [(one.key, one.count) for one in page.vendors] == [("9-7", 1), ("9-8", 1)]
    first = next(iter(open_.values()))
    first.answers[9] = ReviewResolved(review=first.question.review, action="create", by="A. Tester")
    answered = listing.page(open_.values(), Query(answered=True)).rows
    assert [row.given.by for row in answered if row.given] == ["A. Tester"]


@pytest.mark.parametrize("mark", ["", "%%%", "AAAA", "e30"])
def test_a_mark_that_is_none_says_so(mark: str) -> None:
    with pytest.raises(UserError, match="after: this is no mark"):
        listing.page([], Query(), mark)


def test_a_mark_of_another_order_says_so() -> None:
    mark = listing.page(rows(question("1"), question("2")).values(), Query(), limit=1).next
    with pytest.raises(UserError, match="of another order"):
        listing.page([], Query(sort="total"), mark)


def test_only_what_is_alike_can_be_confirmed_together() -> None:
    def asked(ident: str, entry: str | None, **fields: object) -> ReviewRequested:
        scores: dict[str, float | None] = {"reference": fields.pop("reference", 0.2)}  # type: ignore[dict-item]
        found = (candidate(entry, 0.7, **scores),) if entry else ()
        return question(ident, review=uuid.uuid4().hex, candidates=found, **fields)

    open_ = rows(
        asked("1", "a"),
        asked("2", "b"),
        asked("3", "b"),  # wants the same entry as 2
        asked("4", "c", gate="policy"),
        asked("5", "d", vendor=Ref(id="8", name="Another")),
        asked("6", "e", reference=1.0),
        asked("7", None),
        asked("8", "f"),
        asked("9", "g"),
    )
    open_["9-9"].answers[1] = ReviewResolved(review="r", action="create", by="A. Tester")
    found = listing.alike(open_.values(), open_["9-8"].question)
    assert found == [Row(open_["9-8"].question), Row(open_["9-1"].question)]
    assert listing.alike(open_.values(), open_["9-7"].question) == []
    assert listing.alike(open_.values(), open_["9-8"].question, least=0.71) == []
