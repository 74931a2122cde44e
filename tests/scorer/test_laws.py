"""Laws of the decision, whatever the bills and entries are."""

import random
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.messages import Entry, Policy, Record, Ref
from services.scorer.matching.decide import EVIDENCE
from services.scorer.matching.model import OTHER_COMPANY, Habits
from services.scorer.matching.ranking import Ranking, Scored
from tests.scorer.cases import MAY, bill, books, decided, invoice, key, outcome, payment, vendor, verdicts

NAMES = ("Sluice & Sons SARL", "SLUICE AND SONS", "Floodgate Works GmbH", "Lock Four Millwork", "Depot 12", "Depot 14")
AMOUNTS = tuple(Decimal(amount) for amount in ("9.99", "100.00", "100.02", "120.00", "121.00", "1500.00"))
NUMBERS = (None, "F-2026-1001", "F-2026-1002", "INV 1001", "77")
TERMS = (0, 10, 14, 30, 45, 60, 90)
QUICK = settings(max_examples=60, deadline=None)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Record], list[Entry]]:
    """A workspace with few enough names, amounts and days for bills and entries to compete."""
    day = st.integers(0, 45).map(lambda days: MAY + timedelta(days=days))
    records = [
        bill(
            str(number),
            day=draw(st.integers(1, 28)),
            vendor=Ref(id=str(NAMES.index(name)), name=name),
            total=draw(st.sampled_from(AMOUNTS)),
            number=draw(st.sampled_from(NUMBERS)),
            issued_on=draw(st.none() | day),
            due_on=draw(st.none() | day),
        )
        for number, name in enumerate(draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=7)), start=1)
    ]
    entries = []
    for number, name in enumerate(draw(st.lists(st.sampled_from(NAMES), max_size=8)), start=1):
        is_payment = draw(st.booleans())
        when = draw(st.none() | day)
        entries.append(
            (payment if is_payment else invoice)(
                f"{'t' if is_payment else 'i'}{number}",
                counterparty=draw(st.sampled_from([name, None])),
                amount=draw(st.sampled_from([*AMOUNTS, None])),
                number=draw(st.sampled_from(NUMBERS)),
                label=name if is_payment else None,
                issued_on=when,
                paid_on=when,
            )
        )
    payments = [entry.id for entry in entries if entry.kind == "transaction"]
    for position, entry in enumerate(entries):
        if entry.kind == "invoice" and payments and draw(st.booleans()):
            fields = {name: getattr(entry, name) for name in ("counterparty", "amount", "number", "issued_on")}
            entries[position] = invoice(entry.id, **fields, matched=(payments.pop(),))
    vendors = [vendor(str(number), name=name) for number, name in enumerate(NAMES)]
    return vendors + records, entries


LATE = st.floats(0.0, 3.3)
UNUSUAL = st.builds(
    lambda late, strangers: Habits(strangers=strangers, damage=((0.0,) * 4, (0.0,) * 4, (late, 0.0, 0.0, 0.0))),
    LATE,
    st.floats(-3.0, 0.0),
)
"""Workspaces in which dates suffer and strangers share amounts."""


def idents(records: list[Record]) -> list[str]:
    return [record.id for record in records if record.kind == "bill"]


@QUICK
@given(world=worlds(), seed=st.integers(0, 10**6))
def test_the_order_of_arrival_does_not_matter(world: tuple[list[Record], list[Entry]], seed: int) -> None:
    records, entries = world
    expected = {ident: outcome(verdict) for ident, verdict in verdicts(books(records, entries)).items()}
    shuffler = random.Random(seed)
    records, entries = shuffler.sample(records, len(records)), shuffler.sample(entries, len(entries))
    assert {ident: outcome(verdict) for ident, verdict in verdicts(books(records, entries)).items()} == expected


@QUICK
@given(world=worlds())
def test_the_bounds_of_batches_do_not_matter(world: tuple[list[Record], list[Entry]]) -> None:
    found = books(*world)
    together = verdicts(found)
    for ident in idents(world[0]):
        assert verdicts(found, ident)[ident] == together[ident]


