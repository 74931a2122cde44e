"""Invoice numbers in free text."""

import pytest

from services.scorer.matching.references import mentioned, names_another, reference
from tests.scorer.cases import bill, decided, outcome, payment


@pytest.mark.parametrize(
    "text, holds, another",
    [
        ("PRLV SEPA FLOODGATE F2025-8524", True, False),
        ("PRLV SEPA FLOODGATE F2025 8524", True, False),
        ("PRLV SEPA FLOODGATE F2025-8510", False, True),
        ("PRLV SEPA FLOODGATE F20258510", False, True),
        ("F2025-8510 AND F2025-8524", True, True),
        ("PRLV SEPA FLOODGATE", False, False),
        ("CARD 20.05.2025 FLOODGATE", False, False),
        ("CUSTOMER 99817 CONTRACT 2025", False, False),
        ("F2024-8524", False, False),
    ],
)
def test_a_number_or_its_neighbour_is_found_in_a_text(text: str, holds: bool, another: bool) -> None:
    number = reference("F2025-8524")
    assert number is not None
    assert (mentioned(number, text), names_another(number, text)) == (holds, another)


def test_a_payment_that_names_another_bill_of_the_supplier_is_not_linked() -> None:
    told = payment(label="PRLV SEPA SLUICE & SONS F-2026-1002")
    assert outcome(decided(bill(), told))[:2] == ("review", "other number")
    both = payment(label="SLUICE & SONS F-2026-1001 F-2026-1002")
    assert decided(bill(), both).action == "link"
