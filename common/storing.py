"""Whether the broker still stores: a stream that takes nothing, though its broker is there, has lost its disk.

A nats-server whose disk is full or was made read-only answers everything except what it should store, and says so
to its own log alone. A stream that met that once takes nothing more until its server was started anew, even when
there is room again.
"""

import nats.errors
import nats.js.errors
import structlog
from nats.js import JetStreamContext

from common.errors import RetryLater

log = structlog.get_logger()

FIX = "give the broker's disk room, or make it writable again, then restart that broker; nothing is lost"


class Storing:
    """What one process found about the streams it publishes to."""

    def __init__(self) -> None:
        self._mute: set[str] = set()

    @property
    def mute(self) -> frozenset[str]:
        """The streams that store nothing; whoever needs one of them is not ready."""
        return frozenset(self._mute)

    async def see(self) -> None:
        """RetryLater if a stream is known to store nothing."""
        if self._mute:
            raise RetryLater(f"the broker stores nothing in {', '.join(sorted(self._mute))}", fix=FIX)

    def took(self, stream: str | None) -> None:
        """A stream took a message."""
        if stream in self._mute:
            self._mute.discard(str(stream))
            log.info("bus.stores_again", stream=stream)

    async def why_not(self, js: JetStreamContext, stream: str) -> RetryLater:
        """Why a stream did not answer to what it was to store, as often as that was tried; said once in the log."""
        try:
            await js.stream_info(stream)
        except nats.errors.Error:  # nobody leads it
            return RetryLater(
                f"{stream} does not answer", fix="see that the broker runs, of a cluster more than half of it"
            )
        if stream not in self._mute:
            self._mute.add(stream)
            log.error("bus.store_full", stream=stream, fix=FIX)
        return RetryLater(f"the broker stores nothing in {stream}: its disk is full or cannot be written", fix=FIX)
