"""How fast names are read and compared, as ratios against three rapidfuzz calls a pair in the same run.

    python -m tests.bench.bench_names

Two mixes: pairs of unrelated names only, and what a workspace's candidates look like: nine in ten unrelated,
many of them with a "Services" or "France" in common, the rest one supplier in two spellings.
"""

import random
import sys
import time
import tracemalloc
from collections.abc import Sequence

from rapidfuzz import fuzz

from services.scorer.matching.names import Name, name, similarities
from services.scorer.matching.rarity import Rarity
from tests.bench.bench_matching import suppliers, timed

SUPPLIERS = 2_000
PAIRS = 100_000
KEPT = 50_000
_ADDED = ("Services", "France", "Group", "International", "")


def spelt_otherwise(dice: random.Random, written: str) -> str:
    """The same supplier as others write it: shouted, misspelt, cut, turned round, or with a word more."""
    words = written.split()
    at = dice.randrange(len(written) - 3)
    ways = (
        written.upper(),
        written[:at] + written[at + 1 :],
        written[: len(written) * 2 // 3],
        " ".join(reversed(words)),
        f"{written} {dice.choice(_ADDED)}",
        words[0],
    )
    return dice.choice(ways)


def one_by_one(pairs: Sequence[tuple[Name, Name]]) -> float:
    """The baseline: three scorer calls for each pair."""
    best = 0.0
    for a, b in pairs:
        found = max(
            fuzz.ratio(a.text, b.text), fuzz.token_sort_ratio(a.text, b.text), fuzz.token_set_ratio(a.text, b.text)
        )
        best = max(best, found)
    return best


def main() -> None:
    """Print the figures."""
    out, dice = sys.stdout, random.Random(1)
    written = suppliers(dice, SUPPLIERS)
    began = time.perf_counter()
    names = [name(text) for text in written]
    out.write(f"names read: {SUPPLIERS / (time.perf_counter() - began):,.0f}/s\n")
    unrelated = [(dice.choice(names), dice.choice(names)) for _ in range(PAIRS)]
    usual = [name(f"{text} {dice.choice(_ADDED)}") for text in written]
    twins = [(found, name(spelt_otherwise(dice, text))) for found, text in zip(names, written, strict=True)]
    mixed = [
        dice.choice(twins) if dice.random() < 0.1 else (dice.choice(usual), dice.choice(usual)) for _ in range(PAIRS)
    ]
    rarity = Rarity()
    for found in names:
        rarity.add(found.tokens)
    report("unrelated", unrelated)
    report("usual mix", mixed)
    report("usual mix with rarity", mixed, rarity)
    tracemalloc.start()
    kept = [name(text) for text in suppliers(dice, KEPT)]
    out.write(f"memory: {tracemalloc.get_traced_memory()[0] / len(kept):.0f} bytes a name, its new words included\n")
    tracemalloc.stop()


def report(title: str, pairs: list[tuple[Name, Name]], rarity: Rarity | None = None) -> None:
    """Pairs a second and how many times the baseline that is."""
    naive, ours = timed(lambda: one_by_one(pairs)), timed(lambda: similarities(pairs, rarity))
    sys.stdout.write(f"{title}: {len(pairs) / ours:,.0f} pairs/s, {naive / ours:.1f}x three calls per pair\n")


if __name__ == "__main__":
    main()
