"""Wiring of the scorer: one durable consumer shared by all instances, no credentials, no HTTP."""

from common.bus import Bus
from common.consume import batches
from common.service import main
from common.settings import Settings
from services.scorer.scoring import Head, Scoring

BATCH = 500
"""Bills taken at a time where a backlog is deep; fewer when there are fewer."""
AHEAD = 2
"""Batches begun while an earlier one is on its way: one that is judged, one that is fetched."""


def build(bus: Bus) -> None:
    """Register the scorer's handler on `bus`."""
    scoring = Scoring(bus)
    bus.add_task(scoring.views.run, scoring.views.stop)
    batches(bus, bus.topology.scorer, Head, scoring.handle, size=BATCH, collect=0.0, ahead=AHEAD)


async def serve(settings: Settings) -> None:
    """Decide on bills until told to stop."""
    bus = Bus(settings, "scorer")
    build(bus)
    await bus.run()


def run() -> None:
    """Entry point of `weir scorer`."""
    main("scorer", serve)
