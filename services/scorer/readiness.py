"""How fit a bill is to be posted as it stands: completeness, counterparty, policy."""

from dataclasses import dataclass
from decimal import Decimal

from common.messages import Bill, Policy, Readiness, Vendor
from common.quickbooks import NO_CURRENCY

_SLIP = Decimal("0.05")
"""Lines, tax and total may differ by rounding of each line."""

_COMPLETENESS, _COUNTERPARTY = 0.6, 0.4


@dataclass(frozen=True, slots=True)
class Assessment:
    """A bill's readiness, the policy's holds in words, and whether its vendor is blocked outright."""

    readiness: Readiness
    holds: tuple[str, ...]
    blocked: bool


def assess(bill: Bill, vendor: Vendor | None, policy: Policy, *, vendors_known: bool = True) -> Assessment:
    """Assess one bill; every shortcoming is named in `lacks`.

    Where nobody has a list of vendors (`vendors_known` False), that none is found counts for nothing.
    """
    lacks: list[str] = []
    completeness = 1.0
    for cost, missing, what in (
        (0.9, bill.total <= 0, "a total above zero"),
        (0.35, not bill.number, "a supplier invoice number"),
        (0.3, bill.issued_on is None, "a date"),
        (0.3, bill.currency == NO_CURRENCY, "a currency"),
        (0.3, not _adds_up(bill), "lines and tax that add up to the total"),
        (0.05, bill.due_on is None, "a due date"),
    ):
        if missing:
            completeness -= cost
            lacks.append(what)
    counterparty = 1.0
    for cost, missing, what in (
        (0.7, vendor is None and vendors_known, "a vendor record"),
        (0.5, vendor is not None and not vendor.active, "an active vendor"),
        (0.2, vendor is not None and not _reachable(vendor, bill), "an address, e-mail or tax number of the vendor"),
    ):
        if missing:
            counterparty -= cost
            lacks.append(what)
    completeness, counterparty = max(0.0, completeness), max(0.0, counterparty)
    holds = _holds(bill, policy)
    blocked = bill.vendor.id in policy.blocked_vendors
    score = _COMPLETENESS * completeness + _COUNTERPARTY * counterparty
    readiness = Readiness(
        score=round(score, 4),
        completeness=round(completeness, 4),
        counterparty=round(counterparty, 4),
        policy=0.0 if holds or blocked else 1.0,
        lacks=tuple(lacks),
    )
    return Assessment(readiness, holds, blocked)


def _adds_up(bill: Bill) -> bool:
    """Whether the lines, net or gross, and the tax make the total."""
    if not bill.lines:
        return False
    net = sum((line.amount for line in bill.lines), Decimal(0))
    slack = _SLIP * len(bill.lines)
    return any(abs(total - bill.total) <= slack for total in (net, net + (bill.tax or Decimal(0))))


def _reachable(vendor: Vendor, bill: Bill) -> bool:
    return bool(vendor.address or bill.vendor_address or vendor.email or vendor.tax_identifier or vendor.phone)


def _holds(bill: Bill, policy: Policy) -> tuple[str, ...]:
    holds = []
    if policy.currencies and bill.currency not in policy.currencies:
        holds.append(f"bills in {bill.currency} are for a person to decide")
    if policy.amount_cap is not None and bill.total > policy.amount_cap:
        holds.append(f"bills above {policy.amount_cap} are for a person to decide")
    if bill.vendor.id in policy.review_vendors:
        holds.append("every bill of this vendor is for a person to decide")
    if policy.closed_until is not None and bill.issued_on is not None and bill.issued_on <= policy.closed_until:
        holds.append(f"the period up to {policy.closed_until.isoformat()} is closed")
    return tuple(holds)
