"""How sure to be, after all: what a candidate comes to, corrected by how often that is right.

Fields are taken to err independently of each other, and bills to compete in one round. Where dates suffer, or strangers
share amounts, neither is so: a document that is a month off looks like the next one of its series in name and amount
alike. What remains wrong there is measured and taken back, as Platt does for other classifiers ("Probabilistic outputs
for support vector machines", 1999), in proportion to what is usual in the workspace. A bill's candidates stay in order.
"""

from bisect import bisect_right
from functools import lru_cache
from itertools import pairwise
from math import exp, isfinite, log
from typing import NamedTuple

import msgspec

LATEST = 2.0
"""By how much more usual than elsewhere late documents are in the worst books that were looked at: what is beyond it is
corrected as if it were this."""
_MOST = 8.0
"""Log-odds that no unit may add or take away."""
Steps = tuple[tuple[float, float], ...]
"""Log-odds, rising, each with what is added to them; straight lines between them, and the same beyond the ends."""


class Correction(NamedTuple):
    """What one bill's candidates are corrected by: log-odds, rising, each with what is added to them; straight lines
    between them, and the same beyond the ends."""

    at: tuple[float, ...]
    added: tuple[float, ...]

    def odds(self, odds: float, *, contradicts: bool = False) -> float:
        """The odds that should be given instead of these; greater ones stay greater.

        A candidate whose number or name contradicts the bill's is never made likelier, so it stays below what it is
        held to.
        """
        if odds <= 0.0:
            return odds
        at, added, logit = self.at, self.added, log(odds)
        place = bisect_right(at, logit)
        more = added[max(place - 1, 0)]
        if 0 < place < len(at):
            more += (added[place] - more) * (logit - at[place - 1]) / (at[place] - at[place - 1])
        return odds if contradicts and more > 0.0 else odds * exp(more)


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

    def correction(self, *, strangers: float, late: float, recurs: bool) -> Correction:
        """What corrects the candidates of a bill where strangers and late documents are so much more usual."""
        return _correction(self.series if recurs else self.single, self.strangers * strangers, min(late, LATEST))


@lru_cache(maxsize=256)
def _correction(steps: Steps, more: float, late: float) -> Correction:
    """The steps, each so many times, with `more` added throughout; every bill of a workspace asks for one of two."""
    if not late:
        return Correction((0.0,), (more,))
    at, each = zip(*steps, strict=True)
    return Correction(at, tuple([more + late * one for one in each]))
