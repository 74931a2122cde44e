"""What is usual in a workspace, estimated from its own bills."""

from datetime import timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from common.messages import Entry, Field, Record, Ref
from services.scorer.fitting.competition import offsets
from services.scorer.fitting.evaluate import decided
from services.scorer.fitting.features import compared
from services.scorer.fitting.worlds import Kind, make
from services.scorer.matching import model
from services.scorer.matching.habits import GROWTH, Sample, estimate, habits, likeliest
from services.scorer.matching.model import COLUMNS, FIELDS, LEVELS, Habits, weights
from tests.scorer.cases import MAY, bill, books, invoice, vendor

SHIFT = st.floats(-5.0, 5.0)
SCORE = st.none() | st.floats(0.0, 1.0)


def company(bills: int, *, held: int, accidents: int = 0) -> tuple[list[Record], list[Entry]]:
    """So many bills of different suppliers; so many have their document in Qonto, so many a stranger's beside it."""
    names = [f"{word} {end}" for end in ("Works", "Millwork", "Dredging") for word in _WORDS]
    records, entries = [], []
    for number in range(1, bills + 1):
        ident, day = str(number), MAY + timedelta(days=number % 50)
        total = Decimal(10_000 + 37 * number) / 100
        records.append(vendor(ident, name=names[number]))
        records.append(
            bill(
                ident,
                vendor=Ref(id=ident, name=names[number]),
                total=total,
                number=f"N{number}-{number * 7}",
                issued_on=day,
                due_on=day,
            )
        )
        fields = {"amount": total, "issued_on": day, "number": None}
        if number <= held:
            entries.append(invoice(f"h{number}", counterparty=names[number].upper(), **fields))
        if number > bills - accidents:
            entries.append(invoice(f"a{number}", counterparty=names[-number], **fields))
    return records, entries


_WORDS = [
    f"{one}{two}"
    for one in ("Slu", "Wei", "Lok", "Dam", "Mil", "Ree", "Tor", "Van", "Pon", "Gra")
    for two in ("ber", "kam", "dosa", "fin", "gult", "hest", "jov")
]


def test_the_share_of_bills_that_qonto_holds_is_found() -> None:
    none, half, everything = (habits(books(*company(60, held=held)), weights()) for held in (0, 30, 60))
    assert none.presence < -1
    assert abs(half.presence) < 0.6
    assert everything.presence > 1


def test_documents_that_agree_by_accident_count_for_less_where_there_are_many() -> None:
    few, many = (habits(books(*company(60, held=30, accidents=some)), weights()) for some in (0, 55))
    assert many.coincidence + many.strangers < few.coincidence + few.strangers - 1


def test_a_few_bills_make_no_habit() -> None:
    found = habits(books(*company(2, held=2)), weights())
    assert abs(found.presence) < 0.5
    nothing = habits(books([]), weights())
    assert (nothing.presence, nothing.coincidence, nothing.strangers) == (0.0, 0.0, 0.0)
    assert not np.array(nothing.damage).any()


def test_a_workspace_is_looked_at_again_when_it_has_grown() -> None:
    records, entries = company(60, held=60)
    found = books(records[:40], entries[:40])
    before = habits(found, weights())
    for record in records[40:60]:
        found.take_record(record)
    assert len(found.bill_index) == round(20 * (1 + GROWTH))
    assert habits(found, weights()) is before
    for record in records[60:]:
        found.take_record(record)
    assert habits(found, weights()) != before


def usual_here(draw: st.DrawFn) -> Habits:
    """Any habits, those with damage to every field included."""
    damage = tuple(tuple(draw(st.lists(SHIFT, min_size=4, max_size=4))) for _ in LEVELS)
    strangers = draw(st.floats(-5.0, 0.0))
    return Habits(
        presence=draw(SHIFT),
        coincidence=draw(SHIFT),
        strangers=strangers,
        damage=draw(st.sampled_from([(), damage])),
    )


HABITS = st.composite(usual_here)()
ROW = st.tuples(st.lists(SCORE, min_size=5, max_size=5), st.booleans())


@given(rows=st.lists(ROW, min_size=1, max_size=6), found=HABITS, part=st.floats(0.0, 1.0))
def test_a_better_score_is_never_worth_less_whatever_is_usual(
    rows: list[tuple[list[float | None], bool]], found: Habits, part: float
) -> None:
    suited = weights().suited(found)
    worse = np.array([[*row, None, 1.0 if recurs else None] for row, recurs in rows], dtype=np.float64)
    for column in range(len(FIELDS)):
        better = worse.copy()
        better[:, column] += (1 - better[:, column]) * part
        assert np.all(suited.logits(better) >= suited.logits(worse) - 1e-9)


@given(row=st.lists(SCORE, min_size=5, max_size=5), found=HABITS, recurs=st.booleans())
def test_what_is_missing_says_nothing_whatever_is_usual(row: list[float | None], found: Habits, recurs: bool) -> None:
    suited = weights().suited(found)
    assert suited.logit(dict.fromkeys(FIELDS), recurs=recurs) == pytest.approx(suited.prior + found.presence)
    known = dict(zip(FIELDS, row, strict=True))
    if known["date"] is None or known["amount"] is None:
        assert suited.coincidence(known, recurs=recurs) == 0.0


