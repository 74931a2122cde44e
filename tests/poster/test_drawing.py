"""A drawn document says exactly what the bill says, to Qonto's reader and to two that know nothing of it.

The readers are the sandbox's OCR (PDFium), pypdf, and Poppler's pdftotext where it is installed.
"""

import io
import re
import shutil
import subprocess
import unicodedata
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pypdf
import pypdfium2
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from common.messages import Bill, BillLine, Company, Record, Ref, TaxLine, Vendor, VendorCredit
from services.poster import render
from services.poster.everyday import LETTERS, everyday
from services.poster.letters import FACES, MISSING, clean, runs
from services.poster.render import pdf
from services.poster.words import LANGUAGES, Words, words_of
from services.sandbox.qonto.reading import CODES, THREE_DECIMALS, read_document
from tests.poster.desk import BUYER, VENDOR, bill

AT = datetime(2026, 3, 1, tzinfo=UTC)
COUNTRIES = ["FR", "DE", "IT", "ES", "NL", "GB", None]
WHOLE = frozenset("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF".split())

LATIN = st.text("ABCÉÈÇÑÖÜßŁŚŽabcdeéèçñöüłśžőţ&'.-", min_size=1, max_size=12)
WORDS = {
    "latin": LATIN,
    "greek": st.text("ΑΒΓΔΩαβγδωή", min_size=1, max_size=10),
    "cyrillic": st.text("БГДЖЯбгджяїў", min_size=1, max_size=10),
    "chinese": st.text("东莞市广电子有限公司東京", min_size=1, max_size=8),
    "korean": st.text("한국가상주식회사", min_size=1, max_size=8),
    "arabic": st.text("شركةنخيلتجمبضظغدالأإآوى", min_size=1, max_size=10),
    "hebrew": st.text("אבגדהוזחטילנרת", min_size=1, max_size=10),
    "emoji": st.text("🚀🎉☕🐝", min_size=1, max_size=2).map(lambda marks: f"Bee {marks} Co"),
}
ONE_LINE = frozenset({"arabic", "hebrew", "emoji"})
"""Scripts whose lines vary in height: the sandbox's OCR tells by the height which lines a long name has."""
NAMES = st.sampled_from(sorted(WORDS)).flatmap(
    lambda script: st.lists(WORDS[script], min_size=1, max_size=2 if script in ONE_LINE else 6).map(" ".join)
)
NUMBERS = st.from_regex(
    re.compile(r"[A-Z0-9]{1,5}[-/._]?[A-Za-z0-9]{0,6}[0-9]( [0-9]{1,3})?", re.ASCII), fullmatch=True
)
CURRENCIES = st.sampled_from(CODES.split("|"))


def places(currency: str) -> int:
    return 0 if currency in WHOLE else 3 if currency in THREE_DECIMALS else 2


@st.composite
def bills(draw: st.DrawFn) -> Bill:
    currency = draw(CURRENCIES)
    unit = places(currency)
    amounts = st.decimals(0, 10**9, places=unit) | st.sampled_from([Decimal(1).scaleb(-unit), Decimal(10**10)])
    total = draw(amounts)
    count = draw(st.sampled_from([0, 1, 1, 3, 3, 200]))
    rates = draw(st.lists(st.sampled_from(["20", "5.5", "19", "0", "8.1"]), unique=True, max_size=3))
    taxes = tuple(TaxLine(amount=Decimal(1), net=Decimal(5), percent=Decimal(rate)) for rate in rates)
    return msgspec.structs.replace(
        bill(draw(NUMBERS)),
        vendor=Ref(id="7", name=draw(NAMES)),
        currency=currency,
        total=total,
        issued_on=draw(st.dates(date(2000, 1, 1), date(2099, 12, 31))),
        due_on=draw(st.dates(date(2000, 1, 1), date(2099, 12, 31))),
        tax=Decimal(len(rates)) if rates else None,
        tax_lines=taxes,
        lines=(BillLine(description=draw(LATIN), amount=-total, quantity=Decimal("1.5")),) * count,
    )


