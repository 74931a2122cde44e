"""What is usual in a workspace: how many of its bills Qonto holds already, and how often documents agree by accident.

The weights are fitted on books of every kind; one company uploads all it gets to Qonto before Weir comes, another
nothing. So both shares are estimated from the workspace's own bills, by expectation and maximisation from what the
weights make of them (Saerens, Latinne and Decaestecker, "Adjusting the outputs of a classifier to new a priori
probabilities", Neural Computation 2002). Few bills change little.
"""

import heapq
import zlib
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from services.scorer.matching import model
from services.scorer.matching.books import Books, Surveyed
from services.scorer.matching.model import Floats, Habits, Weights
from services.scorer.matching.postings import Numbers
from services.scorer.matching.ranking import Ranking
from services.scorer.matching.rivals import Rivals

SAMPLE = 512
"""Bills that are looked at, always the same ones while they are there."""
GROWTH = 0.1
"""The share by which bills or entries may become more or fewer before a workspace is looked at again."""
USUAL, BY_ACCIDENT = 0.5, 0.1
"""Share of bills that Qonto holds, and documents for each bill that agree with it by accident, where habits are 0."""
DOUBT = 10
"""So many bills of the usual kind are added, so that a few do not make a habit."""
_STEPS, _CLOSE = 60, 1e-3
_SUREST = 30.0
"""Log-odds beyond which nothing gets surer."""


@dataclass(frozen=True)
class Sample:
    """Bills with all their candidates: `bills` has the number of each candidate's bill, from 0 to `size`, `scores` a
    row for each, and `free` how likely each belongs to no other bill (0 for one out of the running).
    """

    size: int
    bills: Numbers
    scores: Floats
    free: Floats


def habits(books: Books, weights: Weights) -> Habits:
    """The habits of a workspace; looked at again when its books have grown or shrunk."""
    known, bills, entries = books.surveyed, len(books.bill_index), len(books.index)
    if known is None or known.model != weights.version or _apart(known.bills, bills) or _apart(known.entries, entries):
        found = estimate(survey(books, weights), weights)
        known = books.surveyed = Surveyed(weights.version, bills, entries, found)
    return known.habits


def survey(books: Books, weights: Weights) -> Sample:
    """A sample of the workspace's bills, compared as if its habits were unknown and nothing had been posted."""
    keys = heapq.nsmallest(SAMPLE, books.bill_keys(), key=lambda key: (zlib.crc32(key.encode()), key))
    ranking = Ranking(books, weights=weights)
    ranking.rank(keys)
    rivals = Rivals(books, ranking)
    rivals.prepare(keys)
    pairs = [(number, key, scored) for number, key in enumerate(keys) for scored in ranking.of(key)]
    scores = np.full((len(pairs), model.COLUMNS), np.nan)
    for row, (_, _, scored) in enumerate(pairs):
        scores[row] = np.array((*scored.scores, 1.0 if scored.same_identity else None), dtype=np.float64)
    bills = np.array([number for number, _, _ in pairs], np.int64)
    free = np.array([rivals.free(key, scored)[0] for _, key, scored in pairs], np.float64)
    return Sample(len(keys), bills, scores, free)


def estimate(found: Sample, weights: Weights) -> Habits:
    """The habits under which the sample is likeliest, held back by DOUBT bills of the usual kind."""
    habits = Habits()
    accidents: NDArray[np.bool_] = model.coincide(found.scores) & (found.free > 0)
    for _ in range(_STEPS):
        logits = model.held(weights.suited(habits).logits(found.scores), found.scores)
        stakes = np.exp(np.minimum(logits, _SUREST)) * found.free
        totals = np.bincount(found.bills, stakes, minlength=found.size)
        held = float((totals / (1 + totals)).sum())
        chance = stakes / (1 + totals[found.bills])
        share = (held + DOUBT * USUAL) / (found.size + DOUBT)
        by_accident = (float((1 - chance)[accidents].sum()) + DOUBT * BY_ACCIDENT) / (found.size + DOUBT)
        before, habits = (
            habits,
            Habits(log(share / (1 - share)) - log(USUAL / (1 - USUAL)), log(BY_ACCIDENT / by_accident)),
        )
        if max(abs(was - now) for was, now in zip(before, habits, strict=True)) < _CLOSE:
            break
    return Habits(*(round(value, 3) for value in habits))


def _apart(before: int, now: int) -> bool:
    return abs(now - before) > GROWTH * before