@given(
    rows=st.lists(st.lists(st.none() | SCORE, min_size=5, max_size=5), min_size=1, max_size=6),
    found=st.just(Habits()) | HABITS,
    same=st.booleans(),
    recurs=st.booleans(),
)
def test_all_at_once_and_one_by_one_agree(
    rows: list[list[float | None]], found: Habits, same: bool, recurs: bool
) -> None:
    suited = weights().suited(found)
    matrix = np.array([[*row, same or None, recurs or None] for row in rows], dtype=np.float64)
    alone = [suited.logit(dict(zip(FIELDS, row, strict=True)), same_identity=same, recurs=recurs) for row in rows]
    assert suited.logits(matrix) == pytest.approx(alone, abs=1e-9)


def company_of_late_books(bills: int, *, late: int) -> tuple[list[Record], list[Entry]]:
    """A company with all its documents in Qonto, so many of them under a date 40 days off."""
    records, entries = company(bills, held=bills)
    moved = [replace(one, issued_on=one.issued_on and one.issued_on + timedelta(days=40)) for one in entries[:late]]
    return records, [*moved, *entries[late:]]


def test_what_dates_suffer_is_found_and_then_counts_for_less() -> None:
    found = [habits(books(*company_of_late_books(60, late=late)), weights()) for late in (0, 30)]
    sound, late = (weights().suited(one) for one in found)
    assert found[1].late > found[0].late + 0.5
    assert late.worth("date", 0.05) > sound.worth("date", 0.05) + 0.5
    assert late.worth("date", 0.05) < late.worth("date", 1.0)


def test_strangers_of_equal_amount_are_no_damaged_names() -> None:
    plain, clash = (habits(compared(make(kind, "strangers", 300)).books, weights()) for kind in KINDS)
    assert clash.strangers < plain.strangers - 1
    another_name = {**dict.fromkeys(FIELDS, 1.0), "name": 0.2, "reference": None}
    sure = [weights().suited(one).probability(another_name) for one in (plain, clash)]
    assert sure[1] < min(sure[0], 0.3)


KINDS: tuple[Kind, ...] = ("open", "clash")


@settings(deadline=None)
@given(chance=st.lists(st.floats(0.0, 1.0), min_size=12, max_size=12), scores=st.lists(SCORE, min_size=12, max_size=12))
def test_habits_are_finite_whatever_is_seen(chance: list[float], scores: list[float | None]) -> None:
    rows = np.full((12, COLUMNS), np.nan)
    rows[:, : len(FIELDS)] = np.array(scores, dtype=np.float64)[:, None]
    sample = Sample(3, np.repeat([0, 1, 2], 4), rows, np.ones(12))
    for found in (likeliest(sample, np.array(chance), weights()), estimate(sample, weights())):
        damage = [value for levels in found.damage for value in levels]
        assert np.all(np.isfinite([found.presence, found.coincidence, found.strangers, *damage]))
        assert found.strangers <= 0.0


def test_another_period_explains_an_entry_of_a_bill_that_recurs() -> None:
    suited = weights().suited(Habits(damage=((0.0,) * 4, (0.0,) * 4, (2.0, 0.0, 0.0, -0.2))))
    month_off: dict[Field, float | None] = {**dict.fromkeys(FIELDS, 1.0), "date": 0.08, "reference": None}
    assert suited.probability(month_off) > suited.probability(month_off, recurs=True) + 0.2
    same_day: dict[Field, float | None] = {**month_off, "date": 1.0}
    assert suited.logit(same_day) - suited.logit(same_day, recurs=True) > 1
    assert weights().logit(same_day) - weights().logit(same_day, recurs=True) < 0.5


def test_no_candidates_say_nothing_of_accidents() -> None:
    nothing = Sample(40, np.empty(0, np.int64), np.empty((0, COLUMNS)), np.empty(0))
    found = estimate(nothing, weights())
    assert found.presence < -1
    assert found.coincidence > 0


def test_a_fit_adds_what_the_matcher_adds() -> None:
    world = compared(make("open", "added", 120))
    added, base = offsets(world, weights(), told=False), weights().logits(world.scores)
    usual = habits(world.books, weights())
    verdicts = dict(decided(world, weights()))
    seen = 0
    for bill_number, key in enumerate(world.bills):
        shown = {f"{one.kind}-{one.entry}": one for one in verdicts[key].candidates}
        assert verdicts[key].grounds.presence == usual.presence
        for row in world.rows(bill_number):
            one = shown.get(world.candidates[row])
            if one is None or one.taken_by is not None or np.isneginf(added[row]):
                continue
            logit = float(model.held(np.array([base[row] + added[row]]), world.scores[row : row + 1])[0])
            assert one.alone == pytest.approx(1 / (1 + np.exp(-logit)), abs=0.15)
            seen += 1
    assert seen > 30
