"""What the streams still hold of one subject or of one bill, from the first to the last."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import nats.js.errors
from nats.js.api import RawStreamMsg

from common import subjects
from common.bus import Bus
from common.timeline import Seen


async def messages(bus: Bus, stream: str, subject: str, *, since: int = 1) -> AsyncIterator[RawStreamMsg]:
    """Every message of a subject or pattern from sequence `since` on, one call each: for the few people look at."""
    sequence = since
    while True:
        try:
            found = await bus.js.get_msg(stream, sequence, subject=subject, next=True)
        except nats.js.errors.NotFoundError:
            return
        yield found
        sequence = (found.seq or sequence) + 1


async def seen(bus: Bus, workspace: str, key: str) -> list[Seen]:
    """Every message about one bill (a record key), stream by stream."""
    region, at = bus.region, bus.topology
    places = [
        (at.records, subjects.record(region, workspace, "bill", key)),
        (at.decisions, subjects.decision(region, workspace, key)),
        (at.reviews, subjects.review(region, "*", workspace, key)),
        (at.postings, subjects.posting(region, workspace, key)),
        (at.failures, f"{region}.failure.{workspace}.*.{key}"),
    ]
    found = []
    for stream, name in places:
        async for one in messages(bus, stream, name):
            at_ = one.time or datetime.fromtimestamp(0, UTC)
            found.append(Seen(one.subject or name, int(one.seq or 0), at_, one.data or b""))
    return found
