"""What can be compared of many documents at once: one row of numbers for each.

Amounts are whole ten-thousandths of a unit, days are counted as `date.toordinal` does, and whatever is text is
a number that only equal texts share. 0 means that the document does not say.
"""

import struct
from collections.abc import Hashable, Sequence
from decimal import Decimal
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from services.scorer.matching.facts import Facts, Money
from services.scorer.matching.names import Name
from services.scorer.matching.references import Reference, traits

T = TypeVar("T", bound=Hashable)

NAMES = 6
"""Names of one document that are compared; the first ones count."""
SCALE = 10_000
"""Steps in one unit of a currency."""
_UNSAID, _UNNUMBERED, _UNNAMED = (0,) * 2, (0,) * 5, (0,) * NAMES
_BITS = 2**31 - 1
"""Those of a text's hash that are kept."""
_MOST = 2**61
"""Amounts from which on a document counts as silent about them: no account holds as much."""

_DIGITS = len(str(_MOST // SCALE)) - 1
"""Digits up to which an amount is within measure at a glance."""

ROW = np.dtype(
    [
        ("exact", "i8", 2),
        ("exact_currency", "i4", 2),
        ("net", "i8"),
        ("net_currency", "i4"),
        ("about", "i8"),
        ("about_currency", "i4"),
        ("number", "i4", 5),
        ("vat", "i4"),
        ("iban", "i4"),
        ("names", "i4", NAMES),
        ("currencies", "i4", 2),
        ("since", "i4"),
        ("until", "i4"),
        ("numbered", "?"),
        ("payment", "?"),
        ("matched", "?"),
        ("alive", "?"),
    ]
)
_PACKED = struct.Struct(f"=2q 2i q i q i 5i i i {NAMES}i 2i i i ? ? ? ?")
"""The same for one row: many times faster than numpy's own way."""
FILED_BY = int(ROW.fields["currencies"][1]) if ROW.fields else 0
"""Bytes of a row, from its first, that say where a document is filed."""

Stated = Sequence[tuple[str, int]]
"""Currencies, and whole steps of them, in order."""
Whole = tuple[Stated, Stated, Stated]
"""A document's amounts (exact, net, about) in whole steps."""
Amounts = set[tuple[str, int]]
"""Currencies, and whole steps of them."""
Rows = NDArray[np.void]
"""Rows of the shape ROW."""


class Interned(dict[T, int]):
    """Numbers for values, from 1 on, equal ones alike; one that was never asked for gets the next."""

    def __init__(self) -> None:
        super().__init__()
        self._values: list[T] = []

    def __missing__(self, value: T) -> int:
        self._values.append(value)
        number = self[value] = len(self._values)
        return number

    def value(self, number: int) -> T:
        """What a number stands for."""
        return self._values[number - 1]


class Told(NamedTuple):
    """What a row says of a document's names, amounts (exact, net, about), and identities."""

    names: tuple[Name, ...]
    amounts: tuple[Amounts, Amounts, Amounts]
    vat: str | None
    iban: str | None
    numbered: bool
    payment: bool


class Tables:
    """The numbers that the rows of one workspace have in common, so that its bills compare with its entries."""

    def __init__(self) -> None:
        self.names: Interned[Name] = Interned()
        self._texts: Interned[str] = Interned()

    def row(self, facts: Facts, amounts: Whole) -> bytes:
        """A document and its amounts as a row of the shape ROW."""
        texts, (exact, net, about) = self._texts, amounts
        first_currency, first = (texts[exact[0][0]], exact[0][1]) if exact else _UNSAID
        second_currency, second = (texts[exact[1][0]], exact[1][1]) if len(exact) > 1 else _UNSAID
        net_currency, without_tax = (texts[net[0][0]], net[0][1]) if net else _UNSAID
        about_currency, converted = (texts[about[0][0]], about[0][1]) if about else _UNSAID
        names = [self.names[name] for name in facts.names[:NAMES]]
        currencies = sorted([texts[currency] for currency in facts.currencies])
        return _PACKED.pack(
            first,
            second,
            first_currency,
            second_currency,
            without_tax,
            net_currency,
            converted,
            about_currency,
            *(_traits(facts.number) if facts.number else _UNNUMBERED),
            texts[facts.vat] if facts.vat else 0,
            texts[facts.iban] if facts.iban else 0,
            *names,
            *_UNNAMED[len(names) :],
            *currencies,
            *_UNSAID[len(currencies) :],
            facts.since.toordinal() if facts.since else 0,
            facts.until.toordinal() if facts.until else 0,
            facts.number is not None,
            facts.payment,
            bool(facts.matched),
            True,
        )

    def told(self, rows: bytearray, at: int) -> Told:
        """What is told by the row that is `at` this place among the bytes of many."""
        known = _PACKED.unpack_from(rows, at * _PACKED.size)
        first, second, first_currency, second_currency, net, net_currency, about, about_currency = known[:8]
        exact = (first_currency, first), (second_currency, second)
        vat, iban, *names = known[13 : 15 + NAMES]
        numbered, payment = known[-4:-2]
        text, name = self._texts.value, self.names.value
        return Told(
            tuple([name(one) for one in names if one]),
            (
                {(text(currency), amount) for currency, amount in exact if amount},
                {(text(net_currency), net)} if net else set(),
                {(text(about_currency), about)} if about else set(),
            ),
            text(vat) if vat else None,
            text(iban) if iban else None,
            numbered,
            payment,
        )


def whole(facts: Facts) -> Whole:
    """A document's amounts in whole steps; of those beyond all measure nobody says anything."""
    exact, net, about = facts.exact, facts.net, facts.about
    return _stepped(exact), _stepped(net) if net else (), _stepped(about) if about else ()


def _stepped(amounts: tuple[Money, ...]) -> Stated:
    return [(currency, there) for currency, amount in amounts if (there := steps(amount)) is not None]


def steps(amount: Decimal) -> int | None:
    """An amount in whole ten-thousandths of its unit, None if it is beyond all measure."""
    within = amount.adjusted() < _DIGITS or abs(amount) < _MOST // SCALE
    return round(amount * SCALE) if within else None


def _traits(number: Reference) -> list[int]:
    return [hash(trait) & _BITS for trait in traits(number)]  # 0 for ""
