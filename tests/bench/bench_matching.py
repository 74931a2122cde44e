"""How fast bills are matched, as ratios against comparing name pairs one by one in the same run.

    python -m tests.bench.bench_matching [entries …]

The baseline is what one writes first: for each bill, every entry's name through three scorers, a pair at a
time. Figures of seconds depend on the machine; the ratios hardly do.
"""

import random
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from rapidfuzz import fuzz

from common.messages import Entry, Record, Ref
from services.scorer.matching.books import Books
from services.scorer.matching.index import query
from services.scorer.matching.judge import Judge
from services.scorer.matching.names import Name, name, similarities
from tests.scorer.cases import MAY, bill, books, invoice, vendor

SIZES = (1_000, 10_000, 100_000)
BILLS = 500
NAME_PAIRS = 100_000
_SYLLABLES = ("slu", "wei", "lok", "dam", "mil", "ree", "tor", "van", "qua", "pon", "ner", "sel", "gra", "bol", "fen")


def suppliers(dice: random.Random, count: int) -> list[str]:
    """Invented names of two or three words and a legal form."""

    def word() -> str:
        return "".join(dice.choice(_SYLLABLES) for _ in range(dice.randrange(2, 4))).title()

    forms = ("SARL", "SAS", "GmbH", "B.V.", "Ltd", "")
    return [" ".join([*(word() for _ in range(dice.randrange(2, 4))), dice.choice(forms)]) for _ in range(count)]


def world(size: int) -> tuple[list[Record], list[Entry]]:
    """`size` entries of size/20 suppliers and BILLS bills, half of which have their document among them."""
    dice = random.Random(size)
    names = suppliers(dice, max(20, size // 20))
    entries = [
        invoice(
            f"e{n}",
            counterparty=dice.choice(names).upper(),
            amount=Decimal(dice.randrange(500, 500_000)) / 100,
            number=f"{dice.choice('ABCD')}-{dice.randrange(10**6)}",
            issued_on=MAY + timedelta(days=dice.randrange(-300, 60)),
        )
        for n in range(size)
    ]
    records = []
    for n in range(BILLS):
        model, supplier = dice.choice(entries), dice.randrange(len(names))
        fields: dict[str, Any] = {
            "vendor": Ref(id=str(supplier), name=names[supplier]),
            "total": Decimal(dice.randrange(500, 500_000)) / 100,
        }
        if n % 2:
            fields = {
                "vendor": Ref(id="7", name=model.counterparty),
                "total": model.amount,
                "issued_on": model.issued_on,
            }
        records.append(bill(str(n), number=model.number if n % 4 == 1 else f"Z-{n}", **fields))
    return [vendor(), *records], entries


def one_by_one(pairs: Sequence[tuple[Name, Name]]) -> float:
    """The baseline: three scorer calls for each pair."""
    best = 0.0
    for a, b in pairs:
        found = max(
            fuzz.ratio(a.text, b.text), fuzz.token_sort_ratio(a.text, b.text), fuzz.token_set_ratio(a.text, b.text)
        )
        best = max(best, found)
    return best


def timed(work: Callable[[], object]) -> float:
    """Seconds of the best of three runs."""
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best


def decide_all(found: Books) -> list[float]:
    """Decide on every bill, a fresh judge as for a fresh batch; seconds per bill after the names' batch."""
    judge, times = Judge(found), []
    judge.prepare(found.bills)
    for key in found.bills:
        began = time.perf_counter()
        judge.decide(key)
        times.append(time.perf_counter() - began)
    return times


def main(sizes: Sequence[int] = SIZES) -> None:
    """Print the figures."""
    out = sys.stdout
    dice = random.Random(1)
    names = [name(text) for text in suppliers(dice, 2_000)]
    pairs = [(dice.choice(names), dice.choice(names)) for _ in range(NAME_PAIRS)]
    naive, ours = timed(lambda: one_by_one(pairs)), timed(lambda: similarities(pairs))
    out.write(f"name pairs/s: {NAME_PAIRS / ours:,.0f}; {naive / ours:.2f}x three calls per pair\n")
    smallest = None
    for size in sizes:
        records, entries = world(size)
        began = time.perf_counter()
        found = books(records, entries)
        fed = time.perf_counter() - began
        seconds = timed(lambda found=found: decide_all(found))  # type: ignore[misc]
        times = sorted(decide_all(found))
        candidates = [len(found.index.candidates([query(found.facts_of(key))]).rows) for key in found.bills]
        every = [(found.facts_of(key).names[0], name(entries[0].counterparty or "")) for key in list(found.bills)[:200]]
        full = timed(lambda every=every: one_by_one(every)) / len(every) * size * BILLS  # type: ignore[misc]
        smallest = smallest or seconds
        out.write(
            f"{size:>7,} entries: fed {(len(entries) + len(records)) / fed:,.0f}/s; {BILLS / seconds:,.0f} bills/s, "
            f"{full / seconds:,.0f}x every name one by one, {seconds / smallest:.2f}x the time at {sizes[0]:,}; "
            f"candidates per bill {sum(candidates) / len(candidates):.1f}, most {max(candidates)}; "
            f"per bill p50 {times[len(times) // 2] * 1e3:.2f} p99 {times[int(len(times) * 0.99)] * 1e3:.2f} ms\n"
        )


if __name__ == "__main__":
    main(tuple(map(int, sys.argv[1:])) or SIZES)
