"""Wiring of the scorer: durable consumers shared by all instances, no credentials, no HTTP."""

import gc

from common.bus import Bus
from common.consume import batches
from common.messages import Check, ReviewClosed
from common.service import main
from common.settings import Settings
from services.scorer.calls import Calls
from services.scorer.checking import Checks
from services.scorer.learning import Learning
from services.scorer.scoring import Head, Scoring

BATCH = 500
"""Bills taken at a time where a backlog is deep; fewer when there are fewer."""
AHEAD = 2
"""Batches begun while an earlier one is on its way: one that is judged, one that is fetched."""
COLLECTED_EVERY = 50_000, 20, 20
"""How many more objects than before the collector of cycles waits for, and how rarely it looks at older ones.

Judging makes many objects and no cycles. At Python's 700 the collector takes a tenth of the time, for nothing.
"""


def build(bus: Bus) -> None:
    """Register what the scorer does on `bus`: deciding, learning, checking itself."""
    scoring = Scoring(bus)
    bus.add_task(scoring.views.run, scoring.views.stop)
    batches(bus, bus.topology.scorer, Head, scoring.handle, size=BATCH, collect=0.0, ahead=AHEAD)
    Calls(bus, scoring).serve()
    batches(bus, bus.topology.lessons, ReviewClosed, Learning(bus).handle, size=BATCH)
    checks = Checks(bus)
    batches(bus, bus.topology.checker, Check, checks.handle, size=1)
    bus.add_task(checks.keep_scheduled, checks.stop)


async def serve(settings: Settings) -> None:
    """Decide on bills until told to stop."""
    gc.set_threshold(*COLLECTED_EVERY)
    bus = Bus(settings, "scorer")
    build(bus)
    await bus.run()


def run() -> None:
    """Entry point of `weir scorer`."""
    main("scorer", serve)
