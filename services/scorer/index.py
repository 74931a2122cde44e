"""Finds the few documents that could be the same, at a cost that hardly grows with how many there are."""

import re
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal

from services.scorer.facts import Facts

_CENTS = Decimal("0.02")
"""Amounts this near lead to each other all by themselves; rounding is no more."""
_NEAR = Decimal("0.01")
"""The share by which amounts of one supplier may differ."""
_CONVERTED = Decimal("0.04")
_TELLING = 8
"""A word of at most so many documents leads to them all by itself."""
_DIGITS = re.compile(r"[0-9]{4,}")

_Amounts = list[tuple[Decimal, str]]


class Index:
    """Documents by amount, number, identity and rare words; add, change and remove at any time."""

    def __init__(self) -> None:
        self._facts: dict[str, Facts] = {}
        self._amounts: defaultdict[tuple[str, ...], _Amounts] = defaultdict(list)
        self._keyed: defaultdict[tuple[str, str], set[str]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._facts)

    def __contains__(self, key: str) -> bool:
        return key in self._facts

    def add(self, facts: Facts) -> None:
        """Add a document, or put its new facts in place of the old."""
        self.remove(facts.key)
        self._facts[facts.key] = facts
        for place, amount in _places(facts):
            insort(self._amounts[place], (amount, facts.key))
        for key in _keys(facts):
            self._keyed[key].add(facts.key)

    def remove(self, key: str) -> None:
        """Forget a document; one that is not there is fine."""
        facts = self._facts.pop(key, None)
        if facts is None:
            return
        for place, amount in _places(facts):
            _drop(self._amounts[place], (amount, key))
        for name in _keys(facts):
            self._keyed[name].discard(key)
            if not self._keyed[name]:
                del self._keyed[name]

    def facts(self, key: str) -> Facts:
        """The facts of a document; KeyError if it is not there."""
        return self._facts[key]

    def candidates(self, facts: Facts) -> list[str]:
        """Keys of documents worth comparing with `facts`, sorted."""
        found: set[str] = set()
        for currency, amount in (*facts.exact, *facts.net):
            found |= self._within((currency,), amount, _CENTS)
            for head in facts.heads:
                found |= self._within((currency, head), amount, abs(amount) * _NEAR)
        for head in facts.heads:
            for currency, amount in facts.exact:
                found |= self._within((currency, head, "converted"), amount, abs(amount) * _CONVERTED)
            for currency, amount in facts.about:
                found |= self._within((currency, head), amount, abs(amount) * _CONVERTED)
        for key in _keys(facts):
            holders = self._keyed.get(key, set())
            if key[0] != "word" or len(holders) <= _TELLING or not facts.exact:
                found |= holders
        for word in _words(facts):
            found |= self._keyed.get(("unread", word), set())
        found.discard(facts.key)
        return sorted(found)

    def _within(self, place: tuple[str, ...], amount: Decimal, slack: Decimal) -> set[str]:
        amounts = self._amounts.get(place, [])
        first = bisect_left(amounts, (amount - slack, ""))
        found: set[str] = set()
        for position in range(first, len(amounts)):
            value, key = amounts[position]
            if value > amount + slack:
                break
            found.add(key)
        return found


def _keys(facts: Facts) -> Iterable[tuple[str, str]]:
    if facts.number is not None:
        yield "number", facts.number.core
        if facts.number.digits:
            yield "digits", facts.number.digits
    if facts.payment:
        for digits in _DIGITS.findall(facts.text):
            yield "digits", digits.lstrip("0")
    if facts.vat:
        yield "vat", facts.vat
    if facts.iban:
        yield "iban", facts.iban
    for word in _words(facts):
        yield "word", word
        if not facts.exact:  # nobody read its amount: its name has to lead to it, however common
            yield "unread", word


def _words(facts: Facts) -> set[str]:
    return {token for name in facts.names for token in name.tokens if len(token) > 3}


def _places(facts: Facts) -> Iterable[tuple[tuple[str, ...], Decimal]]:
    """Where the amounts of a document are kept: by currency, and by currency and the beginnings of its words."""
    for currency, amount in dict.fromkeys((*facts.exact, *facts.net)):
        yield (currency,), amount
        for head in facts.heads:
            yield (currency, head), amount
    for currency, amount in facts.about:
        for head in facts.heads:
            yield (currency, head, "converted"), amount


def _drop(amounts: _Amounts, item: tuple[Decimal, str]) -> None:
    position = bisect_left(amounts, item)
    if position < len(amounts) and amounts[position] == item:
        del amounts[position]
