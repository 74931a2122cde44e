"""Each row of the decision table and each gate that holds a sufficient score."""

from datetime import date, timedelta
from decimal import Decimal

import pytest

from common.messages import Policy, Record, Ref, VendorCredit
from tests.scorer.cases import (
    MAY,
    NAME,
    NOON,
    REALM,
    WS,
    bill,
    books,
    decided,
    invoice,
    key,
    outcome,
    payment,
    vendor,
    verdicts,
)


def test_the_same_document_is_linked() -> None:
    verdict = decided(bill(), invoice())
    assert outcome(verdict) == ("link", None, "e1")
    assert verdict.score > 0.99
    assert {field: found.score for field, found in verdict.candidates[0].fields.items()} == {
        "name": 1.0,
        "amount": 1.0,
        "date": 1.0,
        "currency": 1.0,
        "reference": 1.0,
    }


def test_nothing_alike_is_created() -> None:
    verdict = decided(bill(), invoice(counterparty="Floodgate Works", amount=Decimal(77), number="Z9"))
    assert outcome(verdict) == ("create", None, None)


def test_an_equal_amount_alone_is_no_match() -> None:
    other = invoice(counterparty="Floodgate Works", number=None, issued_on=MAY + timedelta(days=20))
    assert decided(bill(), other).action == "create"


def test_an_equal_amount_and_day_under_another_name_is_asked() -> None:
    assert decided(bill(), invoice(counterparty="Floodgate Works", number=None)).action == "review"


def test_an_equal_amount_and_day_without_a_name_is_asked() -> None:
    verdict = decided(bill(), invoice(counterparty=None, number=None))
    assert verdict.action == "review"


def test_another_number_is_asked_and_says_what_would_have_changed_it() -> None:
    verdict = decided(bill(), invoice(number="F-2026-2002"))
    assert verdict.action == "review"
    assert verdict.counterfactual is not None
    assert "reference" in verdict.counterfactual
    # However low a workspace sets its threshold, a contradicting number is never certain.
    assert decided(bill(), invoice(number="F-2026-2002"), policy=Policy(auto=0.56, review=0.5)).action == "review"


def test_contradicting_numbers_in_names_are_never_linked() -> None:
    depot = bill(vendor=Ref(id="8", name="Depot 12"))
    assert decided(depot, invoice(counterparty="Depot 14")).action != "link"
    assert decided(depot, invoice(counterparty="Depot 14", number=None)).action != "link"


def test_a_near_tie_goes_to_a_person() -> None:
    verdict = decided(bill(number=None), invoice("a", number=None), invoice("b", number=None))
    assert verdict.action == "review"
    assert verdict.gate == "near tie"
    assert verdict.score > 0.85
    assert {candidate.entry for candidate in verdict.candidates} == {"a", "b"}


def test_two_bills_and_two_payments_that_fit_crosswise_are_not_guessed() -> None:
    first = bill("1", number="A-100", issued_on=MAY, due_on=MAY + timedelta(days=30))
    second = bill("2", number="A-200", issued_on=MAY + timedelta(days=30), due_on=MAY + timedelta(days=45))
    payments = [
        payment(f"t{day}", issued_on=MAY + timedelta(days=day), paid_on=MAY + timedelta(days=day)) for day in (33, 38)
    ]
    found = verdicts(books([vendor(), first, second], payments))
    assert {ident: verdict.action for ident, verdict in found.items()} == {"1": "review", "2": "review"}


def test_an_invoice_and_its_payment_are_one_candidate_and_the_invoice_is_linked() -> None:
    verdict = decided(bill(number=None), invoice(number=None, matched=("t1",)), payment())
    assert outcome(verdict) == ("link", None, "e1")
    assert len(verdict.candidates) == 1
    assert "transaction-t1" in verdict.candidates[0].also or "t1" in verdict.candidates[0].also


