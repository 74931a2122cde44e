"""The whole run: worlds to fit on, worlds to judge on, and the table that compares weights on the latter."""

from collections.abc import Iterator, Sequence

from services.scorer.fitting.evaluate import Figures, figures
from services.scorer.fitting.features import Compared, compared
from services.scorer.fitting.worlds import KINDS, Kind, make
from services.scorer.matching.model import Weights

MIX: dict[Kind, float] = {"closed": 0.1, "open": 0.4, "clash": 0.25, "degraded": 0.25}
"""What the worlds to fit on are made of: mostly what a company's first months with Qonto look like, and enough of what
makes workspaces differ."""
_ALL, _VARIED = (1.0,), (0.33, 0.67, 1.0)
SEVERITIES: dict[Kind, tuple[float, ...]] = {"closed": _ALL, "open": _ALL, "clash": _VARIED, "degraded": _VARIED}
"""How much of the documents is hit in the worlds to fit on, in equal parts."""
TEMPER_MIX: dict[Kind, float] = {"open": 0.2, "clash": 0.4, "degraded": 0.4}
DRAWS = 4
"""What the worlds to temper on are made of, all of their documents hit; and how often they are drawn, as one company's
luck with its suppliers says little of another's."""
SIZES = (1 / 6, 1 / 3, 1 / 2)
"""Workspaces of each kind, as shares of its bills: small ones have other suppliers and fewer rivals."""

_HEAD = (
    f"{'world':9} {'weights':22} {'bills':>6} {'there':>6} {'kept':>6} {'auto':>6} {'right':>8} {'>= (95 %)':>9} "
    f"{'covered':>8} {'false':>12} {'used':>4} {'twice':>5} {'asked':>6} {'ECE':>6}"
)


def to_fit(seed: str, bills: int) -> list[Compared]:
    """About so many bills in worlds of the mix, compared."""
    return [
        one
        for kind, share in MIX.items()
        for severity in SEVERITIES[kind]
        for one in _some(kind, f"{seed}/fit/{severity:g}", bills * share / len(SEVERITIES[kind]), severity)
    ]


def to_temper(seed: str, bills: int) -> list[Compared]:
    """About so many bills in worlds that nothing else is fitted on."""
    return [
        one
        for kind, share in TEMPER_MIX.items()
        for draw in range(DRAWS)
        for one in _some(kind, f"{seed}/temper/{draw}", bills * share / DRAWS)
    ]


def to_judge(seed: str, bills: int, draws: int) -> dict[Kind, list[Compared]]:
    """About so many bills in each kind of world and draw, of seeds that nothing was fitted on.

    With 3,000 bills, of which some 2,200 have a candidate, chance alone makes an ECE of 0.013 of a matcher that
    promises nothing but what it keeps.
    """
    drawn = [f"{seed}/judge", *(f"{seed}/judge/{draw}" for draw in range(1, draws))]
    return {kind: [one for name in drawn for one in _some(kind, name, bills)] for kind in KINDS}


def _some(kind: Kind, seed: str, bills: float, severity: float = 1.0) -> Iterator[Compared]:
    for size in SIZES:
        yield compared(make(kind, f"{seed}/{size:.2f}", max(1, round(bills * size)), severity=severity))


def table(worlds: dict[Kind, list[Compared]], judged: Sequence[Weights]) -> Iterator[str]:
    """Lines of figures by world, for each of the judged weights."""
    yield _HEAD
    for kind, several in worlds.items():
        for weights in judged:
            yield line(kind, weights.version, figures(several, weights))


def line(world: str, name: str, found: Figures) -> str:
    """One line of the table."""
    told, links = found.evaluation, found.evaluation.links
    kept, right = found.kept / found.matchable if found.matchable else 1.0, links.precision or 0.0
    return (
        f"{world:9} {name:22} {told.bills:6} {found.matchable:6} {kept:6.2%} {links.count:6} {right:8.3%} "
        f"{links.bound:9.3%} {links.recall or 0:8.2%} {told.absent.linked:5} /{told.absent.count:5} {found.used:4} "
        f"{links.used_twice:5} {told.review.share or 0:6.1%} {told.calibration.ece or 0:6.3f}"
    )
