"""What a stream still holds of one subject, from the first to the last."""

from collections.abc import AsyncIterator

import nats.js.errors
from nats.js.api import RawStreamMsg

from common.bus import Bus


async def messages(bus: Bus, stream: str, subject: str) -> AsyncIterator[RawStreamMsg]:
    """Every message of a subject or pattern, one call each: for the few that people look at."""
    sequence = 1
    while True:
        try:
            found = await bus.js.get_msg(stream, sequence, subject=subject, next=True)
        except nats.js.errors.NotFoundError:
            return
        yield found
        sequence = (found.seq or sequence) + 1
