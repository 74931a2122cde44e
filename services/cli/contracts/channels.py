"""What is to be known of a subject: its form, where it is kept, which durable brings it to whom."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nats.js.api import RetentionPolicy, StreamConfig

from common.retrying import SERVICES
from common.topology import Consumer, Topology

TOPOLOGY = Topology("{region}")
"""The topology of a region whose name is not told."""

PARAMETERS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "region": ("Where the data stays.", "[a-z]{2}[a-z0-9]{0,6}", ("eu",)),
    "ws": ("The workspace: one QuickBooks company and one Qonto organization.", "[a-z0-9-]{1,40}", ("sample-sas",)),
    "rk": (
        "The record key: the QuickBooks company (realm) and the id of the object in it, since ids repeat.",
        "[A-Za-z0-9_]+-[A-Za-z0-9_-]+",
        ("9341000000000000001-17",),
    ),
    "record": (
        "A record key; `-` where it is about a whole workspace, a hash where no key can be read.",
        "[A-Za-z0-9_-]{1,80}",
        ("9341000000000000001-17",),
    ),
    "kind": ("What kind of object it is.", "[a-z]+", ("bill",)),
    "id": ("The entry's id at Qonto.", "[A-Za-z0-9_-]{1,80}", ("0b9f4a52-6f0f-4c37-9f3d-6d2c9a1b7e11",)),
    "stage": ("Where work is done on a message.", "[a-z]+", tuple(SERVICES)),
    "span": ("What calls are counted in.", "[a-z-]+", ("second",)),
    "provider": ("The provider.", "quickbooks|qonto", ("quickbooks", "qonto")),
    "account": ("The provider's account, or the address calls come from.", "[A-Za-z0-9_-]{1,80}", ("all",)),
    "month": ("A calendar month (UTC).", "[0-9]{4}-[0-9]{2}", ("2026-03",)),
    "service": ("The service.", "[a-z]+", ("puller", "scorer", "poster", "console")),
}
"""Tokens of subjects: what they are, which form they have, samples."""


@dataclass(frozen=True)
class Channel:
    """A subject. `answers` are those of a call, which has no stream; a message without `says` has no body."""

    name: str
    address: str
    about: str
    says: tuple[Any, ...]
    sends: tuple[str, ...]
    receives: tuple[str, ...]
    answers: tuple[Any, ...] = ()
    stable: bool = False

    @property
    def pattern(self) -> str:
        """The subject with `*` in place of its parameters, the region's included."""
        return ".".join("*" if token.startswith("{") else token for token in self.address.split("."))

    @property
    def parameters(self) -> list[str]:
        """The names of its parameters, in order."""
        return [token[1:-1] for token in self.address.split(".") if token.startswith("{")]

    @cached_property
    def streams(self) -> tuple[StreamConfig, ...]:
        """The streams that hold it: none for calls, one for each span of a pace."""
        found = (one for one in TOPOLOGY.streams if any(meets(each, self.pattern) for each in one.subjects or ()))
        return tuple(found)

    @property
    def durables(self) -> dict[str, Consumer]:
        """The durable consumers that bring it to services, by service."""
        return {
            SERVICES[one.name]: one  # type: ignore[index]  # a durable is named after its stage
            for one in TOPOLOGY.consumers
            if meets(one.subject, self.pattern)
        }


def meets(pattern: str, subject: str) -> bool:
    """Whether some subject fits both patterns; the region's name does not matter."""
    one, other = pattern.split(".")[1:], subject.split(".")[1:]
    for left, right in zip(one, other, strict=False):
        if ">" in {left, right}:
            return True
        if "*" not in {left, right} and left != right:
            return False
    return len(one) == len(other)


def kept(stream: StreamConfig) -> str:
    """How long a stream keeps a message, in words."""
    if stream.retention is RetentionPolicy.WORK_QUEUE:
        return "until it is done; of each subject the newest only"
    if stream.allow_msg_counter:
        return "one counter per subject"
    if stream.max_age:
        return f"for {stream.max_age:g} s, at most {stream.max_msgs_per_subject} per subject"
    if stream.max_msgs_per_subject == 1:
        return "the newest of each subject"
    return "for good, in order"
