"""How fit a bill is to be posted as it stands: completeness, counterparty, policy.

Each shortcoming costs a part of completeness or of the counterparty's strength, by the tables below, and is named
with what to do about it. The costs were set so that a complete bill of an ordinary vendor is ready (0.85), any
single missing field leaves it for a person (0.55), and several at once refuse it. What nobody knows counts for
nothing, so a fact that is added and sound never lowers a bill's readiness.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import msgspec

from common.messages import Bill, Company, Customer, Policy, Readiness, TaxCode, Vendor
from common.quickbooks import NO_CURRENCY
from services.scorer.matching import tax
from services.scorer.matching.identity import iban_is_valid, tax_number_is_valid
from services.scorer.matching.policy import blocked, holds

_COMPLETENESS, _COUNTERPARTY = 0.6, 0.4

OLDEST = date(1990, 1, 1)
"""A bill dated before this was misdated."""
AHEAD = timedelta(days=90)
"""How far a bill may be dated ahead (rents and subscriptions are)."""

_NEWCOMER = 0.05
"""What it costs that nothing speaks for a vendor yet; halved by each thing that does."""
_ENOUGH = 3
"""Earlier bills paid from which on more of them say no more."""

_Table = Sequence[tuple[float, str | None]]
"""What a shortcoming costs, and how it is named; None where the bill does not have it."""


class History(msgspec.Struct, frozen=True):
    """What the books know of a vendor from before this bill.

    `bills` were entered earlier, `paid` of them are paid, the first is of `since`. `aliases` are names of the vendor
    that people confirmed, `iban` is the account it was paid to.
    """

    bills: int = 0
    paid: int = 0
    since: date | None = None
    aliases: int = 0
    iban: str | None = None


_UNKNOWN = History()


class Lists(msgspec.Struct, frozen=True):
    """What QuickBooks lists beside bills and vendors, by id; None where nobody has that list."""

    customers: Mapping[str, Customer] | None = None
    tax_codes: Mapping[str, TaxCode] | None = None
    company: Company | None = None


NO_LISTS = Lists()


class Assessment(msgspec.Struct, frozen=True):
    """A bill's readiness, the policy's holds in words, and whether its vendor is blocked outright."""

    readiness: Readiness
    holds: tuple[str, ...]
    blocked: bool


def assess(
    bill: Bill,
    vendor: Vendor | None,
    policy: Policy,
    *,
    vendors_known: bool = True,
    history: History | None = None,
    lists: Lists = NO_LISTS,
    today: date | None = None,
) -> Assessment:
    """Assess one bill; every shortcoming is named in `lacks`.

    Where nobody has a list of vendors (`vendors_known` False), that none is found counts for nothing; `history` is
    None where nobody knows it. `today` is the day for which a bill is too far ahead; None does not look.
    """
    known = history or _UNKNOWN
    numbers = _tax_number(bill, vendor), iban_is_valid(known.iban)
    gaps = _gaps(bill, lists, today)
    proofs = _proofs(known, *numbers)
    facts = _facts(bill, vendor, vendors_known)
    doubts = _doubts(bill, vendor, lists, *numbers)
    unproven = 0.5 ** len(proofs)
    completeness = round(_left(_cost(gaps)), 4)
    # Whom one knows one doubts less.
    counterparty = round(_left(_cost(facts) + _cost(doubts) * (1 + unproven) / 2 + _NEWCOMER * unproven), 4)
    held, barred = holds(bill, policy, lists.company), blocked(bill, policy)
    readiness = Readiness(
        score=_score(completeness, counterparty, policy, held=bool(held), barred=barred),
        completeness=completeness,
        counterparty=counterparty,
        policy=0.0 if held or barred else 1.0,
        lacks=tuple(what for _, what in (*gaps, *facts, *doubts) if what is not None),
        standing=_standing(history, proofs),
        holds=_said(held, barred=barred),
    )
    return Assessment(readiness, held, barred)


def assess_under(readiness: Readiness, bill: Bill, policy: Policy, company: Company | None) -> Assessment:
    """A readiness that was found before, as this policy has it: all but the policy's part of it stays."""
    held, barred = holds(bill, policy, company), blocked(bill, policy)
    score = _score(readiness.completeness, readiness.counterparty, policy, held=bool(held), barred=barred)
    after = msgspec.structs.replace(
        readiness, score=score, policy=0.0 if held or barred else 1.0, holds=_said(held, barred=barred)
    )
    return Assessment(after, held, barred)


def _score(completeness: float, counterparty: float, policy: Policy, *, held: bool, barred: bool) -> float:
    if barred:
        return 0.0
    score = _COMPLETENESS * completeness + _COUNTERPARTY * counterparty
    if held:  # for a person to decide, however ready it is otherwise
        score = min(score, (policy.review + policy.auto) / 2)
    return round(score, 4)


def _said(held: tuple[str, ...], *, barred: bool) -> tuple[str, ...]:
    return (*(("the vendor is blocked",) if barred else ()), *held)


