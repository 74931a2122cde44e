"""Amounts and days no document has: slips, placeholders, and what arithmetic would not survive."""

import json
import re
from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal
from typing import Any

from common.wire import WireError

LARGEST = Decimal("1e15")
"""Amounts and rates lie below; so do their products with cents within the precision of `Decimal`."""
FIRST_YEAR, LAST_YEAR = 1900, 2200

_AMOUNTS = frozenset(
    "TotalAmt Balance ExchangeRate TotalTax Amount TaxInclusiveAmt Qty UnitPrice NetAmountTaxable TaxPercent "
    "value amount local_amount vat_amount".split()
)
"""Names of fields that hold numbers, in both products."""
_DAY = re.compile(r"(?:Date|Time|_date|_at)\Z")


def check(raw: bytes, amounts: Iterable[Decimal | None], days: Iterable[date | None]) -> None:
    """WireError naming the field of the object `raw` if one of these, read from it, is out of range."""
    if not (all(map(_is_amount, amounts)) and all(map(_is_day, days))):
        raise WireError(culprit(raw))


def culprit(raw: bytes) -> str:
    """The first field of an object whose amount or day is out of range, and what it should be."""
    return fault(raw) or "a date or an amount is out of range"


def fault(raw: bytes) -> str | None:
    """The same; None if there is no such field."""
    try:
        decoded = json.loads(raw.decode(errors="replace"), parse_float=Decimal, parse_int=Decimal)
        return next(filter(None, (_fault(*leaf) for leaf in _leaves(decoded))), None)
    except (ValueError, ArithmeticError, RecursionError):
        return None


def _is_amount(amount: Decimal | None) -> bool:
    return amount is None or (amount.is_finite() and abs(amount) < LARGEST)


def _is_day(day: date | None) -> bool:
    return day is None or FIRST_YEAR <= day.year <= LAST_YEAR


def _fault(path: str, field: str, value: Any) -> str | None:
    text = str(value)
    if field in _AMOUNTS and not path.endswith("Ref.value"):
        if not _is_amount(_number(text)):
            return f"{path}: {text:.30} is no amount; it must be finite and below {LARGEST:,.0f}"
    elif _DAY.search(field) and re.match("[0-9]{4}-", text) and not FIRST_YEAR <= int(text[:4]) <= LAST_YEAR:
        return f"{path}: {text:.30} is no day of a document; leave it out if there is none"
    return None


def _number(text: str) -> Decimal | None:
    try:
        return Decimal(text)
    except ArithmeticError:
        return None


def _leaves(value: Any, path: str = "", field: str = "") -> Iterator[tuple[str, str, Any]]:
    """Every value of a decoded object: where it is, the name of its field, and itself."""
    match value:
        case dict():
            for name, inner in value.items():
                yield from _leaves(inner, f"{path}.{name}".lstrip("."), name)
        case list():
            for position, inner in enumerate(value):
                yield from _leaves(inner, f"{path}[{position}]", field)
        case _:
            yield path, field, value
