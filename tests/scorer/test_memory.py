"""What answers teach, and what a workspace's memory makes of it."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common import codec
from common.messages import (
    Bill,
    Candidate,
    Entry,
    FieldScore,
    Lesson,
    Lessons,
    Ref,
    ReviewClosed,
    ReviewRequested,
    TurnedDown,
)
from common.subjects import BadTokenError
from services.scorer.matching import model
from services.scorer.matching.lessons import KEPT, concerned, kept, learned, teaches, vendor_key
from services.scorer.matching.memory import ONCE, OTHER, Memory
from services.scorer.matching.names import name
from tests.scorer.cases import NOON, REALM, WS, bill, invoice, payment

ALIAS = name("Backwater Holdings")
VENDOR, SECOND = f"{REALM}-7", f"{REALM}-8"
IBAN, VAT = "FR7630006000011234567890189", "FR40303265045"
QUICK = settings(max_examples=40, deadline=None)


def asked(*candidates: Candidate, ident: str = "1", review: str = "r1", **fields: Any) -> ReviewRequested:
    """A question about a bill, with what was shown beside it."""
    body = bill(ident, **fields).body
    assert isinstance(body, Bill)
    return ReviewRequested(
        review=review,
        workspace=WS,
        realm=REALM,
        bill=ident,
        requested_at=NOON,
        score=0.7,
        why="not sure enough",
        summary=body,
        candidates=candidates,
    )


def closed(outcome: Any = "linked", entry: str | None = None, **fields: Any) -> ReviewClosed:
    """What became of it, by a person."""
    return ReviewClosed(
        **{
            "review": "r1",
            "workspace": WS,
            "realm": REALM,
            "bill": "1",
            "outcome": outcome,
            "entry": entry,
            "closed_at": NOON,
            "by": "A. Tester",
            **fields,
        }
    )


def shown(entry: Entry, *, also: tuple[str, ...] = (), free: float = 1.0, **scores: float) -> Candidate:
    """A candidate of which all but the name agrees, unless `scores` say otherwise."""
    compared: dict[Any, float] = {"name": 0.3, "amount": 1.0, "date": 1.0, "currency": 1.0, **scores}
    fields = {field: FieldScore(score=score) for field, score in compared.items()}
    return Candidate(entry=entry.id, kind=entry.kind, score=0.6, fields=fields, also=also, free=free)


def lesson(
    number: int = 1, *, on: str = "1", at: int = 0, turned: tuple[TurnedDown, ...] = (), **fields: Any
) -> Lesson:
    """A lesson of review `number` about bill `on`, `at` minutes past noon."""
    when = NOON + timedelta(minutes=at)
    return Lesson(review=f"r{number}", bill=f"{REALM}-{on}", at=when, by="A. Tester", turned_down=turned, **fields)


def confirmed(number: int, **fields: Any) -> Lesson:
    """A lesson that a bill of its own is linked to an entry of the alias."""
    return lesson(**{"number": number, "on": str(number), "entry": f"invoice-e{number}", "name": ALIAS.text, **fields})


def refuted(number: int, **fields: Any) -> Lesson:
    """A lesson that a bill of its own is none of the alias."""
    turned = (TurnedDown(entry=f"invoice-e{number}", name=ALIAS.text),)
    return lesson(**{"number": number, "on": str(number), "turned": turned, **fields})


def memory(*lessons: Lesson, **others: Lesson) -> Memory:
    """The memory of lessons about one vendor, and of one more about the second."""
    found = Memory()
    found.take(VENDOR, Lessons(lessons=kept(lessons)))
    found.take(SECOND, Lessons(lessons=kept(others.values())))
    return found


def score(found: Memory, measured: float | None = 0.3, vendor: str = VENDOR) -> float | None:
    """What the alias scores for a vendor whose name is so alike."""
    return found.name_score(vendor, [ALIAS], measured)


# What an answer teaches.


def test_a_link_teaches_the_name_and_the_identities_of_the_counterparty() -> None:
    entry = invoice("e9", counterparty="Backwater Holdings GmbH", vat_number=VAT, iban=IBAN)
    question = asked(shown(entry))
    found = learned(question, closed("linked", "e9"), {"invoice-e9": entry})
    assert (found.entry, found.name, found.identities) == ("invoice-e9", ALIAS.text, (VAT, IBAN))
    assert (found.review, found.bill, found.by, found.at) == ("r1", f"{REALM}-1", "A. Tester", NOON)
    assert found.turned_down == ()
    assert vendor_key(question) == VENDOR


def test_a_link_to_another_entry_turns_the_others_down() -> None:
    top, taken = invoice("e1", counterparty="Backwater Holdings"), invoice("e2", counterparty="Lock Four Millwork")
    found = learned(asked(shown(top)), closed("linked", "e2"), {"invoice-e1": top, "invoice-e2": taken})
    assert (found.entry, found.name) == ("invoice-e2", name("Lock Four Millwork").text)
    assert found.turned_down == (TurnedDown(entry="invoice-e1", name=ALIAS.text),)


def test_an_entry_that_was_not_shown_can_be_linked_and_taught() -> None:
    bank = payment("t5", counterparty=None, label="PRLV SEPA BACKWATER HOLDINGS")
    question, answer = asked(), closed("linked", "t5")
    assert "transaction-t5" in concerned(question, answer)
    found = learned(asked(shown(bank)), answer, {"transaction-t5": bank})
    assert (found.entry, found.name) == ("transaction-t5", ALIAS.text)


def test_the_payment_of_a_candidate_is_the_same_document() -> None:
    document, pays = invoice("e1"), payment("t1")
    question = asked(shown(document, also=("transaction-t1",)))
    found = learned(question, closed("linked", "t1"), {"invoice-e1": document, "transaction-t1": pays})
    assert (found.entry, found.turned_down) == ("transaction-t1", ())


@pytest.mark.parametrize(
    "scores",
    [{"amount": 0.4}, {"date": 0.2}, {"reference": 0.0}, {"free": 0.1}],
    ids=["amount", "date", "number", "taken"],
)
def test_a_candidate_that_had_something_else_against_it_says_nothing_about_its_name(scores: Any) -> None:
    entry = invoice("e1", counterparty="Backwater Holdings")
    found = learned(asked(shown(entry, **scores)), closed("created", "made"), {"invoice-e1": entry})
    assert found.turned_down == (TurnedDown(entry="invoice-e1", name=None),)


def test_what_weir_made_itself_teaches_nothing_when_qonto_read_it_otherwise() -> None:
    made = invoice("e1", counterparty="Sluise & Sons", origin=f"{REALM}-1", revision=1)
    assert learned(asked(shown(made)), closed("created", "e1"), {"invoice-e1": made}).turned_down == ()


def test_another_document_of_the_linked_company_says_nothing_about_its_name() -> None:
    entries = {f"invoice-e{n}": invoice(f"e{n}", counterparty="Backwater Holdings") for n in (1, 2)}
    found = learned(asked(*map(shown, entries.values())), closed("linked", "e2"), entries)
    assert found.turned_down == (TurnedDown(entry="invoice-e1", name=None),)


def test_a_refusal_says_nothing_about_names() -> None:
    entry = invoice("e1", counterparty="Backwater Holdings")
    found = learned(asked(shown(entry)), closed("refused"), {"invoice-e1": entry})
    assert (found.entry, found.name) == (None, None)
    assert found.turned_down == (TurnedDown(entry="invoice-e1", name=None),)


@pytest.mark.parametrize("outcome", ["superseded", "rejected"])
def test_a_question_that_went_away_teaches_nothing(outcome: str) -> None:
    assert not teaches(closed(outcome))


@pytest.mark.parametrize("by", [None, "", "  "])
def test_only_people_teach(by: str | None) -> None:
    assert teaches(closed())
    assert not teaches(closed(by=by))


# What the memory makes of it.


def test_one_confirmation_speaks_for_a_name_and_is_no_evidence() -> None:
    assert score(memory()) == 0.3
    assert score(memory(confirmed(1))) == ONCE < model.AGREES
    assert model.worth("name", ONCE) > 0
    assert score(memory(confirmed(1)), 0.9) == 0.9


def test_two_bills_make_an_alias() -> None:
    found = memory(confirmed(1), confirmed(2))
    assert score(found) == 1.0
    assert score(found, None) == 1.0
    assert found.aliases(VENDOR) == {ALIAS.text}
    assert (score(found, vendor=SECOND), found.aliases(SECOND)) == (0.3, frozenset())


def test_the_same_bill_confirmed_twice_counts_once() -> None:
    assert score(memory(confirmed(1), confirmed(2, on="1", at=5))) == ONCE


def test_a_later_answer_takes_back_what_an_earlier_one_taught() -> None:
    first, second = confirmed(1), confirmed(2)
    assert score(memory(first, second, lesson(3, on="2", at=5))) == ONCE
    undone = lesson(3, on="2", at=5, turned=(TurnedDown(entry="invoice-e2", name=ALIAS.text),))
    found = memory(first, second, undone)
    assert score(found) == 0.3
    assert found.rejected(f"{REALM}-2", "invoice-e2")
    assert score(memory(first, second, undone, confirmed(4, on="2", entry="invoice-e2", at=9))) == 1.0


def test_a_later_answer_counts_although_the_bill_changed_its_vendor() -> None:
    found = memory(confirmed(1), confirmed(2), moved=lesson(3, on="2", at=5, entry="invoice-e7", name="sluice sons"))
    assert score(found) == ONCE


def test_what_was_turned_down_for_a_bill_stays_so_until_it_is_linked() -> None:
    pair = f"{REALM}-1", "invoice-e1"
    assert memory(refuted(1)).rejected(*pair)
    assert not memory(refuted(1)).rejected(f"{REALM}-2", "invoice-e1")
    assert memory(refuted(1), lesson(2, on="1", at=5)).rejected(*pair)
    assert not memory(refuted(1), lesson(2, on="1", at=5, entry="invoice-e1")).rejected(*pair)


def test_rejections_cancel_confirmations_and_two_more_make_another_company() -> None:
    assert score(memory(confirmed(1), confirmed(2), refuted(3))) == ONCE
    assert score(memory(confirmed(1), refuted(2)), 0.84) == 0.84
    assert score(memory(refuted(1)), 0.84) == 0.84
    found = memory(confirmed(1), refuted(2), refuted(3), refuted(4))
    assert (score(found, 0.84), score(found, 0.2), score(found, None)) == (OTHER, 0.2, None)


def test_the_vendors_own_name_stays_its_own() -> None:
    assert score(memory(refuted(1), refuted(2), refuted(3)), 1.0) == 1.0


def test_a_name_confirmed_for_two_vendors_belongs_to_neither() -> None:
    other = lesson(9, on="9", entry="invoice-e9", name=ALIAS.text, identities=(IBAN,))
    found = memory(confirmed(1, identities=(IBAN,)), confirmed(2, identities=(IBAN,)), collector=other)
    assert (score(found), found.aliases(VENDOR), found.identity(VENDOR)) == (ONCE, frozenset(), frozenset())


def test_an_identity_is_known_after_two_bills() -> None:
    assert memory(confirmed(1, identities=(IBAN, VAT))).identity(VENDOR) == frozenset()
    found = memory(confirmed(1, identities=(IBAN, VAT)), confirmed(2, identities=(IBAN,)))
    assert found.identity(VENDOR) == {IBAN}
    assert found.identity(SECOND) == frozenset()


def test_the_newest_lessons_are_kept() -> None:
    found = kept(confirmed(number, at=number) for number in range(KEPT + 3))
    assert [one.review for one in found] == [f"r{number}" for number in range(3, KEPT + 3)]


def test_lessons_of_a_vendor_stay_small_enough_for_any_broker() -> None:
    turned = tuple(TurnedDown(entry=f"transaction-{'e' * 36}", name="n" * 60) for _ in range(5))
    long = [lesson(number, at=number, turned=turned, entry="invoice-" + "e" * 36) for number in range(2 * KEPT)]
    assert len(codec.encode(Lessons(lessons=kept(long)))) < 100_000


# Laws.

_NAMES = (ALIAS.text, "sluice sons", None)
_ENTRIES = ("invoice-e1", "invoice-e2", "transaction-t1")


@st.composite
def taught(draw: st.DrawFn) -> list[tuple[str, Lesson]]:
    """Lessons about two vendors with few enough bills, names and instants to contradict one another."""
    found = []
    for number in range(draw(st.integers(0, 7))):
        turned = [TurnedDown(entry=draw(st.sampled_from(_ENTRIES)), name=draw(st.sampled_from(_NAMES)))]
        linked = draw(st.sampled_from([None, *_ENTRIES]))
        one = lesson(
            number,
            on=draw(st.sampled_from("123")),
            at=draw(st.integers(0, 3)),
            turned=tuple(turned[: draw(st.integers(0, 1))]),
            entry=linked,
            name=draw(st.sampled_from(_NAMES)) if linked else None,
            identities=(IBAN,) if linked and draw(st.booleans()) else (),
        )
        found.append((draw(st.sampled_from([VENDOR, SECOND])), one))
    return found


def remembered(given_: list[tuple[str, Lesson]]) -> Memory:
    """The memory after lessons were learned one by one, each vendor's value written anew every time."""
    values: dict[str, Lessons] = {}
    found = Memory()
    for vendor, one in given_:
        before = values.get(vendor, Lessons()).lessons
        values[vendor] = Lessons(lessons=kept([one, *before]))
        found.take(vendor, values[vendor])
    return found


