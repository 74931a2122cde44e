"""Bills against entries, field by field, many pairs at a time.

Scores lie in [0, 1]; NaN says that one side does not say, which counts for nothing. Amounts and days are
compared as the whole numbers that `columns` keeps of them.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.scorer.matching import model
from services.scorer.matching.columns import Rows
from services.scorer.matching.index import Index
from services.scorer.matching.model import FIELDS, Flags, Floats, Weights
from services.scorer.matching.postings import Numbers
from services.scorer.matching.references import agreement, mentioned, names_another, reference

Alike = Callable[[Numbers, Numbers], Floats]
"""How alike the names of the bills and entries in these rows are, pair by pair, NaN where a side has none."""

NAME, AMOUNT, DATE, CURRENCY, REFERENCE = range(5)

AMOUNTS = (None, "equals the net amount", "equals the net amount in Qonto", "by the bill's exchange rate")
"""Which amounts were compared, in words; total with total needs none."""
_TRIES = (
    *((0, ours, theirs) for ours in (0, 1) for theirs in (0, 1)),
    *((1, 2, theirs) for theirs in (0, 1)),
    *((2, ours, 2) for ours in (0, 1)),
    *((3, 3, theirs) for theirs in (0, 1)),
)
"""Which amounts are compared: how (of AMOUNTS), and the column of either side, of two totals, the net amount and,
of a bill, the amount converted by its rate."""
_CEILINGS = (1.0, 0.9, 0.9, 0.86)
_SLIP, _RATE_SLIP = 0.004, 0.03
"""The share by which amounts differ when they are half as close as equal ones, also after conversion."""
_CENT_SLIP, _CENT_SHARE = 200, 0.001
"""Rounding: amounts this near, in ten-thousandths and in proportion, count as equal but for a cent."""
_CENT, _NEAREST = 0.98, 0.79
"""Scores of amounts that differ by rounding, and at most of those whose difference nothing explains: they do not agree,
however near they are."""
_SLOPES = ((_SLIP, _NEAREST), (_SLIP, _NEAREST), (_SLIP, _NEAREST), (_RATE_SLIP, 1.0))
"""For each of AMOUNTS how far amounts that are not equal may lie apart, and what they score at most."""
_HALF_DATE = 9
"""Days apart at which dates are half as close as equal ones."""
_EARLY, _LATE = 1, 10
"""Days before a bill's date and after its due date on which a payment is nothing unusual."""
_EXPECTED = 0.97
"""Score of a payment on one of the days it was expected on: there are many, so that says less than an equal date."""
_CONVERTED = 0.6
_FOUND = 0.95


class Compared(NamedTuple):
    """How each pair compares: `scores` has a column for each of FIELDS.

    `same` says that the VAT number or IBAN is the same, `amounts` which amounts were compared (of AMOUNTS), `days`
    how many days lie between the dates. `possible` are the pairs whose probability may be as high as was asked
    for; of the others not everything was compared.
    """

    scores: Floats
    same: Flags
    amounts: NDArray[np.int64]
    days: NDArray[np.int64]
    possible: Flags


def compare(
    bills: Index,
    of: Numbers,
    entries: Index,
    rows: Numbers,
    alike: Alike,
    *,
    weights: Weights,
    recurs: Flags,
    least: float = 0.0,
) -> Compared:
    """Compare the bills in rows `of` with the entries in `rows`, pair by pair; `recurs` says of each pair whether the
    bill is one of a series.

    What costs most comes last, and only for pairs that may reach the probability `least`; what an invoice does not
    say may be said by a payment it is matched with.
    """
    ours, theirs = bills.rows.take(of), entries.rows.take(rows)  # many times faster than by [ ]
    scores = np.full((len(of), len(FIELDS)), np.nan)
    scores[:, AMOUNT], amounts = _amount(ours, theirs)
    scores[:, DATE], days = _date(ours, theirs)
    scores[:, CURRENCY] = _currency(ours, theirs)
    same = _equal(ours["vat"], theirs["vat"]) | _equal(ours["iban"], theirs["iban"])
    # What each field is worth at most: a perfect score where it is unknown yet.
    most: list[Floats | float] = [weights.worths[field][-1][1] for field in FIELDS]
    for column in (AMOUNT, DATE, CURRENCY):
        most[column] = _most(column, scores, theirs, weights)
    best = np.where(np.isnan(scores) & theirs["matched"][:, None], 1.0, scores)
    possible = _probability(weights.combined(most, best, same, recurs)) >= least
    for pair in _numbered(ours, theirs, scores, possible).tolist():
        number, text = bills.text(of[pair]), entries.text(rows[pair])
        scores[pair, REFERENCE] = _reference(number, text, bool(theirs["payment"][pair]))
    most[REFERENCE] = _most(REFERENCE, scores, theirs, weights)
    possible &= _probability(weights.combined(most, best, same, recurs)) >= least
    scores[possible, NAME] = alike(of[possible], rows[possible])
    scores[same, NAME] = 1.0  # the same company, whatever it is called
    np.round(scores, 4, out=scores)
    return Compared(scores, same, amounts, days, possible)


