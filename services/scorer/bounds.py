"""How sure a share is that was measured on a few cases."""

from math import exp, lgamma, log, log1p

CONFIDENCE = 0.95
"""Of every twenty bounds at most one lies above the true share."""

_HALVINGS = 50


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
    below = cases - right >= right  # the shorter sum of the two
    counts = range(right) if below else range(right, cases + 1)
    ways = [(count, lgamma(cases + 1) - lgamma(count + 1) - lgamma(cases - count + 1)) for count in counts]
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        share = (low + high) / 2
        is_right, is_wrong = log(share), log1p(-share)
        chance = sum(exp(way + count * is_right + (cases - count) * is_wrong) for count, way in ways)
        rarer = (1 - chance if below else chance) < 1 - confidence
        low, high = (share, high) if rarer else (low, share)
    return low
