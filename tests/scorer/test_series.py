"""Bills that a supplier sends again and again."""

from datetime import date, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from common.messages import Bill, Ref
from services.scorer.matching.series import PERIOD, Series
from tests.scorer.cases import MAY, bill, books, invoice, key, payment, vendor, verdicts

CHANGES = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from("ab"), st.integers(1, 2), st.none() | st.integers(0, 60)), max_size=25
)


def body(supplier: str, total: int, day: date | None) -> Bill:
    return Bill(vendor=Ref(id=supplier), total=Decimal(total), balance=Decimal(0), currency="EUR", issued_on=day)


@given(changes=CHANGES, gone=st.sets(st.integers(0, 5)))
def test_it_is_told_however_the_bills_came(changes: list[tuple[int, str, int, int | None]], gone: set[int]) -> None:
    series, last = Series(), dict[int, tuple[str, int, date | None]]()
    for ident, supplier, total, days in changes:
        last[ident] = supplier, total, None if days is None else MAY + timedelta(days=days)
        series.take(str(ident), supplier, body(*last[ident]))
    for ident in gone:
        series.drop(str(ident))
        last.pop(ident, None)
    for ident, (supplier, total, day) in last.items():
        others = [at for one, amount, at in last.values() if (one, amount) == (supplier, total) and at is not None]
        assert series.recurs(str(ident)) == (day is not None and any(abs(at - day) > PERIOD for at in others))
    assert not any(series.recurs(str(ident)) for ident in gone)


def test_a_rent_recurs_and_a_bill_entered_twice_does_not() -> None:
    june = MAY + timedelta(days=30)
    rent, twice = books([vendor(), bill("1"), bill("2", issued_on=june)]), books([vendor(), bill("1"), bill("2")])
    assert rent.recurs(key("1"))
    assert rent.recurs(key("2"))
    assert not twice.recurs(key("1"))
    rent.take_record(bill("2", deleted=True))
    assert not rent.recurs(key("1"))


def test_an_entry_of_another_month_is_less_likely_for_a_rent() -> None:
    june, july = MAY + timedelta(days=31), MAY + timedelta(days=61)
    entry = invoice("e1", number=None, issued_on=june)
    once = verdicts(books([vendor(), bill("1", number=None)], [entry]))["1"]
    again = verdicts(books([vendor(), bill("1", number=None), bill("2", number=None, issued_on=july)], [entry]))["1"]
    assert once.candidates[0].alone > again.candidates[0].alone
    assert again.grounds.recurs
    assert not once.grounds.recurs


def test_a_payment_in_its_window_says_less_than_the_same_day() -> None:
    paid, same_day = (
        verdicts(books([vendor(), bill("1", number=None)], [entry]))["1"].candidates[0].fields["date"].score or 0.0
        for entry in (payment("t1"), invoice("e1", number=None))
    )
    assert 0.9 < paid < same_day == 1.0
