"""Which rows hold a key: a sorted array to search in, and the newest few beside it until they are merged in."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_LOOSE = 2048
"""Newest postings kept beside the sorted ones; with many more sorted ones, a fraction of those."""
_FRACTION = 16

Numbers = NDArray[np.int64]


def distinct(numbers: Numbers) -> Numbers:
    """Each number once, in order; np.unique takes many times as long."""
    ordered = np.sort(numbers)
    first = np.empty(len(ordered), np.bool_)
    first[:1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]


class Found(NamedTuple):
    """Pairs of the position of a key among those asked for, and a row that holds it."""

    which: Numbers
    rows: Numbers


class _Level(NamedTuple):
    """Keys in order, and the row that holds each."""

    keys: Numbers
    rows: NDArray[np.int32]

    def find(self, keys: Numbers) -> Found:
        """The rows of each of these keys, which are in order: from one to the next the search stays nearby."""
        first = self.keys.searchsorted(keys)
        count = self.keys.searchsorted(keys, "right") - first
        ends = count.cumsum()
        places = np.arange(ends[-1] if len(ends) else 0) - (ends - count - first).repeat(count)
        return Found(np.arange(len(keys)).repeat(count), self.rows.take(places))


class Postings:
    """Rows by key; keys are any 64-bit numbers. Nothing is ever taken out: `kept` leaves out rows that are dead."""

    def __init__(self) -> None:
        self._sorted = _Level(np.empty(0, np.int64), np.empty(0, np.int32))
        self._newest: _Level | None = None
        self._keys: list[int] = []
        self._rows: list[int] = []

    def add(self, rows: Iterable[int], keys: Iterable[int]) -> None:
        """Each row holds the key beside it."""
        self._keys.extend(keys)
        self._rows.extend(rows)
        self._newest = None
        if len(self._keys) > max(_LOOSE, len(self._sorted.keys) // _FRACTION):
            self._merge()

    def find(self, keys: list[int]) -> Found:
        """Every row that holds one of the keys, in no particular order."""
        wanted = np.array(keys, np.int64)
        order = wanted.argsort()
        wanted = wanted.take(order)
        levels = [level.find(wanted) for level in (self._sorted, self._loose()) if len(level.keys)]
        if not levels:
            return Found(order[:0], order[:0])
        which, rows = (np.concatenate(parts) for parts in zip(*levels, strict=True))
        return Found(order.take(which), rows.astype(np.int64))

    def kept(self, renumbered: Numbers) -> "Postings":
        """The postings of the rows that go on, under their new numbers (-1 for those that do not)."""
        self._merge()
        rows = renumbered[self._sorted.rows]
        result = Postings()
        result._sorted = _Level(self._sorted.keys[rows >= 0], rows[rows >= 0].astype(np.int32))
        return result

    def _loose(self) -> _Level:
        if self._newest is None:
            keys = np.array(self._keys, np.int64)
            order = np.argsort(keys, kind="stable")
            self._newest = _Level(keys[order], np.array(self._rows, np.int32)[order])
        return self._newest

    def _merge(self) -> None:
        newest = self._loose()
        places = np.searchsorted(self._sorted.keys, newest.keys)
        keys, rows = (
            np.insert(self._sorted.keys, places, newest.keys),
            np.insert(self._sorted.rows, places, newest.rows),
        )
        self._sorted, self._newest = _Level(keys, rows), None
        self._keys.clear()
        self._rows.clear()
