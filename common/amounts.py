"""Amounts of money as far as people may name them."""

from decimal import Decimal

BELOW = Decimal(10) ** 15
"""What every amount lies below, and its negative above."""
_PLACES = 6


def usual(amount: Decimal) -> bool:
    """Whether it can be an amount: below BELOW, with six places at most; others are megabytes when written out."""
    if not amount.is_finite() or not -BELOW < amount < BELOW:
        return False
    exponent = amount.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -_PLACES
