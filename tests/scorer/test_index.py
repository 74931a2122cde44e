"""Finding candidates: what is found depends on what there is, and nothing that could be shown is passed over."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from common.messages import Entry, Ref
from services.scorer.matching import index, model
from services.scorer.matching.books import Books
from services.scorer.matching.compare import probabilities
from services.scorer.matching.facts import Facts, of_entry
from services.scorer.matching.index import Index, query
from services.scorer.matching.packed import PackedEntries
from services.scorer.matching.postings import Postings
from services.scorer.matching.ranking import WORTH_SHOWING, Ranking
from tests.scorer.cases import MAY, bill, books, invoice, key, payment, vendor

NAMES = ("Sluice & Sons SARL", "Floodgate Works", "Lock Four Millwork", "Imaginary Services", "Weiher GmbH", None)
QUICK = settings(max_examples=80, deadline=None)


@st.composite
def entries(draw: st.DrawFn, ident: str | None = None) -> Entry:
    """An entry of one of few suppliers, amounts and numbers."""
    make = draw(st.sampled_from([invoice, payment]))
    name = draw(st.sampled_from(NAMES))
    when = draw(st.none() | st.integers(0, 60).map(lambda days: MAY + timedelta(days=days)))
    entry: Entry = make(
        ident or f"e{draw(st.integers(1, 12))}",
        counterparty=name,
        label=name if make is payment else None,
        amount=draw(st.none() | st.sampled_from([Decimal("120.00"), Decimal("120.02"), Decimal("121.00"), Decimal(9)])),
        net_amount=draw(st.none() | st.just(Decimal("100.00"))),
        number=draw(st.sampled_from([None, "F-2026-1001", "1001", "X-77"])),
        issued_on=when,
        paid_on=when,
        iban=draw(st.sampled_from([None, "FR7630006000011234567890189"])),
        status=draw(st.sampled_from(["to_review", "to_review", "rejected"])),
        matched=() if make is payment else draw(st.sampled_from([(), ("e1",), ("e2",)])),
    )
    return entry


def found(one: Index, documents: Sequence[Facts]) -> list[tuple[int, str]]:
    pairs = one.candidates(list(map(query, documents)))
    return sorted((which, one.key(row)) for which, row in zip(pairs.which.tolist(), pairs.rows.tolist(), strict=True))


@QUICK
@given(changes=st.lists(entries() | st.integers(1, 12), max_size=60), packs=st.booleans())
def test_what_is_found_does_not_depend_on_what_came_and_went(changes: list[Entry | int], packs: bool) -> None:
    grown, present = Books(), dict[str, Entry]()
    for change in changes:
        if isinstance(change, Entry):
            present[f"{change.kind}-{change.id}"] = change
            grown.take_entry(change)
        else:
            for kind in ("invoice", "transaction"):
                if present.pop(f"{kind}-e{change}", None):
                    grown.index.remove(f"{kind}-e{change}")
        if packs:
            grown.index._pack()
    fresh = books([], sorted(present.values(), key=lambda entry: (entry.kind, entry.id), reverse=True))
    asked = [of_entry(invoice(f"q{n}", counterparty=name)) for n, name in enumerate(NAMES)]
    asked += [of_entry(entry) for entry in present.values() if entry.live]
    assert found(grown.index, asked) == found(fresh.index, asked)
    assert len(grown.index) == len(fresh.index) == sum(entry.live for entry in present.values())


@QUICK
@given(held=st.lists(entries(), max_size=12))
def test_a_row_leads_to_what_its_facts_lead_to(held: list[Entry]) -> None:
    one = books([], held).index
    for entry in {(entry.kind, entry.id): entry for entry in held}.values():
        if entry.live:
            facts = of_entry(entry)
            by_row, by_facts = one.query(facts.key), query(facts)
            assert by_row._replace(keys=sorted(by_row.keys)) == by_facts._replace(keys=sorted(by_facts.keys))


@QUICK
@given(held=st.lists(entries(), min_size=1, max_size=12), name=st.sampled_from(NAMES[:-1]))
def test_what_is_not_compared_to_the_end_could_not_be_shown(held: list[Entry], name: str) -> None:
    record = bill(vendor=Ref(id="7", name=name))
    one = books([vendor(name=name), record], held)
    ranking = Ranking(one)
    rows = ranking._units(one.index.candidates([query(one.facts_of(key("1")))])).rows
    everything = ranking.score(np.zeros(len(rows), np.int64), rows, least=0.0)
    assert len(everything) == len(rows)
    shown = {scored.key: scored for _, scored in everything if scored.alone >= WORTH_SHOWING}
    assert {scored.key: scored for scored in ranking.of(key("1"))} == shown


@QUICK
@given(held=st.lists(entries(), min_size=1, max_size=12), least=st.sampled_from([WORTH_SHOWING, 0.3, 0.9]))
def test_a_bill_reaches_an_entry_by_itself_as_it_does_among_others(held: list[Entry], least: float) -> None:
    named = [name for name in NAMES if name is not None]
    records = [bill(str(n), vendor=Ref(id=str(n), name=name)) for n, name in enumerate(named)]
    one = books([*(vendor(str(n), name=name) for n, name in enumerate(named)), *records], held)
    pairs = [(record, entry) for record in one.bills for entry in one.entries if entry in one.index]
    by_pair, ranked = Ranking(one), Ranking(one)
    ranked.rank(one.bills)
    reaching = set(by_pair.reaching(pairs, least))
    for record, entry in pairs:
        expected = next((scored for scored in ranked.of(record) if scored.key == entry and scored.alone >= least), None)
        assert expected is None or record in reaching
        assert by_pair.candidate(record, entry, least=least) == expected
    assert set(ranked.reaching(pairs, least)) == {record for record, _ in pairs}  # they are ranked already


score = st.sampled_from([0.0, 0.5, 0.79, 0.8, 1.0, np.nan]) | st.floats(0, 1)


@given(st.lists(st.tuples(st.tuples(score, score, score, score, score), st.booleans(), st.booleans()), max_size=9))
def test_probabilities_are_the_models(compared: list[tuple[tuple[float, ...], bool, bool]]) -> None:
    scores = np.array([row for row, *_ in compared], np.float64).reshape(-1, len(model.FIELDS))
    same, recurs = (np.array([one[flag] for one in compared], np.bool_) for flag in (1, 2))
    weights = model.weights()
    rows = np.column_stack([scores, *(np.where(flags, 1.0, np.nan) for flags in (same, recurs))])
    expected = 1 / (1 + np.exp(-model.held(weights.logits(rows), rows)))
    assert probabilities(scores, same, recurs, weights).tolist() == expected.tolist()


def test_an_amount_everybody_has_leads_nowhere_by_itself() -> None:
    many = [invoice(f"e{n}", counterparty=f"Fictional Number{n}", number=None) for n in range(index._SHARED + 1)]
    asked = of_entry(invoice("q", counterparty="Floodgate Works", number=None))
    assert found(books([], many[1:]).index, [asked])
    assert not found(books([], many).index, [asked])
    own = of_entry(invoice("q", counterparty="Fictional Number7", number=None))
    assert (0, "invoice-e7") in found(books([], many).index, [own])


def test_rows_are_packed_when_many_have_changed() -> None:
    one = Books()
    for n in range(index._FEW + 300):
        one.take_entry(invoice("e1", amount=Decimal(n + 1)))
    assert len(one.index) == 1
    assert len(one.index._keys) <= index._FEW + 2
    # What does not change where a document is filed takes no new row.
    before = one.index.row("invoice-e1")
    one.take_entry(invoice("e1", amount=Decimal(n + 1), issued_on=MAY + timedelta(days=3)))
    assert one.index.row("invoice-e1") == before
    assert one.index.rows["since"][before] == (MAY + timedelta(days=3)).toordinal()


def test_amounts_beyond_all_measure_are_not_compared() -> None:
    huge = Decimal("1e400")
    one = books([vendor(), bill(total=huge)], [invoice(amount=huge)])
    ((_, scored),) = Ranking(one).score(np.array([0]), np.array([0]), least=0.0)
    assert scored.named["amount"] is None


@given(
    st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 20)), max_size=60), st.lists(st.integers(-6, 6), max_size=9)
)
def test_postings_are_a_mapping_of_keys_to_rows(held: list[tuple[int, int]], asked: list[int]) -> None:
    postings, expected = Postings(), defaultdict[int, list[int]](list)
    for place, (one, row) in enumerate(held):
        postings.add([row], [one])
        expected[one].append(row)
        if place % 7 == 0:
            postings._merge()
    told = postings.find(asked)
    assert sorted(zip(told.which.tolist(), told.rows.tolist(), strict=True)) == sorted(
        (place, row) for place, one in enumerate(asked) for row in expected[one]
    )


@given(entries())
def test_packed_entries_come_out_as_they_went_in(entry: Entry) -> None:
    packed = PackedEntries()
    packed["one"] = entry
    assert packed["one"] == entry
    assert packed.get("two") is None
    assert (len(packed), list(packed), "one" in packed) == (1, ["one"], True)


def test_the_order_of_fields_is_the_models() -> None:
    assert tuple(model.WORTH) == model.FIELDS
