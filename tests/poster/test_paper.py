"""Suppliers' files by their bytes: taken as they are, made smaller and nothing lost, or refused with a reason."""

import io
import random

import msgspec
import pikepdf
import pytest
from fpdf import FPDF
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from common.buckets import Documents
from common.messages import Document
from services.poster.choice import LARGEST
from services.poster.document import Papers, shown
from services.poster.paper import JPEG, PDF, PNG, Paper, examine, examined
from services.poster.shrink import LEGIBLE, same, smaller_image, smaller_pdf
from services.sandbox.qonto.reading import read_document
from tests.poster.desk import Desk, bill, pdf_saying

EXCESSIVE = "takes more time or memory to read than any invoice does"
SMALL = 400_000
"""Stands for Qonto's limit where the file has to be reduced by the same share, only faster."""


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """A picture as a scanner makes it: letters of a page, and grain that packs badly."""
    grain = random.Random(5).randbytes(width * height * len(mode))
    return Image.blend(Image.frombytes(mode, (width, height), grain), Image.new(mode, (width, height), "white"), 0.85)


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def scan(pages: int = 2, size: tuple[int, int] = (1240, 1754), mode: str = "RGB") -> bytes:
    """A scanned invoice with a text layer, each page a picture at 150 dpi times whatever `size` is."""
    sheet = FPDF(format="A4")
    sheet.set_font("Helvetica", size=12)
    picture = noise(*size, mode)
    for number in range(pages):
        sheet.add_page()
        sheet.image(picture, 0, 0, 210, 297)
        sheet.set_xy(20, 20)
        sheet.cell(0, 8, f"Invoice number: F-100 page {number + 1}", new_x="LMARGIN", new_y="NEXT")
        picture = picture.rotate(180)
    return bytes(sheet.output())


def locked(owner: str, user: str) -> bytes:
    file = io.BytesIO()
    with pikepdf.open(io.BytesIO(pdf_saying("Invoice number: F-100", "Total due: 120.00 EUR"))) as pdf:
        pdf.save(file, encryption=pikepdf.Encryption(owner=owner, user=user))
    return file.getvalue()


def empty() -> bytes:
    file = io.BytesIO()
    pikepdf.new().save(file)
    return file.getvalue()


GOOD = pdf_saying("Invoice number: F-100", "Total due: 120.00 EUR")


@pytest.mark.parametrize(
    "data,declared,kind",
    [
        (GOOD, PDF, PDF),
        (b"\xef\xbb\xbf" + GOOD, PDF, PDF),
        (locked(owner="owner", user=""), PDF, PDF),
        (saved(noise(40, 50), "PNG"), PNG, PNG),
        (saved(noise(40, 50), "JPEG"), PNG, JPEG),
        (saved(noise(40, 50), "PNG"), PDF, PNG),
    ],
)
def test_what_qonto_takes_is_taken_as_it_is_by_its_bytes(data: bytes, declared: str, kind: str) -> None:
    assert examine(data, declared) == Paper(kind)