def test_a_payment_of_another_invoice_is_settled() -> None:
    # The payment matches an invoice with another number: it cannot pay this bill too.
    other = invoice("e9", number="F-2026-9999", issued_on=MAY - timedelta(days=200), matched=("t1",))
    assert decided(bill(), other, payment()).action != "link"
    made = invoice("e9", origin="9-44", revision=1, number=None, matched=("t1",))
    assert decided(bill(), made, payment()).action == "create"


def test_an_entry_two_bills_want_goes_to_a_person() -> None:
    one, two = bill("1", number=None), bill("2", number="X-5", vendor=Ref(id="7", name="Sluice & Sons"))
    found = verdicts(books([vendor(), one, two], [invoice(number=None)]))
    assert {verdict.gate for verdict in found.values()} == {"contested"}
    assert {verdict.action for verdict in found.values()} == {"review"}


def test_an_invoice_known_only_by_its_payment_is_linked_once() -> None:
    # Qonto matched an invoice it could not read: only the payment tells which bills compete for it.
    unread = invoice(counterparty=None, amount=None, number=None, issued_on=None, matched=("t1",))
    rivals = [bill(str(n), day=n, number=f"N-{n}00{n}") for n in (1, 2)]
    found = verdicts(books([vendor(), *rivals], [unread, payment()]))
    assert [verdict.action for verdict in found.values()] == ["review", "review"]


def test_amount_and_day_alone_are_never_linked_however_low_the_threshold() -> None:
    nameless = invoice(counterparty=None, number=None)
    assert decided(bill(number=None), nameless, policy=Policy(auto=0.6, review=0.5)).action == "review"


def test_the_bill_with_the_better_right_gets_the_entry() -> None:
    right = bill("1")
    wrong = bill("2", number="F-2026-7777", issued_on=MAY + timedelta(days=20), due_on=None)
    found = verdicts(books([vendor(), right, wrong], [invoice()]))
    assert outcome(found["1"]) == ("link", None, "e1")
    assert found["2"].action != "link"


def test_an_entry_that_serves_another_bill_is_contested() -> None:
    assert decided(bill(), invoice(), claims={"invoice-e1": key("99")}).gate == "contested"


def test_a_linked_bill_keeps_its_entry_while_both_fit() -> None:
    claims = {"invoice-e1": key("1")}
    assert outcome(decided(bill(), invoice(), claims=claims)) == ("link", None, "e1")
    changed = decided(bill(total=Decimal("900.00"), number="F-2026-5555"), invoice(), claims=claims)
    assert (changed.action, changed.gate) == ("review", "changed")


def test_claims_of_an_invoice_and_its_payment_keep_the_invoice_in_any_order() -> None:
    entries = (invoice(matched=("t1",)), payment())
    claims = {"invoice-e1": key("1"), "transaction-t1": key("1")}
    for order in (claims, dict(reversed(claims.items()))):
        assert outcome(decided(bill(), *entries, claims=order)) == ("link", None, "e1")


def test_a_linked_invoice_still_fits_through_its_payment() -> None:
    unread = invoice(amount=None, number=None, issued_on=None, matched=("t1",))
    before = decided(bill(number=None), unread, payment())
    assert outcome(before) == ("link", None, "e1")
    assert outcome(decided(bill(number=None), unread, payment(), claims={"invoice-e1": key("1")})) == outcome(before)


def test_an_entry_another_bill_is_sure_of_does_not_hold_this_one() -> None:
    sure = bill("1", total=Decimal("9.99"), issued_on=None, due_on=date(2026, 5, 10))
    other = bill("2", total=Decimal("100.00"), number="F-2026-2002", due_on=None)
    unread = invoice(counterparty=None, amount=None, issued_on=date(2026, 5, 10))
    before = verdicts(books([vendor(), sure, other], [unread]))
    after = verdicts(books([vendor(), sure, other], [unread], claims={"invoice-e1": key("1")}))
    assert before["1"].action == after["1"].action
    assert before["2"].action == after["2"].action


