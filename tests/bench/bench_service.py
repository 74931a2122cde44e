"""How fast scorers work off a backlog, as ratios against a bare consumer that scores nothing, in one run.

    python -m tests.bench.bench_service [bills] [entries]

Everything is real: a broker that fsyncs every write, and processes of their own. The baseline is what one
writes first: a FastStream subscriber that takes batches of 200, decodes each bill and publishes it again with an
acknowledgement of its own, then acknowledges the batch. It runs twice: once each publish waits for the one before,
and once, which is the ratio that counts, all of a batch are on their way at a time. The scorer does all its work: it
reads the bills into its books, scores each against all entries, publishes decisions and reviews, acknowledges. All
begin warm, with the backlog waiting, and end when the broker counts nothing outstanding.

Two scorers share a machine's cores with the broker and with this bench. What does not depend on the number of cores
is the computing that a bill takes of all scorers together: where it does not grow with a second scorer, each does half
of the work. It does grow by what both have to read, since each keeps the books whole, and by what each learns anew, the
names that it sees for the first time. The entries are read before anything is measured. The survey of the workspace is
made by one of them, once for the whole backlog, and hardly ever in a workspace that has long been connected; so the
last line is told with it and without.
"""

import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import msgspec
import psutil
import structlog
from faststream import AckPolicy, FastStream
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub
from faststream.nats.security import NatsToken
from nats.js.api import AckPolicy as Acks
from nats.js.api import ConsumerConfig

from common import codec, embedded, subjects, topology
from common.bus import Bus
from common.messages import Entry, Readiness, Record, Ref
from common.settings import Settings, load
from services.scorer import app, scoring
from services.scorer.matching.books import Books
from services.scorer.matching.habits import habits
from services.scorer.matching.judge import Judge, Verdict
from services.scorer.matching.model import weights
from tests.bench.bench_matching import suppliers
from tests.conftest import ROOT, environment
from tests.scorer.cases import MAY, WS, bill, invoice, vendor

BILLS, ENTRIES = 10_000, 10_000
PAGE = 1000
BATCH = 200
REPUBLISHER, IN_TURN = "republisher", "in-turn"
"""The baseline's durable, and the arguments that make this module run as it: all of a batch at a time, or in turn."""
PLUMBING = "plumbing"
"""The argument that makes it run as a scorer whose judge compares nothing: what the service itself costs."""
ROUNDS = 3
"""Times that one scorer and two are measured in turn; the least computing counts, since what else a machine does only
adds to it."""
_SAMPLE = 2_000


class Work(NamedTuple):
    """Bills a second, and the seconds of computing that each took of the processes at work and of the broker."""

    rate: float
    cost: float
    broker: float


