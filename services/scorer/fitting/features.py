"""What the matcher itself sees of the bills of a world: each bill's candidates and the scores of their fields."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.scorer.fitting.worlds import Truth, World
from services.scorer.matching import model
from services.scorer.matching.books import Books
from services.scorer.matching.model import Floats
from services.scorer.matching.ranking import Ranking

NONE = -1
"""In place of a row: the counterpart is not in Qonto, or not among the candidates."""


def features(ranking: Ranking, key: str, *, recurs: bool) -> tuple[list[str], Floats]:
    """The candidates of a bill and their scores, a row each with `model.COLUMNS` columns, NaN where one is missing."""
    found = sorted(ranking.of(key), key=lambda scored: scored.key)
    rows = np.full((len(found), model.COLUMNS), np.nan)
    for row, scored in enumerate(found):
        known = (*scored.scores, 1.0 if scored.same_identity else None, 1.0 if recurs else None)
        rows[row] = [np.nan if score is None else score for score in known]
    return [scored.key for scored in found], rows


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
    ranking = Ranking(books, least=0.0)
    ranking.rank(bills)
    found = [features(ranking, key, recurs=books.recurs(key)) for key in bills]
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
