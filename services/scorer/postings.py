"""Which rows hold a key: a sorted array to search in, and the newest few beside it until they are merged in."""

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_LOOSE = 2048
"""Newest postings kept beside the sorted ones; with many more sorted ones, a fraction of those."""
_FRACTION = 16

Numbers = NDArray[np.int64]


class Found(NamedTuple):
    """Pairs of the position of a key among those asked for, and a row that holds it."""

    which: Numbers
    rows: Numbers


class Postings:
    """Rows by key; keys are any 64-bit numbers. Nothing is ever taken out: `kept` leaves out rows that are dead."""

    def __init__(self) -> None:
        self._keys: NDArray[np.int64] = np.empty(0, np.int64)
        self._rows: NDArray[np.int32] = np.empty(0, np.int32)
        self._loose: defaultdict[int, list[int]] = defaultdict(list)
        self._loose_count = 0

    def add(self, row: int, keys: Iterable[int]) -> None:
        """The row holds these keys."""
        for key in keys:
            self._loose[key].append(row)
            self._loose_count += 1
        if self._loose_count > max(_LOOSE, len(self._keys) // _FRACTION):
            self._merge()

    def find(self, keys: list[int]) -> Found:
        """Every row that holds one of the keys, in no particular order."""
        wanted = np.array(keys, np.int64)
        first = np.searchsorted(self._keys, wanted, "left")
        count = np.searchsorted(self._keys, wanted, "right") - first
        total = int(count.sum())
        which = np.repeat(np.arange(len(keys)), count)
        begins = np.cumsum(count) - count
        rows = self._rows[np.arange(total) - np.repeat(begins, count) + np.repeat(first, count)]
        if not self._loose:
            return Found(which, rows.astype(np.int64))
        loose = self._loose
        newest = [(position, row) for position, key in enumerate(keys) if key in loose for row in loose[key]]
        more = np.array(newest, np.int64).reshape(-1, 2)
        return Found(np.concatenate([which, more[:, 0]]), np.concatenate([rows.astype(np.int64), more[:, 1]]))

    def kept(self, renumbered: Numbers) -> "Postings":
        """The postings of the rows that go on, under their new numbers (-1 for those that do not)."""
        self._merge()
        rows = renumbered[self._rows]
        result = Postings()
        result._keys, result._rows = self._keys[rows >= 0], rows[rows >= 0].astype(np.int32)
        return result

    def _merge(self) -> None:
        keys = np.array([key for key, rows in self._loose.items() for _ in rows], np.int64)
        rows = np.array([row for rows in self._loose.values() for row in rows], np.int32)
        order = np.argsort(keys, kind="stable")
        places = np.searchsorted(self._keys, keys[order])
        self._keys = np.insert(self._keys, places, keys[order])
        self._rows = np.insert(self._rows, places, rows[order])
        self._loose.clear()
        self._loose_count = 0
