"""Bills in the making: who billed what when, before anybody wrote it down anywhere."""

import random
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

from common.messages import Entry
from services.scorer.fitting.noise import CENT
from services.scorer.fitting.suppliers import NEVER_BILLED, PRICES, Supplier

FIRST_DAY = date(2025, 3, 1)
SPAN = 330
"""Days from the oldest document to the newest."""
RATES = {"EUR": Decimal(1), "USD": Decimal("0.91"), "GBP": Decimal("1.16")}
CATALOGUE = 0.12
"""Share of single documents over a price that others ask as well."""
REGULAR = 0.35
"""Share of documents that come every month with the same amount."""
SAME_DAY, TWINS = 0.04, 0.015
"""Shares of documents beside which the supplier sends another one that day, and one of the same amount."""
DUPLICATES, SETTLED, FORGOTTEN = 0.02, 0.08, 0.03
"""Shares: bills entered twice, bills linked before, and single documents that QuickBooks never sees."""


@dataclass(slots=True, eq=False)
class Draft:
    """One document of a supplier; `total` is in `currency`, `rate` converts it to the currency of the books."""

    supplier: Supplier
    issued: date
    due: date
    net: Decimal
    total: Decimal
    currency: str
    rate: Decimal
    number: str = ""
    billed: bool = True
    settled: bool = False
    original: "Draft | None" = None
    entries: list[Entry] = field(default_factory=list)
    entered_number: str | None = None


def drafts(dice: random.Random, known: list[Supplier], bills: int) -> list[Draft]:
    """About so many bills, oldest first and copies last, and the documents that never become one."""
    count = round(bills / (1 + DUPLICATES) / (1 - FORGOTTEN) / (1 - NEVER_BILLED))
    found: list[Draft] = []
    regular = [one for one in known if one.monthly is not None]
    dice.shuffle(regular)
    for supplier in regular:
        if len(found) >= count * REGULAR:
            break
        found += _series(dice, supplier)
    weights = [one.weight for one in known]
    for supplier in dice.choices(known, weights, k=max(0, count - len(found))):
        one = _draft(dice, supplier, FIRST_DAY + timedelta(days=dice.randrange(SPAN)), _price(dice, supplier))
        found.append(one)
        chance = dice.random()
        if chance < TWINS:
            found.append(_draft(dice, supplier, one.issued, one.net))
        elif chance < TWINS + SAME_DAY:
            found.append(_draft(dice, supplier, one.issued, _price(dice, supplier)))
    dice.shuffle(found)
    del found[count:]
    found.sort(key=lambda draft: draft.issued)
    _number(dice, found)
    for draft in found:
        draft.billed = draft.supplier.billed and dice.random() >= FORGOTTEN
        draft.settled = draft.billed and dice.random() < SETTLED
    billed = [draft for draft in found if draft.billed]
    copies = dice.sample(billed, round(len(billed) * DUPLICATES))
    return found + [_copy(one) for one in sorted(copies, key=lambda draft: draft.issued)]


def _copy(one: Draft) -> Draft:
    return Draft(
        one.supplier, one.issued, one.due, one.net, one.total, one.currency, one.rate, one.number, original=one
    )


def _series(dice: random.Random, supplier: Supplier) -> list[Draft]:
    """The same amount every month, on about the same day."""
    day, end = FIRST_DAY + timedelta(days=dice.randrange(90)), FIRST_DAY + timedelta(days=SPAN)
    found: list[Draft] = []
    while day < end and len(found) < 10:
        found.append(_draft(dice, supplier, day, supplier.monthly or PRICES[0]))
        day += timedelta(days=dice.choice((28, 30, 30, 31, 31)))
    return found


def _draft(dice: random.Random, supplier: Supplier, day: date, net: Decimal) -> Draft:
    slip = Decimal(dice.randrange(-300, 301)) / 10_000
    rate = Decimal(1)
    if supplier.currency != "EUR":
        rate = (RATES[supplier.currency] * (1 + slip)).quantize(Decimal("0.0001"))
    return Draft(
        supplier=supplier,
        issued=day,
        due=day + timedelta(days=supplier.terms),
        net=net,
        total=(net * (100 + supplier.tax) / 100).quantize(CENT),
        currency=supplier.currency,
        rate=rate,
    )


def _price(dice: random.Random, supplier: Supplier) -> Decimal:
    if dice.random() < CATALOGUE:
        return dice.choice(PRICES)
    cents = round(100 * supplier.low * (supplier.high / supplier.low) ** dice.random())
    return Decimal(cents if dice.random() < 0.7 else round(cents, -2)) / 100


def _number(dice: random.Random, found: list[Draft]) -> None:
    """Each supplier counts its invoices up, by some for its other customers in between."""
    running: dict[str, int] = {}
    for draft in found:
        supplier, day = draft.supplier, draft.issued
        at = running.get(supplier.ident, dice.randrange(5, 9000)) + dice.randrange(1, 40)
        running[supplier.ident] = at
        draft.number = supplier.numbering.format(n=at, y=day.year, yy=f"{day:%y}", m=day.month)
