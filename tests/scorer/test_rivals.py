"""Bills that want the same entry."""

from datetime import timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scorer.matching.model import FIELDS
from services.scorer.matching.ranking import Ranking
from services.scorer.matching.rivals import Rivals, claims
from tests.scorer.cases import MAY, bill, books, invoice, key, outcome, payment, vendor, verdicts

ODDS = st.lists(st.floats(0.0, 1e6), min_size=1, max_size=6)


@given(odds=ODDS)
def test_a_bill_claims_no_entry_more_than_it_would_alone(odds: list[float]) -> None:
    stakes, unknown = np.array(odds), np.full((len(odds), len(FIELDS)), np.nan)
    found = claims(np.zeros(len(odds), np.int64), stakes, unknown)
    assert np.all(found <= stakes + 1e-9)
    if len(odds) == 1:
        assert found == pytest.approx(stakes)


@given(first=ODDS, second=ODDS)
def test_bills_are_worked_out_each_for_itself(first: list[float], second: list[float]) -> None:
    stakes = np.array([*first, *second])
    bills = np.repeat([0, 1], [len(first), len(second)])
    unknown = np.full((len(stakes), len(FIELDS)), np.nan)
    apart = [claims(np.zeros(len(one), np.int64), np.array(one), unknown[: len(one)]) for one in (first, second)]
    assert claims(bills, stakes, unknown) == pytest.approx(np.concatenate(apart))


def test_an_entry_that_shows_a_number_is_claimed_outright() -> None:
    stakes, scores = np.array([50.0, 1000.0]), np.full((2, len(FIELDS)), np.nan)
    assert claims(np.zeros(2, np.int64), stakes, scores)[0] == pytest.approx(50 / 1001)
    scores[0, FIELDS.index("reference")] = 1.0
    assert claims(np.zeros(2, np.int64), stakes, scores)[0] == 50.0


def test_a_bill_with_an_entry_of_its_own_leaves_others_alone() -> None:
    june = MAY + timedelta(days=30)
    records = [bill("1", number=None), bill("2", number=None, issued_on=june, due_on=june)]
    entries = [invoice("e1", number=None), invoice("e2", number=None, issued_on=june)]
    found = books([vendor(), *records], entries)
    ranking = Ranking(found)
    rivals = Rivals(found, ranking)
    own, other = ranking.candidate(key("1"), "invoice-e1"), ranking.candidate(key("1"), "invoice-e2")
    assert own is not None
    assert other is not None
    assert rivals.free(key("1"), own)[0] > 0.8
    free, rival = rivals.free(key("1"), other)
    assert free < 0.1
    assert rival == key("2")


def test_bills_that_may_be_one_document_both_go_to_a_person() -> None:
    # One was entered without its number, and another bill of a month before gives both an alternative.
    april = MAY - timedelta(days=30)
    records = [
        bill("1", number=None),
        bill("2", number="F-2026-1001", day=9),
        bill("3", number=None, issued_on=april, due_on=april),
    ]
    entries = [invoice("e1", number=None), invoice("e3", number=None, issued_on=april)]
    found = verdicts(books([vendor(), *records], entries))
    assert {outcome(found[ident])[:2] for ident in ("1", "2")} == {("review", "contested")}
    assert outcome(found["3"]) == ("link", None, "e3")


def test_a_payment_that_names_a_bill_is_not_linked_to_its_neighbour() -> None:
    records = [bill("1", number="7754"), bill("2", number="7755", issued_on=MAY + timedelta(days=2))]
    told = payment(label="PRLV SEPA SLUICE & SONS 7754")
    found = verdicts(books([vendor(), *records], [told]))
    assert outcome(found["1"]) == ("link", None, "t1")
    assert found["2"].action != "link"


def test_two_bills_of_one_day_that_want_the_same_two_entries_go_to_a_person() -> None:
    records = [bill("1", number="4352/25"), bill("2", number="4362/25")]
    entries = [invoice("e1", number=None), payment("t1", issued_on=MAY + timedelta(days=12))]
    found = verdicts(books([vendor(), *records], entries))
    assert {verdict.action for verdict in found.values()} == {"review"}


def test_the_rest_of_the_workspace_does_not_matter() -> None:
    pair = [bill("1", number=None), bill("2", number="X-5")]
    other = [bill(str(n), number=f"Z-{n}", total=Decimal(900 + 70 * n)) for n in range(3, 12)]
    entry = invoice("e1", number=None)
    few, many = books([vendor(), *pair], [entry]), books([vendor(), *pair, *other], [entry])
    free = []
    for found in (few, many):
        ranking = Ranking(found)
        scored = ranking.candidate(key("1"), "invoice-e1")
        assert scored is not None
        free.append(Rivals(found, ranking).free(key("1"), scored))
    assert free[0] == free[1]