def record(body: Any, **changes: Any) -> Record:
    values = {"workspace": "w", "realm": "9130", "id": "145", "kind": "bill", "content_hash": "h", "pulled_at": AT}
    return Record(**{**values, "body": body, **changes})


def company(country: str | None) -> Company:
    return Company(name="Sample", legal_name="Société Exemple SAS", country=country)


def texts(data: bytes) -> Iterator[str]:
    """What each independent reader makes of a document, without blanks and marks of direction."""
    yield _bare("\n".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(data)).pages))
    document = pypdfium2.PdfDocument(data)
    yield _bare("\n".join(page.get_textpage().get_text_range() for page in document))
    document.close()
    if (program := shutil.which("pdftotext")) is not None:
        done = subprocess.run([program, "-layout", "-", "-"], input=data, capture_output=True, check=True)
        yield _bare(done.stdout.decode())


def _bare(text: str) -> str:
    return "".join(mark for mark in text if not mark.isspace() and unicodedata.category(mark) not in {"Cc", "Cf"})


@settings(max_examples=10, deadline=None, database=None, phases=[Phase.explicit, Phase.generate])
@given(bills(), st.sampled_from(COUNTRIES))
def test_every_reader_finds_number_dates_supplier_and_total(body: Bill, country: str | None) -> None:
    data = pdf(record(body), None, company(country))
    name = str(body.vendor.name)
    read = read_document(data)
    assert (read.number, read.issued, read.due) == (body.number, body.issued_on, body.due_on)
    assert (read.total, read.currency, read.category) == (body.total, body.currency, "INVOICE")
    assert _bare(str(read.supplier)) == _bare(name)
    words = words_of(company(country))
    assert body.issued_on is not None
    wanted = [str(body.number), words.days(body.issued_on), words.money(body.total, body.currency)]
    for index, text in enumerate(texts(data)):
        assert all(_bare(part) in text for part in wanted), (wanted, text)
        # Alone of the three, pypdf does not turn letters around that are drawn as one.
        known = index > 0 or not any(unicodedata.bidirectional(mark) == "AL" for mark in name)
        assert not known or all(_bare(part) in text for part in name.split())
        assert "QuickBooksbill145,company9130" in text


@settings(max_examples=8, deadline=None)
@given(st.text(max_size=60), st.text(max_size=30), st.decimals(-(10**9), 10**12, places=5))
@example("\u202eabc\ud800 \U000e0001", "\x00", Decimal("0E+7"))
@example("שלום (abc) 12-3, مرحبا " * 3, "𐎀𐎁", Decimal(1))
def test_any_text_can_be_drawn(name: str, number: str, total: Decimal) -> None:
    lines = (BillLine(description=name * 5, amount=total, unit_price=total, quantity=total),)
    body = msgspec.structs.replace(bill(number), vendor=Ref(id="7", name=name), lines=lines, total=total)
    data = pdf(record(body), Vendor(name=name, website=name), BUYER)
    assert data.startswith(b"%PDF-")
    assert pdf(record(body), Vendor(name=name, website=name), BUYER) == data


def test_letters_drawn_as_one_are_read_in_order() -> None:
    name = "الاتحاد للأعمال"
    data = pdf(record(bill(vendor=Ref(id="7", name=name))), None, None)
    assert read_document(data).supplier == name
    assert all(_bare(name) in text for text in list(texts(data))[1:])


@given(st.text(max_size=40))
@example("a\u00ad\u0301")
def test_no_letter_is_lost_when_a_line_is_put_in_order(text: str) -> None:
    line = clean(text)
    assert clean(line) == line
    assert sorted("".join(run.text for run in runs(line))) == sorted(line)


