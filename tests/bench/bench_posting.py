"""What a backlog of creates costs at Qonto and how fast it goes, against one call for each invoice, in one run.

    python -m tests.bench.bench_posting [bills]

Everything is real: a broker that fsyncs every write, the sandbox's Qonto over HTTP, and a poster in a process of
its own. All calls are counted at the sandbox. The baseline is what one writes first: the same poster given one
decision at a time, so that each invoice is looked for, uploaded and read back alone. A rate runs from the first
decision published to the last posting `verified`.
"""

import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import anyio
import structlog

from common import embedded, subjects
from common.buckets import Documents
from common.bus import Bus
from common.messages import Document, Record
from common.service import main as serving_process
from services.poster import app
from tests.bench.scene import scene
from tests.poster.desk import WS, Desk, bill

BILLS, ALONE = 2_000, 60
ONE_BY_ONE = "one-by-one"
"""The argument that makes this module run as the baseline's poster."""
BULK = "POST /v2/supplier_invoices/bulk"
SIZES = (20_000, 60_000, 120_000, 250_000, 500_000, 1_500_000, 4_000_000, 9_000_000)
WEIGHTS = (20, 30, 20, 15, 8, 4, 2, 1)
"""Bytes of suppliers' documents, and how many of a hundred bills have one of that size."""


class Run:
    """One measurement: a broker region, a sandbox and a poster of its own."""

    def __init__(self, broker: embedded.Embedded, region: str, folder: Path) -> None:
        self._broker = broker
        self._region = region
        self._folder = folder

    async def measure(self, title: str, bills: int, command: Sequence[str], *, sizes: bool, shuffled: bool) -> float:
        """Print the figures of one run; invoices a second."""
        async with scene(self._broker, self._region, self._folder, command) as found:
            desk = found.desk
            await desk.mirror()
            orders = await _bills(desk, bills, sizes=sizes, shuffled=shuffled)
            begun, began = time.time(), time.perf_counter()
            for record, sequence in orders:
                await desk.decide(record, sequence)
            await _verified(found.bus, bills)
            seconds = time.perf_counter() - began
            calls = await desk.calls(begun)
            live = len(await desk.invoices())
            busiest = [found.sandbox.calls.busiest("qonto", span) for span in (10.0, 600.0)]
        total, writes = sum(calls.values()), calls[BULK]
        rate = bills / seconds
        print(
            f"posting, {title}, {bills:,} creates: {bills / writes:.1f} invoices per write call, "
            f"{10 * total / bills:.2f} calls per 10 invoices over all, {rate:,.1f} verified/s; "
            f"busiest {busiest[0]} calls in 10 s (1,000 allowed), {busiest[1]} in 10 min (10,000)"
        )
        if live != bills:
            raise SystemExit(f"posting: {bills} bills have {live} entries in Qonto")
        return rate


async def _bills(desk: Desk, count: int, *, sizes: bool, shuffled: bool) -> list[tuple[Record, int]]:
    """Publish the bills, some with a document of their supplier; records and sequences in the order of decisions."""
    dice = random.Random(count)
    documents = Documents(desk.bus)
    kept: dict[int, Document] = {}
    if sizes:
        for size in SIZES:
            data = b"%PDF-1.4\n" + dice.randbytes(size)
            sha256 = await documents.put(data)
            kept[size] = Document(
                sha256=sha256, name=f"{size}.pdf", content_type="application/pdf", size=len(data), attachable="1"
            )
    numbers = list(range(1, count + 1))
    if shuffled:
        dice.shuffle(numbers)
    found = []
    for number in numbers:
        own = (kept[dice.choices(SIZES, WEIGHTS)[0]],) if sizes and number % 2 else ()
        found.append(await desk.record(str(1000 + number), bill(f"F-{number}"), documents=own))
    return found


async def _verified(bus: Bus, count: int) -> None:
    pattern = subjects.posting(bus.region, WS, "x").rpartition(".")[0] + ".*"
    while len(await bus.subjects(bus.topology.postings, pattern)) < count:
        await anyio.sleep(0.1)


async def _compare(bills: int) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    bulk, alone = ["services.poster"], ["tests.bench.bench_posting", ONE_BY_ONE]
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        async with embedded.broker(root / "broker") as broker:
            bare = await Run(broker, "ba", root / "a").measure(
                "one by one", min(bills, ALONE), alone, sizes=False, shuffled=False
            )
            for region, title, sizes in (("bb", "in bulk", False), ("bc", "in bulk, documents of mixed sizes", True)):
                run = Run(broker, region, root / region)
                rate = await run.measure(title, bills, bulk, sizes=sizes, shuffled=True)
                print(f"  {rate / bare:.1f}x one by one")


def main(bills: int = BILLS) -> None:
    """Print the figures."""
    anyio.run(_compare, bills)


if __name__ == "__main__":
    if sys.argv[1:] == [ONE_BY_ONE]:
        vars(app)["DECISIONS"] = 1
        serving_process("poster", app.serve)
    else:
        main(*map(int, sys.argv[1:]))
