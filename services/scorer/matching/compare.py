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
from services.scorer.matching.model import FIELDS, Floats, Weights
from services.scorer.matching.postings import Numbers
from services.scorer.matching.references import agreement, mentioned, reference

Flags = NDArray[np.bool_]
Alike = Callable[[Numbers, Numbers], Floats]
"""How alike the names of the bills and entries in these rows are, pair by pair, NaN where a side has none."""

NAME, AMOUNT, DATE, CURRENCY, REFERENCE = range(5)

AMOUNTS = (None, "equals the net amount", "equals the net amount in Qonto", "by the bill's exchange rate")
"""Which amounts were compared, in words; total with total needs none."""
_CEILINGS = (1.0, 0.9, 0.9, 0.86)
_SLIP, _RATE_SLIP = 0.004, 0.03
"""The share by which amounts differ when they are half as close as equal ones, also after conversion."""
_CENT_SLIP, _CENT_SHARE = 200, 0.001
"""Rounding: amounts this near, in ten-thousandths and in proportion, count as equal but for a cent."""
_CENT, _NEAREST = 0.98, 0.79
"""Scores of amounts that differ by rounding, and at most of those whose difference nothing explains: they do not agree,
however near they are."""
_HALF_DATE = 9
"""Days apart at which dates are half as close as equal ones."""
_EARLY, _LATE = 1, 10
"""Days before a bill's date and after its due date on which a payment is nothing unusual."""
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
    bills: Index, of: Numbers, entries: Index, rows: Numbers, alike: Alike, *, weights: Weights, least: float = 0.0
) -> Compared:
    """Compare the bills in rows `of` with the entries in `rows`, pair by pair.

    What costs most comes last, and only for pairs that may reach the probability `least`; what an invoice does not
    say may be said by a payment it is matched with.
    """
    ours, theirs = bills.rows.take(of), entries.rows.take(rows)  # many times faster than by [ ]
    scores = np.full((len(of), len(FIELDS)), np.nan)
    scores[:, AMOUNT], amounts = _amount(ours, theirs)
    scores[:, DATE], days = _date(ours, theirs)
    scores[:, CURRENCY] = _currency(ours, theirs)
    same = _equal(ours["vat"], theirs["vat"]) | _equal(ours["iban"], theirs["iban"])
    unknown = np.isnan(scores) & theirs["matched"][:, None]
    unknown[:, [NAME, REFERENCE]] = True
    possible = _reachable(scores, same, unknown, weights) >= least
    for pair in _numbered(ours, theirs, scores, possible).tolist():
        number, text = bills.text(of[pair]), entries.text(rows[pair])
        scores[pair, REFERENCE] = _reference(number, text, bool(theirs["payment"][pair]))
    unknown[:, REFERENCE] = np.isnan(scores[:, REFERENCE]) & theirs["matched"]
    possible &= _reachable(scores, same, unknown, weights) >= least
    scores[possible, NAME] = alike(of[possible], rows[possible])
    scores[same, NAME] = 1.0  # the same company, whatever it is called
    np.round(scores, 4, out=scores)
    return Compared(scores, same, amounts, days, possible)


def probabilities(scores: Floats, same: Flags, weights: Weights) -> Floats:
    """The probability that each pair is the same document, had it no competitors, held down by what contradicts."""
    rows = _rows(scores, same)
    return _probability(model.held(weights.logits(rows), rows))


def _reachable(scores: Floats, same: Flags, unknown: Flags, weights: Weights) -> Floats:
    """The most that each pair's probability can be while some fields are unknown."""
    best = np.where(unknown & np.isnan(scores), 1.0, scores)
    return _probability(weights.logits(_rows(best, same)))


def _rows(scores: Floats, same: Flags) -> Floats:
    """The scores as the model takes them."""
    return np.column_stack([scores, np.where(same, 1.0, np.nan)])


def _probability(logits: Floats) -> Floats:
    found: Floats = 1 / (1 + np.exp(-logits))
    return found


def _equal(one: NDArray[np.int32], other: NDArray[np.int32]) -> Flags:
    equal: Flags = (one == other) & (one != 0)
    return equal


