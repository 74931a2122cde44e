"""Names of one company are alike however they are written; names of two are not."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scorer.model import AGREES
from services.scorer.names import name, similarities

FORMS = [
    "SARL", "S.A.R.L.", "S.à r.l.", "SÀRL", "SAS", "S.A.S.", "SASU", "s.a.s.u.", "SA", "EURL", "SCI",
    "société à responsabilité limitée", "societe a responsabilite limitee", "société par actions simplifiée",
    "Société Anonyme", "GmbH", "GmbH & Co. KG", "AG", "Aktiengesellschaft", "B.V.", "BV", "N.V.", "BVBA", "b.v.b.a.",
    "S.L.", "SL", "S.L.U.", "S.p.A.", "SpA", "S.r.l.", "SRL", "Ltd", "Ltd.", "Limited", "LLC", "Inc.", "PLC",
]  # fmt: skip
CORES = [
    "Sluice & Sons",
    "Papeterie de la Vanne Bleue",
    "Müller Schleusenwärter",
    "Éclusiers Réunis",
    "Lock Four Millwork",
]


def alike(a: str, b: str) -> float:
    """The likeness of two names."""
    return similarities([(name(a), name(b))])[0]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("core", CORES)
def test_the_legal_form_makes_no_difference(core: str, form: str) -> None:
    assert alike(f"{core} {form}", core) == 1.0
    assert alike(f"{core}, {form}".upper(), core) == 1.0


@given(core=st.sampled_from(CORES), change=st.sampled_from([str.upper, str.lower, str.title, str.swapcase]))
def test_case_makes_no_difference(core: str, change: Callable[[str], str]) -> None:
    assert alike(change(core), core) == 1.0


@given(core=st.sampled_from(CORES), seed=st.randoms())
def test_the_order_of_words_makes_no_difference(core: str, seed: random.Random) -> None:
    words = core.split()
    seed.shuffle(words)
    assert alike(" ".join(words), core) >= 0.95


@pytest.mark.parametrize(
    "written, other",
    [
        ("Éclusiers Réunis", "Eclusiers Reunis"),
        ("Müller Schleusenwärter", "Muller Schleusenwarter"),
        ("Cœur de Vanne", "Coeur de Vanne"),
        ("Ærø Sluse", "Aero Sluse"),
        ("Łódź Śluza", "Lodz Sluza"),
    ],
)
def test_accents_make_no_difference(written: str, other: str) -> None:
    assert alike(written, other) == 1.0


@pytest.mark.parametrize(
    "one, other",
    [
        ("Sluice & Sons", "Sluice and Sons"),
        ("Weir Gate Works", "WeirGate Works"),
        ("A.B.C. Lockkeepers", "ABC Lockkeepers"),
        ("Crystalweir Ltd", "Cristalweir Limited"),
        ("O'Sluice & Co", "OSluice"),
    ],
)
def test_spellings_of_one_name_agree(one: str, other: str) -> None:
    assert alike(one, other) >= AGREES


@pytest.mark.parametrize(
    "one, other",
    [
        ("Sluice", "Sluice Cyberdefense"),
        ("Floodgates", "Floodgates Insurance"),
        ("Weir Holding Group", "Lock Holding Group"),
        ("H. Weaver", "S. Weaver"),
        ("Wealth Partners", "Health Partners"),
        ("Quay Consulting Services", "Mill Consulting Services"),
        ("Van Sluis Investments", "Van Stroom Investments"),
        ("Lock and Weir Foundation", "Lock and Dam Foundation"),
    ],
)
def test_names_of_two_companies_do_not_agree(one: str, other: str) -> None:
    assert alike(one, other) < AGREES


@pytest.mark.parametrize(
    "one, other",
    [("Depot 12", "Depot 14"), ("Lock Trust XV", "Lock Trust XX"), ("Mill 2000 Fund II", "Mill 2000 Fund III")],
)
def test_contradicting_numbers_veto(one: str, other: str) -> None:
    assert alike(one, other) <= 0.6


@given(a=st.text(max_size=40), b=st.text(max_size=40))
def test_any_text_can_be_compared_either_way_round(a: str, b: str) -> None:
    there, back = similarities([(name(a), name(b)), (name(b), name(a))])
    assert 0.0 <= there <= 1.0
    assert there == pytest.approx(back, abs=1e-6)


def test_a_batch_scores_as_single_pairs_do() -> None:
    pairs = [(name(a), name(b)) for a in CORES for b in CORES]
    assert similarities(pairs) == [similarities([pair])[0] for pair in pairs]
    assert similarities([]) == []