def test_lines_run_in_the_direction_of_their_script() -> None:
    hebrew = [(run.text, run.leftward) for run in runs("Acme דקל 42 בע״מ (x)")]
    assert [text for text, leftward in hebrew if leftward and text.strip()] == ["בע״מ", "דקל "]
    assert "".join(text for text, _ in hebrew) == "Acme בע״מ 42דקל  (x)"
    assert clean("a\u200bb\n  c\u0301 \ue000") == f"ab ć {MISSING}"


def test_everyday_letters_look_the_same_from_the_small_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    letters = sorted(mark for mark in LETTERS if not mark.isspace() and unicodedata.category(mark) != "Cf")
    name = "".join(letters[100:150])
    body = bill(vendor=Ref(id="7", name=name), lines=(BillLine(description="".join(letters), amount=Decimal(1)),))
    small = pdf(record(body), VENDOR, BUYER)
    monkeypatch.setattr(render, "everyday", lambda *_: False)
    whole = pdf(record(body), VENDOR, BUYER)
    assert list(texts(small)) == list(texts(whole))
    assert _look(small) == _look(whole)


def _look(data: bytes) -> list[bytes]:
    document = pypdfium2.PdfDocument(data)
    pictures = [page.render(scale=2).to_pil().tobytes() for page in document]
    document.close()
    return pictures


def test_a_letter_beyond_them_asks_for_the_whole_fonts() -> None:
    assert all(everyday(*_labels(words)) for words in LANGUAGES.values())
    assert everyday("Cafe\u0301 Łódź 12\u202f345,67\u00a0€")
    assert not any(everyday(text) for text in ("Ђ", "q\u0301", "\u200b", "東", MISSING))


def _labels(words: Words) -> list[str]:
    return [str(getattr(words, field.name)) for field in fields(words)]


def test_every_face_is_there() -> None:
    assert all(face.path.is_file() for face in FACES)


@pytest.mark.parametrize(
    "country,value,currency,printed",
    [
        ("GB", "1234.5", "EUR", "€1,234.50"),
        ("GB", "-3", "GBP", "-£3.00"),
        ("GB", "1234.5", "PLN", "PLN 1,234.50"),
        ("GB", "1234", "JPY", "JPY 1,234"),
        ("GB", "1234.5", "JPY", "JPY 1,234.5"),
        ("GB", "1.2345", "KWD", "KWD 1.2345"),
        ("GB", "0.00071", "EUR", "€0.00071"),
        ("FR", "1234.56", "EUR", "1 234,56 €"),
        ("FR", "-1234567", "JPY", "-1 234 567 JPY"),
        ("DE", "1234.56", "CHF", "1.234,56 CHF"),
        ("Nederland", "1000000", "EUR", "1.000.000,00 €"),
        (None, "5", "USD", "$5.00"),
    ],
)
def test_amounts_are_written_as_the_buyers_country_does(
    country: str | None, value: str, currency: str, printed: str
) -> None:
    said = words_of(company(country)).money(Decimal(value), currency)
    assert re.sub(r"\s", " ", said) == printed


def test_every_language_names_all_months() -> None:
    assert all(len(words.months.split()) == 12 for words in LANGUAGES.values())


