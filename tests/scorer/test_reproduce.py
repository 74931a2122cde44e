"""Every decision can be taken again from what is stored with it, and comes out the same."""

from decimal import Decimal
from uuid import uuid5

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from common import codec
from common.messages import Decision, Entry, Policy, Record
from services.scorer.matching import decisions
from services.scorer.matching.decisions import decision_on
from services.scorer.matching.model import Habits
from services.scorer.matching.reproduce import differences
from tests.scorer.cases import NOON, bill, books, decided, invoice, key, vendor, verdicts
from tests.scorer.test_laws import UNUSUAL, worlds


def stored(record: Record, *entries: Entry, policy: Policy | None = None) -> Decision:
    """The decision on a bill, as it comes back from the stream."""
    verdict = decided(record, *entries, policy=policy)
    return codec.decode(codec.encode(decision_on(record, 1, verdict, policy or Policy(), NOON)), Decision)


@given(st.text())
def test_ids_are_those_of_the_standard(name: str) -> None:
    assert decisions._identifier(name) == str(uuid5(decisions._NAMESPACE, name))


@settings(max_examples=60, deadline=None)
@given(
    world=worlds(),
    auto=st.floats(0.6, 0.99),
    blocked=st.booleans(),
    linked=st.booleans(),
    usual=st.none() | UNUSUAL,
)
def test_every_decision_is_reproduced(
    world: tuple[list[Record], list[Entry]], auto: float, blocked: bool, linked: bool, usual: Habits | None
) -> None:
    policy = Policy(auto=auto, blocked_vendors=("1",) if blocked else (), amount_cap=Decimal(1000))
    records = {record.id: record for record in world[0] if record.kind == "bill"}
    claims = {"invoice-i1": key("1"), "transaction-t2": key("2")} if linked else {}
    for ident, verdict in verdicts(books(*world, policy=policy, claims=claims, usual=usual)).items():
        decision = decision_on(records[ident], 1, verdict, policy, NOON)
        assert differences(codec.decode(codec.encode(decision), Decision), policy) == []


def test_more_candidates_than_are_shown_count_as_well() -> None:
    decision = stored(bill(number=None), *(invoice(f"e{n}", number=None) for n in range(9)))
    assert (decision.action, decision.gate) == ("review", "near tie")
    assert decision.score > 0.85
    assert decision.grounds.rest > 0
    assert differences(decision, Policy()) == []
    assert differences(replace(decision, grounds=replace(decision.grounds, rest=0.0)), Policy())


def test_another_policy_or_a_changed_decision_is_noticed() -> None:
    decision = stored(bill(), invoice())
    assert differences(decision, Policy()) == []
    assert differences(decision, Policy(auto=1.0)) != []
    (told,) = differences(replace(decision, action="create"), Policy())
    assert told == "action: create was decided, link comes out"
    (best,) = decision.candidates
    fields = {**best.fields, "amount": replace(best.fields["amount"], score=0.2)}
    told = differences(replace(decision, candidates=(replace(best, fields=fields),)), Policy())[0]
    assert told.startswith("entry e1 alone: ")


def test_a_deletion_needs_nothing() -> None:
    record = bill(deleted=True)
    (verdict,) = verdicts(books([vendor(), record])).values()
    assert differences(decision_on(record, 1, verdict, Policy(), NOON), Policy()) == []
