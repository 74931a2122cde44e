"""Readiness: what each shortcoming costs, that it is named with what to do, and that sound facts never lower it."""

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from common.messages import (
    Address,
    Bill,
    BillLine,
    Company,
    Customer,
    Policy,
    Ref,
    TaxCode,
    TaxLine,
    TaxRate,
    Vendor,
)
from services.scorer.matching.identity import iban_is_valid, tax_number_is_valid
from services.scorer.matching.readiness import Assessment, History, Lists, assess
from services.scorer.matching.tax import contradiction, doubtful_codes
from tests.scorer import cases

TODAY = date(2026, 5, 20)
POLICY = Policy()
OLD_FRIEND = History(bills=12, paid=10, since=date(2025, 3, 1))
VALID_VAT, INVALID_VAT = "FR40303265045", "FR40303265046"
IBAN = "FR7630006000011234567890189"
FULL = Decimal(20)
CODES = {
    "2": TaxCode(name="20.0% S", rates=(TaxRate(id="1", percent=FULL),)),
    "3": TaxCode(name="5.5% S", rates=(TaxRate(id="3", percent=Decimal("5.5")),)),
    "6": TaxCode(name="20.0% RC", rates=(TaxRate(id="5", percent=FULL), TaxRate(id="6", percent=-FULL))),
    "8": TaxCode(name="old 19.6%", active=False, rates=(TaxRate(id="8", percent=Decimal("19.6")),)),
    "9": TaxCode(name="GST/PST", rates=(TaxRate(id="9", percent=Decimal(5)), TaxRate(id="10", percent=Decimal(10)))),
    "11": TaxCode(name="no rates here"),
    "12": TaxCode(name="exempt", taxable=False),
}


def a_bill(**fields: Any) -> Bill:
    body = cases.bill(**fields).body
    assert isinstance(body, Bill)
    return body


def a_vendor(**fields: Any) -> Vendor:
    body = cases.vendor(**fields).body
    assert isinstance(body, Vendor)
    return body


def taxed(
    net: str = "100.00", tax: str = "20.00", *, code: str = "2", mode: str = "TaxExcluded", **fields: Any
) -> Bill:
    """A bill of one line whose tax code makes the tax."""
    total = Decimal(net) + Decimal(tax)
    line = BillLine(amount=Decimal(net), tax_code=Ref(id=code))
    return a_bill(**{"total": total, "tax": Decimal(tax), "tax_mode": mode, "lines": (line,), **fields})


def score(bill: Bill, vendor: Vendor | None = None, **known: Any) -> float:
    return assess(bill, vendor or a_vendor(), POLICY, today=TODAY, **known).readiness.score


def test_a_complete_bill_of_an_ordinary_vendor_is_ready() -> None:
    for history in (None, History(), OLD_FRIEND):
        found = assess(a_bill(), a_vendor(), POLICY, history=history, today=TODAY).readiness
        assert found.lacks == ()
        assert found.score >= 0.95
        assert found.policy == found.completeness == 1.0


def test_who_is_known_counts_for_more_and_it_says_why() -> None:
    def standing(**known: Any) -> tuple[float, tuple[str, ...]]:
        vendor = a_vendor(tax_identifier=known.pop("vat", None))
        found = assess(a_bill(), vendor, POLICY, history=History(**known)).readiness
        return found.counterparty, found.standing

    newcomer, said = standing()
    assert said == ("no earlier bill",)
    for known, words in (
        ({"bills": 4}, "4 earlier bills, none paid"),
        ({"vat": VALID_VAT}, "its VAT number is valid"),
        ({"iban": IBAN}, "its IBAN is valid"),
        ({"aliases": 1}, "1 name of it confirmed by people"),
        ({"bills": 2, "paid": 1, "since": date(2026, 1, 2)}, "1 of 2 earlier bills paid since 2026-01-02"),
    ):
        strength, said = standing(**known)
        assert words in said
        assert strength > newcomer or known == {"bills": 4}
    assert assess(a_bill(), a_vendor(), POLICY).readiness.standing == ()  # nobody knows: nothing is claimed


