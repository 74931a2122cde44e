"""Text as people search it: without case and accents."""

import unicodedata

MOST_WORDS = 8
"""Words of a search that are looked for; what is written behind them narrows nothing."""


def folded(text: str) -> str:
    """The text in small letters, each without its marks."""
    if text.isascii():
        return text.lower()
    return "".join(mark for mark in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(mark))


def words(text: str) -> list[str]:
    """The words that a search is for, folded, each once and at most MOST_WORDS: the first of them."""
    return list(dict.fromkeys(folded(text).split()))[:MOST_WORDS]
