"""How sure to be, after all: what a candidate comes to, corrected by how often that is right.

Fields are taken to err independently of each other, and bills to compete in one round. Where dates suffer, or strangers
share amounts, neither is so: a document that is a month off looks like the next one of its series in name and amount
alike. What remains wrong there is measured and taken back, as Platt does for other classifiers ("Probabilistic outputs
for support vector machines", 1999), in proportion to what is usual in the workspace. A bill's candidates stay in order.
"""

from itertools import pairwise
from math import exp, isfinite, log

import msgspec
import numpy as np

LATEST = 2.0
"""By how much more usual than elsewhere late documents are in the worst books that were looked at: what is beyond it is
corrected as if it were this."""
_MOST = 8.0
"""Log-odds that no unit may add or take away."""
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
        if not isfinite(self.strangers) or abs(self.strangers) > _MOST:
            raise ValueError(f"temper.strangers is {self.strangers}; it must lie between -{_MOST:g} and {_MOST:g}")
        for what, steps in (("single", self.single), ("series", self.series)):
            if not steps or not all(isfinite(number) for step in steps for number in step):
                raise ValueError(f"temper.{what} must have pairs of finite numbers")
            if any(low >= high for (low, _), (high, _) in pairwise(steps)):
                raise ValueError(f"temper.{what} must have log-odds that rise")
            if any(abs(added) > _MOST for _, added in steps):
                raise ValueError(f"temper.{what} must add between -{_MOST:g} and {_MOST:g}")
            if any(low + LATEST * less >= high + LATEST * more for (low, less), (high, more) in pairwise(steps)):
                raise ValueError(f"temper.{what} must leave greater log-odds greater")

    def odds(self, odds: float, *, strangers: float, late: float, recurs: bool) -> float:
        """The odds that should be given instead of these; greater ones stay greater."""
        if odds <= 0.0 or not (strangers or late):
            return odds
        added = self.strangers * strangers
        if late:
            at, each = zip(*(self.series if recurs else self.single), strict=True)
            added += min(late, LATEST) * float(np.interp(log(odds), at, each))
        return odds * exp(added)
