"""What proves a decision right or wrong, and who is held back."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.messages import Candidate, Decision, FieldScore, Policy, Precision, ReviewClosed
from services.scorer.matching.selfcheck import GATE, STANDS, Answered, case, changes, checked, hold, measured
from tests.scorer.cases import NOON, REALM, WS

NOW = NOON + timedelta(days=200)
LONG_AGO, LATELY = NOW - timedelta(days=60), NOW - timedelta(days=5)
VENDOR = f"{REALM}-7"


def decided(action: Any, at: datetime, entry: str | None = None, *, content: str = "h", **fields: Any) -> Decision:
    """A decision on a bill."""
    return Decision(
        **{
            "id": f"{action}-{entry}-{content}",
            "workspace": WS,
            "realm": REALM,
            "bill": "1",
            "action": action,
            "score": 0.9,
            "why": "a test says so",
            "record_hash": content,
            "record_seq": 1,
            "entries_seq": 0,
            "policy_version": 1,
            "model_version": "test",
            "decided_at": at,
            "entry": entry,
            "entry_kind": "invoice" if entry else None,
            **fields,
        }
    )


def answered(
    outcome: Any, at: datetime, entry: str | None = None, *, review: str = "r", gate: str | None = None
) -> Any:
    """A person's answer to the review of that id."""
    told = ReviewClosed(
        review=review,
        workspace=WS,
        realm=REALM,
        bill="1",
        outcome=outcome,
        closed_at=at,
        by="A. Tester",
        entry=entry,
    )
    return Answered(told, gate)


LINKED = decided("link", LONG_AGO, "e1")
CREATED = decided("create", LONG_AGO)
SOON = LONG_AGO + timedelta(days=1)
HELD = decided("review", SOON, "e1", gate=GATE)


# Cases.


@pytest.mark.parametrize("one", [LINKED, CREATED])
def test_a_decision_that_stands_long_enough_is_right(one: Decision) -> None:
    assert case([one], [], NOW) is True
    assert case([one], [], LONG_AGO + STANDS) is True
    assert case([one], [], LONG_AGO + STANDS - timedelta(seconds=1)) is None


def test_a_decision_that_is_repeated_stands_since_it_was_first_made() -> None:
    assert case([LINKED, decided("link", LATELY, "e1", content="h2")], [], NOW) is True
    assert case([LINKED, decided("link", LATELY, "e2", content="h2")], [], NOW) is None


@pytest.mark.parametrize(
    "one, outcome, entry, right",
    [
        (LINKED, "linked", "e1", True),
        (LINKED, "linked", "e2", False),
        (LINKED, "created", "made", False),
        (LINKED, "refused", None, None),
        (CREATED, "created", "made", True),
        (CREATED, "linked", "e1", False),
        (CREATED, "refused", None, None),
    ],
)
def test_a_person_who_decides_on_the_same_version_proves_it(
    one: Decision, outcome: str, entry: str | None, right: bool | None
) -> None:
    assert case([one], [answered(outcome, SOON, entry)], NOW) is right


def test_the_payment_of_the_linked_invoice_is_the_same_document() -> None:
    fields: dict[Any, FieldScore] = {"name": FieldScore(score=1.0)}
    own = Candidate(entry="e1", kind="invoice", score=0.9, fields=fields, also=("transaction-t1",))
    both = decided("link", LONG_AGO, "e1", candidates=(own,))
    assert case([both], [answered("linked", SOON, "t1")], NOW) is True


def test_an_edited_bill_says_nothing_about_what_it_was_before() -> None:
    question = decided("review", SOON, content="h2", gate="changed")
    answer = answered("linked", SOON + timedelta(hours=1), "e2", review=question.id)
    assert case([LINKED, question], [answer], NOW) is None
    late = decided("review", LATELY, content="h2", gate="changed")
    assert case([LINKED, late], [answered("linked", NOW, "e2", review=late.id)], NOW) is True


@pytest.mark.parametrize("gate", ["entry gone", "status forbids", "uncertain"])
def test_a_question_about_qonto_does_not_judge_the_match(gate: str) -> None:
    assert case([LINKED], [answered("linked", SOON, "e2", gate=gate)], NOW) is None
    assert case([LINKED], [answered("linked", SOON, "e2", gate="contested")], NOW) is False


