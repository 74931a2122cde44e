"""Smaller copies of files that are too large for Qonto, down to what people and text recognition still read.

Of a PDF only the pictures are redrawn, at a resolution that fits the size they have on the page; text, drawings,
pages and attached files stay. The copy is opened by another library than the one that wrote it and must have
the same pages, the same text and the same look.
"""

import io
import math
from collections.abc import Iterator
from typing import NamedTuple

import pikepdf
import pypdfium2
import pypdfium2.raw
from pikepdf import Name
from PIL import Image, ImageChops, ImageOps, ImageStat

LEGIBLE = 150
"""Dots per inch below which small print is lost; no picture is brought below it."""
STEPS = ((300, 85), (200, 80), (LEGIBLE, 75), (LEGIBLE, 60))
"""Dots per inch and JPEG quality, tried until the file is small enough."""
SIDES = ((4700, 85), (3300, 80), (2340, 75), (2340, 60))
"""The same for an image, which does not say how large it is on paper: pixels of its longer side, 200 dpi on A4."""
_ALIKE = 6.0
"""Mean difference in brightness, of 255, up to which two pages look the same."""
_LOOKED_AT = 40
"""Pages whose looks are compared."""
_THUMBNAIL = 0.5
_NESTED = 8


class Smaller(NamedTuple):
    """The reduced copy, and what was done to it."""

    data: bytes
    how: str


def smaller_pdf(data: bytes, largest: int) -> Smaller | None:
    """The PDF in at most `largest` bytes with the same pages and text, or None. The same input gives the same bytes."""
    placed = _placed(data)
    for dpi, quality in ((None, 0), *STEPS):
        try:
            copy = _rewritten(data, placed, dpi, quality)
        except (pikepdf.PdfError, ValueError):
            return None
        if copy is None:
            return None
        if len(copy) <= largest and same(data, copy):
            return Smaller(copy, f"pictures redrawn at {dpi} dpi" if dpi else "its streams were packed")
    return None


def smaller_image(data: bytes, largest: int) -> Smaller | None:
    """The image as a JPEG of at most `largest` bytes, upright, or None."""
    with Image.open(io.BytesIO(data)) as opened:
        image = ImageOps.exif_transpose(opened)
    if image.mode not in {"L", "RGB"}:
        image = _on_white(image)
    for side, quality in SIDES:
        if max(image.size) > side:
            image.thumbnail((side, side), Image.Resampling.LANCZOS)
        copy = _jpeg(image, quality)
        if len(copy) <= largest:
            return Smaller(copy, f"{image.width} × {image.height} pixels")
    return None


def same(before: bytes, after: bytes) -> bool:
    """Whether two PDFs have the same pages with the same text and, as far as looked at, the same look."""
    one, two = pypdfium2.PdfDocument(before), pypdfium2.PdfDocument(after)
    try:
        if len(one) != len(two):
            return False
        for number in range(len(one)):
            left, right = one[number], two[number]
            if left.get_textpage().get_text_range() != right.get_textpage().get_text_range():
                return False
            if number < _LOOKED_AT and not _look_alike(left, right):
                return False
        return True
    except pypdfium2.PdfiumError:
        return False
    finally:
        one.close()
        two.close()


def _look_alike(left: pypdfium2.PdfPage, right: pypdfium2.PdfPage) -> bool:
    pictures = [page.render(scale=_THUMBNAIL, grayscale=True).to_pil().convert("L") for page in (left, right)]
    if pictures[0].size != pictures[1].size:
        return False
    return float(ImageStat.Stat(ImageChops.difference(*pictures)).mean[0]) <= _ALIKE


