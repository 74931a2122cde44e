"""Amounts as far as people may name them: none of them takes a page to write out."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from common.amounts import BELOW, usual


@given(st.decimals(allow_nan=True, allow_infinity=True))
def test_an_amount_that_may_be_named_is_short_when_written_out(amount: Decimal) -> None:
    if usual(amount):
        assert -BELOW < amount < BELOW
        assert len(f"{amount:f}") <= len("-999999999999999.000000")


@given(st.decimals(min_value=-(BELOW - 1), max_value=BELOW - 1, places=2))
def test_every_amount_of_money_may_be_named(amount: Decimal) -> None:
    assert usual(amount)


def test_others_may_not() -> None:
    for text in ("1E+15", "-1E+15", "1E+999999999", "1E-7", "0E-999999", "NaN", "sNaN", "Infinity"):
        assert not usual(Decimal(text)), text