def test_what_weir_made_for_this_bill_is_kept_current() -> None:
    made = invoice("e1", origin=key("1"), revision=1, counterparty=None, amount=None, number=None)
    assert decided(bill(), made, invoice("e2")).action == "create"


def test_what_weir_made_for_another_bill_is_no_candidate() -> None:
    verdict = decided(bill(), invoice("e1", origin=key("2"), revision=1))
    assert verdict.action == "create"
    assert verdict.candidates == ()


@pytest.mark.parametrize("number", ["F-2026-1001", None])
def test_a_bill_entered_twice_is_not_posted_twice(number: str | None) -> None:
    first, second = (
        bill("4", day=1, number=number),
        bill("3", day=2, number=number, vendor=Ref(id="8", name="SLUICE AND SONS")),
    )
    records = [vendor(), vendor("8"), first, second]
    found = verdicts(books(records))
    assert (found["3"].action, found["3"].gate) == ("review", "duplicate")
    assert "4" in found["3"].why
    assert found["4"].gate != "duplicate"
    # With the document in Qonto, the first gets it.
    found = verdicts(books(records, [invoice(number=number)]))
    assert found["4"].action == "link"
    assert found["3"].action == "review"


def test_two_real_bills_of_one_amount_are_no_duplicates() -> None:
    found = verdicts(books([vendor(), bill("1", number="A-100"), bill("2", day=2, number="A-101")]))
    assert {verdict.action for verdict in found.values()} == {"create"}


@pytest.mark.parametrize(
    "entry",
    [
        invoice(credit_note=True),
        payment(side="credit"),
        invoice(status="rejected"),
        invoice(status="discarded"),
        payment(status="declined"),
        invoice(deleted=True),
    ],
)
def test_credits_and_dead_entries_match_nothing(entry: object) -> None:
    assert decided(bill(), entry).candidates == ()  # type: ignore[arg-type]


def test_a_deleted_bill_is_withdrawn() -> None:
    assert decided(bill(deleted=True), invoice()).action == "withdraw"


