"""What the matcher itself sees of the bills of a world: each bill's candidates and the scores of their fields."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from services.scorer import model, names
from services.scorer.books import Books
from services.scorer.compare import Comparison, compare
from services.scorer.facts import Facts
from services.scorer.fitting.worlds import Truth, World
from services.scorer.model import Floats

NONE = -1
"""In place of a row: the counterpart is not in Qonto, or not among the candidates."""


def features(books: Books, key: str) -> tuple[list[str], Floats]:
    """The candidates of a bill and their scores, a row each with `model.COLUMNS` columns, NaN where one is missing."""
    bill = books.facts_of(key)
    units = sorted(_units(books, bill))
    members = {unit: [unit, *_payments(books, unit)] for unit in units}
    similar = _similarities(books, bill, [one for several in members.values() for one in several])
    rows = np.empty((len(units), model.COLUMNS))
    for row, unit in enumerate(units):
        invoice, *payments = (compare(bill, books.index.facts(one), similar.get(one)) for one in members[unit])
        found = reduce(Comparison.completed_by, payments, invoice)
        scores = [found.fields[field].score for field in model.FIELDS]
        rows[row] = [np.nan if score is None else score for score in (*scores, 1.0 if found.same_identity else None)]
    return units, rows


def _units(books: Books, bill: Facts) -> set[str]:
    """Candidates; a payment that Qonto matched with an invoice is part of that and never stands alone."""
    found: set[str] = set()
    for key in books.index.candidates(bill):
        invoice = books.invoice_of(key)
        if invoice is None:
            found.add(key)
        elif invoice.origin is None and f"invoice-{invoice.id}" in books.index:
            found.add(f"invoice-{invoice.id}")
    return found


def _payments(books: Books, unit: str) -> list[str]:
    matched = (f"transaction-{ident}" for ident in books.entries[unit].matched)
    return [payment for payment in matched if payment in books.index]


def _similarities(books: Books, bill: Facts, keys: Sequence[str]) -> dict[str, float]:
    """The best similarity of the bill's names with those of each entry that has any."""
    pairs = [(key, pair) for key in keys for pair in names.pairings(bill.names, books.index.facts(key).names)]
    best: dict[str, float] = {}
    for (key, _), score in zip(pairs, names.similarities([pair for _, pair in pairs]), strict=True):
        best[key] = max(score, best.get(key, 0.0))
    return best


@dataclass(frozen=True)
class Compared:
    """The open bills of a world with all their candidates in one matrix.

    Bill number i has the rows `starts[i]:starts[i + 1]`; `right[i]` is the row of its counterpart or NONE.
    """

    books: Books
    bills: tuple[str, ...]
    truths: tuple[Truth, ...]
    candidates: tuple[str, ...]
    scores: Floats
    starts: NDArray[np.intp]
    right: NDArray[np.intp]

    def rows(self, bill: int) -> range:
        """The rows of one bill's candidates."""
        return range(int(self.starts[bill]), int(self.starts[bill + 1]))


def compared(world: World) -> Compared:
    """Compare every open bill of a world with all its candidates."""
    books = world.books()
    bills = tuple(key for key in world.truth if key in books.bill_index)
    found = [features(books, key) for key in bills]
    starts = np.cumsum([0, *(len(keys) for keys, _ in found)])
    right = [
        _position(keys, world.truth[key].counterparts, int(first))
        for key, (keys, _), first in zip(bills, found, starts[:-1], strict=True)
    ]
    return Compared(
        books=books,
        bills=bills,
        truths=tuple(world.truth[key] for key in bills),
        candidates=tuple(key for keys, _ in found for key in keys),
        scores=np.concatenate([np.empty((0, model.COLUMNS)), *(rows for _, rows in found)]),
        starts=starts,
        right=np.array(right, dtype=np.intp),
    )


def _position(keys: Iterable[str], counterparts: frozenset[str], first: int) -> int:
    return next((first + at for at, key in enumerate(keys) if key in counterparts), NONE)
