"""Roboto with the letters of everyday bills only: what is drawn with it takes a third of the time.

Most of the work on a document is reading a font of 2,800 signs and writing the few that are used. A bill whose
every letter is among those of the Latin alphabets and their punctuation gets fonts that hold just these, cut once.
"""

import io
import threading
import unicodedata
from functools import cache

from fontTools import subset
from fontTools.ttLib import TTFont

from common import codec

LETTERS = frozenset(map(chr, (*range(0x20, 0x7F), *range(0xA0, 0x180), *range(0x2010, 0x203B), *range(0x20A0, 0x20C0))))
"""Latin up to Extended-A, dashes, quotes, the spaces of numbers, signs of currencies."""
_UNUSED = ("GDEF", "GPOS", "GSUB", "hdmx")
"""Tables for scripts that are shaped, which these letters are not."""
_cutting = threading.Lock()


def everyday(*shown: object) -> bool:
    """Whether every text in these messages is of these letters."""
    try:
        written = codec.encode(shown).decode()
    except UnicodeEncodeError:
        return False  # half of a letter
    return LETTERS.issuperset(unicodedata.normalize("NFC", written))


def cut(path: str) -> io.BytesIO:
    """The font file at `path` with these letters only."""
    with _cutting:  # documents are drawn in threads
        return io.BytesIO(_cut(path))


@cache
def _cut(path: str) -> bytes:
    options = subset.Options(notdef_outline=True, recommended_glyphs=True, layout_features=[], name_IDs=["*"])
    options.drop_tables += _UNUSED
    with TTFont(path, lazy=True, recalcTimestamp=False) as font:
        present = font.getBestCmap()
        cutter = subset.Subsetter(options)
        cutter.populate(unicodes=[letter for letter in map(ord, LETTERS) if letter in present])
        cutter.subset(font)
        kept = io.BytesIO()
        font.save(kept)
    return kept.getvalue()
