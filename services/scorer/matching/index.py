"""Finds the few documents that could be the same, at a cost that hardly grows with how many there are.

A document is filed under keys: its amount, its amount beside the beginning of each word of its names, its
number, its identities, its words. What shares a key with another, or one next to it, is worth comparing.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain, count
from math import floor, log
from typing import NamedTuple

import numpy as np

from services.scorer.matching.columns import FILED_BY, NAMES, ROW, Amounts, Rows, Stated, Tables, Whole, whole
from services.scorer.matching.facts import Facts
from services.scorer.matching.names import Name
from services.scorer.matching.postings import Numbers, Postings, distinct
from services.scorer.matching.references import Reference, reference

_BLOCK = 800
"""Ten-thousandths of a unit that one key of amounts spans."""
_CENTS = 200
"""Ten-thousandths by which amounts may differ that lead to each other all by themselves; rounding is no more."""
_STEP = log(1.006)
_CONVERTED_STEP = log(1.04)
"""What one key of amounts of one supplier spans, as a logarithm, also where they were converted."""
_NEAR, _CONVERTED = 0.005, 0.04
"""The share by which amounts of one supplier may differ, also where they were converted."""
_TELLING = 8
"""A word of at most so many documents leads to them all by itself."""
_TELLING_ALONE = 512
"""The same for a document without an amount, which has little else that leads anywhere."""
_SHARED = 64
"""Documents of one amount up to which the amount leads to them all by itself."""
_SLACK = 16
"""One row in so many may be dead before the rows are packed."""
_FEW = 256
"""Dead rows that are not worth packing."""
_SHORT = 3
"""Letters up to which a word leads nowhere by itself."""
_HEAD = 4
"""Letters of a word that survive most abbreviations."""
_SUPPLIERS = 8192
"""Suppliers of whom is kept what their names lead to."""
_DIGITS = re.compile(r"[0-9]{4,}")


class Pairs(NamedTuple):
    """Which of the documents asked about is worth comparing with which row; each pair once, in order."""

    which: Numbers
    rows: Numbers


class _Called(NamedTuple):
    """What leads to a document by its names: their longer words, and each as a `word`, and as one of a document whose
    amount is `unread`; the `heads` are the first letters of all words, which is what is left of one that was cut or
    misspelt."""

    words: tuple[str, ...]
    word: tuple[int, ...]
    unread: tuple[int, ...]
    heads: tuple[int, ...]


class Query(NamedTuple):
    """What to look for to find what may be the same as the document `key`.

    `amounts` are the keys of its amounts, followed only where few share them; its `exact` amounts beside the heads
    of its names (see `_Called`) matter only among documents whose amounts were converted; a word of at most `telling`
    documents is followed.
    """

    key: str
    amounts: list[int]
    keys: list[int]
    exact: Amounts
    called: _Called
    telling: int

    def converted(self) -> list[int]:
        """The keys of converted amounts that may be this document's."""
        return [
            key
            for currency, amount in self.exact
            for rung in _rungs(amount, _CONVERTED, _CONVERTED_STEP)
            for key in _beside("converted", currency, rung, self.called)
        ]


