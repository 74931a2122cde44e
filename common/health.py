"""How a process fares: whether its event loop turns (`live`), and whether it can do its work (`ready`).

What the loop writes here another thread reads (`common.ops`), which also answers when the loop hangs. What only the
broker knows is asked every now and then by `watch`: that the durables are there, and what else a service needs.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio
import nats.errors
import nats.js.errors
import structlog

from common.errors import WeirError

log = structlog.get_logger()

BEAT_EVERY = 1.0
LATE = 30.0
"""Seconds without a turn of the event loop after which the process is taken for hung."""
LOOK_EVERY = 10.0
"""Seconds between two questions to the broker."""
_WITHIN = 8.0
_OUTDATED = 4 * LOOK_EVERY

Need = Callable[[], Awaitable[object]]
"""Raises what is wrong where something that the service needs is not there."""


class Turning(Protocol):
    """A loop that says what is wrong with it, or None."""

    @property
    def stuck(self) -> str | None: ...


class Health:
    """The state of one process. Written by the event loop, read by any thread."""

    def __init__(self, connected: Callable[[], bool]) -> None:
        self._connected = connected
        self._beat = time.monotonic()
        self._looked = 0.0
        self._missing: list[str] = []
        self._needs: dict[str, Need] = {}
        self._loops: list[Turning] = []
        self.started = False
        self.draining = False

    def needs(self, what: str, there: Need) -> None:
        """Without this the service is not ready; `what` says in words what it is."""
        self._needs[what] = there

    def turns(self, loop: Turning) -> None:
        """Without this loop turning the service is not ready."""
        self._loops.append(loop)

    def beat(self) -> None:
        """The event loop turns."""
        self._beat = time.monotonic()

    @property
    def beat_age(self) -> float:
        """Seconds since the event loop last turned."""
        return time.monotonic() - self._beat

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""
        return self._connected()

    def live(self) -> list[str]:
        """What only a restart mends, in words; nothing if all is well."""
        age = self.beat_age
        return [f"the event loop has not turned for {age:.0f} s"] if age > LATE else []

    def ready(self) -> list[str]:
        """What keeps the process from its work, in words; nothing if all is well."""
        if self.draining:
            return ["it was told to stop and finishes what it began"]
        if not self.connected:
            return ["the broker is not connected", *self.live()]
        if not self.started:
            return ["it has not started yet", *self.live()]
        reasons = [*self.live(), *self._missing]
        age = time.monotonic() - self._looked
        if not self._looked:
            reasons.append("what it needs was not looked at yet")
        elif age > _OUTDATED and not reasons:
            reasons.append(f"the broker has not said for {age:.0f} s whether what it needs is there")
        return reasons + [why for loop in self._loops if (why := loop.stuck) is not None]

    async def watch(self) -> None:
        """Look again and again for what the service needs."""
        while True:
            if self.connected:
                await self.look()
            await anyio.sleep(LOOK_EVERY if self.connected else BEAT_EVERY)

    async def look(self) -> None:
        """Look once for what the service needs."""
        missing: list[str] = []

        async def ask(what: str, there: Need) -> None:
            try:
                with anyio.fail_after(_WITHIN):
                    await there()
            except (WeirError, TimeoutError, nats.errors.Error, nats.js.errors.Error) as error:
                missing.append(f"{what}: {str(error) or type(error).__name__}")

        async with anyio.create_task_group() as group:
            for what, there in self._needs.items():
                group.start_soon(ask, what, there)
        missing.sort()
        if missing != self._missing:
            log.warning("service.needs_missing", missing=missing) if missing else log.info("service.needs_met")
        self._missing, self._looked = missing, time.monotonic()
