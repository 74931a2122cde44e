"""Keeping within Qonto's limits, which count by address: 1,000 calls in 10 s, 10,000 in 10 min, 200 x 401 in an hour.

The broker counts for all instances together (docs/adr/0009). Every call, repeats and those for tokens included, puts
a message on a subject that takes only so many of a certain age, and waits while it is refused.

A 401 cannot be taken back, so the place for one is taken before: a call with an access token that nobody saw work
lately holds one of PACE["hour"] places until it is answered, and for the hour if the answer is 401. Without a free
place, the token is traded for a fresh one first: a dead grant shows there without a 401. A token fresh from Qonto
has as many places of its own; without one of those the call is put off. A workspace that 300 others died beside thus
finds out by a refresh and not by the 201st refusal.
"""

import random
from collections.abc import Mapping
from typing import Literal

import anyio
import httpx
import structlog

from common import subjects
from common.bus import Bus
from common.errors import RetryLater
from common.http import measured
from common.subjects import Span

log = structlog.get_logger()

ADMITTED = "weir.admitted"
"""Extension of a request whose place within the limits was taken before."""
PROVEN_FOR = 60.0
"""Seconds for which a token that worked is trusted to work again."""

_ASK_AGAIN: Mapping[Span, float] = {"ten-minutes": 2.0, "ten-seconds": 0.2}
"""Mean seconds between two tries for a place."""

_TRIES: Mapping["Trust", int] = {"kept": 2, "fresh": 25}

Trust = Literal["kept", "fresh"]
"""Whether an access token comes from the register or from Qonto this moment."""


class Pace:
    """Waits for a place within the limits of one address, in turn with all other instances."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._turn = anyio.Lock()

    async def wait(self) -> None:
        """Return when one more call fits; RetryLater if the broker does not answer."""
        for span, seconds in _ASK_AGAIN.items():
            subject = subjects.pace(self._bus.region, span, "qonto", "address")
            stream = self._bus.topology.pace(span)
            if await self._bus.admit(stream, subject):
                continue
            log.info("poster.waits_for_a_place", span=span)
            async with self._turn:  # one that waits asks the broker at a time
                while not await self._bus.admit(stream, subject):  # noqa: ASYNC110 (it is far away)
                    await anyio.sleep(seconds * random.uniform(0.5, 1.5))


class Refusals:
    """Places for the 401s of an hour, taken before a call that may earn one."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._proven: dict[str, float] = {}
        """Tokens that worked, by when; whoever was not served for PROVEN_FOR is forgotten."""

    async def reserve(self, access: str, trust: Trust) -> "Place | None":
        """A place for what this token's call may be answered; None if there is none left."""
        at = self._proven.get(access)
        if at is not None and anyio.current_time() - at < PROVEN_FOR:
            return Place(self, access, None)
        subject = subjects.pace(self._bus.region, "hour", "qonto", trust)
        for _ in range(_TRIES[trust]):
            sequence = await self._bus.take_place(self._bus.topology.pace("hour"), subject)
            if sequence is not None:
                return Place(self, access, sequence)
            await anyio.sleep(0.2 * random.uniform(0.5, 1.5))  # those under way give theirs back
        return None

    async def answered(self, access: str, sequence: int | None, status: int) -> None:
        """Give a place back, or keep it for the hour after a 401."""
        stream = self._bus.topology.pace("hour")
        if status == 401:
            # Whatever ended this grant may have ended others: nobody is trusted any more.
            self._proven.clear()
            if sequence is None:
                await self._bus.admit(stream, subjects.pace(self._bus.region, "hour", "qonto", "kept"))
            return
        if sequence is not None:
            await self._bus.give_place(stream, sequence)
        if 200 <= status < 300:
            at = anyio.current_time()
            self._proven = {token: seen for token, seen in self._proven.items() if at - seen < PROVEN_FOR}
            self._proven[access] = at


class Place:
    """Room for one call with one token."""

    def __init__(self, refusals: Refusals, access: str, sequence: int | None) -> None:
        self._refusals = refusals
        self._access = access
        self._sequence = sequence

    async def answered(self, status: int) -> None:
        """The call was answered, 0 for no answer at all."""
        with anyio.CancelScope(shield=True):
            await self._refusals.answered(self._access, self._sequence, status)


def no_place() -> RetryLater:
    """Nothing may be risked within this hour."""
    return RetryLater("Qonto refused so many calls that no more may be risked for now", delay=120.0)


def keep_within_limits(http: httpx.AsyncClient, bus: Bus) -> Pace:
    """Pace every request of `http`, repeats included; those that are ADMITTED were paced by who sends them."""
    pace = Pace(bus)

    async def wait(request: httpx.Request) -> None:
        if not request.extensions.get(ADMITTED):
            with measured(request, "qonto"):
                await pace.wait()

    hooks = http.event_hooks
    http.event_hooks = {**hooks, "request": [*hooks["request"], wait]}
    return pace