def world(bills: int, entries: int) -> tuple[list[Record], list[Entry]]:
    """Bills of invented suppliers, half of which have their document among the entries."""
    dice = random.Random(bills)
    names = suppliers(dice, max(20, entries // 20))
    held = [
        invoice(
            f"e{n}",
            counterparty=dice.choice(names).upper(),
            amount=Decimal(dice.randrange(500, 500_000)) / 100,
            number=f"{dice.choice('ABCD')}-{n:06}",
            issued_on=MAY + timedelta(days=dice.randrange(-300, 60)),
        )
        for n in range(entries)
    ]
    records = []
    for n in range(bills):
        fields: dict[str, Any] = {
            "vendor": Ref(id="7", name=dice.choice(names)),
            "total": Decimal(dice.randrange(500, 500_000)) / 100,
            "number": f"Z-{n:06}",
        }
        if n % 2:
            model = held[n % entries]
            fields = {
                "vendor": Ref(id="7", name=model.counterparty),
                "total": model.amount,
                "number": model.number,
                "issued_on": model.issued_on,
            }
        records.append(bill(str(n), **fields))
    return records, held


async def republish(settings: Settings, *, at_a_time: int) -> None:
    """The baseline, until it is stopped; so many publishes may be on their way `at_a_time`."""
    bus = Bus(settings, REPUBLISHER)
    names = bus.topology
    broker = NatsBroker(
        settings.broker_url(),
        security=NatsToken(settings.required("nats_token")),
        apply_types=False,
        logger=None,
        ack_policy=AckPolicy.NACK_ON_ERROR,
    )

    @broker.subscriber(
        names.scorer.subject,
        stream=JStream(names.records, declare=False),
        durable=REPUBLISHER,
        pull_sub=PullSub(batch_size=BATCH, timeout=0.1, batch=True),
        decoder=_bodies,
    )
    async def handle(bodies: list[bytes]) -> None:
        room = anyio.Semaphore(at_a_time)
        async with anyio.create_task_group() as group:
            for body in bodies:
                record = codec.decode(body, Record)
                subject = subjects.decision(bus.region, record.workspace, record.key)
                group.start_soon(publish, subject, record, room)

    async def publish(subject: str, record: Record, room: anyio.Semaphore) -> None:
        key = {"Nats-Msg-Id": f"{REPUBLISHER}-{record.key}-{record.content_hash}"}
        async with room:
            await broker.publish(codec.encode(record), subject, stream=names.decisions, headers=key, timeout=5.0)

    await FastStream(broker, logger=None).run()


class NoJudge(Judge):
    """Decides alike on every bill."""

    def prepare(self, keys: Iterable[str]) -> None:
        """Nothing to prepare."""

    def decide(self, key: str) -> Verdict:
        """Create it, with a readiness as a real decision has."""
        lacks = () if key in self._books.bills else ("everything",)
        readiness = Readiness(score=0.9, completeness=0.9, counterparty=0.9, policy=1.0, lacks=lacks)
        return Verdict("create", 0.0, "nothing was compared", readiness=readiness)


async def _bodies(message: NatsMessage) -> list[bytes]:
    return [bytes(part) for part in message.body]


class Bench:
    """One broker, one region per measurement."""

    def __init__(self, broker: embedded.Embedded, bills: int, entries: int) -> None:
        self._broker = broker
        self._bills = bills
        self.records, self.entries = world(bills, entries)
        self._regions = iter(f"b{letter}" for letter in "abcdefghijklmnopqrstuvwxyz")

    async def measure(self, processes: Sequence[Sequence[str]], durable: str) -> Work:
        """How these processes work off the bills together."""
        settings = load(
            nats_url=self._broker.url, nats_token=self._broker.token, region=next(self._regions), log_level="warning"
        )
        async with _bus(settings) as bus:
            names = bus.topology
            page = [(subjects.entry(bus.region, WS, one.kind, one.id), one) for one in self.entries]
            reached = await _publish(bus, names.entries, page)
            company = vendor()
            await bus.publish(subjects.record(bus.region, WS, "vendor", company.key), company, stream=names.records)
            config = ConsumerConfig(
                durable_name=durable, ack_policy=Acks.EXPLICIT, filter_subject=names.scorer.subject, max_ack_pending=-1
            )
            if durable != names.scorer.name:
                await bus.js.add_consumer(names.records, config)
            running = [
                subprocess.Popen(  # noqa: ASYNC220 (nothing else waits for this loop)
                    [sys.executable, "-m", *command],
                    cwd=ROOT,
                    env=environment(settings, WEIR_LOG_LEVEL="warning"),
                    stdin=subprocess.DEVNULL,
                )
                for command in processes
            ]
            try:
                await self._warm(bus, durable, len(running))
                for process in running:
                    process.send_signal(signal.SIGSTOP)
                waiting = [
                    (subjects.record(bus.region, WS, "bill", one.key), _at(one, reached)) for one in self.records
                ]
                await _publish(bus, names.records, waiting)
                watched = [[psutil.Process(one.pid) for one in running], _family(self._broker.process.pid)]
                before, began = [*map(_used, watched)], time.perf_counter()
                for process in running:
                    process.send_signal(signal.SIGCONT)
                await _drained(bus, durable)
                seconds, after = time.perf_counter() - began, [*map(_used, watched)]
                cost, broker = ((b - a) / self._bills for a, b in zip(before, after, strict=True))
                return Work(self._bills / seconds, cost, broker)
            finally:
                for process in running:
                    process.send_signal(signal.SIGCONT)
                    process.terminate()
                for process in running:
                    process.wait(30)

    async def _warm(self, bus: Bus, durable: str, processes: int) -> None:
        """Give every process something to do until all have loaded what they need."""
        info = await bus.js.consumer_info(bus.topology.records, durable)
        while (info.num_waiting or 0) < processes:
            await anyio.sleep(0.05)
            info = await bus.js.consumer_info(bus.topology.records, durable)
        for number in range(40 * processes):
            one = bill(f"warm{number}", number=f"W-{number}", total=Decimal(1_000_000 + number))
            await bus.publish(subjects.record(bus.region, WS, "bill", one.key), one, stream=bus.topology.records)
        await _drained(bus, durable)

    def core(self) -> tuple[float, float]:
        """Bills a second of the matching core alone, as the service uses it; what the survey before takes of it."""
        books = Books()
        for record in (vendor(), *self.records):
            books.take_record(record)
        for entry in self.entries:
            books.take_entry(entry)
        keys = [record.key for record in self.records[:_SAMPLE]]
        began, used = time.perf_counter(), time.process_time()
        habits(books, weights())
        survey = time.process_time() - used
        for start in range(0, len(keys), 500):
            judge = Judge(books)
            judge.prepare(keys[start : start + 500])
            for key in keys[start : start + 500]:
                judge.decide(key)
        return len(keys) / (time.perf_counter() - began), survey


def _at(record: Record, reached: int) -> Record:
    return msgspec.structs.replace(record, entries_seq=reached)


@asynccontextmanager
async def _bus(settings: Settings) -> AsyncIterator[Bus]:
    bus = Bus(settings, "bench")
    await bus.connect()
    await topology.ensure(bus.js, bus.topology)
    yield bus
    await bus.close()


def _family(pid: int) -> list[psutil.Process]:
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def _used(processes: Sequence[psutil.Process]) -> float:
    """Seconds of computing that the processes have taken until now."""
    times = [process.cpu_times() for process in processes]
    return float(sum(one.user + one.system for one in times))


async def _publish(bus: Bus, stream: str, messages: Sequence[tuple[str, Any]]) -> int:
    sequence = 0
    for start in range(0, len(messages), PAGE):
        sequence = await bus.publish_page(stream, messages[start : start + PAGE])
    return sequence


async def _drained(bus: Bus, durable: str) -> None:
    while True:
        info = await bus.js.consumer_info(bus.topology.records, durable)
        if not info.num_pending and not info.num_ack_pending:
            return
        await anyio.sleep(0.02)


async def _compare(bills: int, entries: int) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    scorer = ["services.scorer"]
    with tempfile.TemporaryDirectory() as directory:
        async with embedded.broker(Path(directory)) as broker:
            bench = Bench(broker, bills, entries)
            in_turn = await bench.measure([["tests.bench.bench_service", IN_TURN]], REPUBLISHER)
            bare = await bench.measure([["tests.bench.bench_service", REPUBLISHER]], REPUBLISHER)
            plumbing = await bench.measure([["tests.bench.bench_service", PLUMBING]], "scorer")
            ones, twos = [], []
            for _ in range(ROUNDS):
                ones.append(await bench.measure([scorer], "scorer"))
                twos.append(await bench.measure([scorer, scorer], "scorer"))
    one, two = (min(works, key=lambda work: work.cost) for works in (ones, twos))
    core, survey = bench.core()
    print(f"service, sync always, {bills:,} bills against {entries:,} entries; core alone {core:,.0f}/s")
    for what, work, against in (
        ("bare batch consumer", bare, bare),
        ("the same, one publish after the other", in_turn, bare),
        ("a scorer that compares nothing", plumbing, bare),
        ("one scorer", one, bare),
        ("two scorers", two, one),
    ):
        print(
            f"  {what}: {work.rate:,.0f}/s, {work.rate / against.rate:.2f}x; a bill takes {work.cost * 1e6:,.0f} us of"
            f" it and {work.broker * 1e6:,.0f} us of the broker"
        )
    once = survey / bills
    print(
        f"  two scorers, each on a core of its own, would do {2 * one.cost / two.cost:.2f}x of one;"
        f" {2 * (one.cost - once) / (two.cost - once):.2f}x but for the survey, {once * 1e6:,.0f} us a bill"
    )


def main(bills: int = BILLS, entries: int = ENTRIES) -> None:
    """Print the figures."""
    anyio.run(_compare, bills, entries)


if __name__ == "__main__":
    if sys.argv[1:] in ([REPUBLISHER], [IN_TURN]):
        bare = partial(republish, at_a_time=BATCH if sys.argv[1] == REPUBLISHER else 1)
        anyio.run(bare, load(), backend_options={"use_uvloop": True})
    elif sys.argv[1:] == [PLUMBING]:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
        vars(scoring)["Judge"] = NoJudge
        anyio.run(app.serve, load(), backend_options={"use_uvloop": True})
    else:
        main(*map(int, sys.argv[1:]))
