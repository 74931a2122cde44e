"""Several posters at the same orders at the same time, in any order and again: one effect of every kind."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio
import pytest

from common import http
from common.bus import Bus
from common.errors import AskPerson
from common.messages import Answer, Decision, Refusal, Undo, Undone
from services.poster.app import connected
from services.poster.connection import staging
from services.poster.limits import Refusals, keep_within_limits
from services.poster.plan import Order
from services.poster.posting import Poster
from services.poster.qonto import Qonto
from services.poster.undoing import Undoing
from tests.poster.desk import WS, Desk, bill, poster
from tests.poster.lives import SEED, life

pytestmark = pytest.mark.drawn
POSTERS, BILLS, TRIES = 3, 3, 40


@pytest.fixture(autouse=True)
def _short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases end while the work is under way: everybody takes over from everybody."""
    monkeypatch.setattr("services.poster.ledger.LEASE", timedelta(milliseconds=250))
    monkeypatch.setattr("services.poster.creating.SETTLE", (0.02, 0.05))
    monkeypatch.setattr("services.poster.effects.LAG", (0.0, 0.05, 0.2, 0.6))


@asynccontextmanager
async def posters(desk: Desk) -> AsyncIterator[list[Poster]]:
    """Posters that know nothing of one another."""
    async with AsyncExitStack() as stack:
        yield [(await stack.enter_async_context(life(desk.settings)))[0] for _ in range(POSTERS)]


async def all_at_once(workers: Sequence[Poster], decisions: Sequence[Decision]) -> None:
    """Every worker carries every decision out, in its own order and until none has to be tried again."""
    dice = random.Random(SEED)

    async def work(worker: Poster, orders: list[Order]) -> None:
        errors: list[Exception] = []
        for _ in range(TRIES):
            jobs = [(await worker.carry_out([order]))[0] for order in orders]
            again = [job for job in jobs if job.error is not None and not isinstance(job.error, AskPerson)]
            orders, errors = [job.order for job in again], [job.error for job in again if job.error is not None]
            if not orders:
                return
            await anyio.sleep(0.3 * dice.random())
        raise AssertionError(f"never ends: {errors}")

    async with anyio.create_task_group() as group:
        for worker in workers:
            orders = [Order.of(decision) for decision in decisions]
            group.start_soon(work, worker, dice.sample(orders, len(orders)))


async def outcomes(desk: Desk, ident: str) -> list[str]:
    return [one.outcome for one in await desk.postings(ident) if one.outcome != "unchanged"]


@pytest.fixture
async def crew(idle: Desk) -> Desk:
    """A connected workspace with a whole mirror, and nobody at work yet."""
    async with poster(idle.settings):
        await idle.connect()
        await idle.mirror()
    return idle


NUMBERS = [str(number) for number in range(1, BILLS + 1)]


async def test_create_supersede_and_withdraw(crew: Desk) -> None:
    async with posters(crew) as workers:
        await all_at_once(workers, [await crew.create(ident, bill(f"F-{ident}")) for ident in NUMBERS])
        assert [len(await crew.invoices(ident)) for ident in NUMBERS] == [1] * BILLS
        await all_at_once(workers, [await crew.create(ident, bill(f"F-{ident}", "144.00")) for ident in NUMBERS])
        for ident in NUMBERS:
            assert sorted(one["status"] for one in await crew.invoices(ident)) == ["rejected", "to_review"]
        gone = []
        for ident in NUMBERS:
            record, sequence = await crew.record(ident, None, deleted=True)
            gone.append(await crew.decide(record, sequence, "withdraw"))
        await all_at_once(workers, gone)
    for ident in NUMBERS:
        assert await crew.live(ident) == []
        assert await outcomes(crew, ident) == ["created", "superseded", "withdrawn"]


async def test_link(crew: Desk) -> None:
    """Each bill with an entry of its own, but the last two, which want the same; and transactions get one file."""
    free = [entry for entry in await crew.entries("invoice") if entry.origin is None and entry.status == "to_review"]
    bare = [entry for entry in await crew.entries("transaction") if not entry.attachments]
    await crew.switch(transaction_attachment_delay=0.05)
    targets = [free[0], bare[0], free[1], free[1]]
    decisions = []
    for number, target in enumerate(targets, start=1):
        record, sequence = await crew.record(str(number), bill(f"F-{number}"))
        decisions.append(await crew.decide(record, sequence, "link", entry=target.id, entry_kind=target.kind))
    async with posters(crew) as workers:
        await all_at_once(workers, decisions)
    linked = []
    for number, target in enumerate(targets, start=1):
        kept = await crew.page(str(number))
        if kept is not None and kept.value.state == "linked":
            linked.append(number)
            assert await crew.claim(target.kind, target.id) == f"{crew.realm}-{number}"
            assert await outcomes(crew, str(number)) == ["linked"]
        else:
            assert kept is None or (kept.value.state, kept.value.entry) == ("withdrawn", None)
    assert linked in ([1, 2, 3], [1, 2, 4])
    async with poster(crew.settings):
        await crew.mirror()
    assert len((await crew.entry("transaction", bare[0].id)).attachments) == 1


@asynccontextmanager
async def undoers(desk: Desk) -> AsyncIterator[list[Undoing]]:
    async with AsyncExitStack() as stack:
        found = []
        for _ in range(POSTERS):
            client = await stack.enter_async_context(http.client(desk.settings.qonto_api_url, staging(desk.settings)))
            bus = Bus(desk.settings, "poster")
            await bus.connect()
            stack.push_async_callback(bus.close)
            found.append(
                Undoing(bus, Qonto(client, connected(bus, client), keep_within_limits(client, bus), Refusals(bus)))
            )
        yield found


async def until_done(ask: Callable[[], Awaitable[Any]]) -> None:
    """Ask until it is not to be asked again."""
    answer: Answer = Refusal(why="never asked", retry=True)
    for _ in range(TRIES):
        try:
            answer = await ask()
        except Exception as error:  # noqa: BLE001 (as over the broker, where it becomes a refusal)
            answer = Refusal(why=repr(error), retry=True)
        if not (isinstance(answer, Refusal) and answer.retry):
            assert isinstance(answer, Undone), answer
            return
        await anyio.sleep(0.05)
    raise AssertionError(f"never ends: {answer}")


async def test_undo_while_the_decision_comes_again(crew: Desk) -> None:
    async with posters(crew) as workers, undoers(crew) as people:
        decisions = [await crew.create(ident, bill(f"F-{ident}")) for ident in NUMBERS]
        await all_at_once(workers[:1], decisions)
        async with anyio.create_task_group() as group:
            group.start_soon(all_at_once, workers, decisions)
            for undoing in people:
                for ident in NUMBERS:
                    request = Undo(workspace=WS, bill=f"{crew.realm}-{ident}", by="Ida Imaginary")
                    group.start_soon(until_done, lambda undoing=undoing, request=request: undoing.undo(request))
        await all_at_once(workers, decisions)
    for ident in NUMBERS:
        assert [one["status"] for one in await crew.invoices(ident)] == ["rejected"]
        kept = await crew.page(ident)
        assert kept is not None
        assert kept.value.state == "withdrawn"
        assert (await outcomes(crew, ident)).count("withdrawn") == 1