def _gaps(bill: Bill, lists: Lists, today: date | None) -> _Table:
    """What the bill itself lacks."""
    codes = lists.tax_codes
    return (
        (0.9, _if(bill.total <= 0, "a total above zero (enter the amounts in QuickBooks)")),
        (0.35, _if(not (bill.number or "").strip(), "a supplier invoice number (enter it as Bill no. in QuickBooks)")),
        (0.3, _date(bill, today)),
        (0.3, _currency(bill)),
        (0.3, tax.contradiction(bill, codes)),
        (0.1, tax.doubtful_codes(bill, codes) if codes is not None else None),
        (0.05, _due_date(bill)),
    )


def _facts(bill: Bill, vendor: Vendor | None, vendors_known: bool) -> _Table:
    """What stands against the vendor whatever is known of it."""
    name = bill.vendor.name or bill.vendor.id
    missing = inactive = None
    if vendor is None and vendors_known:
        missing = f"a vendor record ({name} is gone or was merged: choose the vendor in QuickBooks and save the bill)"
    elif vendor is not None and not vendor.active:
        inactive = f"an active vendor ({name} is inactive: make it active in QuickBooks, or choose another)"
    return (0.7, missing), (0.5, inactive)


def _doubts(bill: Bill, vendor: Vendor | None, lists: Lists, tax_number: bool | None, iban: bool | None) -> _Table:
    """What may be wrong with the counterparty, the less so the better it is known; see `_proofs`."""
    return (
        (0.2, _if(vendor is not None and not _reachable(vendor, bill), _REACH)),
        (0.4, _if(tax_number is False, _VAT)),
        (0.4, _if(iban is False, _IBAN)),
        (0.35, _customers(bill, lists.customers)),
    )


_REACH = "an address, e-mail or tax number of the vendor (enter one in QuickBooks)"
_VAT = "a valid VAT number of the vendor (its check digits are wrong: compare it with the invoice)"
_IBAN = "a valid IBAN of the vendor (its check digits are wrong: compare it with the invoice)"


def _proofs(history: History, tax_number: bool | None, iban: bool | None) -> list[str]:
    """What speaks for the vendor, one entry for each thing that does; its numbers are valid, wrong, or None unknown."""
    found: list[str] = []
    if tax_number:
        found.append("its VAT number is valid")
    if iban:
        found.append("its IBAN is valid")
    if history.aliases > 0:
        found.append(f"{_many(history.aliases, 'name')} of it confirmed by people")
    if history.paid > 0:
        since = f" since {history.since.isoformat()}" if history.since else ""
        paid = f"{history.paid} of {_many(history.bills, 'earlier bill')} paid{since}"
        found += [paid] * min(history.paid, _ENOUGH)
    return found


def _standing(history: History | None, proofs: Sequence[str]) -> tuple[str, ...]:
    said = list(dict.fromkeys(proofs))
    if history is not None and history.paid <= 0:
        said.append(f"{_many(history.bills, 'earlier bill')}, none paid" if history.bills else "no earlier bill")
    return tuple(said)


def _date(bill: Bill, today: date | None) -> str | None:
    if bill.issued_on is None:
        return "a date (enter it in QuickBooks)"
    if bill.issued_on < OLDEST or (today is not None and bill.issued_on > today + AHEAD):
        return f"a plausible date ({bill.issued_on.isoformat()} is too far off: correct it in QuickBooks)"
    return None


def _due_date(bill: Bill) -> str | None:
    if bill.due_on is None:
        return "a due date (enter it in QuickBooks)"
    if bill.issued_on is not None and bill.due_on < bill.issued_on:
        return f"a due date after its date ({bill.due_on.isoformat()} is before it: correct one of them in QuickBooks)"
    return None


def _currency(bill: Bill) -> str | None:
    code = bill.currency
    if code == NO_CURRENCY or len(code) != 3 or not (code.isascii() and code.isalpha() and code.isupper()):
        return "a currency (choose it in QuickBooks)"
    return None


def _customers(bill: Bill, customers: Mapping[str, Customer] | None) -> str | None:
    """Customers to whom lines are billed on and who cannot be billed."""
    if customers is None:
        return None
    named = {line.customer.id: line.customer for line in bill.lines if line.customer is not None}
    wrong = []
    for ident, ref in named.items():
        customer = customers.get(ident)
        if customer is None:
            wrong.append(f"{ref.name or ident} does not exist")
        elif not customer.active:
            wrong.append(f"{customer.name} is inactive")
    return f"customers that can be billed ({', '.join(wrong)}: choose another on the line)" if wrong else None


def _tax_number(bill: Bill, vendor: Vendor | None) -> bool | None:
    if vendor is None:
        return None
    address = vendor.address or bill.vendor_address
    return tax_number_is_valid(vendor.tax_identifier, address.country if address else None)


def _reachable(vendor: Vendor, bill: Bill) -> bool:
    return bool(vendor.address or bill.vendor_address or vendor.email or vendor.tax_identifier or vendor.phone)


def _cost(table: _Table) -> float:
    return sum([cost for cost, what in table if what is not None])


def _left(cost: float) -> float:
    return max(0.0, 1.0 - cost)


def _if(missing: bool, what: str) -> str | None:
    return what if missing else None


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
