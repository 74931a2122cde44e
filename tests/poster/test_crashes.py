"""A poster that dies at any touch of Qonto or the broker, answers that get lost, people who meddle: one live entry.

Each life of a poster ends at its n-th touch of the outside, before or after it took effect; all it knew is gone,
and the next life carries the same order on. What must be at the end is told by what was ordered alone.
`WEIR_TEST_CRASHES` sets how many lives are ended (all of them: a number that large), `WEIR_TEST_SEED` repeats a run.
"""

import os
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import anyio
import httpx
import pytest

from common.buckets import Bucket, Documents
from common.bus import Bus
from common.errors import AskPerson, NotConnected, Refused
from common.messages import Bill, Decision, Disconnect, Document
from common.settings import Settings
from services.poster.app import connected
from services.poster.connection import staging
from services.poster.job import Job
from services.poster.limits import Refusals, keep_within_limits
from services.poster.plan import Order
from services.poster.posting import Poster
from services.poster.qonto import Qonto
from tests.poster.desk import WS, Desk, bill, pdf_saying, poster

CRASHES = int(os.environ.get("WEIR_TEST_CRASHES", "16"))
SEED = int(os.environ.get("WEIR_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
EFFECTS = ("create", "supersede", "pay", "unpay", "withdraw", "link", "link transaction")
FAULTS = ("none", "none", "drop_after", "drop_before", "html502", "truncate", "storm429", "status")
MEDDLING = ("none", "none", "none", "pay", "archive", "delete")
TOUCHES = 34
"""More than any effect here has."""
LIVES = 8


class Fuse:
    """Ends a life at its n-th touch of the outside."""

    def __init__(self, touches: int) -> None:
        self._left = touches
        self.scope = anyio.CancelScope()

    async def touch(self) -> None:
        self._left -= 1
        if self._left <= 0:
            self.scope.cancel()
            await anyio.sleep_forever()


_fuses: dict[int, Fuse] = {}
"""The fuse of each bus that has one."""


class _Wire(httpx.AsyncHTTPTransport):
    """HTTP that counts as a touch when a request leaves and when its answer came."""

    def __init__(self, fuse: Fuse) -> None:
        super().__init__()
        self._fuse = fuse

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await self._fuse.touch()
        response = await super().handle_async_request(request)
        await response.aread()
        await self._fuse.touch()
        return response


@pytest.fixture(autouse=True)
def _counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every write to the broker is a touch before and after; waits are short, and so is a dead worker's lease."""

    def counting(owner: type, name: str, bus_of: Callable[[Any], Bus]) -> None:
        plain = getattr(owner, name)

        async def counted(self: Any, *given: Any, **named: Any) -> Any:
            fuse = _fuses.get(id(bus_of(self)))
            if fuse is None:
                return await plain(self, *given, **named)
            await fuse.touch()
            result = await plain(self, *given, **named)
            await fuse.touch()
            return result

        monkeypatch.setattr(owner, name, counted)

    for name in ("create", "replace", "delete"):
        counting(Bucket, name, lambda bucket: bucket._bus)
    for name in ("publish", "publish_page"):
        counting(Bus, name, lambda bus: bus)
    monkeypatch.setattr("services.poster.ledger.LEASE", timedelta(milliseconds=1))
    monkeypatch.setattr("services.poster.creating.SETTLE", (0.02, 0.05))
    monkeypatch.setattr("services.poster.effects.LAG", (0.0, 0.05, 0.2, 0.6))


@asynccontextmanager
async def life(settings: Settings, touches: int) -> AsyncIterator[tuple[Poster, Fuse]]:
    """A poster with nothing in its memory, and the end it will come to."""
    fuse = Fuse(touches)
    bus = Bus(settings, "poster")
    await bus.connect()
    _fuses[id(bus)] = fuse
    wire = httpx.AsyncClient(
        base_url=settings.qonto_api_url, headers=staging(settings), transport=_Wire(fuse), timeout=5.0
    )
    try:
        async with wire:
            qonto = Qonto(wire, connected(bus, wire), keep_within_limits(wire, bus), Refusals(bus))
            yield Poster(bus, qonto, "decisions"), fuse
    finally:
        del _fuses[id(bus)]
        await bus.close()


async def carried_out(settings: Settings, decision: Decision, touches: int) -> Job | None:
    """What a life made of the decision; None if it ended before."""
    async with life(settings, touches) as (worker, fuse):
        with fuse.scope:
            [job] = await worker.carry_out([Order.of(decision)])
            return job
    return None


class Trial:
    """One bill, one effect, one crash."""

    def __init__(self, desk: Desk, dice: random.Random, ident: str, effect: str, touches: int) -> None:
        self._desk = desk
        self._ident = ident
        self._effect = effect
        self._touches = touches
        self._fault = dice.choice(FAULTS)
        self._method, self._skip = dice.choice(("POST", "POST", "GET")), dice.randrange(3)
        self._documents: dict[Decimal, Document] = {}
        self.died = False
        self._meddling = dice.choice(MEDDLING) if effect in {"supersede", "pay", "withdraw"} else "none"
        self._mode = dice.choice("abcd")
        where = f"{self._fault} at {self._method} {self._skip}"
        self.story = f"{effect}, dies at touch {touches}, {where}, {self._meddling}, replay {self._mode}"

    async def run(self) -> None:
        """Bring the bill to where the effect begins, let it go wrong, and look at the end."""
        desk = self._desk
        await desk.control.delete("/sandbox/faults")
        await desk.switch(replay=self._mode, transaction_attachment_delay=0.05)
        before = await self._before()
        decision = await self._decision()
        if self._fault != "none":
            await desk.fault(self._fault, "/v2/", method=self._method, after=True, skip=self._skip)
        job = await carried_out(desk.settings, decision, self._touches)
        self.died = job is None
        if before is not None:
            await self._meddle(before)
        for _ in range(LIVES):
            if job is not None and (job.error is None or isinstance(job.error, AskPerson | Refused)):
                break
            job = await carried_out(desk.settings, decision, 10_000)
        assert job is not None
        assert job.error is None or isinstance(job.error, AskPerson | Refused), (self.story, job.error)
        await self._judge(job)

    async def _record(self, body: Bill | None, **changes: Any) -> tuple[Any, int]:
        """A version of the bill; the supplier's document changes with the total."""
        total = body.total if body is not None else Decimal(0)
        if total not in self._documents:
            data = pdf_saying(f"Invoice {self._ident} {total}")
            self._documents[total] = Document(
                sha256=await Documents(self._desk.bus).put(data),
                name="invoice.pdf",
                content_type="application/pdf",
                size=len(data),
                attachable="1",
            )
        return await self._desk.record(self._ident, body, documents=(self._documents[total],), **changes)

    async def _before(self) -> str | None:
        """The entry that stands before the effect, if one must."""
        if self._effect in {"create", "link", "link transaction"}:
            return None
        balance = Decimal(0) if self._effect == "unpay" else Decimal(120)
        record, sequence = await self._record(bill(f"F-{self._ident}", balance=balance))
        job = await carried_out(self._desk.settings, await self._ordered(record, sequence, "create"), 10_000)
        assert job is not None
        assert job.error is None, (self.story, job.error)
        return job.page.entry

    async def _decision(self) -> Decision:
        number, more = f"F-{self._ident}", {}
        body: Bill | None = bill(number)
        action, deleted = "create", False
        match self._effect:
            case "supersede":
                body = bill(number, total="144.00")
            case "pay":
                body = bill(number, balance=Decimal(0))
            case "withdraw":
                body, action, deleted = None, "withdraw", True
            case "link" | "link transaction":
                kind = "invoice" if self._effect == "link" else "transaction"
                for entry in await self._desk.entries(kind):  # type: ignore[arg-type]
                    free = await self._desk.claim(entry.kind, entry.id) is None and entry.origin is None
                    if free and entry.live and (kind == "transaction" or entry.status == "to_review"):
                        action, more = "link", {"entry": entry.id, "entry_kind": kind}
                        break
                else:
                    self._effect = "create"  # a long run has linked them all
        record, sequence = await self._record(body, deleted=deleted)
        return await self._ordered(record, sequence, action, **more)

    async def _ordered(self, record: Any, sequence: int, action: Any, **more: Any) -> Decision:
        return await self._desk.decide(record, sequence, action, **more)

    async def _meddle(self, entry: str) -> None:
        if entry not in {one["id"] for one in await self._desk.live(self._ident)}:
            return  # it was turned down: nothing to meddle with
        path = f"/sandbox/companies/{self._desk.realm}/qonto/supplier_invoices/{entry}"
        match self._meddling:
            case "delete":
                await self._desk.control.delete(path)
            case "pay" | "archive":
                await self._desk.control.patch(
                    path, json={"status": {"pay": "paid", "archive": "archived"}[self._meddling]}
                )

    async def _judge(self, job: Job) -> None:
        desk, story = self._desk, (self.story, job.effect, job.error, job.posting)
        live = [one["id"] for one in await desk.live(self._ident)]
        kept = await desk.page(self._ident)
        assert kept is not None, story
        page = kept.value
        assert len(live) <= 1, story
        assert not page.open or job.error is not None, story
        if isinstance(job.error, AskPerson | Refused):
            return
        match self._effect:
            case "withdraw":
                assert (live, page.state) == ([], "withdrawn"), story
            case "link" | "link transaction":
                assert (live, page.state) == ([], "linked"), story
                assert page.entry_kind is not None
                assert page.entry is not None
                assert await desk.claim(page.entry_kind, page.entry) == f"{desk.realm}-{self._ident}", story
            case _ if self._meddling == "none":
                assert (live, page.state) == ([page.entry], "verified"), story
                [invoice] = await desk.live(self._ident)
                assert (invoice["status"] == "paid") == (self._effect == "pay"), story
            case _:
                assert page.state == "verified", story
                assert live in ([page.entry], []), story
                assert live or self._meddling == "delete", story


async def test_wherever_a_poster_dies_each_bill_ends_with_the_one_entry(idle: Desk) -> None:
    async with poster(idle.settings):
        await idle.connect()
        await idle.mirror()
    dice = random.Random(SEED)
    print(f"seed {SEED}: WEIR_TEST_SEED={SEED} repeats this")  # noqa: T201
    pairs = [(effect, touches) for effect in EFFECTS for touches in range(1, TOUCHES)]
    dice.shuffle(pairs)
    trials = [Trial(idle, dice, str(number), *pair) for number, pair in enumerate(pairs[:CRASHES], start=1)]
    for trial in trials:
        await trial.run()
    assert sum(trial.died for trial in trials) > len(trials) / 4, "the fuses are longer than the effects"


async def test_after_a_disconnect_nothing_is_called(idle: Desk) -> None:
    """Not by a poster that takes over what another left half done, either."""
    async with poster(idle.settings):
        await idle.connect()
        await idle.mirror()
    decisions = [await idle.create(str(touches), bill(f"F-{touches}")) for touches in (5, 9, 13)]
    for decision in decisions:
        assert await carried_out(idle.settings, decision, int(decision.bill)) is None
    async with life(idle.settings, 10_000) as (worker, _):
        async with httpx.AsyncClient(base_url=idle.settings.qonto_api_url) as client:
            bus = Bus(idle.settings, "poster")
            await bus.connect()
            await connected(bus, client).disconnect(Disconnect(workspace=WS))
            await bus.close()
        begun = time.time()
        jobs = await worker.carry_out([Order.of(decision) for decision in decisions])
    assert all(isinstance(job.error, NotConnected) for job in jobs), [job.error for job in jobs]
    assert await idle.calls(begun) == {}