def known(found: Memory) -> tuple[Any, ...]:
    """Everything that can be asked of a memory of these laws."""
    vendors, bills = (VENDOR, SECOND), [f"{REALM}-{number}" for number in "123"]
    names = [name(text) for text in _NAMES if text is not None]
    return (
        found.version,
        [found.name_of(vendor, one) for vendor in vendors for one in names],
        [(found.aliases(vendor), found.identity(vendor)) for vendor in vendors],
        [found.rejected(one, entry) for one in bills for entry in _ENTRIES],
    )


@QUICK
@given(taught(), st.randoms(use_true_random=False))
def test_order_and_repetition_do_not_matter(lessons: list[tuple[str, Lesson]], chance: Any) -> None:
    again = [*lessons, *(chance.choice(lessons) for _ in range(4) if lessons)]
    chance.shuffle(again)
    assert known(remembered(again)) == known(remembered(lessons))


@QUICK
@given(taught())
def test_what_is_forgotten_leaves_nothing(lessons: list[tuple[str, Lesson]]) -> None:
    found = remembered(lessons)
    for vendor in (VENDOR, SECOND):
        found.take(vendor, None)
    assert known(found) == known(Memory())
    assert found.version == "0" * 16


@QUICK
@given(st.lists(st.integers(0, 3 * KEPT)), st.integers(0, 50))
def test_keeping_in_parts_is_keeping_at_once(numbers: list[int], cut: int) -> None:
    lessons = [confirmed(number, at=number // 2) for number in numbers]
    assert kept([*kept(lessons[:cut]), *kept(lessons[cut:])]) == kept(lessons) == kept(reversed(lessons))


@QUICK
@given(taught(), st.floats(0, 1), st.sampled_from([VENDOR, SECOND]))
def test_a_score_stays_a_score_and_the_own_name_is_untouched(
    lessons: list[tuple[str, Lesson]], measured: float, vendor: str
) -> None:
    found = remembered(lessons).name_score(vendor, [ALIAS, name("Sluice & Sons SARL")], measured)
    assert found is not None
    assert 0 <= found <= 1
    assert measured < 0.98 or found == measured


@pytest.mark.parametrize("ident", ["7.8", "*", "7 8"])
def test_a_vendor_whose_id_would_address_another_is_refused(ident: str) -> None:
    with pytest.raises(BadTokenError, match="vendor"):
        vendor_key(asked(vendor=Ref(id=ident, name="Sluice & Sons SARL")))
