"""How rare a word is among the suppliers of a workspace."""

from collections import Counter
from collections.abc import Iterable

_ENOUGH = 20
"""Suppliers from which on rarity says anything: among a handful of names every word is rare."""
_FEW = 3
_COMMON_SHARE = 0.005
"""A word is common where more than a few suppliers, and more than so large a share of them, have it."""


class Rarity:
    """How many suppliers' names hold each word; add and remove documents at any time, in any order.

    A document is the words of its supplier's names (`Name.tokens`). Those with the same words are one supplier's:
    its hundredth bill makes its name no commoner. Feed it the side that keeps a list of suppliers (the bills),
    since a name on the other side may be another spelling of one that is here.
    """

    def __init__(self) -> None:
        self._documents: Counter[frozenset[str]] = Counter()
        self._suppliers: Counter[str] = Counter()

    def __len__(self) -> int:
        """How many suppliers there are."""
        return len(self._documents)

    def add(self, words: Iterable[str]) -> None:
        """Count a document by the words of its supplier's names."""
        supplier = frozenset(words)
        self._documents[supplier] += 1
        if self._documents[supplier] == 1:
            self._suppliers.update(supplier)

    def remove(self, words: Iterable[str]) -> None:
        """Take back a document; KeyError if none with these words is there."""
        supplier = frozenset(words)
        if supplier not in self._documents:
            raise KeyError(f"no document with the words {' '.join(sorted(supplier))!r} was added")
        self._documents[supplier] -= 1
        if not self._documents[supplier]:
            del self._documents[supplier]
            self._suppliers.subtract(supplier)
            for word in supplier:
                if not self._suppliers[word]:
                    del self._suppliers[word]

    def suppliers(self, word: str) -> int:
        """How many suppliers have the word in one of their names."""
        return self._suppliers[word]

    def own(self, word: str) -> bool:
        """Whether the word is one supplier's own."""
        return len(self) >= _ENOUGH and self._suppliers[word] == 1

    def shared(self, word: str) -> bool:
        """Whether several suppliers have the word, so that it alone cannot tell which of them is meant."""
        return len(self) >= _ENOUGH and self._suppliers[word] > 1

    def common(self, word: str) -> bool:
        """Whether so many suppliers have the word that it tells next to nothing."""
        return len(self) >= _ENOUGH and self._suppliers[word] > max(_FEW, _COMMON_SHARE * len(self))