@pytest.mark.parametrize(
    "data,declared,flaw",
    [
        (b"PK\x03\x04 a document of an office program", PDF, "is not the application/pdf it claims to be"),
        (b"", PNG, "is not the image/png it claims to be"),
        (b"<html>not found</html>", JPEG, "is not the image/jpeg it claims to be"),
        (locked(owner="owner", user="secret"), PDF, "needs a password"),
        (empty(), PDF, "has no pages"),
        (b"%PDF-1.7\n" + bytes(1000), PDF, "is damaged: it cannot be opened"),
        (GOOD[:200], PDF, "is damaged: it cannot be opened"),
        (saved(noise(400, 500), "PNG")[:9000], PNG, "is damaged: it cannot be opened"),
        (saved(noise(400, 500), "JPEG")[:9000], JPEG, "is damaged: it cannot be opened"),
        (saved(Image.new("1", (12_000, 12_000)), "PNG"), PNG, "has 12000 × 12000 pixels"),
        (saved(Image.new("1", (20_000, 20_000)), "PNG"), PNG, "has 20000 × 20000 pixels"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(data: bytes, declared: str, flaw: str) -> None:
    assert examine(data, declared).flaw == flaw


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([PDF, PNG, JPEG]), st.data())
def test_whatever_is_done_to_a_file_the_answer_is_a_verdict(kind: str, data: st.DataObject) -> None:
    whole = {PDF: GOOD, PNG: saved(noise(30, 30), "PNG"), JPEG: saved(noise(30, 30), "JPEG")}[kind]
    start = data.draw(st.integers(0, len(whole) - 1))
    broken = whole[:start] + data.draw(st.binary(max_size=30)) + whole[start + data.draw(st.integers(0, 60)) :]
    paper = examine(broken, kind)
    assert paper.flaw is None or paper.flaw.startswith(("is ", "has ", "needs "))


def test_a_scan_is_reduced_to_what_is_legible_and_says_the_same() -> None:
    heavy = scan(1, (1860, 2631))
    small = smaller_pdf(heavy, len(heavy) // 5)
    assert small is not None
    assert len(small.data) <= len(heavy) // 5
    assert same(heavy, small.data)
    assert read_document(small.data).number == read_document(heavy).number == "F-100"
    with pikepdf.open(io.BytesIO(small.data)) as pdf:
        pictures = [item for item in pdf.objects if isinstance(item, pikepdf.Stream) and "/Width" in item]
        assert pictures
        assert all(int(picture.Width) >= 210 / 25.4 * LEGIBLE - 1 for picture in pictures)


def test_what_would_become_illegible_is_not_reduced() -> None:
    heavy = scan(1, (620, 877))
    assert smaller_pdf(heavy, 5_000) is None
    assert smaller_pdf(locked(owner="owner", user=""), 100) is None


def test_a_picture_within_a_form_and_one_shown_twice_keep_the_larger_size() -> None:
    sheet = FPDF(format="A4")
    sheet.add_page()
    picture = noise(1300, 1300)
    sheet.image(picture, 0, 0, 20, 20)
    sheet.image(picture, 0, 40, 200, 200)
    small = smaller_pdf(bytes(sheet.output()), SMALL)
    assert small is not None
    assert smaller_pdf(bytes(sheet.output()), SMALL) == small
    with pikepdf.open(io.BytesIO(small.data)) as pdf:
        widths = [int(item.Width) for item in pdf.objects if isinstance(item, pikepdf.Stream) and "/Width" in item]
    assert min(widths) >= 200 / 25.4 * LEGIBLE - 1


def test_copies_that_lost_something_are_recognised() -> None:
    whole = pdf_saying("Invoice", "Total 120.00")
    assert same(whole, whole)
    assert not same(whole, pdf_saying("Invoice", "Total 12.00"))
    assert not same(scan(2, (60, 80)), scan(1, (60, 80)))
    blank = FPDF(format="A4")
    blank.add_page()
    dark = FPDF(format="A4")
    dark.add_page()
    dark.rect(0, 0, 210, 100, style="F")
    assert not same(bytes(blank.output()), bytes(dark.output()))


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_a_large_image_becomes_a_smaller_jpeg_of_the_same_shape(mode: str) -> None:
    image = noise(600, 800).convert(mode)
    small = smaller_image(saved(image, "PNG"), 300_000)
    assert small is not None
    assert len(small.data) <= 300_000
    with Image.open(io.BytesIO(small.data)) as copy:
        assert (copy.format, copy.size) == ("JPEG", (600, 800))
    assert smaller_image(saved(image, "PNG"), 100) is None


def test_an_image_taken_lying_on_its_side_is_put_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    small = smaller_image(saved(noise(900, 600), "JPEG", quality=95, exif=exif.tobytes()), SMALL)
    assert small is not None
    with Image.open(io.BytesIO(small.data)) as copy:
        assert copy.size == (600, 900)


async def test_a_file_that_takes_too_much_costs_only_its_reader() -> None:
    photo = saved(noise(3000, 3600), "JPEG", quality=100, subsampling=0)
    assert len(photo) > LARGEST
    starved = await examined(photo, JPEG, memory=200_000_000)
    assert starved.flaw is not None
    assert await examined(photo, JPEG, seconds=0) == Paper(JPEG, flaw=EXCESSIVE)
    assert await examined(GOOD, PDF) == Paper(PDF)
    paper = await examined(photo, JPEG)
    assert paper.flaw is None
    assert paper.smaller is not None
    assert paper.size == len(paper.smaller) <= LARGEST
    assert "reduced from" in str(paper.how)
    with Image.open(io.BytesIO(paper.smaller)) as copy:
        assert (copy.format, copy.size) == ("JPEG", (3000, 3600))


async def stored(desk: Desk, *files: tuple[str, bytes, str]) -> tuple[Document, ...]:
    """Attachments of a bill, in the store and as the record names them."""
    store = Documents(desk.bus)
    return tuple(
        [
            Document(sha256=await store.put(data), name=name, content_type=kind, size=len(data), attachable=str(number))
            for number, (name, data, kind) in enumerate(files, 1)
        ]
    )


async def test_a_locked_file_gives_way_to_a_drawn_one_and_an_open_copy_takes_its_place(desk: Desk) -> None:
    """The copy is attached later, beside the locked one and under the same name."""
    lock = ("Invoice F-100.pdf", locked(owner="owner", user="secret"), PDF)
    first = await desk.posting(await desk.create("1", bill(), documents=await stored(desk, lock)))
    assert first.why == "drawn from the bill, as none of its files can be used: Invoice F-100.pdf needs a password"
    assert "Drawn by Weir" in read_document(await desk.uploaded(first.entry)).text
    second = await desk.posting(
        await desk.create("1", bill(), documents=await stored(desk, lock, ("Invoice F-100.pdf", GOOD, PDF)))
    )
    assert (second.outcome, second.revision, second.replaced) == ("superseded", 2, first.entry)
    assert await desk.uploaded(second.entry) == GOOD
    terms = ("Terms.pdf", pdf_saying("Terms"), PDF)
    third = await desk.posting(
        await desk.create("1", bill(), documents=await stored(desk, lock, ("Invoice F-100.pdf", GOOD, PDF), terms))
    )
    assert (third.outcome, third.entry) == ("unchanged", second.entry)


async def test_a_file_that_is_too_large_is_uploaded_smaller_and_another_type_is_named_so(desk: Desk) -> None:
    photo = saved(noise(3000, 3600), "JPEG", quality=100, subsampling=0)
    picture = saved(noise(60, 80), "PNG")
    large = await desk.create("1", bill(), documents=await stored(desk, ("scan.pdf", photo, PNG)))
    lying = await desk.create("2", bill("F-2"), documents=await stored(desk, ("scan.pdf", picture, PDF)))
    first, second = await desk.posting(large, within=60), await desk.posting(lying)
    sent = await desk.uploaded(first.entry)
    assert len(sent) < LARGEST < len(photo)
    assert "it was reduced from" in str(first.why)
    assert await desk.uploaded(second.entry) == picture
    names = {one["id"]: one["file_name"] for one in await desk.invoices()}
    assert names[first.entry].endswith(".jpg")
    assert names[second.entry].endswith(".png")


async def test_what_a_record_shows_follows_from_the_bytes_of_its_files(desk: Desk) -> None:
    papers = Papers(Documents(desk.bus))
    good, bad = await stored(desk, ("a.pdf", GOOD, PDF), ("Invoice F-100.pdf", b"no PDF", PDF))
    record, _ = await desk.record("1", bill(), documents=(good, bad))
    settled = await papers.settled(record)
    assert shown(settled) == good.sha256
    assert await papers.settled(settled) == settled
    assert shown(await papers.settled(msgspec.structs.replace(record, documents=(bad,)))) == shown(
        msgspec.structs.replace(record, documents=())
    )
