"""Which face draws which letters, and in which order: names come in every script people write.

Roboto draws what it has, Noto and Almarai the rest of the world. Scripts that run from right to left are put in visual
order by the Unicode bidirectional algorithm (UAX #9), their letters joined by the shaping engine, so that a
page looks right and its text still reads in the order it was written.
"""

import importlib.resources
import logging
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import font_roboto
from fontTools.ttLib import TTFont
from fpdf.bidi import BidiParagraph

logging.getLogger("fontTools").setLevel(logging.ERROR)  # remarks on tables that are not embedded

MISSING = "\ufffd"
"""Drawn for a letter that no face has."""


class Face(NamedTuple):
    """A font file and how it is used: `shaped` where letters change with their neighbours, `blanks` unless its
    blanks are as wide as its pictures."""

    name: str
    package: str
    file: str
    shaped: bool = False
    blanks: bool = True

    @property
    def path(self) -> Path:
        """Where the file is."""
        return Path(str(importlib.resources.files(self.package) / self.file))


LATIN = "Roboto"
_SHAPED = (
    "Hebrew Devanagari Bengali Gujarati Gurmukhi Kannada Khmer Lao Malayalam Myanmar Oriya Sinhala Tamil Telugu Thai"
)
FACES = (
    Face("NotoSans", "manimgx_fonts", "NotoSans[wght].ttf"),
    # Noto's Arabic draws letters as stems and dots, which nobody can copy or search any more.
    Face("Almarai", "fontpkg_almarai", "files/Almarai-Regular.ttf", shaped=True),
    *(Face(f"Noto{script}", "manimgx_fonts", f"NotoSans{script}[wght].ttf", shaped=True) for script in _SHAPED.split()),
    *(Face(f"Noto{script}", "manimgx_fonts", f"NotoSans{script}[wght].ttf") for script in "Armenian Georgian".split()),
    Face("NotoEthiopic", "manimgx_fonts", "NotoSansEthiopic[wght].ttf"),
    Face("NotoEmoji", "manimgx_fonts", "NotoEmoji[wght].ttf", blanks=False),
    Face("NotoSymbols", "manimgx_fonts", "NotoSansSymbols[wght].ttf"),
    Face("NotoSC", "pylopdf_fonts_zh_cn", "NotoSansSC-Regular.otf"),
    Face("NotoKR", "pylopdf_fonts_ko", "NotoSansKR-Regular.otf"),
)
"""Beside Roboto, in the order in which they are asked for a letter."""
_BY_NAME = {face.name: face for face in FACES}


FEATURES = {"kern": False, "liga": False, "dlig": False}
"""Letters drawn into one another for looks are read in the wrong order in scripts that run leftward."""


class Run(NamedTuple):
    """Text that one face draws in one direction; `face` is None for Roboto."""

    text: str
    face: Face | None
    leftward: bool


def clean(text: str) -> str:
    """The text as it can be drawn on one line: composed, without controls and invisible marks, single spaces.

    A letter no face has becomes MISSING.
    """
    kept = (
        " " if unicodedata.category(mark) in {"Cc", "Zl", "Zp"} else mark
        for mark in text
        if unicodedata.category(mark) not in {"Cf", "Cs"} and not "\ufe00" <= mark <= "\ufe0f"
    )
    line = " ".join(unicodedata.normalize("NFC", "".join(kept)).split())
    return "".join(mark if mark in _latin() or _face(mark) else MISSING for mark in line)


def runs(text: str) -> tuple[Run, ...]:
    """Cleaned text as it stands on the page from left to right."""
    if all(mark in _latin() for mark in text):
        return (Run(text, None, leftward=False),) if text else ()
    levels = [mark.embedding_level for mark in BidiParagraph(text=text).get_characters_with_embedding_level()]
    parts = list(_parts(text, levels))
    for level in range(max(levels, default=0), 0, -1):  # rule L2, over whole runs: within one the engine does it
        start = 0
        while start < len(parts):
            end = start
            while end < len(parts) and parts[end][0] >= level:
                end += 1
            parts[start:end] = reversed(parts[start:end])
            start = max(end, start + 1)
    return tuple(run for _, run in parts)


def _parts(text: str, levels: Sequence[int]) -> Iterator[tuple[int, Run]]:
    """Runs in the order of reading, with their levels."""
    faces = _faces(text)
    start = 0
    for index in range(1, len(text) + 1):
        if index == len(text) or (faces[index], levels[index]) != (faces[start], levels[start]):
            yield levels[start], Run(text[start:index], faces[start], leftward=levels[start] % 2 == 1)
            start = index


def _faces(text: str) -> list[Face | None]:
    """The face of each letter; what belongs to the letter before it is drawn by the same face, if that has it.

    That are marks, and the blanks and signs between letters.
    """
    found: list[Face | None] = []
    for mark in text:
        before = found[-1] if found else None
        kind = unicodedata.category(mark)
        between = kind in {"Zs", "Pd", "Po"} or unicodedata.bidirectional(mark) == "ON"
        joins = before is not None and (kind in {"Mn", "Mc"} or (before.blanks and between))
        if before is not None and joins and ord(mark) in _cmap(before.name):
            found.append(before)
        else:
            found.append(None if mark in _latin() else _face(mark))
    return found


@cache
def _latin() -> frozenset[str]:
    with TTFont(font_roboto.Roboto, lazy=True) as font:
        return frozenset(map(chr, font.getBestCmap()))


@cache
def _cmap(name: str) -> frozenset[int]:
    with TTFont(_BY_NAME[name].path, lazy=True) as font:
        return frozenset(font.getBestCmap())


@cache
def _face(mark: str) -> Face | None:
    return next((face for face in FACES if ord(mark) in _cmap(face.name)), None)
