"""What streams hold now: the newest messages, where they stand, and how many there are.

Answers come from direct gets and stream info, never from a consumer that somebody would have to remove.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import islice
from typing import Generic, TypeVar

import msgspec
import nats.js.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from common import codec, tracing
from common.errors import RetryLater
from common.inbox import END, NO_MESSAGES, Inbox, status

log = structlog.get_logger()
T = TypeVar("T")

ANSWER_WITHIN = 5.0
"""Seconds for the broker to answer; a disk under load takes one."""
_MOST_ASKED = 1024
"""Subjects of which the broker gives the newest message in one answer."""


class Stored(msgspec.Struct, Generic[T], frozen=True):
    """A message as a stream holds it."""

    subject: str
    sequence: int
    message: T
    trace: str | None = None
    """The W3C `traceparent` it was published with."""


class Placed(msgspec.Struct, frozen=True):
    """Where a message stands in its stream, and the key it was published with."""

    sequence: int
    key: str | None


class _Subjects(msgspec.Struct):
    subjects: dict[str, int] = {}


class _StreamInfo(msgspec.Struct):
    state: _Subjects | None = None
    total: int = 0


class _Counter(msgspec.Struct):
    val: str


class Reading(ABC):
    """Reads the streams of the broker that `client` is connected to."""

    @property
    @abstractmethod
    def client(self) -> Client:
        """The connected NATS client."""

    @property
    @abstractmethod
    def js(self) -> JetStreamContext:
        """JetStream with a time-out that a slow disk does not trip."""

    async def counted(self, stream: str, pattern: str) -> dict[str, int]:
        """Every counter whose subject matches `pattern`, with its value."""
        found = await self.latest(stream, await self.subjects(stream, pattern), _Counter)
        return {name: int(stored.message.val) for name, stored in found.items()}

    async def latest(self, stream: str, names: Iterable[str], type_: type[T]) -> dict[str, Stored[T]]:
        """The newest message of each subject that has one, by subject.

        A message that cannot be read as `type_` is left out and logged: it must not stop those beside it.
        """
        found: dict[str, Stored[T]] = {}
        async for name, sequence, answer in self._newest(stream, names):
            try:
                found[name] = Stored(name, sequence, codec.decode(answer.data, type_), tracing.of(answer.headers))
            except msgspec.MsgspecError as error:
                log.warning("bus.unreadable", stream=stream, subject=name, sequence=sequence, error=error)
        return found

    async def placed(self, stream: str, names: Iterable[str]) -> dict[str, Placed]:
        """Where the newest message of each subject that has one stands; what it says is not looked at."""
        return {
            name: Placed(sequence, (answer.headers or {}).get("Nats-Msg-Id"))
            async for name, sequence, answer in self._newest(stream, names)
        }

    async def _newest(self, stream: str, names: Iterable[str]) -> AsyncIterator[tuple[str, int, Msg]]:
        """Subject, sequence and newest message as it is, of each of these subjects that has one."""
        wanted = dict.fromkeys(names)
        while wanted:
            asked = list(islice(wanted, _MOST_ASKED))
            answers, left = await self._direct_get(stream, asked)
            for answer in answers:
                headers = answer.headers or {}
                name = headers["Nats-Subject"]
                del wanted[name]
                yield name, int(headers["Nats-Sequence"]), answer
            if not left or not answers:  # the broker cuts a large answer and says how many it left out
                for name in asked:
                    wanted.pop(name, None)

    async def _direct_get(self, stream: str, names: Sequence[str]) -> tuple[list[Msg], int]:
        """The newest messages of these subjects as they are, and how many the broker left for another time."""
        async with Inbox(self.client) as inbox:
            request = {"multi_last": names, "batch": len(names)}
            reply = await inbox.ask(f"$JS.API.DIRECT.GET.{stream}", request)
            found, word = await inbox.gather(reply, math.inf, within=ANSWER_WITHIN)
        if word is None:
            raise RetryLater(f"{stream} does not answer")
        headers = word.headers or {}
        if status(word) not in {END, NO_MESSAGES}:
            raise RetryLater(f"{stream}: {headers.get('Description', status(word))}")
        return found, int(headers.get("Nats-Num-Pending", 0))

    async def newest(self, stream: str, subject: str, type_: type[T]) -> Stored[T] | None:
        """The newest message on `subject` (wildcards allowed), or None."""
        try:
            found = await self.js.get_last_msg(stream, subject)
        except nats.js.errors.NotFoundError:
            return None
        message = codec.decode(found.data or b"", type_)
        return Stored(found.subject or subject, int(found.seq or 0), message, tracing.of(found.headers))

    async def newest_sequence(self, stream: str, subject: str) -> int:
        """The sequence of the newest message on `subject` (wildcards allowed); 0 if there is none."""
        try:
            return int((await self.js.get_last_msg(stream, subject)).seq or 0)
        except nats.js.errors.NotFoundError:
            return 0

    async def subjects(self, stream: str, pattern: str) -> list[str]:
        """Every subject of `stream` that matches `pattern` and has a message."""
        return list(await self.held(stream, pattern))

    async def held(self, stream: str, pattern: str) -> dict[str, int]:
        """How many messages each subject of `stream` that matches `pattern` holds, in pages of the broker's size."""
        found: dict[str, int] = {}
        while True:
            request = msgspec.json.encode({"subjects_filter": pattern, "offset": len(found)})
            answer = await self.client.request(f"$JS.API.STREAM.INFO.{stream}", request, timeout=ANSWER_WITHIN)
            page = codec.decode(answer.data, _StreamInfo)
            if page.state is None:
                raise RetryLater(f"{stream} does not tell its subjects")
            found |= page.state.subjects
            if not page.state.subjects or len(found) >= page.total:
                return found

    async def reachable(self, stream: str) -> None:
        """Ask the broker for the stream: an error if it is not there, or does not answer."""
        await self.js.stream_info(stream)