SHORTCOMINGS: list[tuple[dict[str, Any], str]] = [
    ({"number": None}, "a supplier invoice number (enter it"),
    ({"number": "  "}, "a supplier invoice number"),
    ({"issued_on": None}, "a date (enter it"),
    ({"issued_on": date(1926, 5, 1)}, "a plausible date (1926-05-01"),
    ({"issued_on": TODAY + timedelta(days=91), "due_on": TODAY + timedelta(days=100)}, "a plausible date"),
    ({"currency": "XXX"}, "a currency (choose it"),
    ({"lines": ()}, "lines that add up to the total (it has none"),
    ({"lines": (BillLine(amount=Decimal(100)),)}, "they make 100.00 EUR, the total is 120.00 EUR"),
    ({"due_on": None}, "a due date (enter it"),
    ({"due_on": date(2026, 4, 30)}, "a due date after its date (2026-04-30 is before it"),
]


@pytest.mark.parametrize("fields, words", SHORTCOMINGS)
def test_one_shortcoming_is_named_and_leaves_the_bill_at_least_for_a_person(fields: dict[str, Any], words: str) -> None:
    found = assess(a_bill(**fields), a_vendor(), POLICY, today=TODAY).readiness
    (lack,) = found.lacks
    assert words in lack
    assert "QuickBooks" in lack
    assert found.score >= POLICY.review
    assert (found.score >= POLICY.auto) == ("due date" in lack)


def test_several_shortcomings_are_all_named_and_refuse_it() -> None:
    found = assess(a_bill(number=None, issued_on=None, lines=()), a_vendor(), POLICY).readiness
    assert len(found.lacks) == 3
    assert found.score < POLICY.review


def test_without_an_amount_there_is_nothing_to_post() -> None:
    assert score(a_bill(total=Decimal(0))) < POLICY.review


def test_a_rent_may_be_dated_ahead() -> None:
    ahead = TODAY + timedelta(days=60)
    assert score(a_bill(issued_on=ahead, due_on=ahead)) == score(a_bill())


@pytest.mark.parametrize(
    "vendor, words",
    [
        (None, "a vendor record (Sluice & Sons SARL is gone or was merged: choose the vendor"),
        (a_vendor(active=False), "an active vendor (Sluice & Sons SARL is inactive: make it active"),
        (a_vendor(tax_identifier=INVALID_VAT), "a valid VAT number of the vendor"),
    ],
)
def test_a_doubtful_vendor_is_for_a_person_and_named(vendor: Vendor | None, words: str) -> None:
    found = assess(a_bill(), vendor, POLICY).readiness
    assert any(words in lack for lack in found.lacks)
    assert POLICY.review <= found.score < POLICY.auto


def test_a_vendor_that_is_nowhere_listed_counts_for_nothing_without_a_list() -> None:
    assert assess(a_bill(), None, POLICY, vendors_known=False).readiness.lacks == ()


def test_whom_one_knows_one_doubts_less() -> None:
    wrong = a_vendor(tax_identifier=INVALID_VAT)
    assert score(a_bill(), wrong, history=OLD_FRIEND) >= POLICY.auto > score(a_bill(), wrong)
    assert any("VAT number" in lack for lack in assess(a_bill(), wrong, POLICY, history=OLD_FRIEND).readiness.lacks)


def test_an_iban_that_cannot_exist_counts_against() -> None:
    found = assess(a_bill(), a_vendor(), POLICY, history=History(iban=IBAN[:-1] + "0")).readiness
    assert found.score < POLICY.auto
    assert any("IBAN" in lack for lack in found.lacks)


def test_customers_on_lines_must_be_there_and_active() -> None:
    customers = {"1": Customer(name="Ferry Ltd"), "2": Customer(name="Barge Ltd", active=False)}

    def billed_on(*idents: str) -> Bill:
        share = Decimal(120) / len(idents)
        return a_bill(lines=tuple(BillLine(amount=share, customer=Ref(id=one, name="?")) for one in idents))

    assert score(billed_on("1"), lists=Lists(customers=customers)) == score(a_bill())
    assert score(billed_on("1", "3")) == score(a_bill())  # nobody has the list
    found = assess(billed_on("1", "2", "3"), a_vendor(), POLICY, lists=Lists(customers=customers)).readiness
    (lack,) = found.lacks
    assert "(Barge Ltd is inactive, ? does not exist: choose another on the line)" in lack
    assert found.score < POLICY.auto


