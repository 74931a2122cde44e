"""What is usual in a workspace, estimated from its own bills."""

from datetime import timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.messages import Entry, Record, Ref
from services.scorer.fitting.competition import offsets
from services.scorer.fitting.evaluate import decided
from services.scorer.fitting.features import compared
from services.scorer.fitting.worlds import make
from services.scorer.matching import model
from services.scorer.matching.habits import GROWTH, Sample, estimate, habits
from services.scorer.matching.model import COLUMNS, FIELDS, Habits, weights
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
    assert many.coincidence < few.coincidence - 1


def test_a_few_bills_make_no_habit() -> None:
    found = habits(books(*company(2, held=2)), weights())
    assert abs(found.presence) < 0.5
    assert habits(books([]), weights()) == Habits()


def test_a_workspace_is_looked_at_again_when_it_has_grown() -> None:
    records, entries = company(60, held=60)
    found = books(records[:80], entries[:40])
    before = habits(found, weights())
    for record in records[80:84]:
        found.take_record(record)
    assert habits(found, weights()) is before
    for record in records[84 : 84 + round(80 * GROWTH)]:
        found.take_record(record)
    assert habits(found, weights()) != before


@given(
    rows=st.lists(st.lists(SCORE, min_size=5, max_size=5), min_size=1, max_size=6), presence=SHIFT, coincidence=SHIFT
)
def test_a_better_score_is_never_worth_less_whatever_is_usual(
    rows: list[list[float | None]], presence: float, coincidence: float
) -> None:
    suited = weights().suited(Habits(presence, coincidence))
    worse = np.array([[*row, None] for row in rows], dtype=np.float64)
    for column in range(len(FIELDS)):
        better = worse.copy()
        better[:, column] += (1 - better[:, column]) * 0.37
        assert np.all(suited.logits(better) >= suited.logits(worse) - 1e-9)


@given(row=st.lists(SCORE, min_size=5, max_size=5), presence=SHIFT, coincidence=SHIFT)
def test_all_at_once_and_one_by_one_agree_whatever_is_usual(
    row: list[float | None], presence: float, coincidence: float
) -> None:
    suited = weights().suited(Habits(presence, coincidence))
    alone = suited.logit(dict(zip(FIELDS, row, strict=True)))
    assert suited.logits(np.array([[*row, None]], dtype=np.float64))[0] == pytest.approx(alone, abs=1e-9)


def test_no_candidates_say_nothing_of_accidents() -> None:
    nothing = Sample(40, np.empty(0, np.int64), np.empty((0, COLUMNS)), np.empty(0))
    found = estimate(nothing, weights())
    assert found.presence < -1
    assert found.coincidence > 0


def test_a_fit_adds_what_the_matcher_adds() -> None:
    world = compared(make("open", "added", 120))
    added, base = offsets(world, weights()), weights().logits(world.scores)
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
