"""Payments of several bills at once, and of one in parts: proposed to a person with the sum explained."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from common.messages import Entry, Policy, Record
from tests.scorer.cases import MAY, bill, books, key, payment, vendor, verdicts


def paid(ident: str, amount: str, day: int = 20, **fields: Any) -> Entry:
    when = MAY + timedelta(days=day)
    return payment(ident, amount=Decimal(amount), issued_on=when, paid_on=when, **fields)


def due(ident: str, total: str, **fields: Any) -> Record:
    return bill(ident, total=Decimal(total), number=f"N-{ident}{ident}{ident}", **fields)


def told(records: list[Record], entries: list[Entry], **more: Any) -> dict[str, tuple[str, str | None, str]]:
    found = verdicts(books([vendor(), *records], entries, **more))
    return {ident: (verdict.action, verdict.gate, verdict.why) for ident, verdict in found.items()}


def test_a_payment_of_two_bills_is_explained_to_a_person_for_both() -> None:
    found = told([due("12", "100.00"), due("15", "50.00")], [paid("t1", "150.00")])
    for ident in ("12", "15"):
        action, gate, why = found[ident]
        assert (action, gate) == ("review", "remittance")
        assert why == "150.00 EUR on 2026-05-21 pays bills 12 (100.00) and 15 (50.00)"


def test_payments_that_make_up_a_bill_are_explained() -> None:
    action, gate, why = told([due("12", "100.00")], [paid("t1", "40.00"), paid("t2", "60.00", 30)])["12"]
    assert (action, gate) == ("review", "remittance")
    assert "t1 (40.00 on 2026-05-21) and t2 (60.00 on 2026-05-31)" in why


def test_a_part_payment_has_to_name_the_bill() -> None:
    named = paid("t1", "40.00", label="PRLV SEPA SLUICE & SONS N-121212")
    action, gate, why = told([due("12", "100.00")], [named])["12"]
    assert (action, gate) == ("review", "remittance")
    assert "60.00 EUR left to pay" in why
    assert told([due("12", "100.00")], [paid("t1", "40.00")])["12"][0] == "create"


@pytest.mark.parametrize(
    "entries",
    [
        [paid("t1", "150.00", counterparty="Floodgate Works", label="FLOODGATE WORKS")],
        [paid("t1", "150.00", currency="USD")],
        [paid("t1", "150.00", 200)],
        [paid("t1", "150.01")],
    ],
    ids=["another supplier", "another currency", "long after", "a cent off"],
)
def test_what_does_not_fit_says_nothing(entries: list[Entry]) -> None:
    found = told([due("12", "100.00"), due("15", "50.00")], entries)
    assert {action for action, _, _ in found.values()} == {"create"}


def test_a_payment_that_is_somebodys_is_not_added_up() -> None:
    claimed = told(
        [due("12", "100.00"), due("15", "50.00")], [paid("t1", "150.00")], claims={"transaction-t1": key("9")}
    )
    assert {action for action, _, _ in claimed.values()} == {"create"}
    # One bill has this very amount: the payment is that one's, whatever two others add up to.
    own = told([due("12", "100.00"), due("15", "50.00"), due("16", "150.00")], [paid("t1", "150.00")])
    assert (own["12"][0], own["15"][0]) == ("create", "create")
    assert own["16"][0] == "link"


def test_a_blocked_vendor_stays_blocked() -> None:
    policy = Policy(blocked_vendors=("7",))
    found = told([due("12", "100.00"), due("15", "50.00")], [paid("t1", "150.00")], policy=policy)
    assert {action for action, _, _ in found.values()} == {"refuse"}
