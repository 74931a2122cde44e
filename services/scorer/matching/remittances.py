"""Payments that fit no bill by themselves: whether they pay several at once, or one in parts."""

from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from services.scorer.matching import model
from services.scorer.matching.books import Books
from services.scorer.matching.compare import AMOUNT
from services.scorer.matching.postings import Numbers
from services.scorer.matching.ranking import Ranking, Scored
from services.scorer.matching.rivals import CONTESTABLE
from services.scorer.matching.sums import Item, covered_by, covers_bills, instalments

_EARLY, _LATE = timedelta(days=10), timedelta(days=90)
"""How long before a bill's date and after its due date a payment of it is looked for."""
_BESIDE = timedelta(days=90)
"""How far apart bills are dated that are paid at once."""
_TRIED = 10
"""Payments, and bills, that are tried: among many of them something fits by accident."""

WantedBy = Callable[[Sequence[str]], Sequence[Sequence[str]]]
"""The bills that each of several payments could belong to."""


class Remittances:
    """What payments say of bills that no entry of their own was found for; nothing is decided by it.

    `wanted_by` tells which bills could belong to each payment. The books must not change meanwhile.
    """

    def __init__(self, books: Books, ranking: Ranking, wanted_by: WantedBy) -> None:
        self._books = books
        self._ranking = ranking
        self._wanted_by = wanted_by
        self._payments: dict[str, list[str]] = {}
        self._rivals: dict[str, Sequence[str]] = {}

    def prepare(self, keys: Iterable[str]) -> None:
        """Look for the payments to the suppliers of all these bills, of their days and nobody's yet, at once."""
        todo = [key for key in keys if key not in self._payments and not self.needless(key)]
        if not todo:
            return
        index = self._books.index
        bills = np.array([self._books.bill_index.row(key) for key in todo], np.int64)
        which, rows = index.payments([self._ranking.query(key) for key in todo])
        fitting = self._fit(bills[which], rows)
        which, rows = which[fitting], rows[fitting]
        named = self._ranking.alike(bills[which], rows) >= model.AGREES
        found: dict[str, list[str]] = {key: [] for key in todo}
        for position, row in zip(which[named].tolist(), rows[named].tolist(), strict=True):
            payment = index.key(row)
            if self._books.claims.get(payment) is None and self._books.invoice_of(payment) is None:
                found[todo[position]].append(payment)
        self._payments |= found
        self._find_rivals({one for payments in found.values() for one in payments})

    def _find_rivals(self, payments: Iterable[str]) -> None:
        fresh = sorted(one for one in payments if one not in self._rivals)
        self._rivals |= zip(fresh, self._wanted_by(fresh), strict=True)
        self._ranking.reaching([(bill, one) for one in fresh for bill in self._rivals[one]], CONTESTABLE)

    def _fit(self, bills: Numbers, payments: Numbers) -> NDArray[np.bool_]:
        """Whether a payment is of a bill's days and in its currency, for each pair of rows."""
        ours, theirs = self._books.bill_index.rows, self._books.index.rows
        since, paid, currency = ours["since"][bills], theirs["since"][payments], ours["exact_currency"][bills, :1]
        last = np.maximum(since, ours["until"][bills]) + _LATE.days
        among = ((theirs["exact_currency"][payments] == currency) & (currency > 0)).any(axis=1)
        fitting: NDArray[np.bool_] = (since > 0) & (paid > 0) & (since - _EARLY.days <= paid) & (paid <= last) & among
        return fitting

    def of(self, key: str) -> str | None:
        """In words, the payments that make up a bill or that it is a part of; None without any."""
        bill, ours = self._books.bill(key), self._books.facts_of(key)
        if not ours.exact or ours.since is None or bill.total <= 0:
            return None
        self.prepare([key])
        payments = _nearest(self._open(key, self._payments.get(key, [])), ours.until or ours.since)
        if not payments:
            return None
        own = self._item(key)
        for found in (covered_by(own, payments, bill.currency), instalments(own, payments, bill.currency)):
            if found is not None:
                return found.why
        larger = [payment for payment in payments if payment.amount > bill.total]
        bills = _nearest([own, *self._others(key)], ours.since) if larger else []
        for payment in larger:
            paid = covers_bills(payment, bills, bill.currency)
            if paid is not None and own in paid.parts:
                return paid.why
        return None

    def needless(self, key: str) -> bool:
        """Whether an entry of the bill's own is as good as found, for the whole of its amount."""
        ranked = self._ranking.of(key)
        return bool(ranked) and self._whole(key, ranked[0])

    def _open(self, key: str, payments: Sequence[str]) -> Iterable[Item]:
        """Those of the payments that are no other bill's."""
        ((currency, _),) = self._books.facts_of(key).exact
        for one in payments:
            if not any(self._wants(other, one) for other in self._rivals[one] if other != key):
                theirs = self._ranking.facts(one)
                yield Item(one.partition("-")[2], dict(theirs.exact)[currency], theirs.since, theirs.text)

    def _wants(self, bill: str, payment: str) -> bool:
        """Whether a payment is as good as another bill's own."""
        theirs = self._ranking.candidate(bill, payment, least=CONTESTABLE)
        return theirs is not None and self._whole(bill, theirs)

    def _whole(self, key: str, scored: Scored) -> bool:
        """Whether a candidate is likely, and for the whole of the amount."""
        amount = scored.scores[AMOUNT]
        if amount is not None and amount < model.AGREES:
            return False
        return self._ranking.fits(key, scored) >= self._books.policy.review

    def _others(self, key: str) -> Iterable[Item]:
        """The supplier's other bills of these weeks that no entry was found for."""
        books, ours = self._books, self._books.facts_of(key)
        for other in books.bills_beside(key):
            theirs = books.facts_of(other)
            near = theirs.since is not None and ours.since is not None and abs(theirs.since - ours.since) <= _BESIDE
            same = near and theirs.currencies == ours.currencies and books.bill(other).total > 0
            if same and not self.needless(other) and books.serves(other) is None:
                yield self._item(other)

    def _item(self, key: str) -> Item:
        facts, bill = self._books.facts_of(key), self._books.bill(key)
        return Item(self._books.bills[key].id, bill.total, facts.since, number=facts.number)


def _nearest(items: Iterable[Item], day: date) -> list[Item]:
    return sorted(items, key=lambda item: (abs((item.on - day).days) if item.on else _LATE.days, item.key))[:_TRIED]
