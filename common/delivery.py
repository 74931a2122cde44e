"""One delivered message, and how it is settled: done, delivered again later, or given up with a reason."""

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import structlog
from nats.aio.msg import Msg

from common import metrics, subjects, tracing
from common.bus import Bus
from common.errors import AskPerson, Fatal, Fate, NotConnected, Verdict, WeirError, verdict
from common.failures import Failures
from common.inbox import published_at
from common.messages import Notice, now
from common.topology import Consumer

log = structlog.get_logger()
T = TypeVar("T")

Ask = Callable[["Delivery[Any]", AskPerson], Awaitable[None]]


@dataclass(slots=True, eq=False)
class Delivery(Generic[T]):
    """One delivered message: what it says, where it stands in its stream, and how often it came.

    What is still to be tried again at its `told_at`-th delivery stands among the failures from then on. `asked` says
    that a person was asked about it.
    """

    message: T
    subject: str
    sequence: int
    attempt: int
    consumer: Consumer
    bus: Bus
    raw: Msg
    ask: Ask | None = None
    told_at: int | None = None
    settled: bool = field(default=False)
    asked: bool = field(default=False)

    @property
    def trace(self) -> str | None:
        """The `traceparent` that the message was published with."""
        return tracing.of(self.raw.headers)

    @property
    def age(self) -> float | None:
        """Seconds since the stream took it; None where a person has it tried again."""
        at = published_at(self.raw)
        return None if at is None else max(0.0, time.time() - at)

    @property
    def about(self) -> dict[str, str]:
        """What log lines say of it: workspace, record and trace, as far as there are any."""
        *_, last = tokens = self.subject.split(".")
        record = last if len(tokens) > len(("region", "pull", "workspace")) else None
        named = {
            "workspace": subjects.workspace_of(self.subject), "record": record, "trace": tracing.ident(self.trace)
        }  # fmt: skip
        return {name: value for name, value in named.items() if value is not None}

    async def done(self) -> None:
        """Acknowledge: the effect is durable."""
        if not self.settled:
            self._settled("asked" if self.asked else "done")
            await self.raw.ack()

    async def later(self, seconds: float) -> None:
        """Have it delivered again after about so many seconds; who calls says why."""
        if not self.settled:
            self._settled("put-off")
            await self.raw.nak(delay=spread(seconds))

    async def failed(self, error: Exception) -> None:
        """Settle by the table: retry later, ask a person, park with a reason, or stop the process."""
        if self.settled:
            return
        result = verdict(error, self.attempt)
        expected = isinstance(error, WeirError)
        event = log.bind(**self.about, subject=self.subject, sequence=self.sequence, attempt=self.attempt)
        match result.fate:
            case Fate.RETRY:
                report = event.info if expected else event.warning
                report("message.retried", error=error, delay=result.delay, exc_info=not expected)
                if self.attempt == self.told_at and not isinstance(error, NotConnected):  # that is told by itself
                    await self._tell(result)
                await self.later(result.delay)
            case Fate.ASK if self.ask is not None and isinstance(error, AskPerson):
                await self.ask(self, error)
                self.asked = True
                await self.done()
            case Fate.ASK | Fate.PARK:
                event.warning("message.parked", error=error, exc_info=not expected)
                await self._park(result)
            case Fate.STOP:
                await self.later(1.0)
                self.bus.stop(error if isinstance(error, WeirError) else Fatal(str(error)))

    async def _park(self, result: Verdict) -> None:
        await self._tell(result)
        self._settled("parked")
        await self.raw.term()

    def _settled(self, outcome: str) -> None:
        self.settled = True
        metrics.MESSAGES.labels(self.consumer.name, outcome).inc()

    async def _tell(self, result: Verdict) -> None:
        await Failures(self.bus).record(self.consumer, self.subject, self.sequence, result)
        workspace = subjects.workspace_of(self.subject)
        if workspace is not None:
            await self.bus.notify(
                Notice(
                    workspace=workspace,
                    kind="failed",
                    at=now(),
                    why=result.why,
                    fix=result.fix,
                    subject=self.subject,
                    stream=self.consumer.stream,
                    sequence=self.sequence,
                ),
                key=f"failed-{self.consumer.stream}-{self.sequence}",
            )


class Redelivery(Delivery[T]):
    """A message that was given up, handled once more because a person asked; `result` says why it still fails."""

    result: Verdict | None = None

    async def done(self) -> None:
        """Its effect is durable."""
        if not self.settled:
            self._settled("done")

    async def later(self, seconds: float) -> None:
        """It stays among the failures: nothing brings it again by itself."""
        if not self.settled:
            self.settled = True
            self.result = Verdict(Fate.RETRY, "it cannot be done now; try again in a while", seconds)

    async def failed(self, error: Exception) -> None:
        """Settle by the table, except that it stays among the failures whatever its fate."""
        if self.settled:
            return
        result = verdict(error, self.attempt)
        log.info("message.retry_failed", subject=self.subject, sequence=self.sequence, error=error)
        if result.fate is Fate.ASK and self.ask is not None and isinstance(error, AskPerson):
            await self.ask(self, error)
            await self.done()
            return
        self.settled = True
        self.result = result
        if result.fate is Fate.STOP:
            self.bus.stop(error if isinstance(error, WeirError) else Fatal(str(error)))


def spread(seconds: float) -> float:
    """About so many seconds, so that what failed together does not come again together."""
    return seconds * random.uniform(0.9, 1.1)
