"""Sums: found, counted and ranked as by trying everything, within a bound, and said in words."""

from datetime import date, timedelta
from decimal import Decimal
from itertools import combinations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.scorer.matching.references import reference
from services.scorer.matching.sums import (
    FEWEST_MEMBERS,
    MOST_ITEMS,
    MOST_MEMBERS,
    MOST_STEPS,
    Item,
    covered_by,
    covers_bills,
    instalments,
    search,
)

MAY = date(2026, 5, 12)


def item(key: str, amount: str, days: int | None = 0, text: str = "", number: str | None = None) -> Item:
    on = None if days is None else MAY + timedelta(days=days)
    return Item(key, Decimal(amount), on, text, reference(number))


def test_a_payment_of_several_bills_is_explained() -> None:
    bills = [item("15", "50.00", -5), item("12", "100.00", -20), item("17", "30.00", -2)]
    found = covers_bills(item("t1", "150.00"), bills, "EUR")
    assert found is not None
    assert found.why == "150.00 EUR on 2026-05-12 pays bills 12 (100.00) and 15 (50.00)"
    assert [part.key for part in found.parts] == ["12", "15"]
    assert not found.ambiguous


def test_a_credit_note_is_taken_off() -> None:
    bills = [item("12", "100.00", -20), item("15", "50.00", -5), item("c3", "-20.00", -1)]
    found = covers_bills(item("t1", "130.00"), bills, "EUR")
    assert found is not None
    assert found.why == "130.00 EUR on 2026-05-12 pays bills less credits 12 (100.00), 15 (50.00) and c3 (-20.00)"


def test_several_payments_of_one_bill_are_explained() -> None:
    payments = [item("t2", "40.00", 30), item("t1", "60.00", 2), item("t3", "7.00", 3)]
    found = covered_by(item("12", "100.00"), payments, "EUR")
    assert found is not None
    assert (
        found.why == "bill 12 of 100.00 EUR on 2026-05-12 is paid by t1 (60.00 on 2026-05-14) and"
        " t2 (40.00 on 2026-06-11)"
    )


def test_nothing_is_close_enough_but_the_cent() -> None:
    bills = [item("12", "100.00"), item("15", "49.99")]
    assert covers_bills(item("t1", "150.00"), bills, "EUR") is None
    assert covers_bills(item("t1", "149.99"), bills, "EUR") is not None
    assert covers_bills(item("t1", "100.00"), bills, "EUR") is None  # one bill is no sum
    assert covers_bills(item("t1", "100.00"), [], "EUR") is None


def test_several_sets_that_fit_are_counted_and_the_nearest_is_shown() -> None:
    bills = [item("1", "100.00", -90), item("2", "100.00", -4), item("3", "50.00", -3), item("4", "150.00", -60)]
    found = covers_bills(item("t1", "150.00"), bills, "EUR")
    assert found is not None
    assert [part.key for part in found.parts] == ["2", "3"]
    assert (found.others, found.ambiguous) == (2, True)
    assert found.why.endswith("2 (100.00) and 3 (50.00); 2 other sets would fit as well")


def test_of_too_many_the_nearest_are_tried_and_it_is_said() -> None:
    # Powers of two: no other set fits.
    bills = [item(str(n), str(2**n), -n) for n in range(MOST_ITEMS + 3)]
    found = covers_bills(item("t1", "3.00"), bills, "EUR")
    assert found is not None
    assert (found.others, found.untried, found.ambiguous) == (0, 3, True)
    assert found.why.endswith("; 3 further ones were not tried")
    assert covers_bills(item("t1", str(2**21 + 2**20)), bills, "EUR") is None


def test_amounts_of_any_precision_add_up() -> None:
    found = covers_bills(item("t", "1.5"), [item("1", "1.2345"), item("2", "0.2655")], "KWD")
    assert found is not None
    assert "1 (1.2345)" in found.why
    assert covers_bills(item("t", "3E+2"), [item("1", "1E+2"), item("2", "200")], "JPY") is not None


