"""Ticks, and how pulling stands."""

from datetime import datetime
from typing import Literal

import msgspec

from common.messages.base import Message, Part, Provider

TickReason = Literal["schedule", "asked", "connected", "webhook", "rewind", "backfill"]


class Tick(Message, frozen=True, kw_only=True, tag="tick.1"):
    """Pull one workspace now; several ticks of one workspace collapse into the newest."""

    workspace: str
    reason: TickReason
    asked_at: datetime


LISTED = 10
"""Texts of what was left out; more than these are only counted, in the last one."""


class PullState(Part, frozen=True, kw_only=True):
    """How pulling a workspace stands, for people; the puller only takes from it how long ago the last pull began.

    `began_at` is when the newest pull began, `finished_at` when one last read all there was. `entity` and
    `read_until` say where an unfinished pull stands; `counts` are the records it published, or the last one
    did, and `first` says that it is a first one; `failing` is why the newest pull did not get to its end, with
    `fix` as the next step. Where nothing failed but a person has to connect or mend a provider's account,
    `waits_for` names the provider. `failures` are those in a row. `left_out` are at most LISTED texts: what the
    last whole pull had to leave out.
    """

    realm: str
    began_at: datetime
    finished_at: datetime | None = None
    next_at: datetime | None = None
    entity: str | None = None
    read_until: datetime | None = None
    first: bool = False
    counts: dict[str, int] = msgspec.field(default_factory=dict)
    failing: str | None = None
    fix: str | None = None
    failures: int = 0
    waits_for: Provider | None = None
    left_out: tuple[str, ...] = ()
