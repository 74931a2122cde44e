"""What the review queue costs: loading, a look, and memory, with so many open reviews.

    python -m tests.bench.bench_queue [reviews]

The baseline is what one writes first: every look reads all messages of the stream, each whole, and puts them in
order. Memory is what the process holds more than before, per review, and again after a thousand looks.
"""

import gc
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import anyio
import psutil
import structlog
from nats.aio.msg import Msg

from common import embedded, subjects, topology
from common.bus import Bus
from common.feed import Feed
from common.messages import Ref, ReviewRequested
from common.reviews import Reviews, heard, whole
from common.settings import load
from services.console.desk.listing import Query
from services.console.desk.queue import Queue
from tests.console.desk.asking import WS, candidate, closing, key, question

REVIEWS = 10_000
LOOKS = 1000
_SLOW_LOOKS = 3
_BEGAN = datetime(2026, 5, 2, tzinfo=UTC)


def main(reviews: int = REVIEWS) -> None:
    """Print times and memory."""
    anyio.run(_measure, reviews)


def _asked(number: int) -> ReviewRequested:
    return question(
        str(number),
        requested_at=_BEGAN + timedelta(seconds=number * 7919 % 1_000_003),
        vendor=Ref(id=str(number % 400), name=f"Éclusiers Imaginaires {number % 400} & Sons"),
        total=Decimal(number * 37 % 100_000) / 100,
        gate=("near tie", "other date", "policy", "single evidence", "not sure enough")[number % 5],
        candidates=tuple(candidate(f"{number:08}-0000-4000-8000-{rank:012}", 0.8 - rank / 10) for rank in range(5)),
    )


async def _measure(count: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
        async with embedded.broker(Path(directory)) as broker:
            bus = Bus(load(nats_url=broker.url, nats_token=broker.token, region="xx"), "bench")
            await bus.connect()
            await topology.ensure(bus.js, bus.topology)
            await _fill(bus, count)
            process = psutil.Process()
            before = process.memory_info().rss
            queue = Queue(bus, WS)
            loading = await _seconds(lambda: queue.read(within=600))
            gc.collect()
            held = process.memory_info().rss - before
            looks = [await _seconds(lambda: _look(queue)) for _ in range(LOOKS)]
            searches = [await _seconds(lambda: _look(queue, "e a r s 0 4 eur eclus " * 12)) for _ in range(LOOKS // 10)]
            gc.collect()
            later = process.memory_info().rss - before
            naive = statistics.median([await _seconds(lambda: _read_all(bus)) for _ in range(_SLOW_LOOKS)])
            await queue.close()
            await bus.close()
    median, worst = statistics.median(looks), sorted(looks)[int(len(looks) * 0.99)]
    print(f"review queue, {count:,} open   loaded in {loading:.2f} s ({count / loading:,.0f}/s)")
    print(f"  a look and a page        median {median * 1e3:.1f} ms, 99th of 100 {worst * 1e3:.1f} ms   "
          f"all read anew {naive * 1e3:,.0f} ms   ratio {naive / median:,.0f}")  # fmt: skip
    search = statistics.median(searches)
    print(f"  the same with a search   median {search * 1e3:.1f} ms   ratio to a look {search / median:.1f}")
    print(f"  memory                   {held / count:,.0f} bytes a review, {held / 1e6:.1f} MB; "
          f"after {LOOKS:,} looks {later / 1e6:.1f} MB")  # fmt: skip


async def _fill(bus: Bus, count: int) -> None:
    """As many open reviews, and a tenth as many closed ones among them."""
    stream, region = bus.topology.reviews, bus.region
    for start in range(0, count + count // 10, 500):
        asked = [_asked(number) for number in range(start, start + 500)]
        await bus.publish_page(
            stream, [(subjects.review(region, "requested", WS, key(one.bill)), one) for one in asked]
        )
        over = [closing(one) for one in asked if int(one.bill) >= count]
        if over:
            await bus.publish_page(
                stream, [(subjects.review(region, "closed", WS, key(one.bill)), one) for one in over]
            )


async def _look(queue: Queue, text: str = "") -> None:
    await queue.read(within=1)
    page = queue.page(Query(sort="since", text=text), limit=50)
    assert len(page.rows) == 50


async def _read_all(bus: Bus) -> None:
    reviews = Reviews(whole)
    name = f"{bus.region}.review.*.{WS}.*"

    def take(messages: Sequence[Msg]) -> None:
        for message in messages:
            reviews.take(heard(message))

    reader = Feed(bus, bus.topology.reviews, name, take)
    assert await reader.read(within=600)
    assert len(sorted(reviews.open.values(), key=lambda one: one.question.requested_at)[:50]) == 50
    await reader.close()


async def _seconds(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