def probabilities(scores: Floats, same: Flags, recurs: Flags, weights: Weights) -> Floats:
    """The probability that each pair is the same document, had it no competitors, held down by what contradicts."""
    worths = [weights.worths_of(field, scores[:, column]) for column, field in enumerate(FIELDS)]
    return _probability(model.held(weights.combined(worths, scores, same, recurs), scores))


def _most(column: int, scores: Floats, theirs: Rows, weights: Weights) -> Floats:
    """What each pair's score in a field is worth at most; a payment may still tell what an invoice does not."""
    known = scores[:, column]
    return weights.worths_of(FIELDS[column], np.where(np.isnan(known) & theirs["matched"], 1.0, known))


def _probability(logits: Floats) -> Floats:
    found: Floats = 1 / (1 + np.exp(-logits))
    return found


def _equal(one: NDArray[np.int32], other: NDArray[np.int32]) -> Flags:
    equal: Flags = (one == other) & (one != 0)
    return equal


def _amount(ours: Rows, theirs: Rows) -> tuple[Floats, NDArray[np.int64]]:
    """Total against total; else net against total (people mix them up); else converted by the bill's rate."""
    mine, others = _amounts(ours), _amounts(theirs)
    best, which = np.full(len(ours), -1.0), np.zeros(len(ours), np.int64)
    for how, one, other in _TRIES:
        if one in mine and other in others:
            (a, currency), (b, in_qonto) = mine[one], others[other]
            found = _closeness(a, b, *_SLOPES[how]) * _CEILINGS[how]
            better = (currency == in_qonto) & (currency != 0) & (found > best)
            best, which = np.where(better, found, best), np.where(better, how, which)
    stated = (ours["exact_currency"][:, 0] != 0) & (
        (theirs["exact_currency"][:, 0] != 0) | (theirs["net_currency"] != 0)
    )
    return np.where(best >= 0, best, np.where(stated, 0.0, np.nan)), np.where(best >= 0.5, which, 0)


def _amounts(rows: Rows) -> dict[int, tuple[Numbers, NDArray[np.int32]]]:
    """Amounts and their currencies by the columns of _TRIES, without those that no row states."""
    (first, second), (one, other) = rows["exact"].T, rows["exact_currency"].T
    columns = (
        (first, one),
        (second, other),
        (rows["net"], rows["net_currency"]),
        (rows["about"], rows["about_currency"]),
    )
    return {column: stated for column, stated in enumerate(columns) if stated[1].any()}


def _closeness(a: Numbers, b: Numbers, scale: float, nearest: float) -> Floats:
    """1 for equal amounts, at most `nearest` for others, a half where they differ by `scale` of the larger, falling
    towards 0."""
    difference = np.abs(a - b)
    larger = np.maximum(np.maximum(np.abs(a), np.abs(b)), 1)
    found = np.minimum(nearest, 1 / (1 + (difference / larger / scale) ** 2))
    found = np.where(difference <= np.minimum(_CENT_SLIP, _CENT_SHARE * larger), _CENT, found)
    return np.where(difference == 0, 1.0, found)


def _date(ours: Rows, theirs: Rows) -> tuple[Floats, NDArray[np.int64]]:
    """By the days between two documents' dates, or between a payment and the days it was expected on."""
    since, until, day = (rows.astype(np.int64) for rows in (ours["since"], ours["until"], theirs["since"]))
    first, last = since - _EARLY, np.maximum(since, until) + _LATE
    apart = np.where(theirs["payment"], np.maximum(0, np.maximum(first - day, day - last)), np.abs(since - day))
    known = (since != 0) & (day != 0)
    nearest = np.where(theirs["payment"], _EXPECTED, 1.0)
    return np.where(known, nearest / (1 + (apart / _HALF_DATE) ** 2), np.nan), np.where(known, apart, 0)


def _currency(ours: Rows, theirs: Rows) -> Floats:
    (one, two), others = ours["currencies"].T, theirs["currencies"].T
    shared, converted = _among(one, others) | _among(two, others), _among(ours["about_currency"], others)
    known = (one != 0) & (others[0] != 0)
    return np.where(known, np.where(shared, 1.0, np.where(converted, _CONVERTED, 0.0)), np.nan)


def _among(currency: NDArray[np.int32], others: NDArray[np.int32]) -> Flags:
    """Whether each currency is one of the others beside it."""
    first, second = others
    found: Flags = (currency != 0) & ((currency == first) | (currency == second))
    return found


def _numbered(ours: Rows, theirs: Rows, scores: Floats, possible: Flags) -> Numbers:
    """The pairs whose numbers have to be read; two that have nothing in common contradict without that."""
    both = ours["numbered"] & theirs["numbered"]
    common = ((ours["number"] == theirs["number"]) & (ours["number"] != 0)).any(axis=1)
    scores[both & ~common, REFERENCE] = 0.0
    return np.flatnonzero(possible & ((both & common) | (ours["numbered"] & theirs["payment"])))


def _reference(number: str, text: str, payment: bool) -> float:
    """Two invoice numbers agree or contradict; a payment's free text holds one, a neighbour of it, or says nothing."""
    mine = reference(number)
    if mine is None:
        return np.nan
    if payment:
        return _FOUND if mentioned(mine, text) else 0.0 if names_another(mine, text) else np.nan
    other = reference(text)
    return np.nan if other is None else agreement(mine, other)
