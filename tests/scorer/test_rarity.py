"""What a workspace knows of its suppliers' words, and what that makes of names that share one."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scorer.matching.model import AGREES
from services.scorer.matching.names import name, similarities
from services.scorer.matching.rarity import Rarity

SUPPLIERS = [f"{first} {last}" for first in ("Sluice", "Lock", "Weir", "Mill", "Quay") for last in "abcdef"]
DOCUMENTS = st.lists(st.frozensets(st.sampled_from("abcdef"), max_size=3), max_size=12)


def workspace(*names: str, bills: int = 1) -> Rarity:
    """A workspace that knows thirty suppliers, and these."""
    rarity = Rarity()
    for supplier in [*SUPPLIERS, *names]:
        for _ in range(bills):
            rarity.add(name(supplier).tokens)
    return rarity


def alike(a: str, b: str, rarity: Rarity | None = None, *, label: bool = False) -> float:
    return similarities([(name(a), name(b, label=label))], rarity)[0]


@given(documents=DOCUMENTS, others=DOCUMENTS, seed=st.integers(0, 1000))
def test_the_order_of_adding_does_not_matter_and_removing_undoes_it(
    documents: list[frozenset[str]], others: list[frozenset[str]], seed: int
) -> None:
    straight, detour = Rarity(), Rarity()
    for document in documents:
        straight.add(document)
    changes = [*documents, *others]
    random.Random(seed).shuffle(changes)
    for document in changes:
        detour.add(document)
    for document in others:
        detour.remove(document)
    assert len(straight) == len(detour) == len(set(documents))
    for word in "abcdef":
        assert straight.suppliers(word) == detour.suppliers(word) == sum(word in held for held in set(documents))


def test_what_was_never_added_cannot_be_removed() -> None:
    with pytest.raises(KeyError, match="vanne"):
        Rarity().remove(["vanne"])


def test_many_bills_of_one_supplier_make_its_name_no_commoner() -> None:
    assert workspace("Floodgate Works", bills=50).suppliers("floodgate") == 1


def test_a_word_only_this_supplier_has_lifts_a_part_of_a_name() -> None:
    pair = ("Floodgate", "Floodgate Hydraulic Engineering Ireland")
    assert alike(*pair) < AGREES
    assert AGREES <= alike(*pair, workspace("Floodgate")) < 0.85


def test_a_word_of_another_supplier_as_well_lifts_nothing() -> None:
    pair = ("Floodgate", "Floodgate Insurance")
    assert alike(*pair, workspace("Floodgate", "Floodgate Insurance")) == alike(*pair)


def test_a_common_word_lowers() -> None:
    many = workspace(*(f"Vannerie {place}" for place in ("Amont", "Aval", "Centrale", "Basse", "Haute")))
    assert alike("Vannerie", "Vannerie B", many) < alike("Vannerie", "Vannerie B")
    assert alike("Vannerie Amont", "Vannerie Amont Dupuis", many) < alike("Vannerie Amont", "Vannerie Amont Dupuis")


@pytest.mark.parametrize("word", ["Martin", "Paris", "Services", "Garage", "Flux"])
def test_given_names_places_common_and_short_words_are_nobodys_own(word: str) -> None:
    assert alike(word, f"{word} Floodgate", workspace(word)) < AGREES


def test_a_bank_text_with_a_word_of_several_suppliers_is_less_certain() -> None:
    pair = ("Floodgate", "PRLV FLOODGATE INSURANCE")
    known = workspace("Floodgate", "Floodgate Insurance")
    assert AGREES <= alike(*pair, known, label=True) < alike(*pair, workspace("Floodgate"), label=True)


def test_among_a_handful_of_suppliers_rarity_says_nothing() -> None:
    few = Rarity()
    few.add(name("Floodgate").tokens)
    assert alike("Floodgate", "Floodgate Insurance", few) == alike("Floodgate", "Floodgate Insurance")


@given(st.lists(st.sampled_from(["sluice", "lock", "weir", "floodgate", "group"]), min_size=1, max_size=4))
def test_rarity_changes_neither_symmetry_nor_identity(parts: list[str]) -> None:
    known, written = workspace("Floodgate"), " ".join(parts)
    assert alike(written, written, known) == 1.0
    assert alike(written, "Floodgate Lock", known) == alike("Floodgate Lock", written, known)
