"""What a workspace's policy says of one bill."""

from decimal import Decimal

from common.messages import Bill, Company, Policy

_CENT = Decimal("0.01")


def blocked(bill: Bill, policy: Policy) -> bool:
    """Whether nothing of the bill's vendor may ever be posted."""
    return bill.vendor.id in policy.blocked_vendors


def holds(bill: Bill, policy: Policy, company: Company | None = None) -> tuple[str, ...]:
    """Why the bill is for a person to decide, in words; empty if the policy has nothing against it.

    `company` says what the home currency is and until when QuickBooks has closed the books.
    """
    found = []
    if policy.currencies and bill.currency not in policy.currencies:
        found.append(f"bills in {bill.currency} are for a person to decide")
    if (over := _above_cap(bill, policy, company)) is not None:
        found.append(over)
    if bill.vendor.id in policy.review_vendors:
        found.append("every bill of this vendor is for a person to decide")
    if (closed := _in_closed_period(bill, policy, company)) is not None:
        found.append(closed)
    return tuple(found)


def _above_cap(bill: Bill, policy: Policy, company: Company | None) -> str | None:
    cap = policy.amount_cap
    if cap is None:
        return None
    home = company.home_currency if company else None
    currency = policy.cap_currency or home
    limit = f"{cap:,} {currency}" if currency else f"{cap:,}"
    amount = _in_currency(bill, policy.cap_currency, home)
    if amount is None:
        return f"nothing says what {bill.total:,} {bill.currency} are in {currency}, the currency of the cap"
    if amount <= cap:
        return None
    converted = "" if amount == bill.total else f" ({bill.total:,} {bill.currency} are {amount:,})"
    return f"bills above {limit} are for a person to decide{converted}"


def _in_currency(bill: Bill, wanted: str | None, home: str | None) -> Decimal | None:
    """The bill's total in the `wanted` currency (None: home), None if nothing says how much that is.

    QuickBooks gives a rate to the home currency only, and only where the bill is in another one.
    """
    if bill.currency == (wanted or home):
        return bill.total
    if wanted is None or wanted == home:
        if bill.exchange_rate:
            return (bill.total * bill.exchange_rate).quantize(_CENT)
        return bill.total if home is None else None
    return None


def _in_closed_period(bill: Bill, policy: Policy, company: Company | None) -> str | None:
    closed = [
        (day, where)
        for day, where in (
            (policy.closed_until, "by the policy"),
            (company.books_closed_on if company else None, "in QuickBooks"),
        )
        if day is not None
    ]
    if not closed or bill.issued_on is None:
        return None
    day, where = max(closed)
    return f"the period up to {day.isoformat()} is closed {where}" if bill.issued_on <= day else None
