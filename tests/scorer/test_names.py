"""Names of one company are alike however they are written; names of two are not."""

import random
from collections.abc import Callable
from sys import getsizeof

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scorer.matching.model import AGREES
from services.scorer.matching.names import fold, name, similarities

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
        ("Lockkeeper's Bank", "Lockkeepers Bank"),
        ("Lockkeeper's Bank", "Lockkeeper Bank"),
        ("Sluice Work", "Works Sluice"),
        ("Sluice Int'l Mfg", "Sluice International Manufacturing"),
        ("Ets Vanne Bleue", "Établissements Vanne Bleue"),
        ("First Lock Bank", "1st Lock Bank"),
        ("Depot Forty-Four", "Depot 44"),
        ("Depot Forty 4", "Depot 44"),
        ("Depot Vier", "Depot 4"),
        ("Lock Fund II", "Lock Fund 2"),
        ("Lock Fund V", "Lock Fund Five"),
        ("Weir Lock Union Trust", "WLUT"),
        ("Weir of Lock Union", "WLU"),
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
        ("Sluice", "Sluice Lighting"),
        ("Ock", "Lock Holding"),
        ("Floo", "Floodgate Com"),
        ("Weir Ireland", "Weir France"),
        ("Weir Systems Inc.", "Weir Industries Inc."),
        ("WLX", "Weir Lock Union"),
        ("Van Sluis Beheer B.V.", "Van Stroom Beheer B.V."),
    ],
)
def test_names_of_two_companies_do_not_agree(one: str, other: str) -> None:
    assert alike(one, other) < AGREES


@pytest.mark.parametrize(
    "one, other",
    [("Depot 12", "Depot 14"), ("Lock Trust XV", "Lock Trust XX"), ("Mill 2000 Fund II", "Mill 2000 Fund III"),
     ("Lock Partners V", "Lock Partners VI"), ("First Lock Bank", "Second Lock Bank"), ("Mill Four", "Mill 14")],
)  # fmt: skip
def test_contradicting_numbers_veto(one: str, other: str) -> None:
    assert alike(one, other) == 0.0


WORDS = ["sluice", "sluices", "slvice", "lock", "weir", "floodgate", "floodgates", "works", "vanne", "écluse", "france",
         "international", "group", "services", "de", "12", "14"]  # fmt: skip
NAMES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)
WHOLE = st.lists(
    st.sampled_from([word for word in WORDS if not word.endswith("es")]), min_size=1, max_size=4, unique=True
)
"""Without words that are others cut short: where a name is cut is a matter of order."""
SARL = ["SARL", "S.à r.l.", "sàrl", "s.a.r.l.", "société à responsabilité limitée"]


@given(a=st.text(max_size=40) | NAMES, b=st.text(max_size=40) | NAMES, label=st.booleans())
def test_any_text_can_be_compared_either_way_round(a: str, b: str, label: bool) -> None:
    there, back = similarities([(name(a), name(b, label=label)), (name(b, label=label), name(a))])
    assert 0.0 <= there <= 1.0
    assert there == back


@given(text=st.text(max_size=40) | NAMES, label=st.booleans())
def test_a_name_is_like_itself(text: str, label: bool) -> None:
    found = name(text, label=label)
    assert similarities([(found, found)]) == [1.0 if found.tokens else 0.0]


@given(text=st.text(max_size=40) | NAMES)
def test_folding_is_done_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)
    assert not any(word.isspace() or word != word.casefold() for word in fold(text).split())


@given(a=NAMES, b=NAMES, change=st.sampled_from([str.upper, str.title]), one=st.sampled_from(SARL))
def test_case_accents_and_spelling_of_the_form_do_not_change_the_score(
    a: str, b: str, change: Callable[[str], str], one: str
) -> None:
    expected = alike(f"{a} SARL", b)
    assert alike(change(f"{a} {one}"), b) == expected
    assert alike(f"{a} {one}".replace("é", "e"), change(b)) == expected


@given(a=WHOLE, b=WHOLE, seed=st.randoms())
def test_the_order_of_words_does_not_decide_whether_names_agree(
    a: list[str], b: list[str], seed: random.Random
) -> None:
    shuffled = seed.sample(b, len(b))
    before, after = alike(" ".join(a), " ".join(b)), alike(" ".join(a), " ".join(shuffled))
    assert (before >= AGREES, before == 0.0) == (after >= AGREES, after == 0.0)


@given(st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=12))
def test_a_batch_scores_as_single_pairs_do(written: list[tuple[str, str]]) -> None:
    pairs = [(name(a), name(b)) for a, b in written]
    assert similarities(pairs) == [similarities([pair])[0] for pair in pairs]


def test_an_empty_batch_scores_nothing() -> None:
    assert similarities([]) == []


@pytest.mark.parametrize(
    "label, least",
    [
        ("PRLV SEPA SLUICE & SONS", AGREES),
        ("CARTE 12/05 SLUICE & SONS LYON", AGREES),
        ("VIR INST SLUICE AND SON", AGREES),
        ("SLUICE AND SO", AGREES),
        ("SLUIC", AGREES),
        ("PRLV SEPA FLOODGATE", 0.0),
    ],
)
def test_a_bank_writes_names_with_jargon_and_cuts_them(label: str, least: float) -> None:
    score = similarities([(name("Sluice & Sons SARL"), name(label, label=True))])[0]
    assert score >= least
    assert (score >= AGREES) == (least >= AGREES)


def test_numbers_of_a_bank_are_not_the_name_s() -> None:
    assert name("PRLV 4711 TWO LOCKS 12", label=True).tokens == ("2", "locks")
    assert name("PRLV 4711 TWO LOCKS 12", label=True).numbers == frozenset()


def test_a_name_keeps_what_is_needed_and_nothing_twice() -> None:
    one, other = name("Sluice Vanne Écluse SARL"), name("SLUICE VANNE 12")
    assert one.tokens[0] is other.tokens[0]
    assert one.numbers is name("Weir").numbers
    assert not hasattr(one, "__dict__")
    assert sum(map(getsizeof, (one, one.text, one.tokens, one.signature))) < 320
    assert one.words == {"sluice", "vanne", "ecluse"}
    assert one.joined == "sluicevanneecluse"
