"""How fast bills are decided on, as ratios against comparing every name in batches in the same run.

    python -m tests.bench.bench_matching [entries …]

The baseline is rapidfuzz's `cdist` of each bill's name with every entry's, on one core, by the two measures that our
own comparison of names begins with. Figures of seconds depend on the machine; the ratios hardly do.
"""

import gc
import random
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from rapidfuzz import fuzz
from rapidfuzz.process import cdist

from common.messages import Entry, Record, Ref
from services.scorer.app import COLLECTED_EVERY
from services.scorer.matching.books import Books
from services.scorer.matching.index import query
from services.scorer.matching.judge import Judge
from services.scorer.matching.names import name
from tests.scorer.cases import MAY, bill, books, invoice, vendor

SIZES = (1_000, 10_000, 100_000)
BILLS = 500
_CHUNK = 10_000
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


def timed(work: Callable[[], object]) -> float:
    """Seconds of the best of seven runs: what else a machine does only adds to them."""
    best = float("inf")
    for _ in range(7):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best


def decide_all(found: Books, batch: int = 500) -> None:
    """Decide on every bill, a fresh judge for each batch, as the service does."""
    keys = list(found.bills)
    for start in range(0, len(keys), batch):
        judge = Judge(found)
        judge.prepare(keys[start : start + batch])
        for key in keys[start : start + batch]:
            judge.decide(key)


def alone(found: Books) -> list[float]:
    """Seconds for each bill by itself, fastest first."""
    times = []
    for key in found.bills:
        began = time.perf_counter()
        Judge(found).decide(key)
        times.append(time.perf_counter() - began)
    return sorted(times)


def brute_force(bills: Sequence[str], entries: Sequence[str]) -> None:
    """The baseline in batches: every bill's name against every entry's, by the two measures that ours begins with."""
    for scorer in (fuzz.ratio, fuzz.token_sort_ratio):
        for start in range(0, len(entries), _CHUNK):
            cdist(bills, entries[start : start + _CHUNK], scorer=scorer, workers=1)


def held(entries: Sequence[Entry]) -> float:
    """Bytes that the books take for each entry, as the allocator counts them; names seen before are not counted."""
    gc.collect()
    tracemalloc.start()
    found = books([], entries)
    gc.collect()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return taken / len(found.index)


def main(sizes: Sequence[int] = SIZES) -> None:
    """Print the figures, which are those of a process that collects garbage as the service does."""
    out = sys.stdout
    gc.set_threshold(*COLLECTED_EVERY)
    for size in sizes:
        records, entries = world(size)
        began = time.perf_counter()
        found = books(records, entries)
        fed = time.perf_counter() - began
        seconds = timed(lambda found=found: decide_all(found))  # type: ignore[misc]
        times = alone(found)
        bills = [found.facts_of(key).names[0].text for key in found.bills]
        held_names = [name(entry.counterparty or "").text for entry in entries]
        some = bills[: max(1, min(BILLS, 2_000_000 // size))]
        full = timed(lambda some=some, held_names=held_names: brute_force(some, held_names)) / len(some) * BILLS  # type: ignore[misc]
        pairs = found.index.candidates([query(found.facts_of(key)) for key in found.bills])
        out.write(
            f"{size:>7,} entries: {BILLS / seconds:,.0f} bills/s, {full / seconds:,.1f}x every name by cdist; "
            f"alone p50 {times[len(times) // 2] * 1e3:.1f} p99 {times[int(len(times) * 0.99)] * 1e3:.1f} ms; "
            f"{len(pairs.rows) / BILLS:.1f} candidates a bill; fed {len(entries) / fed:,.0f}/s, "
            f"{held(entries):,.0f} bytes an entry\n"
        )


if __name__ == "__main__":
    main(tuple(map(int, sys.argv[1:])) or SIZES)