def test_details_of_both_parties_lines_and_taxes_are_there() -> None:
    body = bill(
        "FV/2026/03-118",
        "1476.00",
        tax=Decimal("276.00"),
        tax_lines=(
            TaxLine(amount=Decimal("230.00"), net=Decimal(1000), percent=Decimal("23.0")),
            TaxLine(amount=Decimal("46.00"), net=Decimal(920), percent=Decimal("5")),
        ),
        lines=(
            BillLine(description="Λογισμικό – café £", amount=Decimal(1250), quantity=Decimal("12.50")),
            BillLine(description="Discount", amount=Decimal(-50)),
            BillLine(item=Ref(id="1", name="Hosting"), amount=Decimal(0), description="Hosting for nothing"),
            BillLine(amount=Decimal(0)),
        ),
    )
    data = pdf(record(body), VENDOR, company("GB"))
    for part in (
        "Supplier", "Imaginary Quarry Ltd", "bills@quarry.example", "Bill to", "Société Exemple SAS", "Invoice number",
        "Λογισμικό – café £", "12.5", "€1,250.00", "Discount", "-€50.00", "Hosting for nothing", "Subtotal",
        "€1,200.00", "VAT 23%", "€230.00", "VAT 5%", "€46.00", "Total VAT", "€276.00", "VAT rate", "€920.00",
        "Total due", "€1,476.00",
    ):  # fmt: skip
        assert all(_bare(part) in text for text in texts(data)), part
    assert all("Purchase" not in text for text in texts(data))


def test_a_credit_is_named_as_one() -> None:
    credit = VendorCredit(
        vendor=Ref(id="7", name="Imaginary Quarry Ltd"),
        total=Decimal(120),
        currency="EUR",
        number="CN-5",
        issued_on=date(2026, 3, 5),
        lines=(BillLine(description="Gravel returned", amount=Decimal(120)),),
    )
    for country, title, number in (("GB", "Credit note", "Credit note number"), ("FR", "Avoir", "Avoir n°")):
        data = pdf(record(credit, kind="vendorcredit"), None, company(country))
        read = read_document(data)
        assert (read.category, read.number, read.issued) == ("CREDIT_NOTE", "CN-5", date(2026, 3, 5))
        assert read.total == Decimal(120)
        for text in texts(data):
            assert _bare(title) in text
            assert _bare(number) in text
            assert "QuickBookscredit145" in text
            assert "invoice" not in text.casefold()


def test_a_long_bill_repeats_its_heads_and_counts_its_pages() -> None:
    lines = tuple(BillLine(description=f"Item {number} " + "x" * 120, amount=Decimal(1)) for number in range(200))
    document = pypdf.PdfReader(io.BytesIO(pdf(record(bill(lines=lines)), None, company("GB"))))
    pages = [_bare(page.extract_text()) for page in document.pages]
    assert len(pages) > 5
    for number, page in enumerate(pages, 1):
        assert f"Page{number}of{len(pages)}" in page
        assert "QuickBooksbill145,company9130" in page
        assert ("DescriptionQtyUnitpriceAmount" in page) == ("Item" in page)
    assert "€120.00" in pages[0]
    assert "€120.00" in pages[-1]
    assert sum(len(re.findall(r"Item\d+", page)) for page in pages) == 200


def test_a_bill_without_lines_has_no_table() -> None:
    data = pdf(record(bill(lines=(), tax=None, tax_lines=())), None, None)
    assert all("Description" not in text and "€120.00" in text for text in texts(data))


def test_a_masked_tax_number_is_not_printed() -> None:
    masked, whole = (Vendor(name="V", tax_identifier=number) for number in ("XXXXXX3456", "PL0000003456"))
    assert not any("3456" in text for text in texts(pdf(record(bill()), masked, company("GB"))))
    assert all("VATnumber:PL0000003456" in text for text in texts(pdf(record(bill()), whole, company("GB"))))


def test_the_properties_name_the_bill_in_both_places() -> None:
    reader = pypdf.PdfReader(io.BytesIO(pdf(record(bill("F<1>")), VENDOR, BUYER)))
    assert reader.metadata is not None
    assert str(reader.metadata["/Keywords"]) == "quickbooks-realm:9130 quickbooks-bill:145"
    assert reader.metadata.title == "Facture F<1>"
    xmp = reader.xmp_metadata
    assert xmp is not None
    assert xmp.pdf_keywords == "quickbooks-realm:9130 quickbooks-bill:145"
    assert xmp.dc_title == {"x-default": "Facture F<1>"}
    assert xmp.dc_creator == ["Imaginary Quarry Ltd"]
