"""Invoice numbers: how they are written differently by people, banks and OCR, and when two contradict."""

import re
from functools import lru_cache
from string import ascii_uppercase, digits

import msgspec

SHORTEST = 4
"""Digits or characters below which a number says too little to be found in free text."""

_WORDS = re.compile(
    r"^(?:FACTURE|FACT|FAC|FA|INVOICE|INV|RECHNUNGSNR|RECHNUNG|RECHN|RE|RG|FACTUUR|FACTURA|FATTURA|NUMERO|NUM|NR|NO|N)(?=\d)"
)

_LETTERS = ascii_uppercase.encode()
_SIGNS = bytes(set(range(256)).difference(_LETTERS, digits.encode()))
_BLANKED = bytes.maketrans(_SIGNS, b" " * len(_SIGNS))
_LEADING_ZEROS = re.compile("(?<![0-9])0+(?=[0-9])")
_MISREAD = bytes.maketrans(b"OQDILZSB", b"00011258")
"""Letters that OCR takes for digits, and the other way round."""


class Reference(msgspec.Struct, frozen=True, gc=False):
    """One number in the forms it is compared in.

    `squeezed` is without blanks and signs, `plain` also without leading zeros of its groups, `core` also
    without its word in front, `seen` with letters and digits that look alike made equal.
    """

    squeezed: str
    plain: str
    core: str
    digits: str
    seen: str


@lru_cache(maxsize=10_000)
def reference(raw: str | None) -> Reference | None:
    """The comparable form of an invoice number; None if it holds no digit."""
    if not raw:
        return None
    text = _blanked(raw)
    squeezed = text.replace(b" ", b"")
    if not squeezed.strip(_LETTERS):
        return None
    plain = _LEADING_ZEROS.sub("", text.decode()).replace(" ", "")
    core = _WORDS.sub("", plain)
    core = core.lstrip("0") or core
    numerals = core.encode().translate(None, _LETTERS)
    return Reference(squeezed.decode(), plain, core, numerals.decode(), squeezed.translate(_MISREAD).decode())


def _blanked(text: str) -> bytes:
    """Its capitals and digits, a blank in place of each other sign; as bytes, which are translated the fastest."""
    return text.upper().encode("ascii", "replace").translate(_BLANKED)


def agreement(a: Reference, b: Reference) -> float:
    """1 for the same number, a little less for the same number written otherwise, 0 for another number."""
    if a.squeezed == b.squeezed or a.plain == b.plain:
        return 1.0
    if a.core == b.core:
        return 0.97
    if len(a.digits) >= SHORTEST and a.digits == b.digits:
        return 0.92
    if a.seen == b.seen and len(a.seen) > SHORTEST:
        return 0.88
    short, long = sorted((a.core, b.core), key=len)
    if len(short) > SHORTEST and long.endswith(short):
        return 0.85
    return 0.0


def traits(number: Reference) -> tuple[str, ...]:
    """Five texts of which two numbers that agree at all have at least one in common, each in its place; "" is none."""
    return (
        number.squeezed,
        number.core,
        number.digits if len(number.digits) >= SHORTEST else "",
        number.seen if len(number.seen) > SHORTEST else "",
        number.core[-SHORTEST - 1 :] if len(number.core) > SHORTEST else "",
    )


def mentioned(number: Reference, text: str) -> bool:
    """Whether free text (a bank label, a transfer's reference) holds the number."""
    squeezed = _blanked(text).replace(b" ", b"").decode()
    bare = _LEADING_ZEROS.sub("", squeezed)
    if len(number.plain) >= SHORTEST and (number.plain in squeezed or number.plain in bare):
        return True
    if len(number.core) > SHORTEST and number.core in bare:
        return True
    words = re.findall(r"[0-9]+", text)
    return len(number.digits) > SHORTEST and number.digits in (word.lstrip("0") for word in words)


def names_another(number: Reference, text: str) -> bool:
    """Whether free text holds another number of the same series instead: written alike, and the first half the same."""
    if len(number.plain) <= SHORTEST:
        return False
    others = (reference(word) for word in re.findall(r"[0-9A-Z][0-9A-Z./-]*", text.upper()))
    return any(other is not None and _same_series(number.plain, other.plain) for other in others)


def _same_series(one: str, other: str) -> bool:
    start = (len(one) + 1) // 2
    return one != other and one[:start] == other[:start] and re.sub(r"\d", "0", one) == re.sub(r"\d", "0", other)
