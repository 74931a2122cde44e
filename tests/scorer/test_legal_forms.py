"""A legal form is told from the words of the name, and says what kind of company it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scorer.matching import legal_forms
from services.scorer.matching.model import AGREES
from services.scorer.matching.names import name, similarities
from services.scorer.matching.spelling import words

FAMILIES = {
    "private limited": [
        "S.à r.l.", "S. à r. l.", "sàrl", "SARL", "S.A.R.L.", "S A R L", "société à responsabilité limitée",
        "societe a responsabilite limitee", "SAS", "S.A.S.", "SASU", "société par actions simplifiée", "EURL", "SELARL",
        "S.L.", "SL", "S.L.U.", "Sociedad Limitada", "S.r.l.", "SRLS", "Lda.", "B.V.", "bv", "b.v.b.a.", "BVBA", "SPRL",
        "GmbH", "G.m.b.H.", "Gesellschaft mit beschränkter Haftung", "UG (haftungsbeschränkt)", "UG", "Sp. z o.o.",
        "Spółka z o.o.", "s.r.o.", "spol. s r.o.", "d.o.o.", "Kft.", "ApS", "Oy", "AB", "UAB", "Ltd", "Ltd.", "Limited",
        "Co., Ltd.", "Pty Ltd", "(Pty) Ltd", "Pvt. Ltd.", "Private Limited", "Pte. Ltd.", "Sdn. Bhd.", "LLC", "L.L.C.",
        "Limited Liability Company", "OOO", "ООО",
    ],
    "public limited": [
        "SA", "S.A.", "société anonyme", "AG", "Aktiengesellschaft", "N.V.", "NV", "S.p.A.", "PLC", "A/S", "Oyj", "ASA",
        "AB (publ)", "SE", "Joint Stock Company", "PAO",
    ],
    "corporation": ["Inc.", "Incorporated"],
    "partnership": ["SNC", "KG", "GmbH & Co. KG", "GmbH und Co. KG", "UG & Co. KG", "OHG", "GbR", "V.O.F.", "LLP"],
    "cooperative": ["SCOP", "SCIC", "société coopérative"],
    "civil": ["SCI", "société civile immobilière", "GAEC"],
    "association": ["ASBL", "VZW", "e.V.", "GIE"],
    None: ["Co.", "& Cie", "Company", "Corp.", "Corporation", "e.K.", "a.s.", "KGaA"],
}  # fmt: skip
WRITTEN = [(form, family) for family, forms in FAMILIES.items() for form in forms]
CORE = "Papeterie de la Vanne"


@pytest.mark.parametrize("form, family", WRITTEN)
def test_a_form_at_the_end_is_known_with_its_family(form: str, family: str | None) -> None:
    for written in (f"{CORE} {form}", f"{CORE}, {form.upper()}", f"{CORE} {form.lower()}"):
        found = name(written)
        assert (found.text, found.form) == (name(CORE).text, family)


@pytest.mark.parametrize("form", ["SARL", "SAS", "SCI", "S.A.", "EURL", "OOO", "AB", "SCOP"])
def test_a_form_in_front_is_known(form: str) -> None:
    assert name(f"{form} Vanne Bleue").tokens == ("vanne", "bleue")
    assert name(f"{form} Vanne Bleue").form == name(f"Vanne Bleue {form}").form


@pytest.mark.parametrize("form", ["SARL", "S.A.S.", "Ltd", "GmbH & Co. KG"])
def test_a_form_in_the_middle_of_a_bank_text_is_known(form: str) -> None:
    assert name(f"PRLV SEPA VANNE BLEUE {form} LYON", label=True).tokens == ("vanne", "bleue", "lyon")


@pytest.mark.parametrize(
    "written, family",
    [
        ("Vanne Aktiengeselschaft", "public limited"),
        ("Vanne JOINT STOCK COMPAN", "public limited"),
        ("Vanne Societe a responsibilite limitee", "private limited"),
        ("Vanne Limited Liability Partnershp", "partnership"),
    ],
)
def test_a_long_form_is_known_misspelt_or_cut_short(written: str, family: str) -> None:
    assert (name(written).text, name(written).form) == ("vanne", family)


@pytest.mark.parametrize("written", ["Sons Limitless", "Vanne Cooperation", "Sluice As Lock", "Co Weir Spa GmbH"])
def test_words_that_are_no_form_stay(written: str) -> None:
    assert len(name(written).tokens) >= 2


@given(st.lists(st.sampled_from(["sarl", "sa", "co", "kg", "ag", "gmbh", "as", "vanne", "de", "ltd"]), max_size=6))
def test_a_name_never_loses_all_its_words(parts: list[str]) -> None:
    kept, family = legal_forms.split(parts)
    assert bool(kept) == bool(parts)
    assert all(word in parts for word in kept)
    assert family is None or family in FAMILIES


def test_a_form_of_another_family_weakens_and_never_vetoes() -> None:
    def alike(a: str, b: str) -> float:
        return similarities([(name(a), name(b))])[0]

    assert alike("Vanne Bleue SARL", "Vanne Bleue SAS") == 1.0
    assert alike("Vanne Bleue SARL", "Vanne Bleue") == 1.0
    assert AGREES <= alike("Vanne Bleue GmbH", "Vanne Bleue AG") < 0.85
    assert alike("Vanne Bleue AG", "Vanne Bleue Écluse GmbH") < alike("Vanne Bleue", "Vanne Bleue Écluse GmbH")
    assert alike("Vanne Bleue GmbH", "Floodgate AG") == alike("Vanne Bleue GmbH", "Floodgate GmbH")


def test_every_form_is_written_as_folded_names_are() -> None:
    for form in legal_forms._FAMILIES:
        assert words(form) == form.split()
    assert set(legal_forms._FAMILIES) >= legal_forms._EITHER | set(legal_forms._SPACED)
