"""Whether a bill's lines, tax and tax codes agree with one another.

How QuickBooks means its amounts depends on GlobalTaxCalculation (developer.intuit.com, entity reference of
Bill): a line's amount is net, with TaxInclusive its gross stands beside it; the total includes tax. US companies
have no tax on purchases, only the flags TAX and NON.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from common.messages import Bill, BillLine, TaxCode

_SLIP = Decimal("0.05")
_FEW = 5
_SLIP_PER_LINE = _SLIP / _FEW
_ZERO = Decimal(0)

NOT_TAXED = "NON"
FLAGS = frozenset({"TAX", NOT_TAXED, "CustomSalesTax"})
"""Codes of US companies, which stand for no rates."""


def contradiction(bill: Bill, codes: Mapping[str, TaxCode] | None = None) -> str | None:
    """What the bill should have instead of figures that contradict each other, with what to do; None if they agree.

    `codes` are the tax codes by id; without them, or where they do not say a rate, their rates are not compared.
    """
    return _lines_and_total(bill) or _tax_lines(bill) or (_rates(bill, codes) if codes is not None else None)


def doubtful_codes(bill: Bill, codes: Mapping[str, TaxCode]) -> str | None:
    """What the bill should have instead of tax codes that are unknown or no longer used."""
    named = {line.tax_code.id: line.tax_code for line in bill.lines if line.tax_code is not None}
    wrong = []
    for ident in named.keys() - FLAGS:
        code = codes.get(ident)
        if code is None:
            wrong.append(f"{named[ident].name or ident} is unknown")
        elif not code.active:
            wrong.append(f"{code.name} is inactive")
    return (
        f"tax codes that are in use ({', '.join(sorted(wrong))}: choose another code in QuickBooks)" if wrong else None
    )


def _lines_and_total(bill: Bill) -> str | None:
    if not bill.lines:
        return "lines that add up to the total (it has none: enter in QuickBooks what was bought)"
    if bill.tax_mode == "NotApplicable" and bill.tax:
        tax = _money(bill.tax, bill)
        return f"a total without tax (tax does not apply to it, yet it has {tax}: correct the tax in QuickBooks)"
    totals, slack = _totals(bill), _slack(bill)
    if any(abs(total - bill.total) <= slack for total in totals):
        return None
    found = min(totals, key=lambda total: abs(total - bill.total))
    return (
        f"lines and tax that add up to the total (they make {_money(found, bill)}, the total is"
        f" {_money(bill.total, bill)}: correct a line or the tax in QuickBooks)"
    )


def _totals(bill: Bill) -> tuple[Decimal, ...]:
    """What the lines and the tax come to, in each way in which QuickBooks may mean them."""
    net = sum((line.amount for line in bill.lines), _ZERO)
    with_tax = net + (bill.tax or _ZERO)
    match bill.tax_mode:
        case "TaxExcluded":
            return (with_tax,)
        case "TaxInclusive":
            return with_tax, sum((_gross(line) for line in bill.lines), _ZERO)
        case _:
            return with_tax, net


def _tax_lines(bill: Bill) -> str | None:
    slack = _slack(bill)
    for line in bill.tax_lines:
        if line.net is None or line.percent is None:
            continue
        # Without signs: what is accounted for twice, as due and as deductible, is negative once.
        due = abs(line.net * line.percent / 100)
        if abs(abs(line.amount) - due) > slack:
            return (
                f"tax at its rate ({line.percent.normalize():f} % of {_money(line.net, bill)} is {_money(due, bill)},"
                f" not {_money(abs(line.amount), bill)}: correct the tax in QuickBooks)"
            )
    if bill.tax is None or not bill.tax_lines:
        return None
    total = sum((line.amount for line in bill.tax_lines), _ZERO)
    if abs(total - bill.tax) <= slack:
        return None
    return (
        f"tax lines that add up to its tax (they make {_money(total, bill)}, the tax is {_money(bill.tax, bill)}:"
        " correct the tax in QuickBooks)"
    )


def _rates(bill: Bill, codes: Mapping[str, TaxCode]) -> str | None:
    """Whether the tax is what the codes of the lines make of them."""
    if bill.tax is None or bill.tax_mode not in {"TaxExcluded", "TaxInclusive"} or _cancels(bill):
        return None
    expected = _expected(bill, codes)
    if expected is None or min(abs(one - bill.tax) for one in expected) <= _slack(bill):
        return None
    names = {line.tax_code.id: _name(line, codes) for line in bill.lines if line.tax_code is not None}
    return (
        f"tax that fits its tax codes ({', '.join(names.values())} would be {_money(expected[0], bill)}, it has"
        f" {_money(bill.tax, bill)}: correct the code or the tax in QuickBooks)"
    )


def _cancels(bill: Bill) -> bool:
    """Whether the buyer accounts for the tax (reverse charge): what is due and what is deductible cancel."""
    return bill.tax == 0 and any(line.amount for line in bill.tax_lines)


def _expected(bill: Bill, codes: Mapping[str, TaxCode]) -> tuple[Decimal, Decimal] | None:
    """The tax by the codes, with rates side by side and with rates on top of each other; None if not known."""
    # A rate may have changed since: the one that was charged counts.
    charged = {line.rate.id: line.percent for line in bill.tax_lines if line.rate is not None}
    gross = bill.tax_mode == "TaxInclusive" and _amounts_are_gross(bill)
    beside = on_top = _ZERO
    for line in bill.lines:
        percents = _percents(line, codes, charged)
        if percents is None:
            return None
        share = sum(percents, _ZERO) / 100
        more = _compounded(percents) if len(percents) > 1 else share
        beside += line.amount - line.amount / (1 + share) if gross else line.amount * share
        on_top += line.amount - line.amount / (1 + more) if gross else line.amount * more
    return beside, on_top


def _compounded(percents: Iterable[Decimal]) -> Decimal:
    factor = Decimal(1)
    for percent in percents:
        factor *= 1 + percent / 100
    return factor - 1


def _percents(
    line: BillLine, codes: Mapping[str, TaxCode], charged: Mapping[str, Decimal | None]
) -> tuple[Decimal, ...] | None:
    if line.tax_code is None:
        return None
    if line.tax_code.id == NOT_TAXED:
        return ()
    code = codes.get(line.tax_code.id)
    if code is None or (not code.rates and code.taxable is not False):
        return None
    found = []
    for rate in code.rates:
        percent = charged.get(rate.id)
        percent = rate.percent if percent is None else percent
        if percent is None or percent <= -100:
            return None
        found.append(percent)
    return tuple(found) if sum(found) > -100 else None


def _amounts_are_gross(bill: Bill) -> bool:
    """Whether the lines' amounts include tax themselves, as some programs write them."""
    if any(line.gross is not None for line in bill.lines):
        return False
    return abs(sum((line.amount for line in bill.lines), _ZERO) - bill.total) <= _slack(bill)


def _gross(line: BillLine) -> Decimal:
    return line.amount if line.gross is None else line.gross


def _name(line: BillLine, codes: Mapping[str, TaxCode]) -> str:
    if line.tax_code is None:
        return ""
    code = codes.get(line.tax_code.id)
    return code.name if code else line.tax_code.name or line.tax_code.id


def _slack(bill: Bill) -> Decimal:
    """How far figures may differ by rounding each line, and by cents that were set to those of the paper."""
    return _SLIP if len(bill.lines) <= _FEW else _SLIP_PER_LINE * len(bill.lines)


def _money(amount: Decimal, bill: Bill) -> str:
    return f"{amount:,.2f} {bill.currency}"
