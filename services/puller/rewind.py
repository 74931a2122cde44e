"""Reading again from a given day: markers set back, everything read published even if unchanged."""

from datetime import datetime

import structlog

from common import subjects
from common.bus import Bus
from common.connections import Connections
from common.errors import Refused
from common.messages import Done, Rewind, Tick, now
from services.puller import attachments, reference
from services.puller.entities import DELETIONS, ENTITIES
from services.puller.marker import Marker, Markers, Moved, rewound

log = structlog.get_logger()

TRIES = 5
"""Attempts against a pull that moves the same markers meanwhile."""


class Rewinder:
    """Answers `rewind`."""

    def __init__(self, bus: Bus, connections: Connections) -> None:
        self._bus = bus
        self._connections = connections

    async def rewind(self, request: Rewind) -> Done:
        """Set every marker of the connected company back to `to` and have it pulled."""
        workspace = subjects.workspace(request.workspace)
        if request.to.tzinfo is None or request.to > now():
            raise Refused(
                "the instant to rewind to needs a zone and must be past", field="to", fix="name a past instant"
            )
        realm = await self._connections.account(workspace)
        if realm is None:
            raise Refused(f"{workspace} has no connected QuickBooks company", fix="connect it first")
        for attempt in range(1, TRIES + 1):
            try:
                await self._set_back(Markers(self._bus, workspace, realm), request.to)
                break
            except Moved:
                if attempt == TRIES:
                    raise
        log.info("puller.rewound", workspace=workspace, to=request.to.isoformat())
        tick = Tick(workspace=workspace, reason="rewind", asked_at=now())
        await self._bus.publish(subjects.pull(self._bus.region, workspace), tick, stream=self._bus.topology.pulls)
        return Done()

    async def _set_back(self, markers: Markers, to: datetime) -> None:
        await markers.load()
        windows = (*(entity.name for entity in ENTITIES), attachments.ENTITY, reference.COMPANY, reference.TAX_CODES)
        for name in windows:
            if name in markers:
                await markers.move(name, rewound(markers[name], to))
        if (reached := markers[DELETIONS].until) is not None:
            await markers.move(DELETIONS, Marker(until=min(reached, to), republish=True))
