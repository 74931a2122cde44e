"""What can be compared of a bill and of an entry, side by side in one shape."""

from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

import msgspec
from schwifty import IBAN
from stdnum.eu import vat as eu_vat

from common.messages import Bill, Entry, Field, Vendor
from common.quickbooks import NO_CURRENCY
from services.scorer.matching.names import Name, name
from services.scorer.matching.references import Reference, reference

_SUPPLIERS = 8192
"""Suppliers whose names, and identities, are kept as they were read; their bills say the same again and again."""
_CURRENCIES = 256
_CENT = Decimal("0.01")
_MOST_DIGITS = 20
"""Digits of an amount beyond all measure, which is not worth converting."""
_NONE: frozenset[str] = frozenset()
Money = tuple[str, Decimal]
"""A currency and an amount in it."""


class Facts(msgspec.Struct, frozen=True, gc=False):
    """One document or payment. `exact` amounts must fit to the cent, `about` only roughly (exchange rates).

    `since` and `until` bound the days on which the counterpart is expected; for a document both are its date.
    `matched` are the payments that Qonto matched an invoice with.
    """

    key: str
    names: tuple[Name, ...]
    exact: tuple[Money, ...]
    net: tuple[Money, ...]
    about: tuple[Money, ...]
    currencies: frozenset[str]
    since: date | None
    until: date | None
    number: Reference | None
    text: str
    vat: str | None = None
    iban: str | None = None
    payment: bool = False
    matched: tuple[str, ...] = ()

    def shown(self, field: Field) -> str | None:
        """What the document says in a field, as people read it; None if nothing."""
        match field:
            case "name":
                return self.names[0].text if self.names else None
            case "amount":
                return " / ".join(f"{amount} {currency}" for currency, amount in self.exact or self.net) or None
            case "date":
                return self.since.isoformat() if self.since else None
            case "currency":
                return ", ".join(sorted(self.currencies)) or None
            case "reference":
                return self.text or None


class Supplier(NamedTuple):
    """What is known of a supplier: its names, the own one first, and its identities."""

    names: tuple[Name, ...]
    vat: str | None
    iban: str | None


@lru_cache(maxsize=_SUPPLIERS)
def supplier(
    called: str | None, vendor: Vendor | None, aliases: frozenset[str] = _NONE, identities: frozenset[str] = _NONE
) -> Supplier:
    """A supplier as a bill calls it, with the other names that its vendor record adds.

    `aliases` and `identities` (VAT numbers and IBANs) are what people confirmed of it.
    """
    known = (called, *((vendor.name, vendor.company_name, vendor.print_name) if vendor else ()))
    vats, ibans = ([one for one in map(read, sorted(identities)) if one] for read in (_vat, _iban))
    vat = _vat(vendor.tax_identifier if vendor else None) or next(iter(vats), None)
    return Supplier(_names((*known, *sorted(aliases))), vat, next(iter(ibans), None))


def of_bill(key: str, bill: Bill, supplier: Supplier, home: str | None = None) -> Facts:
    """The facts of a bill; `home` is the home currency. ValueError names what is no amount of money (NaN, Infinity)."""
    currency, total = bill.currency, _money("total", bill.total)
    named = currency != NO_CURRENCY
    priced = named and total != 0
    rate = bill.exchange_rate and _money("exchange_rate", bill.exchange_rate)
    about: tuple[Money, ...] = ()
    if rate and home and home != currency and total.adjusted() + rate.adjusted() < _MOST_DIGITS:
        about = ((home, (total * rate).quantize(_CENT)),)
    return Facts(
        key=key,
        names=supplier.names,
        exact=((currency, total),) if priced else (),
        net=((currency, bill.net),) if priced and bill.tax and _money("tax", bill.tax) and bill.net else (),
        about=about,
        currencies=_only(currency) if named else _NONE,
        since=bill.issued_on or bill.due_on,
        until=bill.due_on or bill.issued_on,
        number=reference(bill.number),
        text=bill.number or "",
        vat=supplier.vat,
        iban=supplier.iban,
    )


def of_entry(entry: Entry) -> Facts:
    """The facts of a Qonto entry; ValueError names what is no amount of money (NaN, Infinity)."""
    payment = entry.kind == "transaction"
    exact: list[Money] = []
    if entry.amount and entry.currency:
        exact.append((entry.currency, _money("amount", entry.amount)))
    if entry.local_amount and entry.local_currency:
        exact.append((entry.local_currency, _money("local_amount", entry.local_amount)))
    net = ((entry.currency, _money("net_amount", entry.net_amount)),) if entry.net_amount and entry.currency else ()
    when = entry.paid_on or entry.issued_on if payment else entry.issued_on
    return Facts(
        key=f"{entry.kind}-{entry.id}",
        names=_names((entry.counterparty, entry.label if payment else None), label=payment),
        exact=tuple(exact),
        net=net,
        about=(),
        currencies=frozenset([currency for currency, _ in exact]) or _only(entry.currency),
        since=when,
        until=when if payment else entry.due_on,
        number=None if payment else reference(entry.number),
        text=" ".join(filter(None, (entry.number, entry.label))) if payment else entry.number or "",
        vat=_vat(entry.vat_number),
        iban=_iban(entry.iban),
        payment=payment,
        matched=payments_of(entry),
    )


def _money(field: str, amount: Decimal) -> Decimal:
    if not amount.is_finite():
        raise ValueError(f"{field}: {amount} is no amount of money")
    return amount


def payments_of(entry: Entry) -> tuple[str, ...]:
    """The keys of the payments that Qonto matched an invoice with."""
    return tuple([f"transaction-{ident}" for ident in entry.matched])


@lru_cache(maxsize=_SUPPLIERS)
def _names(raw: tuple[str | None, ...], *, label: bool = False) -> tuple[Name, ...]:
    found = (name(text, label=label) for text in raw if text and text.strip())
    return tuple(dict.fromkeys(one for one in found if one.tokens))


@lru_cache(maxsize=_CURRENCIES)
def _only(value: str | None) -> frozenset[str]:
    return frozenset({value}) if value else frozenset()


@lru_cache(maxsize=_SUPPLIERS)
def _vat(raw: str | None) -> str | None:
    """A VAT number in its one form, None if it is none (QuickBooks masks it)."""
    if not raw or not eu_vat.is_valid(raw):
        return None
    return str(eu_vat.compact(raw))


@lru_cache(maxsize=_SUPPLIERS)
def _iban(raw: str | None) -> str | None:
    found = IBAN(raw, allow_invalid=True) if raw else None
    return str(found) if found is not None and found.is_valid else None