def test_what_cannot_be_asked_is_refused() -> None:
    with pytest.raises(ValueError, match="21 items"):
        search(item("t", "1"), [item(str(n), "1") for n in range(MOST_ITEMS + 1)])
    for amount in ("0", "-5"):
        assert covers_bills(item("t", amount), [item("1", "5"), item("2", "-5"), item("3", "-5")], "EUR") is None
        assert covered_by(item("1", amount), [item("t", "5"), item("u", "-5"), item("v", "-5")], "EUR") is None
        with pytest.raises(ValueError, match="cannot be made up"):
            search(item("t", amount), [])


amounts = st.integers(-30, 60).filter(bool)
days = st.none() | st.integers(-40, 40)


@given(st.integers(1, 120), st.none() | st.just(0), st.lists(st.tuples(amounts, days), max_size=11))
@example(12, 0, [(2, 0)] * 11)
def test_it_finds_what_trying_everything_finds(
    wanted: int, on: int | None, given_: list[tuple[int, int | None]]
) -> None:
    whole = Item("w", Decimal(wanted) / 100, None if on is None else MAY)
    items = [item(str(n), str(Decimal(cents) / 100), away) for n, (cents, away) in enumerate(given_)]
    fitting = [
        members
        for size in range(1, MOST_MEMBERS + 1)
        for members in combinations(range(len(items)), size)
        if sum(given_[one][0] for one in members) == wanted
    ]

    def rank(members: tuple[int, ...]) -> tuple[int, int, tuple[int, ...]]:
        far = [366 if on is None or given_[one][1] is None else abs(given_[one][1] or 0) for one in members]
        return sum(far), len(members), members

    found = search(whole, items)
    assert found.sets == len(fitting)
    assert found.best == min((one for one in fitting if len(one) >= FEWEST_MEMBERS), key=rank, default=None)
    assert found.steps <= MOST_STEPS


@pytest.mark.parametrize("amounts", [["1.00"] * MOST_ITEMS, [str(2**n) for n in range(MOST_ITEMS)]])
def test_the_worst_case_stays_within_its_steps(amounts: list[str]) -> None:
    """All alike, where tens of thousands of sets fit, and all different, where nothing can be told early."""
    found = search(item("w", "6.00"), [item(str(n), amount, -n) for n, amount in enumerate(amounts)])
    assert found.steps <= MOST_STEPS
    if amounts[0] == amounts[1]:
        assert found.sets == 38_760
        assert found.best == (0, 1, 2, 3, 4, 5)
    else:
        assert found.best == (1, 2)


def test_partial_payments_are_known_by_the_number_they_name() -> None:
    bill = item("12", "1000.00", -20, number="F-2026-1001")
    payments = [
        item("t2", "300.00", 9, "SEPA 2/3 F-2026-1001"),
        item("t1", "400.00", 1, "acompte facture F20261001"),
        item("t3", "300.00", 5, "F-2026-1002"),
        item("t4", "300.00", 5),
        item("t5", "1000.00", 5, "F-2026-1001"),
        item("t6", "-50.00", 5, "F-2026-1001"),
    ]
    found = instalments(bill, payments, "EUR")
    assert found is not None
    assert found.left == Decimal("300.00")
    assert (
        found.why == "t1 (400.00 on 2026-05-13) and t2 (300.00 on 2026-05-21) name bill 12 and pay 700.00 EUR of its"
        " 1,000.00 EUR, 300.00 EUR left to pay"
    )
    one = instalments(bill, payments[:1], "EUR")
    assert one is not None
    assert "t2 (300.00 on 2026-05-21) names bill 12 and pays 300.00 EUR" in one.why
    assert instalments(bill, payments[2:], "EUR") is None
    assert instalments(item("12", "1000.00"), payments, "EUR") is None


def test_instalments_that_are_too_much_say_so() -> None:
    bill = item("12", "100.00", number="F-2026-1001")
    found = instalments(bill, [item(f"t{n}", "60.00", n, "F-2026-1001") for n in (1, 2)], "EUR")
    assert found is not None
    assert found.left == Decimal("-20.00")
    assert found.why.endswith("20.00 EUR too much")
