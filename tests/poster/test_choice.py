"""Which of several files is taken for the invoice, and that the choice follows from the files alone."""

from datetime import UTC, datetime
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.messages import Document, Record
from services.poster.choice import HINTS, LARGEST, REDUCIBLE, TINY, TYPES, Hint, choose, refusal, weigh
from tests.poster.desk import bill

NUMBER = "F-100"
PDF, PNG, JPEG = "application/pdf", "image/png", "image/jpeg"

NAMES = st.sampled_from(
    ["scan.pdf", "Invoice F-100.pdf", "F100", "Rechnung.pdf", "Lieferschein zu F-100.pdf", "AGB.pdf", "logo.png", "été"]
) | st.text(max_size=12)
FILES = st.lists(
    st.builds(
        Document,
        sha256=st.text("0123456789abcdef", min_size=4, max_size=4),
        name=NAMES,
        content_type=st.sampled_from([*TYPES, "application/xml", "application/octet-stream"]),
        size=st.sampled_from([0, 1, TINY - 1, TINY, LARGEST, LARGEST + 1, REDUCIBLE + 1]),
        attachable=st.integers(1, 10**21).map(str),
    ),
    unique_by=lambda document: document.attachable,
    max_size=7,
)


def file(name: str, content_type: str = PDF, size: int = 90_000, attachable: str = "1") -> Document:
    return Document(
        sha256=f"{name}{attachable}", name=name, content_type=content_type, size=size, attachable=attachable
    )


def record(*documents: Document) -> Record:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    return Record(
        workspace="w",
        realm="9",
        id="145",
        kind="bill",
        content_hash="h",
        pulled_at=at,
        body=bill(NUMBER),
        documents=documents,
    )


def taken(*documents: Document) -> str | None:
    choice = choose(record(*documents))
    return choice.document.name if choice.document is not None else None


@given(FILES, st.randoms())
def test_the_order_of_the_files_does_not_matter(documents: list[Document], dice: Random) -> None:
    shuffled = list(documents)
    dice.shuffle(shuffled)
    assert choose(record(*documents)) == choose(record(*shuffled)) == choose(record(*reversed(documents)))


@given(FILES)
def test_what_qonto_refuses_is_never_taken_and_something_it_takes_always_is(documents: list[Document]) -> None:
    choice = choose(record(*documents))
    fit = [document for document in documents if refusal(document) is None]
    assert (choice.document is not None) == bool(fit)
    if choice.document is not None:
        assert choice.document in fit
        assert choice.extension == TYPES[choice.document.content_type]
        assert all(weigh(other, NUMBER).points <= weigh(choice.document, NUMBER).points for other in fit)
    assert (choice.note is None) == (not documents or (len(documents) == 1 and bool(fit)))


@given(FILES, FILES)
def test_a_file_attached_later_takes_over_only_if_more_speaks_for_it(had: list[Document], more: list[Document]) -> None:
    newest = max((int(document.attachable) for document in had), default=0)
    later = [
        Document(
            sha256=document.sha256,
            name=document.name,
            content_type=document.content_type,
            size=document.size,
            attachable=str(newest + number),
        )
        for number, document in enumerate(more, 1)
    ]
    before, after = choose(record(*had)).document, choose(record(*had, *later)).document
    if before is not None and after != before:
        assert after in later
        assert after is not None
        assert weigh(after, NUMBER).points > weigh(before, NUMBER).points


@given(FILES, st.integers(0, 6))
def test_taking_off_another_file_changes_nothing(documents: list[Document], index: int) -> None:
    chosen = choose(record(*documents)).document
    if chosen is not None and index < len(documents) and documents[index] != chosen:
        assert choose(record(*documents[:index], *documents[index + 1 :])).document == chosen


@given(NAMES, st.sampled_from([hint for hint in HINTS if hint.points < 0]))
def test_a_word_for_another_paper_never_helps(name: str, hint: Hint) -> None:
    words = hint.words.replace("…", "").replace(".", "").split()
    for word in words:
        assert weigh(file(f"{name} {word}"), None).points <= weigh(file(f"{name}"), None).points
        assert weigh(file(word), NUMBER).points < weigh(file("scan"), NUMBER).points


@pytest.mark.parametrize(
    "better,worse",
    [
        ("F-100.pdf", "Rechnung.pdf"),
        ("f_100 scan.pdf", "scan.pdf"),
        ("F-100.pdf", "F-1001.pdf"),
        ("Invoice F-100.pdf", "F-100.pdf"),
        ("facture.pdf", "scan.pdf"),
        ("Schlussrechnung_12.pdf", "Document 1.pdf"),
        ("FATTURA 7.pdf", "DDT 7.pdf"),
        ("scan.pdf", "Bon de commande.pdf"),
        ("scan.pdf", "PO123.pdf"),
        ("scan.pdf", "Auftragsbestätigung.pdf"),
        ("scan.pdf", "Albarán 12.pdf"),
        ("scan.pdf", "Kaufvertrag.pdf"),
        ("scan.pdf", "2. Mahnung.pdf"),
        ("scan.pdf", "CGV.pdf"),
        ("invoice.pdf", "proforma invoice.pdf"),
        ("Invoice F-100.pdf", "Delivery note to invoice F-100.pdf"),
        ("invoice.pdf", "manufacture.pdf"),
        ("fatura.pdf", "Orçamento.pdf"),
        ("factuur.pdf", "offerte.pdf"),
    ],
)
def test_names_that_speak(better: str, worse: str) -> None:
    assert taken(file(worse, attachable="1"), file(better, attachable="2")) == better


def test_form_speaks_too() -> None:
    scan, photo = file("a.pdf", attachable="9"), file("b.jpg", JPEG, attachable="1")
    assert taken(scan, photo) == "a.pdf"
    assert taken(photo, file("invoice F-100.png", PNG, TINY - 1, "2")) == "b.jpg"
    assert taken(file("invoice.pdf"), file("logo.png", PNG, 90_000, "2")) == "invoice.pdf"
    assert taken(file("one.pdf", attachable="1000"), file("two.pdf", attachable="999")) == "two.pdf"


def test_the_explanation_names_them_all() -> None:
    note = choose(record(file("Invoice F-100.pdf", attachable="2"), file("AGB.pdf"), file("b.docx", "x/y"))).note
    assert note == (
        "of 3 files Invoice F-100.pdf (its name has the bill's number, is named like an invoice, is a PDF) "
        "was taken for the invoice, not AGB.pdf (is named like terms, is a PDF); b.docx is x/y"
    )
    many = choose(record(*(file(f"{number}.pdf", attachable=str(number)) for number in range(1, 9)))).note
    assert many is not None
    assert many.endswith("and 3 more")
    none = choose(record(file("a.docx", "x/y"), file("big.pdf", size=REDUCIBLE + 1, attachable="2"))).note
    assert none == (
        f"drawn from the bill, as none of its files can be used: a.docx is x/y; big.pdf has {REDUCIBLE + 1} bytes"
    )
    assert choose(record(file("scan.pdf"))).note is None
    assert choose(record()).note is None
