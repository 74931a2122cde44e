"""A bill's timeline: in the order of time, each stream's own order kept, nothing left out, and no formulas."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from common import codec
from common.messages import Decision, ReviewClosed
from common.timeline import Seen, cells, timeline

T0 = datetime(2026, 3, 1, tzinfo=UTC)
KEY = "9341-7"
SUBJECTS = (
    f"eu.record.w.bill.{KEY}",
    f"eu.decision.w.{KEY}",
    f"eu.review.requested.w.{KEY}",
    f"eu.review.resolved.w.{KEY}",
    f"eu.review.closed.w.{KEY}",
    f"eu.posting.w.{KEY}",
    f"eu.failure.w.scorer.{KEY}",
)


def stream(subject: str) -> str:
    return subject.split(".")[1]


def decision(version: int, **more: object) -> bytes:
    return codec.encode(
        Decision(
            id=f"d{version}",
            workspace="w",
            realm="9341",
            bill="7",
            action="create",
            score=0.1,
            why=str(more.get("why", "none like it")),
            record_hash=f"h{version}",
            record_seq=version,
            entries_seq=0,
            policy_version=1,
            model_version="m",
            decided_at=T0,
        )
    )


@given(st.lists(st.tuples(st.sampled_from(SUBJECTS), st.integers(0, 5), st.binary(max_size=4)), max_size=25))
def test_everything_is_shown_in_the_order_of_time(drawn: list[tuple[str, int, bytes]]) -> None:
    """Seconds are drawn freely, so a stream's clock may even go back: its own order holds all the same."""
    held = [Seen(subject, n + 1, T0 + timedelta(seconds=at), data) for n, (subject, at, data) in enumerate(drawn)]
    shown = [step for step in timeline(held) if step.sequence is not None]
    assert sorted(step.sequence or 0 for step in shown) == [one.sequence for one in held]
    by_sequence = {one.sequence: one for one in held}
    for name in {stream(one.subject) for one in held}:
        own = [step.sequence for step in shown if stream(by_sequence[step.sequence or 0].subject) == name]
        assert own == sorted(own, key=lambda sequence: sequence or 0)
    clocks: dict[str, list[datetime]] = {stream(one.subject): [] for one in held}
    for one in held:
        clocks[stream(one.subject)].append(one.time)
    if all(times == sorted(times) for times in clocks.values()):
        assert [step.at for step in shown] == sorted(step.at for step in shown)


def test_a_version_that_was_replaced_is_known_from_the_decision_on_it() -> None:
    held = [Seen(SUBJECTS[1], n, T0 + timedelta(seconds=n), decision(v)) for n, v in ((1, 4), (2, 4), (3, 9))]
    shown = timeline(held)
    assert [(step.what, step.version) for step in shown] == [
        ("version", 4),
        ("decision", 4),
        ("decision", 4),
        ("version", 9),
        ("decision", 9),
    ]


@given(st.text(max_size=12))
def test_no_cell_is_taken_for_a_formula(text: str) -> None:
    for note in (text, *(sign + text for sign in "=+-@\t\r\n＝＋－＠")):
        closed = ReviewClosed(
            review="r", workspace="w", realm="9341", bill="7", outcome="refused", closed_at=T0, by=note, why=note
        )
        [step] = timeline([Seen(SUBJECTS[4], 1, T0, codec.encode(closed))])
        row = cells(step)
        assert not any(cell.startswith(tuple("=+-@\t\r\n＝＋－＠")) for cell in row)
        assert any(cell in {note, f"'{note}"} for cell in row)
