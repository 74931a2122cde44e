"""Computing in turns and in slices, so that a long computation never keeps the process from its heartbeats."""

import time
from types import TracebackType

import anyio
import anyio.lowlevel

SLICE = 0.02
"""Seconds of computing after which whatever else waits may run."""


class Pace:
    """One at a time computes (`async with`), first come first served, and rests now and then."""

    def __init__(self) -> None:
        self._turn = anyio.Lock()
        self._since = 0.0

    async def __aenter__(self) -> None:
        await self._turn.acquire()
        self._since = time.perf_counter()

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._turn.release()

    async def rest(self) -> None:
        """Let others run if SLICE seconds went by; to be called from inside the turn."""
        if time.perf_counter() - self._since > SLICE:
            await anyio.lowlevel.checkpoint()
            self._since = time.perf_counter()