def _amount(ours: Rows, theirs: Rows) -> tuple[Floats, NDArray[np.int64]]:
    """Total against total; else net against total (people mix them up); else converted by the bill's rate."""
    total, in_qonto = (ours["exact"], ours["exact_currency"]), (theirs["exact"], theirs["exact_currency"])
    net, net_in_qonto = ((rows["net"][:, None], rows["net_currency"][:, None]) for rows in (ours, theirs))
    about = ours["about"][:, None], ours["about_currency"][:, None]
    tries = (
        np.stack(
            [
                _closest(total, in_qonto, _SLIP, _NEAREST),
                _closest(net, in_qonto, _SLIP, _NEAREST),
                _closest(total, net_in_qonto, _SLIP, _NEAREST),
                _closest(about, in_qonto, _RATE_SLIP, 1.0),
            ]
        )
        * np.array(_CEILINGS)[:, None]
    )
    which = tries.argmax(axis=0)
    best = tries.max(axis=0, initial=-1.0)
    stated = (ours["exact_currency"] != 0).any(axis=1) & (
        (theirs["exact_currency"] != 0).any(axis=1) | (theirs["net_currency"] != 0)
    )
    return np.where(best >= 0, best, np.where(stated, 0.0, np.nan)), np.where(best >= 0.5, which, 0)


def _closest(ours: tuple[Numbers, Numbers], theirs: tuple[Numbers, Numbers], scale: float, nearest: float) -> Floats:
    """Closeness of the closest amounts in one currency: 1 for equal ones, at most `nearest` for others, a half where
    they differ by `scale` of the larger, falling towards 0; -1 if no currency is shared."""
    (a, currency), (b, other) = _stated(*ours), _stated(*theirs)
    if not currency.size or not other.size:
        return np.full(len(currency), -1.0)
    a, b = a[:, :, None], b[:, None, :]
    difference = np.abs(a - b)
    larger = np.maximum(np.maximum(np.abs(a), np.abs(b)), 1)
    found = np.minimum(nearest, 1 / (1 + (difference / larger / scale) ** 2))
    found = np.where(difference <= np.minimum(_CENT_SLIP, _CENT_SHARE * larger), _CENT, found)
    found = np.where(difference == 0, 1.0, found)
    shared = (currency[:, :, None] == other[:, None, :]) & (currency[:, :, None] != 0)
    closest: Floats = np.where(shared, found, -1.0).max(axis=(1, 2))
    return closest


def _stated(amounts: Numbers, currencies: Numbers) -> tuple[Numbers, Numbers]:
    """Without the columns in which nobody states an amount."""
    used = (currencies != 0).any(axis=0)
    return amounts[:, used], currencies[:, used]


def _date(ours: Rows, theirs: Rows) -> tuple[Floats, NDArray[np.int64]]:
    """By the days between two documents' dates, or between a payment and the days it was expected on."""
    since, until, day = (rows.astype(np.int64) for rows in (ours["since"], ours["until"], theirs["since"]))
    first, last = since - _EARLY, np.maximum(since, until) + _LATE
    apart = np.where(theirs["payment"], np.maximum(0, np.maximum(first - day, day - last)), np.abs(since - day))
    known = (since != 0) & (day != 0)
    return np.where(known, 1 / (1 + (apart / _HALF_DATE) ** 2), np.nan), np.where(known, apart, 0)


def _currency(ours: Rows, theirs: Rows) -> Floats:
    one, other = ours["currencies"], theirs["currencies"]
    shared = ((one[:, :, None] == other[:, None, :]) & (one[:, :, None] != 0)).any(axis=(1, 2))
    converted = ((ours["about_currency"][:, None] == other) & (other != 0)).any(axis=1)
    known = (one != 0).any(axis=1) & (other != 0).any(axis=1)
    return np.where(known, np.where(shared, 1.0, np.where(converted, _CONVERTED, 0.0)), np.nan)


def _numbered(ours: Rows, theirs: Rows, scores: Floats, possible: Flags) -> Numbers:
    """The pairs whose numbers have to be read; two that have nothing in common contradict without that."""
    both = ours["numbered"] & theirs["numbered"]
    common = ((ours["number"] == theirs["number"]) & (ours["number"] != 0)).any(axis=1)
    scores[both & ~common, REFERENCE] = 0.0
    return np.flatnonzero(possible & ((both & common) | (ours["numbered"] & theirs["payment"])))


def _reference(number: str, text: str, payment: bool) -> float:
    """Two invoice numbers agree or contradict; in a payment's free text a number is found or says nothing."""
    mine = reference(number)
    if mine is None:
        return np.nan
    if payment:
        return _FOUND if mentioned(mine, text) else np.nan
    other = reference(text)
    return np.nan if other is None else agreement(mine, other)
