"""Invented workspaces: always the same for a seed, of the promised mix, with a truth that points at what is there."""

import random

import pytest
from stdnum.eu import vat

from common.messages import Bill
from services.scorer.fitting import noise as damage
from services.scorer.fitting.noise import Noise
from services.scorer.fitting.scribe import entry_key
from services.scorer.fitting.suppliers import FEWEST, MOST, suppliers
from services.scorer.fitting.worlds import KINDS, World, make

BILLS = 400
QUIET = dict.fromkeys(Noise.__slots__, 0.0)


@pytest.fixture(scope="module")
def closed() -> World:
    return make("closed", "one", BILLS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_world_follows_from_its_seed(kind: str) -> None:
    first, again, other = (make(kind, seed, 60) for seed in ("a", "a", "b"))  # type: ignore[arg-type]
    assert first == again
    assert first != other


@pytest.mark.parametrize("kind", KINDS)
def test_truth_points_at_live_entries_of_the_bills_own(kind: str) -> None:
    world = make(kind, "two", BILLS)  # type: ignore[arg-type]
    entries = {entry_key(entry): entry for entry in world.entries}
    pointed: list[str] = []
    for truth in world.truth.values():
        for key in truth.counterparts:
            assert entries[key].live
            assert not entries[key].credit_note
            assert key not in world.claims or truth.duplicate_of in world.claims.values()
        if truth.duplicate_of is None:
            pointed += truth.counterparts
    assert len(pointed) == len(set(pointed))
    assert not set(world.truth) & set(world.claims.values())


def test_closed_has_every_counterpart_and_open_half_of_them(closed: World) -> None:
    originals = {key for key, truth in closed.truth.items() if truth.duplicate_of is None}
    assert all(closed.truth[key].counterparts for key in originals)
    opened = make("open", "one", BILLS).truth
    assert sum(bool(opened[key].counterparts) for key in originals) == pytest.approx(len(originals) / 2, rel=0.15)


def test_there_is_what_makes_matching_hard(closed: World) -> None:
    bills = [record.body for record in closed.records if isinstance(record.body, Bill)]
    share = sum(bill.number is None for bill in bills) / len(bills)
    assert 0.12 < share < 0.48
    assert any(truth.ambiguous for truth in closed.truth.values())
    assert any(truth.duplicate_of for truth in closed.truth.values())
    assert closed.claims
    assert {entry.kind for entry in closed.entries} == {"invoice", "transaction"}
    assert any(entry.matched for entry in closed.entries)
    assert any(entry.credit_note for entry in closed.entries)
    assert any(entry.local_amount for entry in closed.entries)
    assert len({bill.currency for bill in bills}) > 1
    regular = {(bill.vendor.id, bill.total) for bill in bills}
    assert len(regular) < len(bills)


def test_clash_adds_another_suppliers_item_of_the_same_amount() -> None:
    before, after = make("open", "one", 200), make("clash", "one", 200)
    added = {entry.id for entry in after.entries} - {entry.id for entry in before.entries}
    assert len(added) == len(before.truth)
    assert before.truth == after.truth


def test_degraded_entries_have_lost_what_they_should() -> None:
    for entry in make("degraded", "one", 200).entries:
        assert entry.number is None
        assert (entry.counterparty or "").isascii()


def test_replay_ends_where_the_open_world_stands() -> None:
    plain, again = make("open", "one", 200).books(), make("replay", "one", 200).books()
    assert len(make("replay", "one", 200).records) > len(make("open", "one", 200).records)
    assert plain.bills == again.bills
    assert {key: plain.entries[key] for key in plain.entries} == {key: again.entries[key] for key in again.entries}
    assert {key: plain.facts_of(key) for key in plain.bills} == {key: again.facts_of(key) for key in again.bills}


def test_without_noise_both_sides_say_the_same() -> None:
    dice = random.Random("quiet")
    supplier = suppliers(dice, 10)[0]
    quiet = Noise(**QUIET)
    assert damage.spelled(dice, quiet, supplier) == supplier.legal
    assert damage.rewritten(dice, quiet, "F2025-0042") == "F2025-0042"


@pytest.mark.parametrize("knob", ["misread", "other_number", "separators_lost", "zeros_lost", "prefixed"])
def test_each_knob_of_numbers_does_something(knob: str) -> None:
    dice = random.Random(knob)
    assert damage.rewritten(dice, Noise(**{**QUIET, knob: 1.0}), "F2025-0042") != "F2025-0042"


@pytest.mark.parametrize("knob", ["upper", "form_dropped", "typo"])
def test_each_knob_of_names_does_something(knob: str) -> None:
    dice = random.Random(knob)
    supplier = suppliers(dice, 10)[0]
    assert damage.spelled(dice, Noise(**{**QUIET, knob: 1.0}), supplier) != supplier.legal


def test_suppliers_are_as_many_as_fit_the_bills_and_differ() -> None:
    dice = random.Random("base")
    assert len(suppliers(dice, 10)) == FEWEST
    many = suppliers(dice, 100_000)
    assert len(many) == MOST
    assert len({one.core for one in many}) == MOST
    assert all(vat.is_valid(one.vat) for one in many if one.vat)
    words = [one.core.split()[0] for one in many]
    assert len(set(words)) < len(words), "look-alikes share a word"
