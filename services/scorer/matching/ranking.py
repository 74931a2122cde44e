"""Which entries could be a bill's document, and how likely each is alone.

Bills are compared in batches; what was worked out is kept as long as the ranking is.
"""

from collections.abc import Iterable, Sequence
from math import isnan, nan

import msgspec
import numpy as np
from numpy.typing import NDArray

from common.messages import Entry, EntryKind, Field
from services.scorer.matching import compare, model, names
from services.scorer.matching.books import Books
from services.scorer.matching.compare import NAME, REFERENCE, Compared
from services.scorer.matching.decide import odds
from services.scorer.matching.facts import Facts, of_entry, payments_of
from services.scorer.matching.index import Pairs, Query, query
from services.scorer.matching.model import FIELDS, Flags, Floats, Weights
from services.scorer.matching.postings import Numbers, distinct
from services.scorer.matching.temper import Correction

WORTH_SHOWING = 0.01
"""Probability below which an entry is no candidate."""


def kind_of(key: str) -> EntryKind:
    """What of Qonto an entry is, by its key `{kind}-{id}`."""
    return "invoice" if key.startswith("invoice") else "transaction"


class Scored(msgspec.Struct, frozen=True, gc=False):
    """One candidate and how it compares; `parts` are the payments that are one with it, `told_by` what of its scores
    one of them says instead."""

    key: str
    scores: tuple[float | None, ...]
    alone: float
    same_identity: bool
    amounts: int
    days: int
    parts: tuple[str, ...] = ()
    told_by: tuple[tuple[Field, str], ...] = ()

    @property
    def kind(self) -> EntryKind:
        """What of Qonto it is."""
        return kind_of(self.key)

    @property
    def contradicts(self) -> bool:
        """Whether numbers in the names, or the invoice numbers, say that it is not."""
        return model.contradicts(self.scores[NAME], self.scores[REFERENCE])

    @property
    def named(self) -> dict[Field, float | None]:
        """The scores by field."""
        return dict(zip(FIELDS, self.scores, strict=True))