@settings(max_examples=150, deadline=None)
@given(world=worlds(), usual=st.none() | UNUSUAL, auto=st.floats(0.6, 0.99))
def test_an_entry_is_linked_once(world: tuple[list[Record], list[Entry]], usual: Habits | None, auto: float) -> None:
    linked: list[str] = []
    for verdict in verdicts(books(*world, usual=usual, policy=Policy(auto=auto))).values():
        if verdict.action == "link":
            assert verdict.entry is not None
            linked += [verdict.entry.id, *verdict.entry.matched]
    assert len(linked) == len(set(linked))


@QUICK
@given(world=worlds())
def test_what_was_posted_meanwhile_changes_no_other_decision(world: tuple[list[Record], list[Entry]]) -> None:
    before = verdicts(books(*world))
    links = {
        f"{verdict.entry.kind}-{verdict.entry.id}": key(ident)
        for ident, verdict in before.items()
        if verdict.action == "link" and verdict.entry is not None
    }
    after = verdicts(books(*world, claims=links))
    assert {ident: verdict.action for ident, verdict in after.items()} == {
        ident: verdict.action for ident, verdict in before.items()
    }


@QUICK
@given(world=worlds(), auto=st.floats(0.6, 0.99), margin=st.floats(0.0, 0.3), usual=st.none() | UNUSUAL)
def test_links_keep_to_the_policy(
    world: tuple[list[Record], list[Entry]], auto: float, margin: float, usual: Habits | None
) -> None:
    policy = Policy(auto=auto, review=0.55, margin=margin)
    for verdict in verdicts(books(*world, policy=policy, usual=usual)).values():
        if verdict.action != "link":
            continue
        assert verdict.entry is not None
        assert verdict.score >= auto
        best, *others = verdict.candidates
        assert best.entry == verdict.entry.id
        assert not best.claimed
        agreeing = [field for field, found in best.fields.items() if field != "currency" and (found.score or 0) >= 0.8]
        assert len(agreeing) >= EVIDENCE
        assert {"name", "reference"} & set(agreeing)
        for other in others:
            if other.score >= policy.review:
                assert best.score - other.score >= margin - 1e-4


@pytest.mark.parametrize("auto, late", [(0.65, 1.85), (0.6, 2.0), (0.85, 3.0)])
def test_of_two_bills_that_want_an_entry_alike_none_gets_it_however_late_documents_are(
    auto: float, late: float
) -> None:
    usual = Habits(damage=((0.0,) * 4, (0.0,) * 4, (late, 0.0, 0.0, 0.0)))
    days = (MAY, MAY + timedelta(days=2), MAY - timedelta(days=61))
    series = [bill(str(number), number=None, due_on=None, issued_on=day) for number, day in enumerate(days, start=1)]
    entries = [invoice(number=None, issued_on=MAY + timedelta(days=1))]
    found = verdicts(books([vendor(), *series], entries, usual=usual, policy=Policy(auto=auto)), "1", "2")
    assert [verdict.candidates[0].free < 0.6 for verdict in found.values()] == [True, True]
    assert {verdict.action for verdict in found.values()} == {"review"}


@pytest.mark.parametrize("late", [0.0, 1.0, 2.0, 3.3])
def test_no_habit_lifts_a_veto(late: float) -> None:
    usual = Habits(damage=((0.0,) * 4, (0.0,) * 4, (late, 0.0, 0.0, 0.0)))
    series = [bill(str(month), vendor=Ref(id="1", name="Depot 12"), issued_on=date(2026, month, 1)) for month in (3, 5)]
    other = books([vendor("1", name="Depot 12"), *series], [invoice(counterparty="Depot 14")], usual=usual)
    for verdict in verdicts(other, "3", "5").values():
        assert all(one.score <= OTHER_COMPANY for one in verdict.candidates)


@QUICK
@given(world=worlds(), usual=UNUSUAL)
def test_candidates_stand_in_the_order_of_what_speaks_for_them(
    world: tuple[list[Record], list[Entry]], usual: Habits
) -> None:
    for verdict in verdicts(books(*world, usual=usual)).values():
        running = [one for one in verdict.candidates if not one.turned_down]
        contradicts = [0.0 in (one.fields["name"].score, one.fields["reference"].score) for one in running]
        if not any(contradicts):
            stakes = [one.alone / (1 - one.alone) * one.free for one in running if one.alone < 1]
            assert stakes == sorted(stakes, reverse=True)


