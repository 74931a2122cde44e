"""Supplier names: what is left when case, accents, legal forms and bank jargon are gone, and how alike two are.

Measured on public sets of company names, string ratios alone find 6 in 10 safely, and token sets, which
find 8 in 10, take "orange" for "orange cyberdefense". So a measure only proposes: the words left over on
either side decide. Other numbers say other company; left-over words on both sides do too, unless they look
like one word misspelt; left-over words on one side make a part of the name at best.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from cleanco import basename
from rapidfuzz import fuzz
from rapidfuzz.process import cpdist

_JOINED = 0.98  # the same but for small words, or spaced differently
_IN_LABEL = 0.9  # a bank's text holds the whole name
_PLACE = 0.86  # nothing but a country or "international" on top
_SUBSET = 0.84  # two or more telling words shared, further words on one side only; or cut in the middle of a word
_PART = 0.7  # one telling word shared, further words on one side only
_OTHER = 0.55  # telling words on both sides that differ
_TYPO = 85.0
"""Ratio from which left-over words count as one word misspelt."""
_TYPO_LENGTH = 5
_CUT_OFF = 8
"""Letters that must be left of a name cut in the middle of a word; banks cut shorter still."""
_CUT_OFF_LABEL = 5
_LETTERS = re.compile(r"(?<!\S)[^\W\d_](?: [^\W\d_])+(?!\S)")
_ROMAN = re.compile(r"(?=[ivx]{2,})x{0,3}(?:ix|iv|v?i{0,3})\Z")
_JOINING = frozenset("the la le les el los de du des der die das van von of d l and".split())
_PLACES = frozenset(
    "europe european eu emea france paris deutschland germany berlin italia italy espana spain iberica nederland "
    "netherlands belgium belgique schweiz suisse switzerland osterreich austria uk usa us ireland luxembourg "
    "international intl global worldwide".split()
)
_TELL_NOBODY_APART = frozenset(
    "group groupe gruppe holding holdings services service solutions systems consulting management beheer trading "
    "industries industrie partners associates investments investment government foundation corporation business".split()
)
_COMMON = _TELL_NOBODY_APART | _JOINING | _PLACES

# What cleanco leaves standing, above all at home of Qonto's customers; compared without dots and accents.
_LEGAL_FORMS = frozenset(
    word
    for line in (
        "sarl sas sasu sa sci scop eurl snc gie earl selarl scea",
        "jsc ojsc pjsc cjsc oao ooo zao pao ооо оао зао пао ао",
        "gmbh ag kg ohg ug gbr ek co cokg mbh se aktiengesellschaft",
        "bv nv bvba vof srl sprl cvba",
        "sl slu sau scoop scp spa srls",
        "ltd limited llc llp plc inc corp corporation incorporated company ab oy as aps",
    )
    for word in line.split()
)
_FORM_PHRASES = re.compile(
    r"\b(?:societe (?:a responsabilite limitee|par actions simplifiee(?: unipersonnelle)?|anonyme)"
    r"|gesellschaft mit beschrankter haftung|besloten vennootschap|sociedad limitada|societa a responsabilita limitata"
    r"|(?:open |public |closed )?joint stock company|limited liability company|public limited company"
    r"|societatea cu raspundere limitata|общество с ограниченнои ответственностью|акционерное общество|sp z o o|o o o"
    r"|s a r l|s a s u|s a s|s r l|s l u|s l|s a|b v b a|b v|n v|s p a|g m b h)\b"
)
_BANK_JARGON = frozenset(
    word
    for line in (
        "prlv sepa vir virement cb carte card paiement payment facture invoice",
        "direct debit transfer ref inst recu emis",
    )
    for word in line.split()
)
_LIGATURES = str.maketrans({"ø": "o", "ł": "l", "œ": "oe", "æ": "ae", "đ": "d"})
"""Letters that Unicode does not take apart into a plain one and its sign."""
_AND = {"&": " and ", "+": " and ", "@": " at "}
_SAME = {"et": "and", "und": "and", "en": "and", "y": "and", "e": "and", "u": "and"}


@dataclass(frozen=True, slots=True)
class Name:
    """A name ready to compare: its words in order and as a set, run together, and the numbers in it."""

    text: str
    tokens: tuple[str, ...]
    numbers: frozenset[str]
    label: bool = False
    words: frozenset[str] = field(init=False, compare=False)
    joined: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", frozenset(self.tokens))
        object.__setattr__(self, "joined", "".join(self.tokens))


def fold(text: str) -> str:
    """Lower case without accents or punctuation, words parted by single blanks."""
    for sign, word in _AND.items():
        text = text.replace(sign, word)
    text = text.replace("’", "").replace("'", "")
    decomposed = unicodedata.normalize("NFKD", text.casefold().translate(_LIGATURES))
    plain = "".join(char if char.isalnum() else " " for char in decomposed if not unicodedata.combining(char))
    return " ".join(plain.split())


@lru_cache(maxsize=100_000)
def name(raw: str, *, label: bool = False) -> Name:
    """The comparable form of `raw`; `label` says that a bank wrote it, jargon and numbers of its own included."""
    whole = _FORM_PHRASES.sub(" ", fold(raw)) if _FORM_PHRASES.search(fold(raw)) else raw
    bare = _FORM_PHRASES.sub(" ", fold(basename(basename(whole)) or whole))
    words = [_SAME.get(word, word) for word in _LETTERS.sub(lambda run: run.group().replace(" ", ""), bare).split()]
    kept = [word for word in words if word not in _LEGAL_FORMS and word != "and"]
    if label:
        kept = [word for word in kept if word not in _BANK_JARGON and not word.isdigit()]
    kept = kept or words
    numbers = frozenset() if label else frozenset(filter(None, map(_number, kept)))
    return Name(" ".join(kept), tuple(kept), numbers, label)


def _number(word: str) -> str | None:
    """What makes a word a number: its digits without leading zeros, or a Roman numeral above one."""
    digits = "".join(char for char in word if char.isdigit())
    if digits:
        return digits.lstrip("0") or "0"
    return word if _ROMAN.match(word) else None


def similarities(pairs: Sequence[tuple[Name, Name]]) -> list[float]:
    """How alike each pair is, in [0, 1]; the measures run over all pairs in one batch."""
    if not pairs:
        return []
    left, right = [a.text for a, _ in pairs], [b.text for _, b in pairs]
    plain = cpdist(left, right, scorer=fuzz.ratio)
    by_token = cpdist(left, right, scorer=fuzz.token_sort_ratio)
    measured = (np.maximum(plain, by_token) / 100).tolist()
    return [_judged(a, b, score) for (a, b), score in zip(pairs, measured, strict=True)]


def _judged(a: Name, b: Name, measured: float) -> float:
    """A measure only proposes; what is left over on either side decides."""
    if a.numbers and b.numbers and not (a.numbers <= b.numbers or b.numbers <= a.numbers):
        return 0.0
    if a.joined == b.joined:
        return 1.0 if a.joined else 0.0
    ours, theirs = a.words, b.words
    if measured < _TYPO / 100 - 0.25 and ours.isdisjoint(theirs):
        # Two unrelated names: by far the most frequent case, and nothing below could lift it.
        return _SUBSET if _cut_off(a, b) else min(measured, _OTHER)
    if sorted(a.tokens) == sorted(b.tokens) and any(len(word) > 1 for word in ours):
        return 1.0
    only_a, only_b = ours - theirs - _JOINING, theirs - ours - _JOINING
    shared = (ours & theirs) - _COMMON
    if not only_a and not only_b:
        return _JOINED if shared else _OTHER
    if _cut_off(a, b):
        return _SUBSET
    if only_a and only_b:
        return measured if _misspelt(only_a, only_b) else min(measured, _OTHER)
    extra = only_a or only_b
    if (b if only_b else a).label and not extra & _COMMON and (len(shared) >= 2 or sum(map(len, shared)) >= 6):
        return _IN_LABEL
    if extra <= _PLACES and sum(map(len, shared)) >= _TYPO_LENGTH:
        return _PLACE
    if len(shared) >= 2 and sum(map(len, shared)) >= 8:
        return _SUBSET
    return min(measured, _PART)


def _misspelt(only_a: frozenset[str], only_b: frozenset[str]) -> bool:
    if min(map(len, only_a)) <= 2 and min(map(len, only_b)) <= 2:
        return False  # other initials
    a, b = "".join(sorted(only_a)), "".join(sorted(only_b))
    return min(len(a), len(b)) >= _TYPO_LENGTH and fuzz.ratio(a, b) >= _TYPO


def _cut_off(a: Name, b: Name) -> bool:
    """Whether one is the other cut short in the middle of a word, as bank labels are."""
    short, long = (a.text, b.text) if len(a.text) < len(b.text) else (b.text, a.text)
    least = _CUT_OFF_LABEL if a.label or b.label else _CUT_OFF
    return len(short) >= least and long.startswith(short) and long[len(short)] != " "


def pairings(first: Iterable[Name], second: Iterable[Name]) -> list[tuple[Name, Name]]:
    """Every pairing of two documents' names, the first names first."""
    others = list(second)
    return [(a, b) for a in first for b in others]
