"""A bill in the making, and the dice it is made with."""

import random
import uuid
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from services.sandbox.truth import Case, Counterpart
from services.sandbox.vendors import HOME_ADDRESS, Supplier

CENT = Decimal("0.01")


@dataclass(slots=True)
class Draft:
    """A bill in the making. `net` and `tax` are in `currency`."""

    supplier: Supplier
    buyer: str
    currency: str
    issued: date
    due: date
    number: str | None
    lines: list[dict[str, Any]]
    net: Decimal
    rate: Decimal
    tax: Decimal
    exchange: Decimal
    created: float
    case: Case = "absent"
    paid: date | None = None
    updated: float = 0.0
    id: str = ""
    original: "Draft | None" = None
    defect: str = ""
    counterparts: list[Counterpart] = field(default_factory=list)
    file: str | None = None

    @property
    def day(self) -> date:
        return self.issued

    @property
    def total(self) -> Decimal:
        return self.net + self.tax

    def recipe(self, *, credit: bool = False) -> dict[str, Any]:
        """How the supplier's document of this bill is drawn."""
        supplier = self.supplier
        return {
            "layout": supplier.layout,
            "language": supplier.language,
            "color": list(supplier.color),
            "supplier": supplier.legal,
            "address": list(supplier.address),
            "vat": supplier.vat,
            "iban": supplier.iban,
            "buyer": [self.buyer, *HOME_ADDRESS],
            "number": self.number,
            "issued": self.issued.isoformat(),
            "due": self.due.isoformat(),
            "currency": self.currency,
            "lines": self.lines,
            "net": self.net,
            "taxes": [{"rate": self.rate, "amount": self.tax}] if self.tax else [],
            "total": self.total,
            "credit": credit,
        }


class Dice(random.Random):
    """The one source of chance, with the draws this module needs."""

    def uuid(self) -> str:
        return str(uuid.UUID(int=self.getrandbits(128), version=4))

    def happens(self, chance: float) -> bool:
        return self.random() < chance

    def money(self, low: int, high: int) -> Decimal:
        """Small amounts are commoner than large ones; many end in .00 or .90."""
        value = Decimal(str(round(low * (high / low) ** self.random(), 2)))
        ending = self.random()
        if ending < 0.35:
            value = Decimal(round(value))
        elif ending < 0.45:
            value = Decimal(int(value)) + Decimal("0.90")
        return value.quantize(CENT)

    def moment(self, day: date, first: int = 8, last: int = 18) -> float:
        """An office-hour instant of a day, in whole epoch seconds."""
        start = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
        return float(int(start) + self.randrange(first * 3600, last * 3600))
