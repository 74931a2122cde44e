"""What the matcher adds to the weights in a world: the world's habits, and who else wants its entries."""

import numpy as np

from services.scorer.fitting.features import Compared
from services.scorer.matching import model
from services.scorer.matching.habits import Sample, estimate
from services.scorer.matching.model import Floats, Weights
from services.scorer.matching.rivals import claims


def offsets(world: Compared, weights: Weights) -> Floats:
    """What is added to the log-odds of every candidate, -inf for an entry that serves another bill.

    The same as `habits` and `rivals` do for one bill at a time, for a whole world at once.
    """
    bills = np.repeat(np.arange(len(world.bills)), np.diff(world.starts))
    _, entries = np.unique(np.array(world.candidates, dtype=np.str_), return_inverse=True)
    running = np.array([one not in world.books.claims for one in world.candidates], dtype=bool)
    scores = world.scores

    def free(weights: Weights) -> Floats:
        stakes = np.where(running, np.exp(model.held(weights.logits(scores), scores)), 0.0)
        claimed = claims(bills, stakes, scores)
        found: Floats = 1 / (1 + np.maximum(np.bincount(entries, claimed)[entries] - claimed, 0.0))
        return np.where(running, found, 0.0)

    habits = estimate(Sample(len(world.bills), bills, scores, free(weights)), weights)
    suited = weights.suited(habits)
    with np.errstate(divide="ignore"):
        found: Floats = np.log(free(suited)) + suited.logits(scores) - weights.logits(scores)
    return found
