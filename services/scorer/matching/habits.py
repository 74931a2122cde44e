"""What is usual in a workspace: how many of its bills Qonto holds, how often documents agree by accident, and what
names, amounts and dates suffer on their way there.

The weights are fitted on books of every kind; one company uploads all it gets to Qonto before Weir comes, another
nothing. So the shares are estimated from the workspace's own bills, by expectation and maximisation from what the
weights make of them (Saerens, Latinne and Decaestecker, "Adjusting the outputs of a classifier to new a priori
probabilities", Neural Computation 2002). How often true pairs are on each level of a field is estimated the same way,
as Fellegi and Sunter's m-probabilities are without labels (Winkler, "Using the EM algorithm for weight computation in
the Fellegi-Sunter model of record linkage", 1988). Few bills change little.
"""

import heapq
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import numpy as np

from common.messages import Field
from services.scorer.matching import model
from services.scorer.matching.books import Books, Surveyed
from services.scorer.matching.model import FIELDS, LEVELS, Floats, Habits, Weights
from services.scorer.matching.postings import Numbers
from services.scorer.matching.ranking import Ranking
from services.scorer.matching.rivals import Rivals

SAMPLE = 512
"""Bills that are looked at, always the same ones while they are there."""
GROWTH = 0.5
"""The share by which bills or entries may become more or fewer before a workspace is looked at again. A first
import of 10,000 bills looks eight times; habits that are so far behind cost little calibration on invented books."""
USUAL = 0.5
"""Share of bills that Qonto holds where habits are 0."""
DOUBT = 10
"""So many bills of the usual kind are added to estimate that share, so that a few do not make a habit."""
DOUBTED_ACCIDENTS, DOUBTED_PAIRS = 3, 40
"""The same for what agrees by accident, and for the pairs that say what fields suffer."""
NUMBERED = 5.0
"""A pair with the same number is as good as known to be true, so it says as much as so many others of what fields
suffer."""
_SETTLED = 10
"""Steps before what fields suffer is estimated: while the shares are far off, chance agreement looks like damage."""
_STEPS, _CLOSE = 60, 1e-3
_SUREST = 30.0
"""Log-odds beyond which nothing gets surer."""
_NAME, _REFERENCE = FIELDS.index("name"), FIELDS.index("reference")


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
    known = books.surveyed
    if known is None or not fits(known, books, weights):
        found = estimate(survey(books, weights), weights)
        bills, entries = len(books.bill_index), len(books.index)
        known = books.surveyed = Surveyed(model=weights.version, bills=bills, entries=entries, habits=found)
    return known.habits


def fits(known: Surveyed, books: Books, weights: Weights) -> bool:
    """Whether habits still are those of a workspace: found by these weights, in books of about this size."""
    grown = _apart(known.bills, len(books.bill_index)) or _apart(known.entries, len(books.index))
    return known.model == weights.version and not grown


def survey(books: Books, weights: Weights) -> Sample:
    """A sample of the workspace's bills, compared as if its habits were unknown and nothing had been posted."""
    keys = heapq.nsmallest(SAMPLE, books.bill_keys(), key=lambda key: (zlib.crc32(key.encode()), key))
    ranking = Ranking(books, weights=weights, least=0.0)
    ranking.rank(keys)
    rivals = Rivals(books, ranking)
    pairs = [(number, key, scored) for number, key in enumerate(keys) for scored in ranking.of(key)]
    recurs = [1.0 if books.recurs(key) else None for key in keys]
    scores = [(*one.scores, 1.0 if one.same_identity else None, recurs[number]) for number, _, one in pairs]
    bills = np.array([number for number, _, _ in pairs], np.int64)
    free = rivals.unclaimed([(key, scored) for _, key, scored in pairs])
    return Sample(len(keys), bills, np.array(scores, np.float64).reshape(-1, model.COLUMNS), np.array(free, np.float64))


