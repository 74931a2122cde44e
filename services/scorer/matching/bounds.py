"""How sure a share of right decisions is: the bound that counts, not the point."""

from math import exp, isclose, lgamma, log, log1p

_STEPS = 100
_NEGLIGIBLE = 1e-18


def lower_bound(right: int, total: int, confidence: float = 0.95) -> float:
    """The share of right ones that is exceeded with `confidence`, having seen `right` of `total`; 0 without any.

    One-sided, exact: Clopper and Pearson, "The Use of Confidence or Fiducial Limits Illustrated in the Case of
    the Binomial" (Biometrika 1934). ValueError unless 0 <= right <= total and 0.5 <= confidence < 1.
    """
    if not 0 <= right <= total:
        raise ValueError(f"right must lie between 0 and total, not {right} of {total}")
    if not 0.5 <= confidence < 1:
        raise ValueError(f"confidence must be at least 0.5 and below 1, not {confidence}")
    if right == 0:
        return 0.0
    chance = 1 - confidence
    if right == total:
        return float(chance ** (1 / total))
    # The chance of so many right ones rises with the true share, and is a half or more at the share seen.
    low, high = 0.0, right / total
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if _at_least(right, total, middle) < chance:
            low = middle
        else:
            high = middle
        if isclose(low, high, rel_tol=1e-14):
            break
    return low


def _at_least(right: int, total: int, share: float) -> float:
    """The chance of `right` or more of `total`, for a true share of no more than `right / total`."""
    ways = lgamma(total + 1) - lgamma(right + 1) - lgamma(total - right + 1)
    term = exp(ways + right * log(share) + (total - right) * log1p(-share))
    odds, chance = share / (1 - share), 0.0
    for seen in range(right, total + 1):  # falls with every step, as `right` lies above the mean
        chance += term
        if term <= _NEGLIGIBLE * chance:
            break
        term *= odds * (total - seen) / (seen + 1)
    return chance
