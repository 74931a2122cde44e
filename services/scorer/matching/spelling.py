"""How a name's words are spelt: case, accents, dots, abbreviations and numbers."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

_LIGATURES = str.maketrans({"ø": "o", "ł": "l", "œ": "oe", "æ": "ae", "đ": "d"})
"""Letters that Unicode does not take apart into a plain one and its sign."""
_SIGNS = str.maketrans({"&": " and ", "+": " and ", "@": " at ", "’": "", "'": ""})
_DOTTED = re.compile(r"(?<![^\W_])(?:[^\W\d_]\.)+(?:[^\W\d_](?![^\W_]))?")
"""Initials with dots between: S.A.R.L., e.K., J.P."""
_PUNCTUATION = re.compile(r"[\W_]+")
_LETTERS = re.compile(r"(?<!\S)[^\W\d_](?: [^\W\d_])+(?!\S)")
_SHORT_FOR = {
    short: whole
    for whole, shorts in {
        "and": "et und en y e u",
        "international": "intl",
        "national": "natl",
        "services": "svc svcs",
        "brothers": "bros",
        "manufacturing": "mfg",
        "management": "mgmt",
        "government": "govt",
        "university": "univ",
        "department": "dept",
        "etablissements": "ets etabs",
        "gebruder": "gebr",
        "group": "grp",
    }.items()
    for short in shorts.split()
}
_ORDINAL = re.compile(r"([0-9]+)(?:st|nd|rd|th|er|ere|e|eme|ste)")
_ROMAN = re.compile(r"x{0,3}(?:ix|iv|v?i{0,3})")
_ROMAN_WORTH = {"i": 1, "v": 5, "x": 10}
_NUMERALS = {
    word: str(number)
    for line in (
        "one two three four five six seven eight nine ten eleven twelve",
        "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth",
        "- deux trois quatre cinq - sept huit - dix onze douze",
        "- zwei drei vier funf sechs sieben acht neun zehn elf zwolf",
    )
    for number, word in enumerate(line.split(), start=1)
    if word != "-"
}
_TENS = {
    word: 10 * number
    for number, words in enumerate(
        ("twenty", "thirty", "forty fourty", "fifty", "sixty", "seventy", "eighty", "ninety"), 2
    )
    for word in words.split()
}


def fold(text: str) -> str:
    """Lower case without accents or punctuation, words parted by single blanks."""
    return _PUNCTUATION.sub(" ", _plain(text)).strip()


def words(text: str) -> list[str]:
    """The folded words of a name as it was written; dotted initials are one word."""
    return _PUNCTUATION.sub(" ", _DOTTED.sub(_undotted, _plain(text))).split()


def _plain(text: str) -> str:
    if text.isascii():
        return text.translate(_SIGNS).casefold()
    lower = unicodedata.normalize("NFKD", text).translate(_SIGNS).casefold().translate(_LIGATURES)
    return "".join(char for char in unicodedata.normalize("NFKD", lower) if not unicodedata.combining(char))


def _undotted(initials: re.Match[str]) -> str:
    return initials.group().replace(".", "") + " "


def initials_joined(parts: Iterable[str]) -> list[str]:
    """Single letters in a row as one word: "a b c" are the initials of ABC."""
    return _LETTERS.sub(lambda run: run.group().replace(" ", ""), " ".join(parts)).split()


def written_out(parts: Sequence[str]) -> Iterator[str]:
    """Abbreviated words in full, and numbers in digits however they were spelt.

    "Fourth", "4th" and "IV" are 4, "forty-four" is 44; a Roman numeral stands behind what it counts, and one
    of a single letter at the very end.
    """
    taken = -1
    for at, word in enumerate(parts):
        following = parts[at + 1] if at + 1 < len(parts) else ""
        unit = _NUMERALS.get(following, following)
        if at == taken:
            continue
        if word in _TENS and len(unit) == 1 and unit.isdecimal():
            taken = at + 1
            yield str(_TENS[word] + int(unit))
        elif word in _TENS or word in _NUMERALS:
            yield _NUMERALS.get(word) or str(_TENS[word])
        elif ordinal := _ORDINAL.fullmatch(word):
            yield ordinal[1]
        elif at and (len(word) > 1 or not following) and _ROMAN.fullmatch(word):
            yield str(_roman(word))
        else:
            yield _SHORT_FOR.get(word, word)


def number(word: str) -> str | None:
    """What makes a word a number: its digits without leading zeros."""
    digits = "".join(char for char in word if char.isdigit())
    return (digits.lstrip("0") or "0") if digits else None


def _roman(numeral: str) -> int:
    worths = [_ROMAN_WORTH[letter] for letter in numeral]
    return sum(-worth if worth < max(worths[at:]) else worth for at, worth in enumerate(worths))