def _placed(data: bytes) -> dict[tuple[int, int], tuple[float, float]]:
    """The largest size in inches at which pictures of so many pixels stand on a page."""
    placed: dict[tuple[int, int], tuple[float, float]] = {}
    document = pypdfium2.PdfDocument(data)
    try:
        for page in document:
            for item in page.get_objects(filter=[pypdfium2.raw.FPDF_PAGEOBJ_IMAGE], max_depth=_NESTED):
                pixels = item.get_px_size()
                if item.level > 0:  # within a form: how that is scaled is not said, so at most it fills the page
                    wide = high = max(page.get_size()) / 72
                else:
                    a, b, c, d, _, _ = item.get_matrix().get()
                    wide, high = math.hypot(a, b) / 72, math.hypot(c, d) / 72
                before = placed.get(pixels, (0.0, 0.0))
                placed[pixels] = (max(before[0], wide), max(before[1], high))
            page.close()
    finally:
        document.close()
    return placed


def _rewritten(
    data: bytes, placed: dict[tuple[int, int], tuple[float, float]], dpi: int | None, quality: int
) -> bytes | None:
    """The PDF written anew, its pictures redrawn if `dpi` is given; None if its owner forbids changes."""
    with pikepdf.open(io.BytesIO(data)) as pdf:
        if pdf.is_encrypted:
            return None
        if dpi is not None:
            for picture in _pictures(pdf):
                _redraw(picture, placed, dpi, quality)
        copy = io.BytesIO()
        pdf.save(
            copy,
            object_stream_mode=pikepdf.ObjectStreamMode.generate,
            recompress_flate=True,
            deterministic_id=True,
        )
    return copy.getvalue()


def _pictures(pdf: pikepdf.Pdf) -> Iterator[pikepdf.Stream]:
    """The pictures that can be redrawn as a JPEG: grey or coloured, and nothing that masks another."""
    streams = [item for item in pdf.objects if isinstance(item, pikepdf.Stream)]
    images = [stream for stream in streams if stream.get(Name.Subtype) == Name.Image]
    masks = {
        mask.objgen
        for image in images
        for key in (Name.SMask, Name.Mask)
        if isinstance(mask := image.get(key), pikepdf.Stream)
    }
    for image in images:
        plain = image.get(Name.BitsPerComponent) == 8 and Name.Decode not in image and not image.get(Name.ImageMask)
        keyed = isinstance(image.get(Name.Mask), pikepdf.Array)
        if plain and not keyed and image.objgen not in masks:
            yield image


def _redraw(
    picture: pikepdf.Stream, placed: dict[tuple[int, int], tuple[float, float]], dpi: int, quality: int
) -> None:
    """Draw a picture with fewer pixels where it has more than the page shows; left alone if that saves nothing."""
    pixels = (int(picture.Width), int(picture.Height))
    if pixels not in placed:
        return
    try:
        image = pikepdf.PdfImage(picture).as_pil_image()
    except (pikepdf.PdfError, NotImplementedError, ValueError, OSError):
        return
    except Exception as error:
        if type(error).__module__.startswith("pikepdf"):  # a form of picture it does not know
            return
        raise
    if image.mode == "P":
        image = image.convert("RGB")
    if image.mode not in {"L", "RGB"}:
        return
    wide, high = placed[pixels]
    scale = min(max(wide * dpi / pixels[0], high * dpi / pixels[1]), 1.0)
    if scale < 1.0:
        size = max(math.ceil(pixels[0] * scale), 1), max(math.ceil(pixels[1] * scale), 1)
        image = image.resize(size, Image.Resampling.LANCZOS)
    drawn = _jpeg(image, quality)
    if len(drawn) >= len(picture.read_raw_bytes()):
        return
    colors = picture.get(Name.ColorSpace)
    profiled = isinstance(colors, pikepdf.Array) and colors[0] == Name.ICCBased
    if not profiled:
        picture.ColorSpace = Name.DeviceGray if image.mode == "L" else Name.DeviceRGB
    picture.write(drawn, filter=Name.DCTDecode)
    picture.Width, picture.Height = image.size


def _on_white(image: Image.Image) -> Image.Image:
    """What is transparent as paper shows it."""
    if "A" not in image.getbands() and "transparency" not in image.info:
        return image.convert("RGB")
    paper = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(paper, image.convert("RGBA")).convert("RGB")


def _jpeg(image: Image.Image, quality: int) -> bytes:
    copy = io.BytesIO()
    image.save(copy, "JPEG", quality=quality, optimize=True)
    return copy.getvalue()