@pytest.mark.parametrize(
    "number, country, valid",
    [
        (VALID_VAT, None, True),
        ("fr 40 303 265 045", None, True),
        (INVALID_VAT, None, False),
        ("XXXXXXX6789", None, None),
        ("FRXXXXXX5045", "FR", None),
        ("*****6789", None, None),
        ("", None, None),
        (None, None, None),
        ("303265045", None, None),  # no country in front: any number of any authority
        ("40303265045", "FR", True),
        ("12-3456789", "US", None),
        ("12-3456789", "United States", None),
        ("FRNCSC70A01H501X", None, None),  # an Italian personal code, not a French VAT number
        ("GB980780684", None, True),
        ("GB980780685", None, False),
        ("No. 12345678", None, None),
        ("CHE-107.787.577 IVA", None, True),
        ("NO 995 525 828 MVA", None, True),
        ("EL094259216", None, True),
        ("ATU13585627", None, True),
        ("NL4495445B01", None, True),
        ("ES54362315K", None, True),
    ],
)
def test_tax_numbers(number: str | None, country: str | None, valid: bool | None) -> None:
    assert tax_number_is_valid(number, country) is valid


@given(st.text(max_size=30), st.text(max_size=3))
def test_no_text_breaks_the_check_of_a_number(text: str, country: str) -> None:
    assert tax_number_is_valid(text, country) in {True, False, None}
    assert iban_is_valid(text) in {True, False, None}


AGREEING: list[Bill] = [
    taxed(),
    taxed(tax_lines=(TaxLine(amount=FULL, net=Decimal(100), percent=FULL, rate=Ref(id="1")),)),
    taxed("99.99", "20.00"),
    taxed("100.00", "0.00", code="6"),
    taxed(
        "100.00",
        "0.00",
        code="6",
        tax_lines=(
            TaxLine(amount=FULL, net=Decimal(100), percent=FULL),
            TaxLine(amount=-FULL, net=Decimal(100), percent=FULL),
        ),
    ),
    # Reverse charge under a code that says nothing of it.
    taxed(
        "100.00",
        "0.00",
        code="2",
        tax_lines=(
            TaxLine(amount=FULL, net=Decimal(100), percent=FULL),
            TaxLine(amount=-FULL, net=Decimal(100), percent=-FULL),
        ),
    ),
    # Inclusive: the amount is net and its gross beside it, or (as some programs write it) the amount is gross.
    taxed(mode="TaxInclusive"),
    taxed(
        mode="TaxInclusive",
        lines=(BillLine(amount=Decimal(100), gross=Decimal(120), tax_code=Ref(id="2")),),
    ),
    taxed(mode="TaxInclusive", lines=(BillLine(amount=Decimal(120), tax_code=Ref(id="2")),)),
    # Rates side by side, and one on top of the other.
    taxed("100.00", "15.00", code="9"),
    taxed("100.00", "15.50", code="9"),
    # A rate that has changed since: what was charged counts.
    taxed("100.00", "19.60", tax_lines=(TaxLine(amount=Decimal("19.6"), percent=Decimal("19.6"), rate=Ref(id="1")),)),
    # Nothing can be said of it.
    taxed(code="11"),
    taxed("100.00", "0.00", code="12"),
    a_bill(tax_mode="NotApplicable"),
    # The United States: no tax, flags instead of codes.
    a_bill(lines=(BillLine(amount=Decimal(120), tax_code=Ref(id="NON")),)),
    a_bill(lines=(BillLine(amount=Decimal(120), tax_code=Ref(id="TAX")),)),
    a_bill(lines=(BillLine(amount=Decimal(150)), BillLine(amount=Decimal(-30)))),
]


@pytest.mark.parametrize("bill", AGREEING)
def test_figures_that_agree(bill: Bill) -> None:
    assert contradiction(bill, CODES) is None
    assert doubtful_codes(bill, CODES) is None


@pytest.mark.parametrize(
    "bill, words",
    [
        (taxed(total=Decimal("120.06")), "they make 120.00 EUR, the total is 120.06 EUR"),
        (taxed(total=Decimal("100.00")), "they make 120.00 EUR, the total is 100.00 EUR"),
        (taxed(mode="NotApplicable"), "a total without tax (tax does not apply to it, yet it has 20.00 EUR"),
        (taxed("100.00", "10.00"), "20.0% S would be 20.00 EUR, it has 10.00 EUR"),
        (taxed("100.00", "0.00"), "20.0% S would be 20.00 EUR, it has 0.00 EUR"),
        (taxed("100.00", "20.00", code="6"), "20.0% RC would be 0.00 EUR"),
        (
            taxed("100.00", "20.00", tax_lines=(TaxLine(amount=FULL, net=Decimal(50), percent=FULL),)),
            "20 % of 50.00 EUR is 10.00 EUR, not 20.00 EUR",
        ),
        (
            taxed("100.00", "20.00", tax_lines=(TaxLine(amount=Decimal(10), net=Decimal(50), percent=FULL),)),
            "tax lines that add up to its tax (they make 10.00 EUR",
        ),
    ],
)
def test_figures_that_contradict_each_other(bill: Bill, words: str) -> None:
    assert words in (contradiction(bill, CODES) or "")
    found = assess(bill, a_vendor(), POLICY, lists=Lists(tax_codes=CODES)).readiness
    assert len(found.lacks) == 1  # one mistake is held against it once
    assert POLICY.review <= found.score < POLICY.auto


