"""What each person may have under way at a time, so that nobody can take all of it from the others."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """Counts by person; `most` of each."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: Counter[str] = Counter()

    def free(self, person: str) -> bool:
        """Whether the person may have one more."""
        return self._taken.get(person, 0) < self._most

    @contextmanager
    def taken(self, person: str) -> Iterator[bool]:
        """One turn for the length of the block; False if the person has as many as may be already."""
        granted = self.free(person)
        if granted:
            self._taken[person] += 1
        try:
            yield granted
        finally:
            if granted:
                self._taken[person] -= 1
                if not self._taken[person]:
                    del self._taken[person]
