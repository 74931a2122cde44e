"""Wiring of the scorer: durable consumers shared by all instances, no credentials, no HTTP."""

from common.bus import Bus
from common.consume import batches
from common.messages import Check, Record, ReviewClosed
from common.service import main
from common.settings import Settings
from services.scorer.checking import Checks
from services.scorer.learning import Learning
from services.scorer.scoring import Scoring

BATCH = 200


def build(bus: Bus) -> None:
    """Register what the scorer does on `bus`: deciding, learning, checking itself."""
    batches(bus, bus.topology.scorer, Record, Scoring(bus).handle, size=BATCH)
    batches(bus, bus.topology.lessons, ReviewClosed, Learning(bus).handle, size=BATCH)
    checks = Checks(bus)
    batches(bus, bus.topology.checker, Check, checks.handle, size=1)
    bus.add_task(checks.keep_scheduled, checks.stop)


async def serve(settings: Settings) -> None:
    """Decide on bills until told to stop."""
    bus = Bus(settings, "scorer")
    build(bus)
    await bus.run()


def run() -> None:
    """Entry point of `weir scorer`."""
    main("scorer", serve)
