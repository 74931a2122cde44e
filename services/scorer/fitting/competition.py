"""What the matcher adds to the weights in a world: the world's habits, and who else wants its entries."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from common.messages import Field
from services.scorer.fitting.features import NONE, Compared
from services.scorer.matching import model
from services.scorer.matching.habits import Sample, accidents, estimate, likeliest, on_levels
from services.scorer.matching.model import LEVELS, Floats, Weights
from services.scorer.matching.postings import Numbers
from services.scorer.matching.rivals import claims

_LEAST = 0.005
"""The fewest accidents for each bill that are taken to be usual, and a share that is added to each level."""


class Usual(NamedTuple):
    """What is usual in the worlds that are fitted on: see `accidents` and `shares` of `Weights`."""

    accidents: tuple[float, float]
    shares: dict[Field, tuple[float, ...]]


def usual(worlds: Sequence[Compared], weights: Weights) -> Usual:
    """The accidents and the shares that are so in half of the worlds: a few with many of them do not make it usual."""
    samples = [(sample(world, weights), _true(world)) for world in worlds]
    there = np.median([np.array(accidents(found, true)) / found.size for found, true in samples], axis=0)
    shares: dict[Field, tuple[float, ...]] = {}
    for field in LEVELS:
        counts = (on_levels(found, true, field) for found, true in samples)
        middle = np.median([count / max(count.sum(), 1.0) + _LEAST for count in counts], axis=0)
        shares[field] = tuple((middle / middle.sum()).round(4).tolist())
    own, other = np.maximum(there, _LEAST).round(4).tolist()
    return Usual((own, other), shares)


def offsets(world: Compared, weights: Weights, *, told: bool) -> Floats:
    """What is added to the log-odds of every candidate, -inf for an entry that serves another bill.

    The same as `habits` and `rivals` do for one bill at a time, for a whole world at once. Its habits are those that
    are true if they are to be `told`, else those that are estimated.
    """
    found = sample(world, weights)
    habits = likeliest(found, _true(world), weights) if told else estimate(found, weights)
    suited = weights.suited(habits)
    with np.errstate(divide="ignore"):
        added: Floats = np.log(_free(world, suited)) + suited.logits(world.scores) - weights.logits(world.scores)
    return added


def sample(world: Compared, weights: Weights) -> Sample:
    """All of a world, as `habits` sees it."""
    return Sample(len(world.bills), _bills(world), world.scores, _free(world, weights))


def _bills(world: Compared) -> Numbers:
    return np.repeat(np.arange(len(world.bills)), np.diff(world.starts))


def _free(world: Compared, weights: Weights) -> Floats:
    """How likely each candidate belongs to no other bill."""
    _, entries = np.unique(np.array(world.candidates, dtype=np.str_), return_inverse=True)
    running = np.array([one not in world.books.claims for one in world.candidates], dtype=bool)
    stakes = np.where(running, np.exp(model.held(weights.logits(world.scores), world.scores)), 0.0)
    claimed = claims(_bills(world), stakes, world.scores)
    free: Floats = 1 / (1 + np.maximum(np.bincount(entries, claimed)[entries] - claimed, 0.0))
    return np.where(running, free, 0.0)


def _true(world: Compared) -> Floats:
    """1 for each pair that is one document, else 0; copies of bills say nothing."""
    found = np.zeros(len(world.scores))
    rows = zip(world.right.tolist(), world.truths, strict=True)
    found[[row for row, truth in rows if row != NONE and truth.duplicate_of is None]] = 1.0
    return found
