"""What the mirror of a large company costs: calls, memory and time, against one of a tenth of its size, in one run.

    python -m tests.bench.bench_mirror [entries]

The poster is killed when the first pass is half through, then goes on; after that nothing changes for a pass, and
in the next one everything is compared. Memory is the poster's peak beyond what it has when it is connected. Of the
seconds, many are the sandbox's: it filters and sorts all that it holds for every page.
"""

import sys
import tempfile
import time
import uuid
from datetime import timedelta
from pathlib import Path

import anyio
import msgspec
import psutil
import structlog

from common import embedded, subjects
from common.buckets import Bucket
from common.messages import Mirror, now
from services.poster.lists import BEGINNING, Marker
from services.sandbox.qonto import invoices
from services.sandbox.store import Row
from tests.bench.scene import Scene, scene
from tests.poster.desk import WS

ENTRIES = 20_000
INVOICES = "GET /v2/supplier_invoices"


def _fill(found: Scene, count: int) -> None:
    """Invoices of the past that somebody else put into Qonto, one a minute."""
    world, organization = found.sandbox.world, str(found.desk.company["organization"])
    first, rows = world.now() - 60.0 * (count + 60), []
    for number in range(count):
        ident, at = str(uuid.uuid4()), first + 60.0 * number
        body = invoices.blank(organization, ident, str(uuid.uuid4()), f"facture-{number}.pdf", "email_forward", at)
        body |= {"invoice_number": f"F-{number}", "supplier_name": f"Imaginaire {number % 500}", "analyzed_at": None}
        body |= {"total_amount": {"value": f"{number / 100:.2f}", "currency": "EUR"}, "issue_date": "2026-03-01"}
        rows.append(Row(ident, body, at, at))
    with world.store.transaction():
        world.store.put(organization, invoices.KIND, *rows)


class _Peak:
    """The most memory that the poster's process had since it was asked for first."""

    def __init__(self, found: Scene) -> None:
        self._found = found
        self._before = self._size()
        self.most = 0

    def _size(self) -> int:
        return int(psutil.Process(self._found.process.pid).memory_info().rss)

    async def watch(self) -> None:
        while True:
            self.most = max(self.most, self._size() - self._before)
            await anyio.sleep(0.05)


async def _asked(found: Scene) -> None:
    await found.bus.call(subjects.call(found.bus.region, "qonto", "mirror"), Mirror(workspace=WS), timeout=900)


async def _pass(found: Scene) -> tuple[int, float, float]:
    """Calls, seconds and peak of memory in megabytes of one pass."""
    before, began = (await found.desk.calls()).get(INVOICES, 0), time.perf_counter()
    peak = _Peak(found)
    async with anyio.create_task_group() as group:
        group.start_soon(peak.watch)
        await _asked(found)
        group.cancel_scope.cancel()
    calls = (await found.desk.calls()).get(INVOICES, 0) - before
    return calls, time.perf_counter() - began, peak.most / 1024**2


async def _half(found: Scene, count: int) -> int:
    """Begin the first pass and kill the poster in its middle; the calls that took."""
    markers = Bucket(found.bus, "markers", Marker)
    key = f"{WS}.{found.desk.company['organization']}.invoices"
    middle = now() - timedelta(minutes=count / 2)
    async with anyio.create_task_group() as group:
        group.start_soon(_asked, found)
        while (kept := await markers.get(key)) is None or kept.value.seen_until < middle:
            await anyio.sleep(0.05)
        await found.kill()
        group.cancel_scope.cancel()
    return (await found.desk.calls())[INVOICES]


async def _measure(broker: embedded.Embedded, region: str, folder: Path, count: int) -> float:
    async with scene(broker, region, folder, ["services.poster"]) as found:
        await found.desk.switch(limits=False)
        _fill(found, count)
        half = await _half(found, count)
        calls, seconds, first = await _pass(found)
        quiet, _, _ = await _pass(found)
        markers = Bucket(found.bus, "markers", Marker)
        kept = await markers.get(f"{WS}.{found.desk.company['organization']}.invoices")
        if kept is None:
            raise SystemExit("mirror: nothing was read")
        await markers.put(kept.key, msgspec.structs.replace(kept.value, full_at=BEGINNING))
        compared, longer, most = await _pass(found)
        known = len(await found.bus.subjects(found.bus.topology.entries, f"{found.bus.region}.entry.{WS}.invoice.*"))
        there = len(found.sandbox.world.store.table(str(found.desk.company["organization"]), invoices.KIND))
    print(
        f"mirror of {count:,} invoices: {half} + {calls} calls for the first pass, killed in its middle "
        f"({seconds:.0f} s for the rest, {first:.0f} MB); {quiet} when nothing changed; "
        f"{compared} to compare all ({longer:.0f} s, {most:.0f} MB)"
    )
    if known != there:
        raise SystemExit(f"mirror: {known} of {there} invoices are known")
    return max(first, most)


async def _compare(entries: int) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        async with embedded.broker(root / "broker") as broker:
            small = await _measure(broker, "ma", root / "a", entries // 10)
            large = await _measure(broker, "mb", root / "b", entries)
    print(f"  {large / small:.1f}x the memory for 10x the entries")


def main(entries: int = ENTRIES) -> None:
    """Print the figures."""
    anyio.run(_compare, entries)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
