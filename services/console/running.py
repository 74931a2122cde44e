"""Which services do not run: what a page would wait for in vain, and how to start it."""

from collections.abc import Mapping

import anyio
import msgspec
import nats.errors

from common import subjects
from common.bus import Bus

WITHIN = 1.0
"""Seconds a service has to say that it is there; one that is not is known at once."""
STOPPED: Mapping[str, str] = {
    "puller": "Nothing is read from QuickBooks.",
    "scorer": "Nothing new is decided.",
    "poster": "Nothing is posted to Qonto, and no answer is carried out.",
}
"""What stands still without a service."""


class Missing(msgspec.Struct, frozen=True):
    """A service that does not answer."""

    service: str
    stopped: str

    @property
    def fix(self) -> str:
        """What to do about it."""
        return f"Start it: `weir {self.service}`, or `weir up` for all on one machine."


async def missing(bus: Bus, *services: str) -> list[Missing]:
    """Those of the services (default: all) of which no instance is ready."""
    names = services or tuple(STOPPED)
    ready: dict[str, bool] = {}

    async def ask(name: str) -> None:
        try:
            answer = await bus.client.request(subjects.ready(bus.region, name), b"", timeout=WITHIN)
            ready[name] = b'"ready":true' in answer.data
        except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
            ready[name] = False

    async with anyio.create_task_group() as group:
        for name in names:
            group.start_soon(ask, name)
    return [Missing(name, STOPPED[name]) for name in names if not ready[name]]
