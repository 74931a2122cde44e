"""Supplier names: what is left when case, accents, legal forms and bank jargon are gone, and how alike two are.

Measured on public sets of company names, string ratios alone find 6 in 10 safely, and token sets, which
find 8 in 10, take "orange" for "orange cyberdefense". So a measure only proposes: the words left over on
either side decide. Other numbers say other company; left-over words on both sides do too, unless they look
like one word misspelt; left-over words on one side make a part of the name at best. What is shared counts by
how well it tells suppliers apart, in general and in the workspace (`Rarity`). The legal form is kept apart
from the words: the same words with a form of another family are a weaker agreement, never a contradiction.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from sys import intern
from zlib import crc32

import numpy as np
from rapidfuzz import fuzz
from rapidfuzz.process import cpdist

from services.scorer.matching import legal_forms, spelling
from services.scorer.matching.legal_forms import Form
from services.scorer.matching.rarity import Rarity
from services.scorer.matching.spelling import fold
from services.scorer.matching.telling import BANK_JARGON, COMMON, JOINING, NOT_TELLING_ALONE, PLACES

__all__ = ["Name", "fold", "name", "pairings", "similarities"]

_JOINED = 0.98  # the same but for small words, or spaced differently
_PLURAL = 0.93  # a final s more or less
_IN_LABEL = 0.9  # a bank's text holds the whole name
_PLACE = 0.86  # nothing but a country or "international" on top
_SUBSET = 0.84  # two or more telling words shared, further words on one side only; or cut in the middle of a word
_OWN = 0.82  # one word shared, but no other supplier of the workspace has it; or the other's initials
_PART = 0.7  # one telling word shared, further words on one side only
_COMMON_PART = 0.6  # the same, where many suppliers have the word
_OTHER = 0.55  # telling words on both sides that differ
_OTHER_FORM = 0.84
"""What a legal form of another family leaves of a likeness: a perfect one still agrees, a partial one does not."""
_TYPO = 85.0
"""Ratio from which left-over words count as one word misspelt."""
_RELATED = _TYPO / 100 - 0.25
"""Measure below which two names without a telling word in common are unrelated."""
_TYPO_LENGTH = 5
_CUT_OFF = 8
"""Letters that must be left of a name cut in the middle of a word; banks cut shorter still."""
_CUT_OFF_LABEL = 5
_ACRONYM = 3
_BITS = 127
"""Words are told apart by so many bits, once for all of them and once for those that tell suppliers apart."""
_TELLING = 1 << _BITS
_HAS_NUMBER = _TELLING << _BITS
_NONE: frozenset[str] = frozenset()
_NAMES = 20_000
"""Names that are kept as they were read."""


@dataclass(frozen=True, slots=True)
class Name:
    """A name ready to compare: its words in order, the numbers in it, and the family of its legal form.

    Kept by the hundred thousand, so whatever is cheap to derive is not stored.
    """

    text: str
    tokens: tuple[str, ...]
    numbers: frozenset[str]
    form: Form | None = None
    label: bool = False
    signature: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Two signatures without a bit in common are of names without a word in common, nor numbers in both."""
        bits = _HAS_NUMBER if self.numbers else 0
        for word in self.tokens:
            if word not in JOINING:
                bit = 1 << crc32(word.encode()) % _BITS
                bits |= bit if word in COMMON else bit | bit * _TELLING
        object.__setattr__(self, "signature", bits)

    def __hash__(self) -> int:
        return hash(self.text)  # a string keeps its hash, a tuple of strings does not

    @property
    def words(self) -> frozenset[str]:
        """Its different words."""
        return frozenset(self.tokens)

    @property
    def joined(self) -> str:
        """Its words run together."""
        return "".join(self.tokens)


@lru_cache(maxsize=_NAMES)
def name(raw: str, *, label: bool = False) -> Name:
    """The comparable form of `raw`; `label` says that a bank wrote it, jargon and numbers of its own included."""
    return _name(tuple(spelling.words(raw)), label)


@lru_cache(maxsize=_NAMES)
def _name(words: tuple[str, ...], label: bool) -> Name:
    """The same of its folded words: what one side writes in capitals the other does not."""
    bare, form = legal_forms.split(words)
    joined = spelling.initials_joined(bare)
    ours = [word for word in joined if word not in BANK_JARGON and not word.isdigit()] if label else joined
    full = list(spelling.written_out(ours or joined))
    kept = tuple(intern(word) for word in full if word != "and") or tuple(map(intern, full))
    numbers = _NONE if label else frozenset(filter(None, map(spelling.number, kept)))
    return Name(" ".join(kept), kept, numbers or _NONE, form, label)


