"""The weights: what agreement and disagreement of each field are worth, as log-odds.

A match's probability is the logistic of the prior plus the worth of every field, as in Fellegi and Sunter,
"A Theory for Record Linkage" (JASA 1969). A field that one side does not have is worth nothing. Each table
maps a field's score in [0, 1] to its worth and rises with the score, so moving a date or an amount away can
never raise a probability.

The worths were set from these considerations, and checked on generated companies: name, amount and date all
agreeing must reach 0.85 without a reference (small suppliers' numbers are often missing in Qonto); amount
and date alone must not (equal amounts are common); another invoice number must push even a perfect rest
below 0.85, yet leave it for a person, because OCR misreads numbers.
"""

from collections.abc import Mapping
from itertools import pairwise
from math import exp

import numpy as np
from numpy.typing import NDArray

from common.messages import Field

VERSION = "2026.11.1"

PRIOR = -5.0
"""Log-odds of a candidate before anything is compared: most share an amount by accident."""

AGREES = 0.8
"""A field's score from which on it counts as agreeing evidence."""

IDENTITY = 2.5
"""Worth of an equal VAT number or IBAN beside the name: the same counterparty, whichever document."""

WORTH: Mapping[Field, tuple[tuple[float, float], ...]] = {
    "name": ((0.0, -5.0), (0.45, -4.0), (0.65, -1.5), (0.8, 1.5), (0.9, 3.2), (1.0, 4.0)),
    "amount": ((0.0, -6.0), (0.5, -3.0), (0.8, -0.5), (0.86, 1.5), (0.9, 2.5), (1.0, 3.8)),
    "date": ((0.0, -4.0), (0.2, -2.6), (0.5, -0.8), (0.8, 0.8), (1.0, 1.6)),
    "currency": ((0.0, -4.0), (0.6, -0.3), (1.0, 0.2)),
    "reference": ((0.0, -4.0), (0.8, 3.0), (0.9, 4.0), (1.0, 6.0)),
}


def worth(field: Field, score: float | None) -> float:
    """The log-odds of a field's score; 0 where one side does not say."""
    if score is None:
        return 0.0
    table = WORTH[field]
    for (low, low_worth), (high, high_worth) in pairwise(table):
        if score <= high:
            return low_worth + (high_worth - low_worth) * (score - low) / (high - low)
    return table[-1][1]


def probability(scores: Mapping[Field, float | None], *, same_identity: bool = False) -> float:
    """The probability that two documents are the same, from their fields' scores."""
    total = PRIOR + sum(worth(field, score) for field, score in scores.items())
    if same_identity:
        total += IDENTITY
    return 1 / (1 + exp(-total))


def probabilities(scores: NDArray[np.float64], same: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The same for many pairs: a column of scores for each field of WORTH, NaN where one side does not say."""
    total = np.where(same, PRIOR + IDENTITY, PRIOR)
    for column, table in enumerate(WORTH.values()):
        places, values = np.array(table).T
        worths = np.interp(scores[:, column], places, values)
        total = total + np.where(np.isnan(worths), 0.0, worths)
    found: NDArray[np.float64] = 1 / (1 + np.exp(-total))
    return found
