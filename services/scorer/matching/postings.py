"""Which rows hold a key: a sorted array to search in, and the newest few beside it until they are merged in."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

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


_NOTHING = _Level(np.empty(0, np.int64), np.empty(0, np.int32))


class Postings:
    """Rows by key; keys are any 64-bit numbers. Nothing is ever taken out: `kept` leaves out rows that are dead."""

    def __init__(self) -> None:
        self._sorted = self._newest = _NOTHING
        self._added: list[_Level] = []
        self._loose = 0

    def add(self, rows: ArrayLike, keys: Sequence[int]) -> None:
        """Each row holds the key beside it."""
        self._added.append(_Level(np.array(keys, np.int64), np.array(rows, np.int32)))
        self._loose += len(keys)
        if self._loose > max(_LOOSE, len(self._sorted.keys) // _FRACTION):
            self._merge()

    def find(self, keys: list[int]) -> Found:
        """Every row that holds one of the keys, in no particular order."""
        wanted = np.array(keys, np.int64)
        order = wanted.argsort()
        wanted = wanted.take(order)
        levels = [level.find(wanted) for level in (self._sorted, self._in_order()) if len(level.keys)]
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

    def _in_order(self) -> _Level:
        """The newest postings, with what was added since they were last in order."""
        if self._added:
            keys, rows = (np.concatenate(parts) for parts in zip(self._newest, *self._added, strict=True))
            order = keys.argsort()
            self._newest = _Level(keys.take(order), rows.take(order))
            self._added.clear()
        return self._newest

    def _merge(self) -> None:
        newest = self._in_order()
        places = self._sorted.keys.searchsorted(newest.keys)
        keys, rows = (
            np.insert(self._sorted.keys, places, newest.keys),
            np.insert(self._sorted.rows, places, newest.rows),
        )
        self._sorted = _Level(keys, rows)
        self._newest, self._loose = _NOTHING, 0