def similarities(pairs: Sequence[tuple[Name, Name]], rarity: Rarity | None = None) -> list[float]:
    """How alike each pair is, in [0, 1]; 0 where the numbers contradict.

    Nearly all pairs are unrelated: no word in common, nothing alike, and the shorter is not found within the
    longer letter by letter, as an abbreviation would be. Those are told in one batch; the others are judged.
    Without `rarity` words are judged by the built-in tables alone.
    """
    if not pairs:
        return []
    left, right = [a.text for a, _ in pairs], [b.text for _, b in pairs]
    measured = cpdist(left, right, scorer=fuzz.ratio, dtype=np.float64) / 100
    lengths, others = (np.fromiter(map(len, texts), np.intp, len(pairs)) for texts in (left, right))
    # The ratio is twice the letters in common, in order, over all letters.
    within = measured * (lengths + others) / 2 > np.minimum(lengths, others) - 0.5
    touching = [a.signature & b.signature for a, b in pairs]
    found: list[float] = np.minimum(measured, _OTHER).tolist()
    chosen = np.flatnonzero((measured >= _RELATED) | within | np.fromiter(map(bool, touching), np.bool_, len(pairs)))
    places = chosen.tolist()
    by_token = cpdist(
        [left[at] for at in places], [right[at] for at in places], scorer=fuzz.token_sort_ratio, dtype=np.float64
    )
    likely = np.maximum(measured[chosen], by_token / 100)
    telling = [touching[at] >= _TELLING for at in places]
    judged = (likely >= _RELATED) | within[chosen] | np.array(telling, np.bool_)
    for at, score, judge in zip(places, likely.tolist(), judged.tolist(), strict=True):
        found[at] = _judged(*pairs[at], score, rarity) if judge else min(score, _OTHER)
    return found


def _judged(a: Name, b: Name, measured: float, rarity: Rarity | None) -> float:
    """A measure only proposes; numbers, words and legal form decide, in this order."""
    if a.numbers and b.numbers and not (a.numbers <= b.numbers or b.numbers <= a.numbers):
        return 0.0
    score = _by_words(a, b, measured, rarity)
    return score * _OTHER_FORM if a.form and b.form and a.form != b.form and score > _OTHER else score


def _by_words(a: Name, b: Name, measured: float, rarity: Rarity | None) -> float:
    """What is left over on either side decides."""
    ours, theirs = a.words, b.words
    shared = ours & theirs
    if measured < _RELATED and shared <= COMMON:
        return _SUBSET if _cut_off(a, b) else _OWN if _initials(a, b) else min(measured, _OTHER)
    if a.joined == b.joined:
        return 1.0 if a.joined else 0.0
    if ours == theirs and sorted(a.tokens) == sorted(b.tokens) and any(len(word) > 1 for word in ours):
        return 1.0
    only_a, only_b = ours - theirs - JOINING, theirs - ours - JOINING
    if not only_a and not only_b:
        return _JOINED if shared - COMMON else _OTHER
    if only_a and only_b:
        if _plural(only_a, only_b):
            return _PLURAL
        if _cut_off(a, b):
            return _SUBSET
        return measured if _misspelt(only_a, only_b) else min(measured, _OTHER)
    if _cut_off(a, b):
        return _SUBSET
    whole = a if only_b else b
    return _part(whole, only_a or only_b, measured, label=(b if only_b else a).label, rarity=rarity)


def _part(whole: Name, extra: frozenset[str], measured: float, *, label: bool, rarity: Rarity | None) -> float:
    """One name is the other and `extra`: how much that says depends on the words they share."""
    shared = whole.words - COMMON
    telling = {word for word in shared if not (rarity and rarity.common(word))}
    letters = sum(map(len, telling))
    if label and not extra & COMMON and (len(telling) >= 2 or letters >= 6):
        ambiguous = rarity is not None and len(telling) == 1 and rarity.shared(*telling)
        return _SUBSET if ambiguous else _IN_LABEL
    if extra <= PLACES and letters >= _TYPO_LENGTH:
        return _PLACE
    if len(telling) >= 2 and letters >= 8:
        return _SUBSET
    if rarity is not None and letters >= _TYPO_LENGTH and any(map(rarity.own, telling - NOT_TELLING_ALONE)):
        return _OWN
    return min(measured, _PART if telling or not shared else _COMMON_PART)


def _plural(only_a: frozenset[str], only_b: frozenset[str]) -> bool:
    """Whether nothing but a final s, of a plural or a genitive, tells the words apart."""
    return min(map(len, only_a | only_b)) >= 4 and {w.rstrip("s") for w in only_a} == {w.rstrip("s") for w in only_b}


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


def _initials(a: Name, b: Name) -> bool:
    """Whether one is a single word made of the first letters of the other's, small words counted or not."""
    short, long = (a, b) if len(a.tokens) < len(b.tokens) else (b, a)
    if len(short.tokens) != 1 or len(short.text) < _ACRONYM:
        return False
    told = [word[0] for word in long.tokens if word not in JOINING]
    return short.text in {"".join(told), "".join(word[0] for word in long.tokens)}


def pairings(first: Iterable[Name], second: Iterable[Name]) -> list[tuple[Name, Name]]:
    """Every pairing of two documents' names, the first names first."""
    others = list(second)
    return [(a, b) for a in first for b in others]
