"""What an atomic page saves over awaiting each message, on a broker that fsyncs every write."""

import logging
import tempfile
import time
from decimal import Decimal
from pathlib import Path

import anyio
import structlog

from common import embedded, subjects, topology
from common.bus import Bus
from common.messages import Bill, Record, Ref, now
from common.settings import load

MESSAGES = 2000
PAGE = 500


def main() -> None:
    """Print messages a second, one by one and in pages, and their ratio."""
    anyio.run(_compare)


async def _compare() -> None:
    with tempfile.TemporaryDirectory() as directory:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
        async with embedded.broker(Path(directory)) as broker:
            bus = Bus(load(nats_url=broker.url, nats_token=broker.token, region="xx"), "bench")
            await bus.connect()
            await topology.ensure(bus.js, bus.topology)
            messages = [_message(bus, number) for number in range(MESSAGES)]
            began = time.perf_counter()
            for subject, message in messages:
                await bus.publish(subject, message, stream=bus.topology.records)
            one_by_one = MESSAGES / (time.perf_counter() - began)
            began = time.perf_counter()
            for start in range(0, MESSAGES, PAGE):
                await bus.publish_page(bus.topology.records, messages[start : start + PAGE])
            in_pages = MESSAGES / (time.perf_counter() - began)
            await bus.close()
    print(f"publish, sync always   one by one {one_by_one:8,.0f}/s   pages of {PAGE} {in_pages:8,.0f}/s   "
          f"ratio {in_pages / one_by_one:.1f}")  # fmt: skip


def _message(bus: Bus, number: int) -> tuple[str, Record]:
    amount = Decimal(number)
    record = Record(
        workspace="bench",
        realm="9",
        id=str(number),
        kind="bill",
        content_hash=f"{number:064}",
        pulled_at=now(),
        body=Bill(vendor=Ref(id="1", name="Imaginary Mills"), total=amount, balance=amount, currency="EUR"),
    )
    return subjects.record(bus.region, "bench", "bill", record.key), record


if __name__ == "__main__":
    main()
