"""What earlier bills say of a vendor: counted in the order in which they were entered, however they come."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from common.messages import Customer, Record, Ref
from services.scorer.matching.dealings import Dealings, Entered
from services.scorer.matching.readiness import History
from tests.scorer.cases import NOON, REALM, WS, bill, books, key, vendor, verdicts

BILLS = st.lists(st.tuples(st.integers(0, 9), st.sampled_from("ab"), st.integers(0, 5), st.booleans()), max_size=40)


def entered(day: int, ident: int) -> Entered:
    return datetime(2026, 5, 1, tzinfo=UTC) + timedelta(days=day), ident, str(ident)


@given(changes=BILLS, gone=st.sets(st.integers(0, 9)))
def test_what_came_before_is_counted_however_it_came(changes: list[tuple[int, str, int, bool]], gone: set[int]) -> None:
    dealings, last = Dealings(), dict[int, tuple[str, int, bool]]()
    for ident, supplier, day, paid in changes:
        dealings.take(str(ident), supplier, entered(day, ident), paid=paid)
        last[ident] = supplier, day, paid
    for ident in gone:
        dealings.drop(str(ident))
        last.pop(ident, None)
    for ident, (supplier, day, _) in last.items():
        earlier = [
            (entered(other_day, other), paid)
            for other, (of, other_day, paid) in last.items()
            if of == supplier and entered(other_day, other) < entered(day, ident)
        ]
        since = min(earlier)[0][0].date() if earlier else None
        assert dealings.before(str(ident)) == History(len(earlier), sum(paid for _, paid in earlier), since)


def test_a_decision_says_what_is_known_of_the_vendor() -> None:
    records = [bill(str(day), day=day, number=f"N-{day}", balance=Decimal(0)) for day in (1, 2, 3)]
    found = verdicts(books([vendor(), *records]))
    told = {ident: verdict.readiness.standing for ident, verdict in found.items() if verdict.readiness}
    assert told["1"] == ("no earlier bill",)
    assert told["3"] == ("2 of 2 earlier bills paid since 2026-05-01",)


def test_a_vendor_that_was_deleted_is_not_there() -> None:
    gone = Record(workspace=WS, realm=REALM, id="7", kind="vendor", content_hash="g", pulled_at=NOON, deleted=True)
    found = books([vendor(), bill(), gone])
    assert found.vendor_of(key("1")) is None
    (verdict,) = verdicts(found).values()
    assert verdict.readiness is not None
    assert any("vendor record" in lack for lack in verdict.readiness.lacks)


def test_a_line_billed_on_to_nobody_is_named_once_customers_are_known() -> None:
    line = bill().body.lines[0]  # type: ignore[union-attr]
    billed = bill(lines=(type(line)(amount=line.amount, customer=Ref(id="31", name="Imaginary Client")),))
    other = Record(
        workspace=WS, realm=REALM, id="30", kind="customer", content_hash="c", pulled_at=NOON, body=Customer(name="X")
    )
    for known, lacks in (([], False), ([other], True)):
        (verdict,) = verdicts(books([vendor(), *known, billed])).values()
        assert verdict.readiness is not None
        assert any("Imaginary Client" in lack for lack in verdict.readiness.lacks) is lacks
