"""The pictures on Today tell the truth: everything that is counted is drawn, in proportion and inside its place."""

import itertools
import re
from datetime import date, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from services.console.desk.flow import Count, Day
from services.console.picture import BANDS, BY_ITSELF, ROW, Ribbon, gather, spread, total, weeks

counts = st.fixed_dictionaries({band: st.integers(0, 10**6) for band in BANDS})


def edges(ribbon: Ribbon) -> tuple[float, float, float, float]:
    """Where it begins and ends on the left, and on the right."""
    numbers = [float(number) for number in re.findall(r"-?[\d.]+", ribbon.path)]
    _, left, _, _, _, _, _, right, below, _, _, _, _, _, bottom = numbers
    return left, bottom, right, below


@settings(max_examples=50)
@given(counts)
def test_ribbons_are_as_thick_as_what_they_tell(of: dict[Count, int]) -> None:
    for drawn in (spread(of, BANDS), gather(of, BANDS)):
        assert [ribbon.band for ribbon in drawn] == [band for band in BANDS if of[band]]
        thick = {}
        for ribbon in drawn:
            left, bottom, right, below = edges(ribbon)
            assert abs((bottom - left) - (below - right)) < 0.3, "as thick on either side"
            assert min(left, right) >= 0
            assert max(bottom, below) <= ROW * len(BANDS)
            thick[ribbon.band] = bottom - left
        for (one, wide), (other, wider) in itertools.product(thick.items(), repeat=2):
            assert of[one] > of[other] or wide <= wider + 0.3
    for ribbon in spread(of, BANDS):
        _, _, right, below = edges(ribbon)
        row = BANDS.index(ribbon.band)
        assert row * ROW <= right <= below <= (row + 1) * ROW
    ours = [edges(one)[2:] for one in gather(of, BANDS) if one.band in BY_ITSELF]
    for (_, end), (begin, _) in itertools.pairwise(ours):
        assert abs(end - begin) < 0.3, "they lie on one another"


@settings(max_examples=50)
@given(st.dates(date(2024, 1, 1), date(2030, 1, 1)), st.lists(counts, min_size=1, max_size=90))
def test_weeks_hold_every_day_once(first: date, days: list[dict[Count, int]]) -> None:
    drawn = weeks([Day(first + timedelta(days=number), of) for number, of in enumerate(days)])
    assert all(week.since.weekday() == 0 for week in drawn)
    for band in BANDS:
        assert sum(block.many for week in drawn for block in week.blocks if block.band == band) == sum(
            of[band] for of in days
        )
    most = max(week.total for week in drawn)
    for week in drawn:
        height = sum(block.height for block in week.blocks)
        assert abs(height - (100 * week.total / most if most else 0)) < 0.01
        assert all(-0.01 <= block.top <= 100 for block in week.blocks)
    assert total([Day(first, of) for of in days]) == {band: sum(of[band] for of in days) for band in BANDS}