def test_codes_that_are_unknown_or_inactive_are_named() -> None:
    assert "tax codes that are in use (77 is unknown: " in (doubtful_codes(taxed(code="77"), CODES) or "")
    old = taxed("100.00", "19.60", code="8")
    assert "old 19.6% is inactive" in (doubtful_codes(old, CODES) or "")
    assert score(old, lists=Lists(tax_codes=CODES)) < score(old)


@given(
    st.lists(st.tuples(st.integers(1, 500_000), st.sampled_from(["2", "3", "6", "NON"])), min_size=1, max_size=6),
    st.sampled_from(["TaxExcluded", "TaxInclusive"]),
)
def test_what_quickbooks_computes_agrees(lines: list[tuple[int, str]], mode: str) -> None:
    """A bill as QuickBooks adds it up, tax rounded per rate, agrees; a euro more on the tax never does."""
    rates = {"2": FULL, "3": Decimal("5.5"), "6": Decimal(0), "NON": Decimal(0)}
    nets = {code: sum((Decimal(cents) / 100 for cents, one in lines if one == code), Decimal(0)) for _, code in lines}
    taxes = {code: (net * rates[code] / 100).quantize(Decimal("0.01")) for code, net in nets.items()}
    tax, net = sum(taxes.values(), Decimal(0)), sum(nets.values(), Decimal(0))

    def written(tax: Decimal) -> Bill:
        return a_bill(
            total=net + tax,
            tax=tax,
            tax_mode=mode,
            lines=tuple(BillLine(amount=Decimal(cents) / 100, tax_code=Ref(id=code)) for cents, code in lines),
        )

    assert contradiction(written(tax), CODES) is None
    assert contradiction(written(tax + 1), CODES) is not None


BARE: dict[str, Any] = {"number": None, "issued_on": None, "due_on": None, "currency": "XXX", "lines": ()}
FACTS: dict[str, Callable[[Bill, Vendor | None, History], tuple[Bill, Vendor | None, History]]] = {
    "number": lambda b, v, h: (msgspec.structs.replace(b, number="F-1"), v, h),
    "date": lambda b, v, h: (msgspec.structs.replace(b, issued_on=cases.MAY), v, h),
    "due date": lambda b, v, h: (msgspec.structs.replace(b, due_on=date(2026, 5, 31)), v, h),
    "currency": lambda b, v, h: (msgspec.structs.replace(b, currency="EUR"), v, h),
    "lines": lambda b, v, h: (msgspec.structs.replace(b, lines=(BillLine(amount=b.total),)), v, h),
    "code": lambda b, v, h: (
        msgspec.structs.replace(
            b, lines=tuple(msgspec.structs.replace(one, tax_code=Ref(id="NON")) for one in b.lines)
        ),
        v,
        h,
    ),
    "record": lambda b, v, h: (b, v or Vendor(name=cases.NAME), h),
    "e-mail": lambda b, v, h: (b, v and msgspec.structs.replace(v, email="a@sluice.example"), h),
    "address": lambda b, v, h: (b, v and msgspec.structs.replace(v, address=Address(city="Lock", country="FR")), h),
    "VAT": lambda b, v, h: (b, v and msgspec.structs.replace(v, tax_identifier=VALID_VAT), h),
    "masked": lambda b, v, h: (
        b,
        v and msgspec.structs.replace(v, tax_identifier=v.tax_identifier or "XXXXXXX6789"),
        h,
    ),
    "IBAN": lambda b, v, h: (b, v, replace(h, iban=IBAN)),
    "alias": lambda b, v, h: (b, v, replace(h, aliases=h.aliases + 1)),
    "bill": lambda b, v, h: (b, v, replace(h, bills=h.bills + 1)),
    "payment": lambda b, v, h: (b, v, replace(h, bills=h.bills + 1, paid=h.paid + 1)),
}


