"""The law of windows: whatever sits in the seconds and whatever is edited meanwhile, nothing is missed."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.puller.window import PAGE, Page, Row, Unreadable, Window, halved, literal, pages, statement

START = datetime(2026, 3, 1, tzinfo=UTC)
SINCE = START - timedelta(seconds=10)


def at(second: int) -> datetime:
    return START + timedelta(seconds=second)


@dataclass
class Server:
    """Answers as the query endpoint does; `edits` happen before the numbered call, moving a row to the end."""

    seconds: dict[str, int]
    size: int = PAGE
    edits: dict[int, list[str]] = field(default_factory=dict)
    damaged: frozenset[str] = frozenset()
    calls: int = 0
    edited: set[str] = field(default_factory=set)
    salvaged: list[datetime] = field(default_factory=list)

    @property
    def clock(self) -> int:
        return max(self.seconds.values(), default=0) + 1

    async def ask(self, window: Window) -> Page:
        for ident in self.edits.get(self.calls, ()):
            if ident in self.seconds:
                self.seconds[ident] = self.clock
                self.edited.add(ident)
        self.calls += 1
        until = window.since if window.crowded else window.near or window.until
        fitting = [
            Row(ident, at(second), None)
            for ident, second in self.seconds.items()
            if at(second) >= window.since and (until is None or at(second) <= until)
        ]
        fitting.sort(key=lambda row: (row.id,) if window.crowded else (row.at, hash((row.id, self.calls))))
        rows = fitting[window.start - 1 : window.start - 1 + self.size]
        now = at(self.clock) + timedelta(milliseconds=321)
        if self.damaged & {row.id for row in rows}:
            raise Unreadable("a damaged object", now)
        return Page(rows, now)

    async def salvage(self, second: datetime) -> list[Row]:
        """What can be read of one second; the damaged are not in it."""
        self.salvaged.append(second)
        return [
            Row(ident, at(when), None)
            for ident, when in self.seconds.items()
            if at(when) == second and ident not in self.damaged
        ]


async def read(server: Server, window: Window | None = None) -> list[Row]:
    window = window or Window(since=SINCE)
    found = pages(server.ask, window, server.size, salvage=server.salvage)
    return [row async for fresh, _, _ in found for row in fresh]


def population(*counts: int) -> dict[str, int]:
    """`counts[n]` rows in second n."""
    return {f"{second}-{number}": second for second, count in enumerate(counts) for number in range(count)}


@pytest.mark.parametrize(
    "counts, calls",
    [
        ((), 1),
        ((0,), 1),
        ((1,), 1),
        ((999,), 1),
        ((1000,), 4),  # full, then its second alone, which is full too, then its end, then the rest
        ((1001,), 4),
        ((3000,), 6),
        ((3000, 3000, 1), 12),
        ((999, 1, 1), 3),
        ((1,) * 1000, 2),
        ((1,) * 1001, 2),
        ((1,) * 2500, 3),
        ((500, 500, 500, 500), 4),
    ],
)
async def test_every_row_is_read_once_in_few_calls(counts: tuple[int, ...], calls: int) -> None:
    server = Server(population(*counts))
    rows = await read(server)
    assert sorted(row.id for row in rows) == sorted(server.seconds)
    assert server.calls <= calls


@settings(max_examples=150, deadline=None)
@given(
    counts=st.lists(st.one_of(st.integers(0, 12), st.integers(0, 3)), max_size=25),
    size=st.integers(2, 6),
)
async def test_any_population_is_read_exactly_once_in_bounded_calls(counts: list[int], size: int) -> None:
    server = Server(population(*counts), size)
    rows = await read(server)
    assert sorted(row.id for row in rows) == sorted(server.seconds)
    # A page that ends in the second it began costs at most three more calls for that second alone.
    crowded = sum(count >= size for count in counts)
    assert server.calls <= 2 + 2 * (sum(counts) // (size - 1) + 1) + 3 * crowded


@settings(max_examples=250, deadline=None)
@given(
    counts=st.lists(st.integers(0, 9), max_size=12),
    size=st.integers(2, 5),
    data=st.data(),
)
async def test_rows_edited_meanwhile_hide_nobody(counts: list[int], size: int, data: st.DataObject) -> None:
    seconds = population(*counts)
    edits = data.draw(
        st.dictionaries(st.integers(1, 12), st.lists(st.sampled_from(sorted(seconds) or ["-"]), max_size=3))
    )
    server = Server(dict(seconds), size, edits)
    read_rows = {(row.id, row.at) for row in await read(server)}
    untouched = {(ident, at(second)) for ident, second in seconds.items() if ident not in server.edited}
    assert untouched <= read_rows
    # An edited row may lie behind the window's end now; then the next window, which overlaps, begins before it.


@settings(max_examples=150, deadline=None)
@given(counts=st.lists(st.integers(0, 12), max_size=20), size=st.integers(2, 5), cut=st.integers(0, 30))
async def test_reading_resumes_anywhere_without_loss(counts: list[int], size: int, cut: int) -> None:
    server = Server(population(*counts), size)
    seen: set[str] = set()
    position: Window | None = Window(since=SINCE)
    steps = 0
    async for fresh, after, _until in pages(server.ask, Window(since=SINCE), size, salvage=server.salvage):
        seen |= {row.id for row in fresh}
        position = after
        steps += 1
        if steps > cut:
            break
    if position is not None:
        seen |= {row.id for row in await read(server, position)}
    assert seen == set(server.seconds)


@settings(max_examples=250, deadline=None)
@given(
    counts=st.lists(st.integers(0, 9), min_size=1, max_size=40),
    size=st.integers(2, 6),
    data=st.data(),
)
async def test_damaged_objects_hide_nobody_else(counts: list[int], size: int, data: st.DataObject) -> None:
    seconds = population(*counts)
    damaged = data.draw(st.frozensets(st.sampled_from(sorted(seconds) or ["-"]), max_size=4)) & seconds.keys()
    server = Server(dict(seconds), size, damaged=damaged)
    rows = await read(server)
    assert sorted(row.id for row in rows) == sorted(seconds.keys() - damaged)
    # Only seconds that hold a damaged object are read object by object, each of them once.
    assert sorted(server.salvaged) == sorted({at(seconds[ident]) for ident in damaged})
    spent = 2 + 2 * (sum(counts) // (size - 1) + 1) + 3 * sum(count >= size for count in counts)
    halvings = 2 * (len(counts) + 20).bit_length() + 2
    assert server.calls <= spent + len(damaged) * (halvings + 3)


@settings(max_examples=100, deadline=None)
@given(seconds=st.integers(0, 10**9))
def test_halving_ends_at_a_single_second(seconds: int) -> None:
    window: Window | None = Window(since=SINCE, until=SINCE + timedelta(seconds=seconds))
    steps = 0
    while window is not None and (half := halved(window)) is not None:
        assert half.near is not None
        assert half.since <= half.near < (window.near or window.until)  # type: ignore[operator]
        window, steps = half, steps + 1
    assert steps <= 30
    assert window is not None
    assert (window.near or window.until) == window.since


def test_a_year_has_four_digits() -> None:
    east = timezone(timedelta(hours=5))
    assert literal(datetime(24, 1, 1, 5, 0, 0, 999_999, tzinfo=east)) == "0024-01-01T00:00:00Z"


def test_a_statement_names_both_ends_in_utc() -> None:
    window = Window(since=at(0), until=at(5))
    assert statement("Vendor", window, inactive=True) == (
        "SELECT * FROM Vendor WHERE MetaData.LastUpdatedTime >= '2026-03-01T00:00:00Z' "
        "AND MetaData.LastUpdatedTime <= '2026-03-01T00:00:05Z' AND Active IN (true, false) "
        "ORDERBY MetaData.LastUpdatedTime STARTPOSITION 1 MAXRESULTS 1000"
    )
    crowd = Window(since=at(0), until=at(5), crowded=True, start=1000, last="7")
    assert statement("Bill", crowd).endswith("<= '2026-03-01T00:00:00Z' ORDERBY Id STARTPOSITION 1000 MAXRESULTS 1000")
