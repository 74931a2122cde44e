"""Text as people search it."""

from hypothesis import given
from hypothesis import strategies as st

from common.folding import MOST_WORDS, folded, words


@given(st.text(), st.text())
def test_parts_are_folded_as_the_whole(one: str, other: str) -> None:
    assert folded(f"{one} {other}") == f"{folded(one)} {folded(other)}"


@given(st.lists(st.sampled_from(["Écluse", "ecluse", "QUARRY", "é", "1.200,00", *"abcdefgh"])))
def test_a_search_is_for_each_word_once_and_for_so_many_at_most(said: list[str]) -> None:
    found = words("  ".join(said))
    assert len(found) <= MOST_WORDS
    assert found == list(dict.fromkeys(map(folded, said)))[:MOST_WORDS]
