"""Lives of a poster that a test ends where it likes: only what they left outside counts for the next."""

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest
from nats.aio.msg import Msg

from common import subjects
from common.bus import Bus
from common.delivery import Redelivery
from common.errors import ATTEMPTS
from common.messages import Decision
from common.settings import Settings
from services.poster.app import connected
from services.poster.connection import staging
from services.poster.job import Job
from services.poster.limits import Refusals, keep_within_limits
from services.poster.plan import Order
from services.poster.posting import Poster
from services.poster.qonto import Qonto

SEED = int(os.environ.get("WEIR_TEST_SEED", "1"))
"""What is left to chance follows from this number; `make draws` takes another."""
FOREVER = 1_000_000
"""More touches than any life has."""


class DeadError(BaseException):
    """The end of a life: nothing may catch it, and nothing more is sent."""


class Fuse:
    """Ends a life at its n-th touch of the outside, or before a request whose method and path say so; counts them."""

    def __init__(self, touches: int, before: str | None) -> None:
        self._left = touches
        self._before = before
        self.sent: dict[str, int] = {"broker": 0, "Qonto": 0, "answer": 0}

    def touch(self, what: str) -> None:
        self._left -= 1
        if self._left <= 0:
            raise DeadError
        self.sent[what] += 1

    def request(self, request: httpx.Request) -> None:
        if self._before is not None and re.search(self._before, f"{request.method} {request.url.path}"):
            raise DeadError
        self.touch("Qonto")


class _Wire(httpx.AsyncHTTPTransport):
    """HTTP that counts as a touch when a request leaves and when its answer came."""

    def __init__(self, fuse: Fuse) -> None:
        super().__init__()
        self._fuse = fuse

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._fuse.request(request)
        response = await super().handle_async_request(request)
        await response.aread()
        self._fuse.touch("answer")
        return response


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits are short, and so is a dead worker's lease."""
    monkeypatch.setattr("services.poster.ledger.LEASE", timedelta(milliseconds=1))
    monkeypatch.setattr("services.poster.creating.SETTLE", (0.02, 0.05))
    monkeypatch.setattr("services.poster.effects.LAG", (0.0, 0.05, 0.2, 0.6))


@asynccontextmanager
async def life(
    settings: Settings, touches: int = FOREVER, *, before: str | None = None
) -> AsyncIterator[tuple[Poster, Fuse]]:
    """A poster with nothing in its memory, and the end it will come to."""
    fuse = Fuse(touches, before)
    bus = Bus(settings, "poster")
    await bus.connect()
    plain, already = bus.client.publish, bus.client.stats["out_msgs"]

    async def counted(*given: Any, **named: Any) -> None:
        fuse.touch("broker")
        await plain(*given, **named)

    bus.client.publish = counted  # type: ignore[method-assign]
    wire = httpx.AsyncClient(
        base_url=settings.qonto_api_url, headers=staging(settings), transport=_Wire(fuse), timeout=5.0
    )
    try:
        async with wire:
            qonto = Qonto(wire, connected(bus, wire), keep_within_limits(wire, bus), Refusals(bus))
            yield Poster(bus, qonto, "decisions"), fuse
        assert bus.client.stats["out_msgs"] - already == fuse.sent["broker"], "something was sent uncounted"
    finally:
        await bus.close()


async def carried_out(
    settings: Settings, order: Decision | Order, touches: int = FOREVER, *, before: str | None = None
) -> Job | None:
    """What a life made of the order; None if it ended before."""
    try:
        async with life(settings, touches, before=before) as (worker, _):
            [job] = await worker.carry_out([order if isinstance(order, Order) else Order.of(order)])
            return job
    except* DeadError:
        pass
    return None


async def handled(settings: Settings, decision: Decision, touches: int = FOREVER) -> Redelivery[Decision] | None:
    """What became of the decision's delivery in a life, with all that people are asked about it; None if it ended
    before.
    """
    try:
        async with life(settings, touches) as (worker, _):
            bus = worker._bus
            name = subjects.decision(bus.region, decision.workspace, decision.key)
            raw = Msg(_client=bus.client, subject=name)
            delivery = Redelivery(decision, name, 1, ATTEMPTS, bus.topology.poster, bus, raw)
            await worker.handle([delivery])
            return delivery
    except* DeadError:
        pass
    return None
