"""The broker's clock: one for all instances, whatever the clocks of their hosts say.

Times that one instance writes and another compares are told by it. It is the clock of whichever server leads the
stream that is asked; those of a cluster have to agree within a minute.
"""

import time
from datetime import datetime, timedelta

import msgspec
import nats.errors

from common import codec
from common.bus import PUBLISH_TIMEOUT, Bus
from common.errors import RetryLater

_KEPT = 60.0
"""Seconds for which a reading is carried on by this host's own count of seconds, which no adjustment moves."""


class _Told(msgspec.Struct):
    ts: datetime


class Clock:
    """The time as the broker has it."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._read: tuple[datetime, float] | None = None

    async def now(self) -> datetime:
        """The present instant as the broker tells it; RetryLater if it does not."""
        subject = f"$JS.API.STREAM.INFO.{self._bus.topology.entries}"
        try:
            answer = await self._bus.client.request(subject, b"", timeout=PUBLISH_TIMEOUT)
            told = codec.decode(answer.data, _Told).ts
        except (nats.errors.Error, msgspec.MsgspecError) as error:
            raise RetryLater("the broker does not tell the time") from error
        self._read = told, time.monotonic()  # the answer took its time: rather early than late
        return told

    async def about(self) -> datetime:
        """The present instant, from a reading of the last minute."""
        if self._read is None or time.monotonic() - self._read[1] > _KEPT:
            await self.now()
        if self._read is None:
            raise LookupError("the clock was not read")
        told, answered = self._read
        return told + timedelta(seconds=time.monotonic() - answered)
