"""How sure a share is that was measured on a few cases."""

from functools import partial
from math import exp, lgamma, log

CONFIDENCE = 0.95
"""Of every twenty bounds at most one lies above the true share."""

_HALVINGS = 60


def at_least(right: int, cases: int, *, confidence: float = CONFIDENCE) -> float:
    """The one-sided lower bound of the true share of right cases, in [0, 1]; 0 where there are none.

    Exact: the largest share under which so many right ones are still rarer than 1 - `confidence` (Clopper and
    Pearson, "The Use of Confidence or Fiducial Limits Illustrated in the Case of the Binomial", Biometrika
    1934). ValueError unless 0 <= right <= cases and 0 < confidence < 1.
    """
    if not 0 <= right <= cases:
        raise ValueError(f"right: {right} of {cases} cases is not possible")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: {confidence} does not lie between 0 and 1")
    if right == 0:
        return 0.0
    tail = partial(_or_more, right, cases)
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if tail(middle) < 1 - confidence else (low, middle)
    return low


def _or_more(right: int, cases: int, share: float) -> float:
    """The chance of `right` or more of `cases` when each is right with probability `share`; the shorter sum."""
    if cases - right < right:
        return sum(_exactly(count, cases, share) for count in range(right, cases + 1))
    return 1.0 - sum(_exactly(count, cases, share) for count in range(right))


def _exactly(right: int, cases: int, share: float) -> float:
    if share in {0.0, 1.0}:
        return float(right == cases * share)
    ways = lgamma(cases + 1) - lgamma(right + 1) - lgamma(cases - right + 1)
    return exp(ways + right * log(share) + (cases - right) * log(1 - share))
