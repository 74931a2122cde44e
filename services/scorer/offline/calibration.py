"""Whether a probability is one: of what is said to be 90 % sure, nine of ten should be right."""

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

BINS = 15
HIGH = 0.8
"""Where automation lives: the error of no bin above may be large."""
LOCAL = (0.8, 0.9)
"""Around the threshold that is used by default."""
_CLIP = 5e-5
"""Scores have four decimals, so 1.0 says no more than this."""


class Local(msgspec.Struct, frozen=True):
    """Scores within LOCAL: how many, and by how much the share of right ones exceeds what they promise."""

    count: int
    gap: float | None


class Calibration(msgspec.Struct, frozen=True):
    """How far scores are from the share that is right; None where nothing was there to measure.

    `ece` is the expected calibration error: the mean gap of BINS bins, weighted by their counts (Guo et al., "On
    Calibration of Modern Neural Networks", ICML 2017), with bins of equal count.
    """

    count: int
    ece: float | None
    worst_high_bin: float | None
    brier: float | None
    log_loss: float | None
    local: Local


def calibration(scores: ArrayLike, right: ArrayLike) -> Calibration:
    """The figures of scores in [0, 1] and whether each was right (same length)."""
    promised, held = np.asarray(scores, dtype=float), np.asarray(right, dtype=float)
    if not promised.size:
        return Calibration(0, None, None, None, None, Local(0, None))
    bins = _bins(promised, held)
    high = [abs(gap) for mean, gap, _ in bins if mean > HIGH]
    near = (promised >= LOCAL[0]) & (promised <= LOCAL[1])
    sure = np.clip(promised, _CLIP, 1 - _CLIP)
    return Calibration(
        count=promised.size,
        ece=sum(abs(gap) * size for _, gap, size in bins) / promised.size,
        worst_high_bin=max(high, default=None),
        brier=float(np.mean((promised - held) ** 2)),
        log_loss=float(-np.mean(held * np.log(sure) + (1 - held) * np.log1p(-sure))),
        local=Local(int(near.sum()), float(np.mean(held[near] - promised[near])) if near.any() else None),
    )


def _bins(promised: NDArray[np.float64], held: NDArray[np.float64]) -> list[tuple[float, float, int]]:
    """Bins of equal count from the lowest score to the highest: mean score, right share beyond it, count."""
    # Equal scores share their outcomes evenly: which of them falls on which side of a bin's edge must not matter.
    _, group = np.unique(promised, return_inverse=True)
    shared = (np.bincount(group, weights=held) / np.bincount(group))[group]
    order = np.argsort(promised, kind="stable")
    parts = zip(np.array_split(promised[order], BINS), np.array_split(shared[order], BINS), strict=True)
    return [(float(p.mean()), float(h.mean() - p.mean()), p.size) for p, h in parts if p.size]