def test_what_follows_a_persons_answer_is_no_case() -> None:
    question = decided("review", LONG_AGO, gate="not sure enough")
    answer = answered("linked", SOON, "e1", review=question.id)
    carried_on = decided("link", SOON + timedelta(days=1), "e1", content="h2")
    assert case([question, carried_on], [answer], NOW) is None


def test_what_was_put_in_question_stood_only_until_then() -> None:
    assert case([LINKED, decided("review", SOON, gate="changed")], [], NOW) is None
    assert case([LINKED, decided("withdraw", SOON)], [], NOW) is None
    assert case([LINKED, decided("withdraw", LATELY)], [], NOW) is True


def test_an_entry_rejected_in_qonto_was_wrong_to_create() -> None:
    assert case([CREATED], [], NOW, turned_down=True) is False
    assert case([LINKED], [], NOW, turned_down=True) is True


@pytest.mark.parametrize(
    "outcome, entry, right",
    [("linked", "e1", True), ("linked", "e2", False), ("created", "made", False), ("refused", None, False)],
)
def test_what_would_have_been_decided_is_a_case_as_well(outcome: str, entry: str | None, right: bool) -> None:
    answer = answered(outcome, LATELY, entry, review=HELD.id)
    assert case([HELD], [answer], NOW) is right
    assert case([HELD], [], NOW) is None
    assert case([LINKED, HELD], [answer], NOW) is right


def test_nothing_tells_nothing() -> None:
    assert case([], [], NOW) is None
    assert case([], [answered("created", SOON)], NOW) is None
    assert case([decided("review", LONG_AGO)], [], NOW) is None
    assert case([decided("review", LONG_AGO)], [answered("created", SOON)], NOW) is None


# Who is held back.


def test_a_vendor_is_held_back_by_a_wrong_decision_and_a_low_bound() -> None:
    found = checked({VENDOR: measured(7, 9, "Sluice"), f"{REALM}-8": measured(3, 3)}, 0.95, NOW)
    assert found.held == (VENDOR,)
    assert (found.overall.right, found.overall.cases) == (10, 12)
    assert hold(found, VENDOR) == (
        "automatic decisions for this vendor were right in 7 of 9 cases (at least 45%, target 95%)"
    )
    assert hold(found, f"{REALM}-8") is None
    assert hold(None, VENDOR) is None


def test_without_a_wrong_decision_nobody_is_held_back_however_few_there_are() -> None:
    found = checked({VENDOR: measured(1, 1)}, 0.95, NOW)
    assert (found.held, found.vendors) == ((), {})


def test_a_vendor_comes_back_when_the_bound_is_met_again() -> None:
    low, high = (checked({VENDOR: measured(right, right + 1)}, 0.95, NOW) for right in (91, 92))
    assert changes(None, low) == changes(high, low) == ((VENDOR,), ())
    assert changes(low, high) == ((), (VENDOR,))
    assert changes(low, low) == changes(None, high) == ((), ())


def test_a_bound_just_below_the_target_is_not_shown_as_if_it_met_it() -> None:
    found = checked({VENDOR: measured(91, 92)}, 0.95, NOW)
    assert "at least 94%" in (hold(found, VENDOR) or "")


def test_a_target_of_nothing_holds_nobody_back() -> None:
    assert checked({VENDOR: measured(0, 5)}, 0.0, NOW).held == ()
    assert Policy(target=0.0).target == 0.0
    with pytest.raises(ValueError, match="policy: target"):
        Policy(target=1.0)


@given(st.dictionaries(st.sampled_from("abc"), st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=3))
@settings(max_examples=40, deadline=None)
def test_all_vendors_together_are_the_sum(counts: dict[str, tuple[int, int]]) -> None:
    vendors: dict[str, Precision] = {
        vendor: measured(right, right + wrong) for vendor, (right, wrong) in counts.items()
    }
    found = checked(vendors, 0.95, NOW)
    assert found.overall.cases == sum(right + wrong for right, wrong in counts.values())
    assert set(found.held) <= set(found.vendors) == {vendor for vendor, (_, wrong) in counts.items() if wrong}
