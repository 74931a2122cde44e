"""Shapes of the pictures on Today: ribbons between counts, and columns of weeks. Pure geometry, for SVG.

Lengths are in the units of the drawing's own box, which is stretched to the room it gets.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from itertools import accumulate
from typing import NamedTuple

from services.console.desk.flow import Count, Day

ROW = 100.0
"""Height of one band's row."""
WIDTH = 100.0
"""Length of a ribbon."""
_WIDEST = 70.0
_THINNEST = 3.0

BANDS: tuple[Count, ...] = ("linked", "created", "withdrawn", "review", "refused")
"""What can be decided, from what Weir does by itself to what it leaves to people."""
BY_ITSELF: frozenset[Count] = frozenset({"linked", "created", "withdrawn"})


class Ribbon(NamedTuple):
    """A band of the flow: which one, and its outline as an SVG path."""

    band: Count
    path: str


class Block(NamedTuple):
    """A part of a column: which band, how many bills, where it begins from the top, and how high it is."""

    band: Count
    many: int
    top: float
    height: float


class Week(NamedTuple):
    """A column of the chart; `since` is its Monday."""

    since: date
    blocks: tuple[Block, ...]

    @property
    def total(self) -> int:
        """Decisions of the week."""
        return sum(block.many for block in self.blocks)


def spread(counts: Mapping[Count, int], bands: Sequence[Count]) -> list[Ribbon]:
    """Ribbons that leave one place, in the middle of the left side, for the row of each band on the right."""
    wide = _wide(counts, bands)
    tops = _stacked(wide, ROW * len(bands) / 2)
    return [
        Ribbon(band, _path(top, thick, _middle(row) - thick / 2))
        for row, (band, thick, top) in enumerate(zip(bands, wide, tops, strict=True))
        if thick
    ]


def gather(counts: Mapping[Count, int], bands: Sequence[Count]) -> list[Ribbon]:
    """Ribbons from the row of each band on the left: what Weir does by itself to one place, the rest to another."""
    wide = _wide(counts, bands)
    found: list[Ribbon] = []
    for ours in (True, False):
        rows = [row for row, band in enumerate(bands) if (band in BY_ITSELF) is ours]
        if not rows:
            continue
        middle = ROW * (rows[0] + rows[-1] + 1) / 2
        tops = _stacked([wide[row] for row in rows], middle)
        found += [
            Ribbon(bands[row], _path(_middle(row) - wide[row] / 2, wide[row], top))
            for row, top in zip(rows, tops, strict=True)
            if wide[row]
        ]
    return found


def weeks(days: Sequence[Day], bands: Sequence[Count] = BANDS) -> list[Week]:
    """A column for each week that the days touch; the highest is 100 high, and an empty chart is flat."""
    counts: dict[date, dict[Count, int]] = {}
    for day in days:
        of_week = counts.setdefault(day.day - timedelta(days=day.day.weekday()), dict.fromkeys(bands, 0))
        for band in bands:
            of_week[band] += day.counts.get(band, 0)
    most = max((sum(of_week.values()) for of_week in counts.values()), default=0) or 1
    found = []
    for since, of_week in sorted(counts.items()):
        heights = [100 * many / most for many in of_week.values()]
        blocks = tuple(
            Block(band, many, round(100 - below, 3), round(height, 3))
            for (band, many), height, below in zip(of_week.items(), heights, accumulate(heights), strict=True)
        )
        found.append(Week(since, blocks))
    return found


def total(days: Sequence[Day]) -> dict[Count, int]:
    """What happened on all these days together."""
    found: dict[Count, int] = {}
    for day in days:
        for name, many in day.counts.items():
            found[name] = found.get(name, 0) + many
    return found


def _wide(counts: Mapping[Count, int], bands: Sequence[Count]) -> list[float]:
    """How thick each ribbon is: in proportion, but so that one bill among thousands is still seen."""
    most = max((counts.get(band, 0) for band in bands), default=0) or 1
    return [max(_THINNEST, _WIDEST * counts.get(band, 0) / most) if counts.get(band, 0) > 0 else 0.0 for band in bands]


def _stacked(wide: Sequence[float], middle: float) -> list[float]:
    """Where each of them begins when they lie on one another around `middle`."""
    first = middle - sum(wide) / 2
    return [first + before for before in accumulate(wide, initial=0.0)][:-1]


def _middle(row: int) -> float:
    return ROW * (row + 0.5)


def _path(left: float, thick: float, right: float) -> str:
    half = WIDTH / 2
    return (
        f"M0 {left:.1f}C{half:.0f} {left:.1f} {half:.0f} {right:.1f} {WIDTH:.0f} {right:.1f}"
        f"V{right + thick:.1f}C{half:.0f} {right + thick:.1f} {half:.0f} {left + thick:.1f} 0 {left + thick:.1f}Z"
    )