class Ranking:
    """The candidates of one workspace's bills, of those that reach the probability `least`; the books must not change
    meanwhile."""

    def __init__(self, books: Books, *, weights: Weights | None = None, least: float = WORTH_SHOWING) -> None:
        self._books = books
        self._weights = weights or model.weights()
        self._least = least
        self._corrections = {recurs: self._weights.correction(recurs=recurs) for recurs in (False, True)}
        self._queries: dict[str, Query] = {}
        self._entries: dict[str, Entry] = {}
        self._entry_facts: dict[str, Facts] = {}
        self._alike: dict[int, float] = {}
        self._ranked: dict[str, list[Scored]] = {}
        self._recurs: dict[int, bool] = {}
        self._likelihood: dict[tuple[str, str], float] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._ranked

    def of(self, key: str) -> list[Scored]:
        """Everything that could be the bill's document, best first."""
        if key not in self._ranked:
            self.rank([key])
        return self._ranked[key]

    def rank(self, keys: Iterable[str]) -> None:
        """Compare all these bills with their candidates at once."""
        books = self._books
        todo = [key for key in keys if key not in self._ranked]
        if not todo:
            return
        ranked: dict[str, list[Scored]] = {key: [] for key in todo}
        pairs = self._units(books.index.candidates([self.query(key) for key in todo]))
        of = np.array([books.bill_index.row(key) for key in todo], np.int64)[pairs.which]
        for pair, scored in self.score(of, pairs.rows, least=self._least):
            ranked[todo[pairs.which[pair]]].append(scored)
        for found in ranked.values():
            found.sort(key=lambda scored: (-scored.alone, scored.key))
        self._ranked |= ranked

    def query(self, key: str) -> Query:
        """What to look for to find what may be the same as a bill."""
        if key not in self._queries:
            self._queries[key] = query(self._books.facts_of(key))
        return self._queries[key]

    def fits(self, key: str, scored: Scored) -> float:
        """The probability that a bill and its candidate are one document, were there no others, in these books."""
        found = self.correction(key).odds(odds(scored.alone), contradicts=scored.contradicts)
        return found / (1 + found)

    def correction(self, key: str) -> Correction:
        """What corrects the odds of a bill's candidates in these books."""
        return self._corrections[self._books.recurs(key)]

    def entry(self, key: str) -> Entry:
        """An entry, unpacked once."""
        if key not in self._entries:
            self._entries[key] = self._books.entries[key]
        return self._entries[key]

    def facts(self, key: str) -> Facts:
        """What can be compared of an entry, worked out once."""
        if key not in self._entry_facts:
            self._entry_facts[key] = of_entry(self.entry(key))
        return self._entry_facts[key]

    def alike(self, of: Numbers, rows: Numbers) -> Floats:
        """How alike the names of bills and entries are, by pairs of rows; NaN where one has none."""
        return self._alike_of(of, rows) if len(rows) else np.empty(0)

    def _units(self, pairs: Pairs) -> Pairs:
        """Candidates; a payment that Qonto matched with an invoice is part of that and never stands alone."""
        index = self._books.index
        payments = distinct(pairs.rows[index.rows["payment"][pairs.rows]])
        if not len(payments):
            return pairs
        units_of = np.array([self._unit_of(row) for row in payments.tolist()], np.int64)
        places = np.minimum(np.searchsorted(payments, pairs.rows), len(payments) - 1)
        rows = np.where(payments[places] == pairs.rows, units_of[places], pairs.rows)
        units = distinct((pairs.which[rows >= 0] << 32) | rows[rows >= 0])
        return Pairs(units >> 32, units & 0xFFFFFFFF)

    def _unit_of(self, payment: int) -> int:
        """The row of what a payment is part of, -1 if that is no candidate."""
        books = self._books
        invoice = books.invoice_of(books.index.key(payment))
        if invoice is None:
            return payment
        return books.index.row(f"invoice-{invoice.id}") if invoice.origin is None else -1

    def score(self, of: Numbers, rows: Numbers, *, least: float) -> list[tuple[int, Scored]]:
        """The pairs that reach the probability `least`, by their positions."""
        if not len(rows):
            return []
        books, index = self._books, self._books.index
        recurs = self._recurring(of)
        compared = compare.compare(
            books.bill_index, of, index, rows, self._alike_of, weights=self._weights, recurs=recurs, least=least
        )
        parts, told_by = self._complete(of, rows, compared)
        reached = np.flatnonzero(compared.possible)
        alone = compare.probabilities(compared.scores[reached], compared.same[reached], recurs[reached], self._weights)
        reached, alone = reached[alone >= least], alone[alone >= least]
        columns = (rows, compared.same, compared.amounts, compared.days)
        return [
            (
                pair,
                Scored(
                    index.key(row),
                    tuple(None if isnan(score) else score for score in scores),
                    probability,
                    same,
                    amounts,
                    days,
                    parts.get(pair, ()),
                    told_by.get(pair, ()),
                ),
            )
            for pair, scores, probability, row, same, amounts, days in zip(
                reached.tolist(),
                compared.scores[reached].tolist(),
                alone.tolist(),
                *(column[reached].tolist() for column in columns),
                strict=True,
            )
        ]

    def _complete(
        self, of: Numbers, rows: Numbers, compared: Compared
    ) -> tuple[dict[int, tuple[str, ...]], dict[int, tuple[tuple[Field, str], ...]]]:
        """Fill in what only the payments that are part of an invoice say; its own word counts first.

        For each such pair the keys of its payments, and which of them told what.
        """
        books, index = self._books, self._books.index
        matched = np.flatnonzero(compared.possible & index.rows["matched"][rows]).tolist()
        parts = {pair: payments_of(self.entry(index.key(rows[pair]))) for pair in matched}
        told_by: dict[int, tuple[tuple[Field, str], ...]] = {}
        members = [(pair, one, index.row(one)) for pair, payments in parts.items() for one in payments if one in index]
        if not members:
            return parts, told_by
        pairs, _, payments = zip(*members, strict=True)
        theirs = compare.compare(
            books.bill_index,
            of[list(pairs)],
            index,
            np.array(payments, np.int64),
            self._alike_of,
            weights=self._weights,
            recurs=self._recurring(of[list(pairs)]),
        )
        for at, (pair, payment, _) in enumerate(members):
            told = np.isnan(compared.scores[pair]) & ~np.isnan(theirs.scores[at])
            compared.same[pair] |= theirs.same[at]
            if not told.any():
                continue
            compared.scores[pair][told] = theirs.scores[at][told]
            if told[compare.AMOUNT]:
                compared.amounts[pair] = theirs.amounts[at]
            if told[compare.DATE]:
                compared.days[pair] = theirs.days[at]
            more = tuple([(FIELDS[column], payment) for column in np.flatnonzero(told).tolist()])
            told_by[pair] = (*told_by.get(pair, ()), *more)
        return parts, told_by

    def _recurring(self, of: Numbers) -> Flags:
        """Whether the bills in these rows are of a series."""
        known, books = self._recurs, self._books
        for row in distinct(of).tolist():
            if row not in known:
                known[row] = books.recurs(books.bill_index.key(row))
        return np.array([known[row] for row in of.tolist()], np.bool_)

    def _alike_of(self, of: Numbers, rows: Numbers) -> Floats:
        """How alike the names of these pairs are, as people taught it; see `compare.Alike`."""
        books = self._books
        theirs = books.index.rows["names"][rows]
        found = self._measured(books.bill_index.rows["names"][of], theirs)
        if not books.memory:
            return found
        for pair, measured in enumerate(found.tolist()):
            vendor = books.vendor_key(books.bill_index.key(of[pair]))
            names_of_entry = map(books.index.tables.names.value, filter(None, theirs[pair].tolist()))
            taught = books.memory.name_score(vendor, names_of_entry, None if np.isnan(measured) else measured)
            found[pair] = np.nan if taught is None else taught
        return found

    def _measured(self, ours: NDArray[np.int32], theirs: NDArray[np.int32]) -> Floats:
        """How alike the names in these rows are: the best of all pairings, each two names compared once."""
        ours, theirs = (side[:, side.any(axis=0)] for side in (ours, theirs))  # most documents have one or two
        pairs, mine, others = np.nonzero((ours != 0)[:, :, None] & (theirs != 0)[:, None, :])
        codes = (ours[pairs, mine].astype(np.int64) << 32) | theirs[pairs, others]
        table, known = self._books.index.tables.names, self._alike
        each, which = np.unique(codes, return_inverse=True)
        fresh = [code for code in each.tolist() if code not in known]
        compared = [(table.value(code >> 32), table.value(code & 0xFFFFFFFF)) for code in fresh]
        known |= zip(fresh, names.similarities(compared, self._books.rarity), strict=True)
        found = np.full(len(ours), nan)
        np.fmax.at(found, pairs, np.array([known[code] for code in each.tolist()], np.float64)[which])
        return found

    def candidate(self, key: str, entry: str, *, least: float = 0.0) -> Scored | None:
        """A candidate of a bill, None if it is none or less likely than `least`; see also `reaching`."""
        if key not in self._ranked and self._likelihood.get((key, entry), 1.0) < least:
            return None
        return next((scored for scored in self.of(key) if scored.key == entry and scored.alone >= least), None)

    def reaching(self, pairs: Sequence[tuple[str, str]], least: float) -> list[str]:
        """The bills that may be one with the entry beside them, each pair by itself, with the probability `least`.

        What comes of a pair is the same whatever else the bill is compared with: a bill that is out of reach of the
        entry need not be ranked.
        """
        books = self._books
        fresh = [pair for pair in pairs if pair[0] not in self._ranked and pair not in self._likelihood]
        if fresh:
            of, rows = (
                np.array([index.row(one) for one in column], np.int64)
                for index, column in zip((books.bill_index, books.index), zip(*fresh, strict=True), strict=True)
            )
            self._likelihood |= dict.fromkeys(fresh, 0.0)
            self._likelihood |= {fresh[at]: scored.alone for at, scored in self.score(of, rows, least=WORTH_SHOWING)}
        return [key for key, entry in pairs if key in self._ranked or self._likelihood[key, entry] >= least]