@QUICK
@given(world=worlds())
def test_every_verdict_says_why(world: tuple[list[Record], list[Entry]]) -> None:
    for verdict in verdicts(books(*world)).values():
        assert verdict.why
        assert 0.0 <= verdict.score <= 1.0
        assert verdict.readiness is not None
        assert (verdict.gate is not None) == (verdict.action in {"review", "refuse"})
        for candidate in verdict.candidates:
            assert set(candidate.fields) == {"name", "amount", "date", "currency", "reference"}
            assert all(found.score is None or 0.0 <= found.score <= 1.0 for found in candidate.fields.values())


@QUICK
@given(world=worlds())
def test_the_same_books_give_the_same_verdicts(world: tuple[list[Record], list[Entry]]) -> None:
    assert verdicts(books(*world)) == verdicts(books(*world))


def compared(record: Record, entry: Entry) -> Scored:
    """The comparison of one bill and one entry, looked up or not."""
    ((_, found),) = Ranking(books([record], [entry])).score(np.array([0]), np.array([0]), least=0.0)
    return found


@settings(max_examples=200, deadline=None)
@given(
    cents=st.integers(1, 10**7),
    steps=st.lists(st.integers(0, 10**6), min_size=2, max_size=2).map(sorted),
    up=st.booleans(),
    as_payment=st.booleans(),
    number=st.sampled_from(NUMBERS),
)
def test_moving_the_amount_away_never_raises_the_score(
    cents: int, steps: list[int], up: bool, as_payment: bool, number: str | None
) -> None:
    total = Decimal(cents) / 100
    make = payment if as_payment else invoice
    amounts = [total + Decimal(step) / 100 * (1 if up else -1) for step in steps]
    near, far = (
        compared(bill(total=total, number=number), make(amount=max(amount, Decimal("0.01")))) for amount in amounts
    )
    assert far.alone <= near.alone


@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(st.integers(0, 400) | st.sampled_from(TERMS), min_size=2, max_size=2).map(sorted),
    later=st.booleans(),
    terms=st.none() | st.sampled_from(TERMS),
    as_payment=st.booleans(),
    number=st.sampled_from(NUMBERS),
)
def test_moving_the_date_away_never_raises_the_score(
    steps: list[int], later: bool, terms: int | None, as_payment: bool, number: str | None
) -> None:
    record = bill(due_on=None if terms is None else MAY + timedelta(days=terms), number=number)
    days = [MAY + timedelta(days=step if later else -step) for step in steps]
    make = payment if as_payment else invoice
    near, far = (compared(record, make(issued_on=day, paid_on=day if as_payment else None)) for day in days)
    assert far.alone <= near.alone


@given(missing=st.sets(st.sampled_from(["counterparty", "amount", "issued_on", "currency", "number"])))
def test_a_missing_field_says_nothing(missing: set[str]) -> None:
    absent: dict[str, Any] = dict.fromkeys(missing)
    found = compared(bill(), invoice(**absent))
    names = {"counterparty": "name", "issued_on": "date", "number": "reference"}
    everything = compared(bill(), invoice())
    assert found.alone <= everything.alone
    for field in missing:
        assert found.named[names.get(field, field)] is None  # type: ignore[index]
    for name, score in found.named.items():
        assert score in (None, everything.named[name])


def test_a_bill_with_one_field_missing_is_still_found() -> None:
    absent: dict[str, Any]
    for field in ("number", "issued_on", "due_on"):
        absent = {field: None}
        assert decided(bill(**absent), invoice()).action == "link", field
    for field in ("number", "issued_on", "counterparty", "currency"):
        absent = {field: None}
        assert decided(bill(), invoice(**absent)).action in {"link", "review"}, field
    assert decided(bill(currency="XXX"), invoice()).action == "link"


@QUICK
@given(
    name=st.sampled_from(
        ["sluice & sons", "SLUICE AND SONS SAS", "Sons & Sluice", "Sluice & Sons S.A.R.L.", "Slúice & Sôns"]
    )
)
def test_how_the_name_is_written_does_not_change_the_outcome(name: str) -> None:
    expected = outcome(decided(bill(number=None), invoice(number=None)))
    assert expected == ("link", None, "e1")
    assert outcome(decided(bill(number=None), invoice(number=None, counterparty=name))) == expected
