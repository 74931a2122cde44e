"""How sure to be, after all: what a candidate comes to, corrected by how often that is right.

Fields are taken to err independently of each other, and bills to compete in one round. Where dates suffer, or strangers
share amounts, neither is so: a document that is a month off looks like the next one of its series in name and amount
alike. What remains wrong there is measured and taken back, as Platt does for other classifiers ("Probabilistic outputs
for support vector machines", 1999), in proportion to what is usual in the workspace. A bill's candidates stay in order.
"""

from functools import lru_cache
from itertools import pairwise
from math import exp, isfinite, log

import msgspec
import numpy as np
from numpy.typing import NDArray

Steps = tuple[tuple[float, float], ...]
"""Log-odds, rising, each with what is added to them; straight lines between them, and the same beyond the ends."""


class Temper(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One correction of log-odds by the habits of a workspace. ValueError names the field that makes no sense.

    `strangers` is added for each unit of the habit of that name; `single` and `series` for each unit by which documents
    are late more often, to bills by themselves and to those of a series.
    """

    strangers: float = 0.0
    single: Steps = ((0.0, 0.0),)
    series: Steps = ((0.0, 0.0),)

    def __post_init__(self) -> None:
        if not isfinite(self.strangers):
            raise ValueError(f"temper.strangers is {self.strangers}; it must be a finite number")
        for what, steps in (("single", self.single), ("series", self.series)):
            if not steps or not all(isfinite(number) for step in steps for number in step):
                raise ValueError(f"temper.{what} must have pairs of finite numbers")
            if any(low >= high for (low, _), (high, _) in pairwise(steps)):
                raise ValueError(f"temper.{what} must have log-odds that rise")

    def odds(self, odds: float, *, strangers: float, late: float, recurs: bool) -> float:
        """The odds that should be given instead of these; greater ones never get less."""
        if odds <= 0.0:
            return 0.0
        logit = log(odds) + self.strangers * strangers
        if late:
            logit += float(np.interp(logit, *_added(self.series if recurs else self.single, late)))
        return exp(logit)


@lru_cache(maxsize=128)
def _added(steps: Steps, times: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """So many times what the steps add; where that would turn two of them round, both come to the same."""
    at, added = np.array(steps).T
    return at, np.maximum.accumulate(at + times * added) - at
