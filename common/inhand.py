"""Messages in hand: what was begun and never ended, so that a message that ends its process is found out.

The broker counts deliveries and does not say how they ended: what waits for its retry comes as often as what kills
whoever handles it. So from its SUSPECT-th delivery on a message is noted before it is handled, and the note is
cleared afterwards. A note that stays names the suspects. Each of them is handled alone from then on, and one that
stayed alone in a note ALONE times is given up.
"""

import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from common.buckets import Bucket
from common.bus import Bus
from common.topology import Consumer

SUSPECT = 3
ALONE = 3
KEPT = 6 * 3600.0
"""Seconds after which a note that stayed is forgotten."""


class InHand:
    """The notes of one consumer, by all instances."""

    def __init__(self, bus: Bus, consumer: Consumer) -> None:
        self._bus = bus
        self._name = consumer.name
        self._bucket = Bucket(bus, "leases", list[int])

    async def left(self, sequences: Sequence[int]) -> dict[int, int]:
        """Those of these messages that stayed in a note, and how often alone."""
        keys = f"$KV.{self._bucket.name}."
        found: Counter[int] = Counter()
        for name in await self._bus.subjects(f"KV_{self._bucket.name}", f"{keys}inhand.{self._name}.*"):
            kept = await self._bucket.get(name.removeprefix(keys))
            noted = kept.value if kept is not None else []
            for sequence in noted:
                found[sequence] += len(noted) == 1
        return {sequence: found[sequence] for sequence in sequences if sequence in found}

    @asynccontextmanager
    async def noted(self, sequences: Sequence[int]) -> AsyncIterator[None]:
        """Note these messages while the block lasts; a block that does not come to its end leaves the note."""
        key = f"inhand.{self._name}.{uuid.uuid4().hex}"  # several readers of one process share its name
        revision = await self._bucket.create(key, list(sequences), ttl=KEPT)
        yield
        await self._bucket.replace(key, [], revision, ttl=1.0)