@pytest.mark.parametrize(
    "policy",
    [
        Policy(currencies=("USD",)),
        Policy(amount_cap=Decimal(100)),
        Policy(review_vendors=("7",)),
        Policy(closed_until=date(2026, 5, 1)),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_policy_holds_what_would_link_or_create(policy: Policy, known: bool) -> None:
    verdict = decided(bill(), *([invoice()] if known else []), policy=policy)
    assert (verdict.action, verdict.gate) == ("review", "policy")
    assert verdict.readiness is not None
    assert verdict.readiness.policy < 1.0


@pytest.mark.parametrize("known", [True, False])
def test_a_blocked_vendor_is_never_posted(known: bool) -> None:
    verdict = decided(bill(), *([invoice()] if known else []), policy=Policy(blocked_vendors=("7",)))
    assert verdict.action in {"review", "refuse"}
    assert verdict.gate == "policy"


def test_a_bill_that_lacks_much_is_refused_and_says_what() -> None:
    verdict = decided(bill(number=None, issued_on=None, due_on=None, total=Decimal(0), lines=()))
    assert (verdict.action, verdict.gate) == ("refuse", "incomplete")
    assert verdict.readiness is not None
    assert len(verdict.readiness.lacks) >= 3


def test_an_inactive_vendor_is_asked_about() -> None:
    found = verdicts(books([vendor(active=False), bill()]))["1"]
    assert found.action in {"review", "refuse"}
    assert found.readiness is not None
    assert any("active" in lack for lack in found.readiness.lacks)


def test_net_and_foreign_amounts_are_recognized() -> None:
    taxed = bill(tax=Decimal("20.00"), number=None)
    assert decided(taxed, invoice(amount=Decimal("100.00"), number=None)).action in {"link", "review"}
    dollars = bill(currency="USD", number=None)
    foreign = payment(amount=Decimal("110.32"), local_amount=Decimal("120.00"), local_currency="USD")
    assert outcome(decided(dollars, foreign)) == ("link", None, "t1")


def test_small_change_is_no_rounding() -> None:
    cents = bill(total=Decimal("0.50"), number=None)
    assert decided(cents, invoice(amount=Decimal("0.52"), number=None)).action != "link"


def test_a_document_qonto_has_not_read_yet_is_not_made_twice() -> None:
    others = [invoice(f"x{n}", amount=Decimal(500 + 50 * n), number=f"Z-{n}77") for n in range(12)]
    unread = invoice("new", amount=None, currency=None, number=None, issued_on=MAY)
    assert decided(bill(), *others, unread).action == "review"


def test_a_supplier_and_a_day_alone_do_not_say_which_document_it_is() -> None:
    unread = invoice(amount=None, currency=None, number=None, issued_on=MAY)
    verdict = decided(bill(), unread, policy=Policy(auto=0.6, review=0.5))
    assert outcome(verdict)[:2] == ("review", "single evidence")


def test_another_months_invoice_is_not_taken_for_this_one() -> None:
    # However usual it is in a workspace that Qonto holds what is billed: this one may not be there yet.
    months = [MAY + timedelta(days=30 * month) for month in range(12)]
    records = [bill(str(n), number=None, issued_on=day, due_on=None) for n, day in enumerate(months, start=1)]
    entries = [invoice(f"e{n}", number=None, issued_on=day) for n, day in enumerate(months[:-1], start=1)]
    found = verdicts(books([vendor(), *records], entries))
    assert {ident: verdict.action for ident, verdict in found.items() if ident != "12"} == {
        str(n): "link" for n in range(1, 12)
    }
    assert found["12"].action != "link"
    lonely = decided(bill(number=None, issued_on=months[1]), invoice(number=None), policy=Policy(auto=0.6, review=0.5))
    assert outcome(lonely)[:2] == ("review", "other date")


def test_a_rejected_revision_does_not_hide_the_one_before() -> None:
    old, new = invoice("old", origin=key("1"), revision=1), invoice("new", origin=key("1"), revision=2)
    rejected = invoice("new", origin=key("1"), revision=2, status="rejected")
    verdict = decided(bill(), old, new, rejected)
    assert "already" in verdict.why


def test_an_invoice_that_turns_out_to_be_a_credit_note_is_a_candidate_no_longer() -> None:
    credit = invoice(credit_note=True)
    assert decided(bill(), invoice(), credit).candidates == ()
    # Not even for the bill that it was linked to, nor through the payment that Qonto matched it with.
    linked = decided(bill(), invoice(), credit, claims={"invoice-e1": key("1")})
    assert (linked.action, linked.gate, linked.candidates) == ("review", "changed", ())
    paid_back = decided(bill(), invoice(credit_note=True, matched=("t1",)), payment())
    assert (paid_back.action, paid_back.candidates) == ("create", ())
    # And back again, when Qonto has read it anew.
    assert outcome(decided(bill(), credit, invoice())) == ("link", None, "e1")


def test_a_suppliers_credit_is_no_bill_and_has_no_right_to_an_entry() -> None:
    credit = Record(
        workspace=WS,
        realm=REALM,
        id="2",
        kind="vendorcredit",
        content_hash="c",
        pulled_at=NOON,
        body=VendorCredit(
            vendor=Ref(id="7", name=NAME),
            total=Decimal("120.00"),
            currency="EUR",
            number="F-2026-1001",
            issued_on=MAY,
        ),
    )
    found = books([vendor(), credit, bill()], [invoice()])
    assert set(found.bills) == {key("1")}
    assert outcome(verdicts(found)["1"]) == ("link", None, "e1")


def test_another_amount_is_asked_about_however_well_the_rest_fits() -> None:
    for amount, gate in (("120.02", None), ("120.30", "other amount"), ("120.50", "other amount")):
        verdict = decided(bill(), invoice(amount=Decimal(amount)))
        assert (verdict.action, verdict.gate) == ("review" if gate else "link", gate), amount
        assert verdict.score > 0.85
