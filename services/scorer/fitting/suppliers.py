"""The suppliers of an invented workspace: how they are called, how often they bill, and how they number."""

import random
from dataclasses import dataclass, replace
from decimal import Decimal

from stdnum import luhn
from stdnum.iso7064 import mod_11_10

from services.scorer.fitting.words import BRANCHES, GENERAL, SHARES, TONGUES, Tongue, rare

FEWEST, MOST = 30, 500
LOOK_ALIKE = 0.12
"""Share of suppliers that are called nearly as another one is."""
MONTHLY, BRANDS = 0.3, 0.1
"""Shares of suppliers that bill the same every month, and that trade under a name unlike their legal one."""
NUMBERINGS = (
    "F{y}-{n:04}", "{n}", "{y}{m:02}{n:03}", "INV-{n:06}", "RE{n}/{y}", "{n}/{yy}", "A{n:05}", "{y}-{m:02}-{n}",
    "FA{n:06}", "CF-{yy}{m:02}-{n:05}", "{n:08}", "SI/{y}/{n}",
)  # fmt: skip
PRICES = tuple(map(Decimal, "9.99 15 19.90 29 35 49 49.90 60 79 99 120 150 199 240 250 300 480 500 600 1200".split()))
"""Round prices that suppliers of all kinds have in common: equal amounts are no accident then."""
TERMS = (0, 0, 14, 30, 30, 30, 45, 60)
DEBITED_TERMS = (0, 0, 0, 14)
DEBITS, DEBITS_MONTHLY = 0.3, 0.75
"""Share of suppliers that take their money themselves, and of those that bill every month."""
NEVER_BILLED = 0.12
"""Share of suppliers whose documents nobody enters into QuickBooks."""


@dataclass(frozen=True, slots=True)
class Supplier:
    """One supplier. `forms` are the spellings of its legal form, the one in its register first.

    `tax` is in per cent, 0 where the buyer accounts for it; `monthly` is the net price it bills every month,
    `weight` how often it bills beside that; `debits` says that it takes its money itself within days, `billed`
    that its documents are entered into QuickBooks.
    """

    ident: str
    core: str
    forms: tuple[str, ...]
    brand: str | None
    currency: str
    vat: str | None
    numbering: str
    terms: int
    low: float
    high: float
    weight: float
    tax: int
    debits: bool
    billed: bool
    monthly: Decimal | None = None

    @property
    def legal(self) -> str:
        """The name in the register."""
        return f"{self.core} {self.forms[0]}"


def suppliers(dice: random.Random, bills: int) -> list[Supplier]:
    """The supplier base of a workspace with so many bills, a few of whom send most of them."""
    count = min(MOST, max(FEWEST, bills // 8))
    found: list[Supplier] = []
    seen: set[str] = set()
    while len(found) < count:
        tongue = dice.choices(TONGUES, SHARES)[0]
        if found and dice.random() < LOOK_ALIKE:
            base = dice.choice(found)
            core = _beside(dice, base.core, tongue)
            one = replace(_supplier(dice, len(found), core, tongue), forms=base.forms)
        else:
            one = _supplier(dice, len(found), _core(dice, tongue), tongue)
        if one.core not in seen:
            seen.add(one.core)
            found.append(one)
    return found


def _supplier(dice: random.Random, position: int, core: str, tongue: Tongue) -> Supplier:
    low = 10 * 8 ** dice.random()
    monthly = None
    if dice.random() < MONTHLY:
        monthly = dice.choice(PRICES) if dice.random() < 0.6 else Decimal(dice.randrange(900, 90_000)) / 100
    debits = dice.random() < (DEBITS if monthly is None else DEBITS_MONTHLY)
    return Supplier(
        ident=str(position + 1),
        core=core,
        forms=dice.choice(tongue.forms),
        brand=rare(dice, tongue) if dice.random() < BRANDS else None,
        currency=tongue.currency if dice.random() < 0.8 else "EUR",
        vat=_vat(dice, tongue),
        numbering=dice.choice(NUMBERINGS),
        terms=dice.choice(DEBITED_TERMS if debits else TERMS),
        low=low,
        high=low * 60,
        weight=1 / (position + 3),
        tax=dice.choice((20, 20, 20, 10, 0) if tongue.country == "FR" else (0, 0, 0, 19)),
        debits=debits,
        billed=dice.random() >= NEVER_BILLED,
        monthly=monthly,
    )


def _core(dice: random.Random, tongue: Tongue) -> str:
    chance = dice.random()
    if chance < 0.2:
        return rare(dice, tongue)
    if chance < 0.38:
        return f"{rare(dice, tongue)} {dice.choice(tongue.kin)}"
    if chance < 0.55:
        return f"{dice.choice(tongue.trades)} {rare(dice, tongue)}"
    if chance < 0.7:
        return f"{rare(dice, tongue)} {dice.choice(tongue.trades)}"
    if chance < 0.8:
        return f"{rare(dice, tongue)} {dice.choice(GENERAL)}"
    if chance < 0.82:
        return f"{dice.choice(tongue.trades)} {dice.randrange(2, 60)}"
    return f"{dice.choice(tongue.trades)} {dice.choice(tongue.of)} {dice.choice(tongue.wonders)}"


def _beside(dice: random.Random, core: str, tongue: Tongue) -> str:
    """Another company that is easily taken for the one called `core`."""
    stem = core.split(maxsplit=1)[0] if dice.random() < 0.5 else core
    chance = dice.random()
    if chance < 0.3:
        return f"{stem} {dice.randrange(2, 60)}"
    if chance < 0.55:
        return f"{stem} {dice.choice(GENERAL)}"
    if chance < 0.75:
        return f"{stem} {dice.choice(BRANCHES)}"
    return f"{stem} {dice.choice(tongue.trades)}"


def _vat(dice: random.Random, tongue: Tongue) -> str | None:
    """A number with right check digits, of the countries whose rule is short."""
    body = f"{dice.randrange(10**7, 10**8)}"
    match tongue.vat:
        case "FR":
            siren = body + luhn.calc_check_digit(body)
            return f"FR{(12 + 3 * (int(siren) % 97)) % 97:02}{siren}"
        case "DE":
            return f"DE{body}{mod_11_10.calc_check_digit(body)}"
        case _:
            return None
