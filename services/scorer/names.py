"""Supplier names: what is left when case, accents, legal forms and bank jargon are gone, and how alike two are.

Measured on public sets of company names: plain ratio and token-sort are safe but find 6 in 10, token-set
finds 8 in 10 and takes "orange" for "orange cyberdefense". Token-set therefore counts only where at least
two tokens, or one rare one, are shared.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from cleanco import basename
from rapidfuzz import fuzz
from rapidfuzz.process import cpdist

RARE = 2
"""A token that at most so many of the workspace's names have says who is meant all by itself."""
_NUMBERS_DIFFER = 0.6
_BY_BEGINNING = ((8, 0.92), (5, 0.84))
"""Letters that one name has in common with the beginning of the other, and what that is worth."""

# What cleanco leaves standing, above all at home of Qonto's customers; compared without dots and accents.
_LEGAL_FORMS = frozenset(
    word
    for line in (
        "sarl sas sasu sa sci scop eurl snc gie earl selarl scea",
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
_AND = {"&": " and ", "+": " and ", "@": " at "}
_SAME = {"et": "and", "und": "and", "en": "and", "y": "and", "e": "and", "u": "and"}


@dataclass(frozen=True, slots=True)
class Name:
    """A name ready to compare: its words, joined words, and the numbers in it."""

    text: str
    tokens: tuple[str, ...]
    numbers: frozenset[str]

    @property
    def joined(self) -> str:
        """All words run together, for names written with and without spaces."""
        return "".join(self.tokens)


def fold(text: str) -> str:
    """Lower case without accents or punctuation, words parted by single blanks."""
    for sign, word in _AND.items():
        text = text.replace(sign, word)
    text = text.replace("’", "").replace("'", "")
    decomposed = unicodedata.normalize("NFKD", text.casefold().replace("ß", "ss").replace("ø", "o").replace("ł", "l"))
    plain = "".join(char if char.isalnum() else " " for char in decomposed if not unicodedata.combining(char))
    return " ".join(plain.split())


@lru_cache(maxsize=100_000)
def name(raw: str, *, label: bool = False) -> Name:
    """The comparable form of `raw`; `label` says that a bank wrote it, jargon and numbers of its own included."""
    bare = _FORM_PHRASES.sub(" ", fold(basename(basename(raw)) or raw))
    words = [_SAME.get(word, word) for word in bare.split()]
    kept = [word for word in words if word not in _LEGAL_FORMS and word != "and"]
    if label:
        kept = [word for word in kept if word not in _BANK_JARGON and not word.isdigit()]
    kept = kept or words
    numbers = frozenset() if label else frozenset(word for word in kept if any(char.isdigit() for char in word))
    return Name(" ".join(kept), tuple(kept), numbers)


def similarities(pairs: Sequence[tuple[Name, Name]], rarity: Callable[[str], int]) -> list[float]:
    """How alike each pair is, in [0, 1], scored in one batch; `rarity` counts the names that have a token."""
    if not pairs:
        return []
    left, right = [pair[0].text for pair in pairs], [pair[1].text for pair in pairs]
    plain = cpdist(left, right, scorer=fuzz.ratio)
    by_token = cpdist(left, right, scorer=fuzz.token_sort_ratio)
    by_set = cpdist(left, right, scorer=fuzz.token_set_ratio)
    joined = cpdist([a.joined for a, _ in pairs], [b.joined for _, b in pairs], scorer=fuzz.ratio)
    return [
        _guarded(a, b, float(max(plain[i], by_token[i], joined[i])) / 100, float(by_set[i]) / 100, rarity)
        for i, (a, b) in enumerate(pairs)
    ]


def _guarded(a: Name, b: Name, safe: float, by_set: float, rarity: Callable[[str], int]) -> float:
    if not a.tokens or not b.tokens:
        return 0.0
    score = safe
    shared = set(a.tokens) & set(b.tokens)
    if len(shared) >= 2 or any(len(token) > 4 and rarity(token) <= RARE for token in shared):
        score = max(score, by_set * 0.97)
    score = max(score, _by_beginning(a.joined, b.joined))
    if a.numbers and b.numbers and not a.numbers & b.numbers:
        score = min(score, _NUMBERS_DIFFER)
    return score


def _by_beginning(a: str, b: str) -> float:
    """What it is worth that one is the other cut short, as bank labels are."""
    short, long = sorted((a, b), key=len)
    if not long.startswith(short):
        return 0.0
    return next((worth for letters, worth in _BY_BEGINNING if len(short) >= letters), 0.0)


def best(first: Iterable[Name], second: Iterable[Name]) -> list[tuple[Name, Name]]:
    """Every pairing of two documents' names, the first names first."""
    others = list(second)
    return [(a, b) for a in first for b in others]
