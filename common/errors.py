"""What can go wrong, and what follows from it.

    WeirError
    ├── UserError      bad input or settings: one line for the person, exit code 2
    ├── RetryLater     the world is not ready: try the same thing again after `delay`
    │   ├── NotConnected   a person has to connect the workspace first; goes on by itself then
    │   └── Paused         a person has to mend the provider's account; goes on by itself then
    ├── Conflict       somebody else wrote first: read again and decide anew
    ├── AskPerson      only a person can decide: a review is raised
    ├── Refused        this message will never work: parked as a failure with field and fix
    └── Fatal          this process must not go on: it stops and its supervisor starts it anew

`verdict` is the one table that turns any error, ours or a library's, into what happens to the message that
met it.
"""

import enum
from dataclasses import dataclass

import msgspec
import nats.errors
import nats.js.errors

from common.messages import NAMES, Provider

ATTEMPTS = 8
"""Deliveries after which an error nobody foresaw is parked instead of retried."""


class WeirError(Exception):
    """Base of Weir's errors; the message is fit for a person."""


class UserError(WeirError):
    """Bad input or settings; names the field and the fix."""


class RetryLater(WeirError):  # noqa: N818  (says what to do, like anyio's WouldBlock)
    """Cannot be done now; `delay` is in seconds, None lets the number of attempts decide.

    `fix` is what a person can do if it lasts.
    """

    def __init__(self, why: str, delay: float | None = None, *, fix: str | None = None) -> None:
        super().__init__(why)
        self.delay = delay
        self.fix = fix


class NotConnected(RetryLater):
    """The workspace has no usable grant at `provider`; what waits goes on after a person connects it.

    `why` is how the connection stands, without the names in front of it in the message.
    """

    def __init__(self, provider: Provider, workspace: str, why: str, *, fix: str | None = None) -> None:
        super().__init__(f"{workspace} is not connected to {NAMES[provider]}: {why}", delay=60.0)
        self.provider = provider
        self.why = why
        self.fix: str = fix or f"connect {NAMES[provider]} in the console; it goes on by itself then"


class Paused(RetryLater):
    """`provider` does not serve this workspace for now, and its owner knows; later pulls go on by themselves."""

    def __init__(self, provider: Provider, workspace: str, why: str, *, fix: str) -> None:
        super().__init__(f"{NAMES[provider]} does not serve {workspace} for now: {why}")
        self.provider = provider
        self.why = why
        self.fix: str = fix


class Conflict(WeirError):  # noqa: N818
    """Somebody else wrote first; read again and decide anew."""


class AskPerson(WeirError):  # noqa: N818
    """A person has to decide; `gate` names what held it."""

    def __init__(self, gate: str, why: str) -> None:
        super().__init__(why)
        self.gate = gate


class Refused(WeirError):  # noqa: N818
    """Will never work as it stands: `field` is at fault and `fix` is the next step."""

    def __init__(self, why: str, *, field: str | None = None, fix: str | None = None) -> None:
        super().__init__(why)
        self.field = field
        self.fix = fix


class Fatal(WeirError):  # noqa: N818
    """This process must stop."""


class Fate(enum.Enum):
    """What happens to a message whose handling failed."""

    RETRY = "retry"
    ASK = "ask"
    PARK = "park"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A fate, the seconds to wait where it is a retry, and the reason in words."""

    fate: Fate
    why: str
    delay: float = 0.0
    field: str | None = None
    fix: str | None = None


_TRANSIENT: tuple[type[BaseException], ...] = (
    Conflict,
    TimeoutError,
    ConnectionError,
    nats.errors.Error,
    nats.js.errors.APIError,
)


def verdict(error: BaseException, attempt: int) -> Verdict:
    """The fate of a message that met `error` on its `attempt`-th delivery (1 = first)."""
    if isinstance(error, BaseExceptionGroup):  # a task group wraps what its tasks raised: the worst of it counts
        return max((verdict(one, attempt) for one in error.exceptions), key=lambda one: _WORST.index(one.fate))
    match error:
        case RetryLater():
            delay = backoff(attempt) if error.delay is None else error.delay
            return Verdict(Fate.RETRY, str(error), delay, fix=error.fix)
        case AskPerson():
            return Verdict(Fate.ASK, str(error))
        case Refused():
            return Verdict(Fate.PARK, str(error), field=error.field, fix=error.fix)
        case Fatal():
            return Verdict(Fate.STOP, str(error))
        case msgspec.MsgspecError():
            return Verdict(Fate.PARK, f"the message cannot be read: {error}")
        case nats.errors.MaxPayloadError():
            return Verdict(Fate.PARK, "a message would be larger than the broker takes", fix="raise its max_payload")
        case _ if isinstance(error, _TRANSIENT):
            return Verdict(Fate.RETRY, _describe(error), backoff(attempt))
        case _ if attempt < ATTEMPTS:
            return Verdict(Fate.RETRY, _describe(error), backoff(attempt))
        case _:
            return Verdict(Fate.PARK, f"failed {attempt} times: {_describe(error)}")


def cause(error: BaseException) -> BaseException:
    """What is at the bottom of the groups that task groups wrap around an error: the first of it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


_WORST = (Fate.RETRY, Fate.ASK, Fate.PARK, Fate.STOP)


def backoff(attempt: int, *, first: float = 1.0, cap: float = 300.0) -> float:
    """Seconds before the next attempt: doubling from `first` up to `cap`."""
    return min(cap, first * 2.0 ** max(0, min(attempt, 32) - 1))


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
