"""Real posters, several at once, ended by kill -9 at random moments under load while answers of Qonto get lost.

What they leave is carried on by another. What is drawn follows from `WEIR_TEST_SEED`; the moments within a process are
its own.
"""

import asyncio
import random
import sys
from pathlib import Path

import anyio
import msgspec
import pytest

from common.buckets import Documents
from common.messages import Decision, Document
from services.poster.job import Job
from services.poster.ledger import Page
from services.poster.plan import Order
from tests.conftest import environment
from tests.poster.desk import Desk, bill, pdf_saying, poster
from tests.poster.lives import SEED, hurry, life

POSTERS, BILLS, LIVES = 2, 16, 8
LATEST = 1.2
"""Seconds after the first step of any of them when the last is gone."""
FAULTS = ("drop_after", "drop_after", "drop_before", "html502", "truncate", "storm429")
IMPATIENT = """
from datetime import timedelta
from services.poster import app, ledger
ledger.LEASE = timedelta(milliseconds=300)
app.run()
"""
"""A poster that takes over from a dead one soon."""


async def started(desk: Desk, log: Path) -> asyncio.subprocess.Process:
    """A poster's process that takes messages."""
    settings = desk.settings
    secrets = {name: settings.required(name) for name in ("qonto_client_id", "qonto_client_secret", "master_key")}
    variables = environment(
        settings,
        WEIR_QONTO_API_URL=settings.qonto_api_url,
        WEIR_QONTO_OAUTH_URL=settings.qonto_oauth_url,
        **{f"WEIR_{name.upper()}": value for name, value in secrets.items()},
    )
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", IMPATIENT, env=variables, stderr=output)

    async def ready() -> bool:
        told = await asyncio.to_thread(log.read_text)
        assert process.returncode is None, told
        return "service.ready" in told

    await desk.until(ready)
    return process


async def finished(desk: Desk, decisions: list[Decision]) -> None:
    """Carry on what was left, until nothing has to be tried again."""
    orders = [Order.of(decision) for decision in decisions]
    jobs: list[Job] = []
    for _ in range(LIVES):
        async with life(desk.settings) as (worker, _fuse):
            jobs = await worker.carry_out(orders)
        orders = [job.order for job in jobs if job.error is not None]
        if not orders:
            return
    raise AssertionError([(job.order.bill, job.error) for job in jobs if job.error is not None])


@pytest.mark.drawn
async def test_posters_that_are_killed_leave_one_entry_for_each_bill(
    idle: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    monkeypatch.setattr(Page, "held_by_other", lambda *_: False)  # they are dead
    print(f"WEIR_TEST_SEED={SEED} repeats this")  # noqa: T201
    dice = random.Random(SEED)
    async with poster(idle.settings):
        await idle.connect()
        await idle.mirror()
    data = pdf_saying("Invoice")
    stored = await Documents(idle.bus).put(data)
    paper = Document(sha256=stored, name="a.pdf", content_type="application/pdf", size=len(data), attachable="1")
    other = msgspec.structs.replace(paper, sha256=await Documents(idle.bus).put(data + b"\n"), size=len(data) + 1)
    free = [entry for entry in await idle.entries("invoice") if entry.origin is None and entry.status == "to_review"]
    newest: dict[str, Decision] = {}
    begun: list[Decision] = []
    processes: list[asyncio.subprocess.Process] = []

    async def start(number: int) -> None:
        processes.append(await started(idle, tmp_path / f"poster{number}.log"))

    async def begun_by_now() -> bool:
        return any([await idle.page(ident) is not None for ident in list(newest)])

    async def kill(process: asyncio.subprocess.Process, after: float) -> None:
        await idle.until(begun_by_now)
        await anyio.sleep(after)  # the moment is what is drawn
        process.kill()
        await process.wait()

    try:
        async with anyio.create_task_group() as group:
            for number in range(POSTERS):
                group.start_soon(start, number)
        for _ in range(12):
            method, skip = dice.choice(("POST", "POST", "GET")), dice.randrange(6)
            await idle.fault(dice.choice(FAULTS), "/v2/", method=method, after=True, skip=skip)
        async with anyio.create_task_group() as group:
            for process in processes:
                group.start_soon(kill, process, dice.uniform(0, LATEST))
            for number in range(1, BILLS + 1):
                ident = str(number)
                record, sequence = await idle.record(ident, bill(f"F-{ident}"), documents=(paper,))
                if number <= len(free) // 2 and dice.random() < 0.3:
                    target = free[number]
                    decision = await idle.decide(record, sequence, "link", entry=target.id, entry_kind="invoice")
                else:
                    decision = await idle.decide(record, sequence)
                    begun.append(decision)
                newest[ident] = decision
            for decision in dice.sample(begun, len(begun) // 2):
                body = bill(f"F-{decision.bill}", "144.00")
                newest[decision.bill] = await idle.create(decision.bill, body, documents=(other,))
            for decision in newest.values():
                await idle.redeliver(decision)
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
    await idle.control.delete("/sandbox/faults")
    await finished(idle, list(newest.values()))
    for ident, decision in newest.items():
        live = [one["id"] for one in await idle.live(ident)]
        kept = await idle.page(ident)
        assert kept is not None
        page = kept.value
        if decision.action == "link":
            assert (live, page.state, page.entry) == ([], "linked", decision.entry), ident
            assert await idle.claim("invoice", str(page.entry)) == f"{idle.realm}-{ident}"
        else:
            assert (live, page.state) == ([page.entry], "verified"), ident
            assert page.record_hash == decision.record_hash, ident
