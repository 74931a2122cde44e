"""Wiring of the scorer: one durable consumer shared by all instances, no credentials, no HTTP."""

from common.bus import Bus
from common.consume import batches
from common.messages import Record
from common.service import main
from common.settings import Settings
from services.scorer.scoring import Scoring

BATCH = 200


def build(bus: Bus) -> None:
    """Register the scorer's handler on `bus`."""
    batches(bus, bus.topology.scorer, Record, Scoring(bus).handle, size=BATCH)


async def serve(settings: Settings) -> None:
    """Decide on bills until told to stop."""
    bus = Bus(settings, "scorer")
    build(bus)
    await bus.run()


def run() -> None:
    """Entry point of `weir scorer`."""
    main("scorer", serve)