@given(
    st.permutations(list(FACTS)),
    st.sampled_from([POLICY, Policy(amount_cap=Decimal(10)), Policy(blocked_vendors=("7",))]),
)
def test_a_sound_fact_never_lowers_readiness(order: list[str], policy: Policy) -> None:
    def assessed() -> Assessment:
        lists = Lists(tax_codes=CODES, customers={})
        return assess(bill, vendor, policy, history=history, lists=lists, today=TODAY)

    bill, vendor, history = a_bill(**BARE), None, History()
    before = assessed()
    for fact in order:
        bill, vendor, history = FACTS[fact](bill, vendor, history)
        after = assessed()
        assert after.readiness.score >= before.readiness.score, fact
        before = after
        found = before.readiness
        assert 0 <= found.score <= 1
        assert found.score == 1 or found.lacks or found.standing or found.holds  # nothing is lost unexplained


COMPANY = Company(name="Fable Locks", home_currency="EUR")


@pytest.mark.parametrize(
    "fields, policy, company, held",
    [
        ({}, Policy(amount_cap=Decimal(120)), COMPANY, None),
        ({}, Policy(amount_cap=Decimal(119)), COMPANY, "bills above 119 EUR are for a person to decide"),
        ({}, Policy(amount_cap=Decimal(119)), None, "bills above 119 are for a person to decide"),
        # In dollars it is more than the cap, in euros it is not, and the other way round.
        ({"currency": "USD", "exchange_rate": Decimal("0.5")}, Policy(amount_cap=Decimal(100)), COMPANY, None),
        ({"currency": "USD", "exchange_rate": Decimal("0.5")}, Policy(amount_cap=Decimal(100)), None, None),
        (
            {"currency": "GBP", "exchange_rate": Decimal("1.2")},
            Policy(amount_cap=Decimal(130)),
            COMPANY,
            "bills above 130 EUR are for a person to decide (120.00 GBP are 144.00)",
        ),
        ({"currency": "USD"}, Policy(amount_cap=Decimal(500)), COMPANY, "nothing says what 120.00 USD are in EUR"),
        ({}, Policy(amount_cap=Decimal(500), cap_currency="USD"), COMPANY, "nothing says what 120.00 EUR are in USD"),
        (
            {"currency": "USD"},
            Policy(amount_cap=Decimal(100), cap_currency="USD"),
            COMPANY,
            "bills above 100 USD are for a person to decide",
        ),
        (
            {"currency": "USD", "exchange_rate": Decimal("0.9")},
            Policy(amount_cap=Decimal(110), cap_currency="EUR"),
            COMPANY,
            None,
        ),
        ({}, Policy(currencies=("USD",)), COMPANY, "bills in EUR are for a person to decide"),
        ({}, Policy(review_vendors=("7",)), COMPANY, "every bill of this vendor is for a person to decide"),
        ({}, Policy(closed_until=cases.MAY), COMPANY, "the period up to 2026-05-01 is closed by the policy"),
        ({}, Policy(closed_until=date(2026, 4, 30)), COMPANY, None),
        (
            {},
            Policy(closed_until=date(2026, 4, 30)),
            Company(name="Fable Locks", books_closed_on=date(2026, 5, 3)),
            "the period up to 2026-05-03 is closed in QuickBooks",
        ),
        ({"issued_on": None}, Policy(closed_until=date(2026, 12, 31)), None, None),
    ],
)
def test_the_policy_holds(fields: dict[str, Any], policy: Policy, company: Company | None, held: str | None) -> None:
    found = assess(a_bill(**fields), a_vendor(), policy, lists=Lists(company=company))
    assert [one for one in found.holds if held and held in one] == list(found.holds)
    assert len(found.holds) == (held is not None)
    assert found.readiness.holds == found.holds
    assert found.readiness.policy == (0.0 if held else 1.0)


@pytest.mark.parametrize("auto, review", [(0.85, 0.55), (0.6, 0.6), (0.99, 0.9), (0.3, 0.1)])
def test_a_held_bill_is_never_ready_and_never_refused_for_it(auto: float, review: float) -> None:
    held = Policy(auto=auto, review=review, amount_cap=Decimal(1))
    assert review <= assess(a_bill(), a_vendor(), held).readiness.score <= auto


def test_a_blocked_vendor_is_not_ready_at_all() -> None:
    found = assess(a_bill(), a_vendor(), Policy(blocked_vendors=("7",)))
    assert found.blocked
    assert found.readiness.score == 0
    assert found.readiness.holds == ("the vendor is blocked",)