class Index:
    """Documents by amount, number, identity and rare words; add, change and remove at any time.

    What it finds depends on which documents it holds, never on how they came there.
    """

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self._bytes = bytearray()
        self.rows: Rows = np.empty(0, ROW)
        self._make_room(_FEW)
        self._texts: list[str] = []
        self._keys: list[str] = []
        self._row_of: dict[str, int] = {}
        self._postings = Postings()
        self._words: Counter[str] = Counter()
        self._converted = 0

    def __len__(self) -> int:
        return len(self._row_of)

    def __contains__(self, key: str) -> bool:
        return key in self._row_of

    def key(self, row: int) -> str:
        """The key of the document in a row."""
        return self._keys[row]

    def text(self, row: int) -> str:
        """The number of the document in a row, or all that a payment says."""
        return self._texts[row]

    def row(self, key: str) -> int:
        """The row of a document until the next change, -1 if it is not there."""
        return self._row_of.get(key, -1)

    def names(self, row: int) -> tuple[Name, ...]:
        """The names that are compared of the document in a row."""
        return tuple([self.tables.names.value(name) for name in self.rows["names"][row].tolist() if name])

    def query(self, key: str) -> Query:
        """What to look for to find what may be the same as a document that is held; KeyError if it is not.

        The same as `query` of its facts, from its row.
        """
        at = self._row_of[key]
        told, text = self.tables.told(self._bytes, at), self._texts[at]
        number, said = reference(text) if told.numbered else None, text if told.payment else ""
        identities = _identifying(number, said, told.vat, told.iban)
        return _query(key, told.names, told.amounts, identities, unread=not told.amounts[0])

    def add(self, documents: Iterable[Facts]) -> None:
        """Add documents, or put their new facts in place of the old; of one that is there twice the last counts.

        Many at once take less than each by itself. What cannot be told raises before anything is changed.
        """
        told = {facts.key: (facts, amounts := whole(facts), self.tables.row(facts, amounts)) for facts in documents}
        for key in [key for key in told if key in self._row_of]:
            facts, _, row = told[key]
            if self._filed_already(facts, row):
                del told[key]
            else:
                self.remove(key)
        filed, first = told.values(), len(self._keys)
        if first + len(filed) > len(self.rows):
            self._make_room(max(2 * len(self.rows), first + len(filed)))
        self._write(first, b"".join([row for *_, row in filed]))
        called = [_called(facts.names[:NAMES]) for facts, *_ in filed]
        keys = [_filed(facts, amounts, names) for (facts, amounts, _), names in zip(filed, called, strict=True)]
        rows = np.arange(first, first + len(filed)).repeat(np.fromiter(map(len, keys), np.intp, len(keys)))
        self._postings.add(rows, list(chain.from_iterable(keys)))
        self._words.update(chain.from_iterable(names.words for names in called))
        self._converted += sum(bool(about) for _, (*_, about), _ in filed)
        self._keys += [facts.key for facts, *_ in filed]
        self._texts += [facts.text for facts, *_ in filed]
        self._row_of |= zip(self._keys[first:], count(first))

    def remove(self, key: str) -> None:
        """Forget a document; one that is not there is fine."""
        row = self._row_of.pop(key, None)
        if row is None:
            return
        gone = self.rows[row]
        words = _called(self.names(row)).words
        self._words.subtract(words)
        for word in words:
            if not self._words[word]:
                del self._words[word]
        self._converted -= bool(gone["about_currency"])
        self.rows["alive"][row] = False
        if len(self._keys) - len(self) > max(_FEW, len(self) // _SLACK):
            self._pack()

    def candidates(self, queries: Sequence[Query]) -> Pairs:
        """What is worth comparing with each of these documents, itself left out."""
        amounts = [key for query in queries for key in query.amounts]
        documents = [position for position, query in enumerate(queries) for _ in query.amounts]
        keys = amounts.copy()
        for position, query in enumerate(queries):
            others = query.keys + (query.converted() if self._converted else []) + self._telling(query)
            keys += others
            documents += [position] * len(others)
        pairs, which_key = self._find(keys, documents)
        by_amount = which_key < len(amounts)
        if np.count_nonzero(by_amount) > _SHARED:
            alone = distinct(pairs[by_amount])
            crowded = np.bincount(alone >> 32, minlength=len(queries)) > _SHARED
            pairs = pairs[~by_amount | ~crowded[pairs >> 32]]
        found = distinct(pairs)
        which, rows = found >> 32, found & 0xFFFFFFFF
        another = np.array([self.row(query.key) for query in queries], np.int64)[which] != rows
        return Pairs(which[another], rows[another])

    def payments(self, queries: Sequence[Query]) -> Pairs:
        """The payments that share a word with each of these documents' names."""
        keys = [hash(("payee", word)) for query in queries for word in query.called.words]
        pairs, _ = self._find(keys, [position for position, query in enumerate(queries) for _ in query.called.words])
        found = distinct(pairs)
        return Pairs(found >> 32, found & 0xFFFFFFFF)

    def _telling(self, query: Query) -> list[int]:
        """The keys of the words that few documents have."""
        known, most = self._words, query.telling
        return [key for word, key in zip(*query.called[:2], strict=True) if known.get(word, 0) <= most]

    def _find(self, keys: list[int], documents: list[int]) -> tuple[Numbers, Numbers]:
        """Live rows that hold the keys, each as the document's position × 2³² + the row; beside it which key."""
        found = self._postings.find(keys)
        live = self.rows["alive"][found.rows]
        which, rows = found.which[live], found.rows[live]
        return (np.array(documents, np.int64)[which] << 32) | rows, which

    def _filed_already(self, facts: Facts, row: bytes) -> bool:
        """Whether a known document stands where these facts would be filed; it is told anew there."""
        known = self._row_of[facts.key]
        if self._texts[known] != facts.text:
            return False
        begin = known * ROW.itemsize
        if self._bytes[begin : begin + FILED_BY] != row[:FILED_BY]:
            return False
        self._write(known, row)
        return True

    def _write(self, first: int, rows: bytes) -> None:
        begin = first * ROW.itemsize
        self._bytes[begin : begin + len(rows)] = rows

    def _make_room(self, rows: int) -> None:
        grown = bytearray(rows * ROW.itemsize)
        grown[: len(self._bytes)] = self._bytes
        self._bytes = grown
        self.rows = np.frombuffer(grown, ROW)

    def _pack(self) -> None:
        """Number the rows anew, the dead ones left out."""
        alive = np.flatnonzero(self.rows["alive"][: len(self._keys)])
        renumbered = np.full(len(self._keys), -1, np.int64)
        renumbered[alive] = np.arange(len(alive))
        self._postings = self._postings.kept(renumbered)
        self._bytes = bytearray(self.rows[alive].tobytes())
        self._make_room(max(_FEW, len(alive) * 3 // 2))
        self._texts = [self._texts[row] for row in alive]
        self._keys = [self._keys[row] for row in alive]
        self._row_of = {key: row for row, key in enumerate(self._keys)}


def query(facts: Facts) -> Query:
    """What to look for to find what may be the same as this document."""
    exact, net, about = map(_amounts, whole(facts))
    return _query(facts.key, facts.names[:NAMES], (exact, net, about), _identities(facts), unread=not facts.exact)


def _query(
    key: str, names: tuple[Name, ...], amounts: tuple[Amounts, Amounts, Amounts], identities: list[int], *, unread: bool
) -> Query:
    """The query of a document with these amounts: exact ones, net ones, and roughly what it comes to elsewhere."""
    exact, net, about = amounts
    called = _called(names)
    keys = [*called.unread, *identities]
    by_amount: list[int] = []
    for currency, amount in exact | net if net else exact:
        blocks = {(amount - _CENTS) // _BLOCK, (amount + _CENTS) // _BLOCK}
        by_amount += [hash(("amount", currency, block)) for block in blocks]
        for rung in _rungs(amount, _NEAR):
            keys += _beside("near", currency, rung, called)
    for currency, amount in about:
        for rung in _rungs(amount, _CONVERTED):
            keys += _beside("near", currency, rung, called)
    return Query(key, by_amount, keys, exact, called, _TELLING_ALONE if unread else _TELLING)


def _filed(facts: Facts, amounts: Whole, called: _Called) -> list[int]:
    """The keys a document is filed under; some may be there twice."""
    exact, net, about = amounts
    keys = [*_identities(facts), *called.word]
    for currency, amount in (*exact, *net) if net else exact:
        if amount:
            keys.append(hash(("amount", currency, amount // _BLOCK)))
            keys += _beside("near", currency, _rung(amount), called)
    for currency, amount in about:
        if amount:
            keys += _beside("converted", currency, _rung(amount, _CONVERTED_STEP), called)
    if facts.payment:
        keys += [hash(("payee", word)) for word in called.words]
    if not facts.exact:  # nobody read its amount: its name has to lead to it, however common
        keys += called.unread
    return keys


@lru_cache(maxsize=_SUPPLIERS)
def _called(names: tuple[Name, ...]) -> _Called:
    words: dict[str, tuple[int, int]] = {}
    heads: set[int] = set()
    for name in names:
        longer, beginnings = _leading(name)
        words |= longer
        heads |= beginnings
    word, unread = ([both[which] for both in words.values()] for which in (0, 1))
    return _Called(tuple(words), tuple(word), tuple(unread), tuple(heads))


@lru_cache(maxsize=2 * _SUPPLIERS)
def _leading(name: Name) -> tuple[dict[str, tuple[int, int]], frozenset[int]]:
    """One name's part of `_Called`: its longer words with both keys, and its heads. It comes in ever other company."""
    longer = {word: (hash(("word", word)), hash(("unread", word))) for word in name.tokens if len(word) > _SHORT}
    return longer, frozenset([hash(word[:_HEAD]) for word in (*name.tokens, name.joined) if len(word) > 1])


def _beside(how: str, currency: str, rung: int, called: _Called) -> list[int]:
    """The keys of an amount beside the beginning of each word of the names."""
    amount = hash((how, currency, rung))
    return [amount ^ head for head in called.heads]


def _identities(facts: Facts) -> list[int]:
    return _identifying(facts.number, facts.text if facts.payment else "", facts.vat, facts.iban)


def _identifying(number: Reference | None, said: str, vat: str | None, iban: str | None) -> list[int]:
    """The keys of a document's number and identities, and of all numbers in what a payment `said`."""
    found: list[int] = []
    if number is not None:
        found.append(hash(("number", number.core)))
        if number.digits:
            found.append(hash(("digits", number.digits)))
    if said:
        found += [hash(("digits", digits.lstrip("0"))) for digits in _DIGITS.findall(said)]
    if vat:
        found.append(hash(("vat", vat)))
    if iban:
        found.append(hash(("iban", iban)))
    return found


def _amounts(known: Stated) -> Amounts:
    return {one for one in known if one[1]}


def _rung(amount: int, step: float = _STEP) -> int:
    return floor(log(abs(amount)) / step)


def _rungs(amount: int, share: float, step: float = _STEP) -> range:
    """The rungs of all amounts that differ from this one by at most a share."""
    height, reach = log(abs(amount)) / step, -log(1 - share) / step
    return range(floor(height - reach), floor(height + reach) + 1)
