"""What a supplier's file really is, whether it can be read, and a smaller copy of one too large for Qonto.

Files come from strangers, so they are opened in a process of their own with bounded time and memory, never in
the poster's: a file that kills its reader costs that reader only. Everything follows from the bytes alone.
"""

import codecs
import io
from typing import NamedTuple

import anyio
import anyio.to_process
import pikepdf
import pypdfium2
from anyio import BrokenWorkerProcess
from PIL import Image, UnidentifiedImageError

from common.errors import RetryLater
from services.poster.choice import LARGEST
from services.poster.shrink import smaller_image, smaller_pdf

try:
    import resource
except ImportError:  # pragma: no cover (Windows: only the time on the wall is bounded there)
    resource = None  # type: ignore[assignment]

PDF, JPEG, PNG = "application/pdf", "image/jpeg", "image/png"
_MAGIC = {b"%PDF-": PDF, b"\xff\xd8\xff": JPEG, b"\x89PNG\r\n\x1a\n": PNG}
_FORMATS = {JPEG: "JPEG", PNG: "PNG"}

MOST_PIXELS = 120_000_000
"""Of an image: four times an A3 page at 600 dots per inch would be more."""
MOST_PAGES = 1000
MEMORY = 3 * 1024**3
"""Bytes of address space of a reader, most of it libraries."""
SECONDS = 40
"""Of computing for one file."""
_WALL = 300.0
"""Seconds after which a reader is given up on, whoever else keeps the machine busy."""


Image.MAX_IMAGE_PIXELS = None  # counted here, before anything is decoded

_EXCESSIVE = "takes more time or memory to read than any invoice does"


class Paper(NamedTuple):
    """A file by its bytes.

    `flaw` completes "the file …" where it cannot be used. `smaller` is its reduced copy
    of `size` bytes and `how` says what was done to it.
    """

    content_type: str
    flaw: str | None = None
    smaller: bytes | None = None
    size: int = 0
    how: str | None = None


async def examined(data: bytes, declared: str, *, seconds: int = SECONDS, memory: int = MEMORY) -> Paper:
    """`examine` in a process of its own; RetryLater if this machine is too busy for it."""
    for _ in range(2):  # a reader may also die of its machine
        try:
            with anyio.fail_after(_WALL):
                return await anyio.to_process.run_sync(_bounded, data, declared, seconds, memory, cancellable=True)
        except BrokenWorkerProcess:
            continue
        except TimeoutError:
            raise RetryLater("there was no time to read a supplier's document", delay=60.0) from None
    return Paper(declared, flaw=_EXCESSIVE)


def _bounded(data: bytes, declared: str, seconds: int, memory: int) -> Paper:
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_AS, (memory, resource.getrlimit(resource.RLIMIT_AS)[1]))
        used = resource.getrusage(resource.RUSAGE_SELF)
        end = int(used.ru_utime + used.ru_stime) + seconds
        resource.setrlimit(resource.RLIMIT_CPU, (end, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    try:
        return examine(data, declared)
    except MemoryError:
        return Paper(declared, flaw=_EXCESSIVE)
    except Exception as error:  # noqa: BLE001 (whatever a reader says of what a stranger wrote)
        return Paper(declared, flaw=f"is damaged: {type(error).__name__} while it was read")


def examine(data: bytes, declared: str) -> Paper:
    """What the bytes are, which were taken for a file of the type `declared`."""
    beginning = data[:64].removeprefix(codecs.BOM_UTF8)
    kind = next((kind for magic, kind in _MAGIC.items() if beginning.startswith(magic)), None)
    if kind is None:
        return Paper(declared, flaw=f"is not the {declared} it claims to be")
    flaw = _pdf_flaw(data) if kind == PDF else _image_flaw(data, kind)
    if flaw is not None or len(data) <= LARGEST:
        return Paper(kind, flaw=flaw)
    found = smaller_pdf(data, LARGEST) if kind == PDF else smaller_image(data, LARGEST)
    if found is None:
        return Paper(kind, flaw=f"has {megabytes(len(data))} and cannot be made smaller without making it unreadable")
    how = f"it was reduced from {megabytes(len(data))} to {megabytes(len(found.data))}: {found.how}"
    return Paper(PDF if kind == PDF else JPEG, smaller=found.data, size=len(found.data), how=how)


def megabytes(size: int) -> str:
    """A size as people read it."""
    return f"{size / 1_000_000:.1f} MB"


def _pdf_flaw(data: bytes) -> str | None:
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError:
        return _why_closed(data)
    try:
        if len(document) == 0:
            return "has no pages"
        if len(document) > MOST_PAGES:
            return f"has {len(document)} pages"
        for number in range(len(document)):
            try:
                document[number].close()
            except pypdfium2.PdfiumError:
                return f"is damaged: page {number + 1} cannot be read"
    finally:
        document.close()
    return None


def _why_closed(data: bytes) -> str:
    """PDFium takes some files without pages for locked ones, so another library says why a file does not open."""
    try:
        with pikepdf.open(io.BytesIO(data)) as pdf:
            return "is damaged: it cannot be opened" if len(pdf.pages) else "has no pages"
    except pikepdf.PasswordError:
        return "needs a password"
    except (pikepdf.PdfError, ValueError):
        return "is damaged: it cannot be opened"


def _image_flaw(data: bytes, kind: str) -> str | None:
    try:
        with Image.open(io.BytesIO(data), formats=[_FORMATS[kind]]) as image:
            if image.width * image.height > MOST_PIXELS:
                return f"has {image.width} × {image.height} pixels"
            image.draft("L", (image.width // 8, image.height // 8))
            image.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        return "is damaged: it cannot be opened"
    return None