def estimate(found: Sample, weights: Weights) -> Habits:
    """The habits under which the sample is likeliest, held back by doubt."""
    habits = Habits()
    for step in range(_STEPS):
        logits = model.held(weights.suited(habits).logits(found.scores), found.scores)
        stakes = np.exp(np.minimum(logits, _SUREST)) * found.free
        totals = np.bincount(found.bills, stakes, minlength=found.size)
        before, habits = habits, likeliest(found, stakes / (1 + totals[found.bills]), weights, damaged=step >= _SETTLED)
        if step > _SETTLED and _difference(before, habits) < _CLOSE:
            break
    return Habits(
        presence=round(habits.presence, 3),
        coincidence=round(habits.coincidence, 3),
        strangers=round(habits.strangers, 3),
        damage=tuple(tuple(round(value, 3) for value in levels) for levels in habits.damage),
    )


def likeliest(found: Sample, chance: Floats, weights: Weights, *, damaged: bool = True) -> Habits:
    """The habits if each pair of a sample is one document with this chance; without what fields suffer if not asked."""
    chance = _of_its_name(found, chance, weights)
    share = (float(chance.sum()) + DOUBT * USUAL) / (found.size + DOUBT)
    own, other = (
        log(usual * (found.size + DOUBTED_ACCIDENTS / usual) / (count + DOUBTED_ACCIDENTS))
        for count, usual in zip(accidents(found, chance), weights.accidents, strict=True)
    )
    return Habits(
        presence=log(share / (1 - share)) - log(USUAL / (1 - USUAL)),
        coincidence=own,
        strangers=min(other - own, 0.0),
        damage=tuple(_suffers(found, chance, field, usual) for field, usual in weights.shares.items() if damaged),
    )


def accidents(found: Sample, chance: Floats) -> tuple[float, float]:
    """How many pairs of a sample agree in amount and days though they are not one document and nobody claims the entry:
    under the bill's own name or none, and under another."""
    there = np.where(model.coincide(found.scores), (1 - chance) * found.free, 0.0)
    other = found.scores[:, _NAME] < model.AGREES
    return float(there[~other].sum()), float(there[other].sum())


def on_levels(found: Sample, chance: Floats, field: Field) -> Floats:
    """How many true pairs of a sample are on each level of a field; one with the same number counts NUMBERED times."""
    scores = found.scores[:, FIELDS.index(field)]
    known = ~np.isnan(scores)
    weight = chance * np.where(found.scores[:, _REFERENCE] >= model.AGREES, NUMBERED, 1.0)
    levels = np.digitize(scores[known], LEVELS[field])
    return np.bincount(levels, weight[known], minlength=len(LEVELS[field]) + 1).astype(np.float64)


def _suffers(found: Sample, chance: Floats, field: Field, usual: Sequence[float]) -> tuple[float, ...]:
    """How much likelier than usual each level of a field is, as log-odds."""
    counts = on_levels(found, chance, field) + DOUBTED_PAIRS * np.array(usual)
    more: list[float] = np.log(counts / counts.sum() / usual).tolist()
    return tuple(more)


def _of_its_name(found: Sample, chance: Floats, weights: Weights) -> Floats:
    """The chances, so held down that no more documents have another name altogether than is usual anywhere.

    Whatever is lost on the way, a document keeps its supplier; where many seem to be under another name, they are
    strangers' that agree by accident.
    """
    if "name" not in weights.shares:
        return chance
    name, usual = found.scores[:, _NAME], weights.shares["name"][0]
    another = name < LEVELS["name"][0]
    under_its_own = float(chance[name >= LEVELS["name"][0]].sum())
    most = (under_its_own + DOUBT) * usual / (1 - usual)
    there = float(chance[another].sum())
    return np.where(another, chance * most / there, chance) if there > most else chance


def _difference(one: Habits, other: Habits) -> float:
    """The most that one of them differs from the other."""
    return max(abs(was - now) for was, now in zip(_flat(one), _flat(other), strict=True))


def _flat(habits: Habits) -> list[float]:
    return [
        habits.presence,
        habits.coincidence,
        habits.strangers,
        *(value for levels in habits.damage for value in levels),
    ]


def _apart(before: int, now: int) -> bool:
    return abs(now - before) > GROWTH * before
