"""Lines of files that may be anything: compressed, of another encoding, damaged, without an end."""

import codecs
import gzip
import io
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from common.errors import UserError

STDIN = Path("-")
LONGEST = 64 * 1024 * 1024
"""Bytes of the longest line that is read: a page of a thousand bills has a few million."""

_GZIP = b"\x1f\x8b"
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def shown(path: Path) -> str:
    """A file as a person knows it."""
    return "standard input" if path == STDIN else str(path)


class Problems:
    """What could not be read: said at once on standard error, and counted."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, place: str, why: str) -> None:
        """Say that something at `place` (file, line) could not be used, and why."""
        self.count += 1
        say(f"{place}: {why}")


class Line(NamedTuple):
    """One line without its end; `place` names it to a person."""

    place: str
    text: bytes


def say(text: str) -> None:
    """One line to the person, on standard error; what would move a terminal's cursor is left out."""
    sys.stderr.write("weir: " + "".join(char if char.isprintable() else " " for char in text) + "\n")


def lines(path: Path, problems: Problems) -> Iterator[Line]:
    """The lines of a file (`-` is standard input) that are not blank, one at a time.

    Plain or gzip, told by the first bytes; UTF-8 with or without a mark, or UTF-16 with one. UserError if the file
    cannot be opened; what is damaged later is added to `problems`, and what came before it counts.
    """
    number = 0
    try:
        with _opened(path) as stream:
            for number, text in enumerate(_split(stream), start=1):
                place = f"{shown(path)}, line {number}"
                if len(text) > LONGEST:
                    problems.add(place, f"longer than {LONGEST:,} bytes; write one object per line")
                elif text.strip():
                    yield Line(place, text.removeprefix(codecs.BOM_UTF8) if number == 1 else text)
    except (OSError, EOFError, zlib.error) as error:
        why = f"the file is damaged from here on ({error}); what came before it counts"
        problems.add(f"{shown(path)}, line {number + 1}", why)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with ExitStack() as closing:
        try:
            stream = sys.stdin.buffer if path == STDIN else closing.enter_context(path.open("rb"))
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); name an existing file") from None
        packed = isinstance(stream, io.BufferedReader) and stream.peek(len(_GZIP)).startswith(_GZIP)
        yield cast("BinaryIO", closing.enter_context(gzip.open(stream))) if packed else stream


def _split(stream: BinaryIO) -> Iterator[bytes]:
    """Lines at line feeds only; of one beyond LONGEST as much as tells that it is."""
    read = _reader(stream)
    while text := read(LONGEST + 1):
        yield text
        while len(text) > LONGEST and not text.endswith(b"\n"):
            text = read(LONGEST + 1)


def _reader(stream: BinaryIO) -> Callable[[int], bytes]:
    peek = getattr(stream, "peek", None)
    if peek is None or not peek(2).startswith(_UTF_16):
        return stream.readline
    text = io.TextIOWrapper(stream, "utf-16", errors="replace", newline="\n")
    return lambda limit: text.readline(limit).encode()
