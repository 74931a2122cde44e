"""What is really so, as the people who keep the books know it: one line per bill."""

from pathlib import Path

import msgspec

from services.scorer.offline.lines import Problems, lines, say, shown


class Truth(msgspec.Struct, frozen=True):
    """The entries that are the same document as a bill (an invoice and its payments); none if Qonto has none.

    `ambiguous`: nobody could tell from the data which of several it is. `duplicate_of`: the bill is a second
    entry of that one.
    """

    bill: str
    entries: tuple[str, ...]
    ambiguous: bool = False
    duplicate_of: str | None = None


def truths(path: Path, problems: Problems) -> dict[str, Truth]:
    """The truth by bill; of a bill that comes twice the last line counts, and a line that is none is a problem."""
    found: dict[str, Truth] = {}
    again = 0
    for line in lines(path, problems):
        try:
            truth = msgspec.json.decode(line.text, type=Truth)
        except (ValueError, RecursionError) as error:
            wanted = '{"bill": "145", "entries": ["id in Qonto"]}, with [] where Qonto has none'
            problems.add(line.place, f"{error}; a line of truth reads {wanted}")
            continue
        again += truth.bill in found
        found[truth.bill] = truth
    if again:
        say(f"{shown(path)}: lines about a bill named before: {again}; the last one counts")
    return found
