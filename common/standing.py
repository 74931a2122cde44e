"""How a connection or a pull stands, in the words that the terminal and the console both show."""

from datetime import datetime
from typing import Literal

import msgspec

from common.messages import NAMES, Provider, PullState, said

State = Literal[
    "connected",
    "paused",
    "needs-reconnect",
    "disconnected",
    "not connected",
    "up to date",
    "running",
    "waits",
    "failing",
    "stopped",
]


class Standing(msgspec.Struct, frozen=True):
    """A state, what is to be known of it, and the next step if a person has to take one."""

    state: State
    detail: str = ""
    fix: str | None = None

    @property
    def good(self) -> bool:
        """Whether all is as it should be."""
        return self.state in {"connected", "up to date", "running"}

    @property
    def trouble(self) -> bool:
        """Whether it goes no further without a person, or not for now."""
        return self.state in {"paused", "needs-reconnect", "waits", "failing", "stopped"}


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """Why a provider does not serve a connection for now, and what mends it."""

    why: str
    fix: str


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """The readable part of a connection; the sealed tokens beside it are never decoded here.

    `name` is what the provider calls the account.
    """

    workspace: str
    account: str
    state: Literal["connected", "needs-reconnect", "disconnected"]
    since: datetime
    name: str | None = None
    why: str | None = None
    fix: str | None = None
    paused: Pause | None = None
    refresh_expires_at: datetime | None = None
    hard_expires_at: datetime | None = None

    @property
    def label(self) -> str:
        """The account as people know it, and its id."""
        return f"{self.name} ({self.account})" if self.name else self.account

    @property
    def ends_at(self) -> datetime | None:
        """When the grant ends unless it is used before, or for good; None if the provider does not say."""
        ends = [end for end in (self.refresh_expires_at, self.hard_expires_at) if end is not None]
        return min(ends, default=None)


def of_connection(provider: Provider, connection: Connection | None) -> Standing:
    """How a connection stands; None was never made."""
    connect = f"connect {NAMES[provider]} in the console"
    if connection is None:
        return Standing("not connected", fix=connect)
    since = f"{connection.label}, since {said(connection.since)}"
    why = f": {connection.why}" if connection.why else ""
    match connection:
        case Connection(state="connected", paused=Pause(why=reason, fix=fix)):
            return Standing("paused", f"{connection.label}: {reason}", fix)
        case Connection(state="connected", ends_at=ends_at):
            return Standing("connected", since + (f", good until {ends_at:%Y-%m-%d}" if ends_at else ""))
        case Connection(state="needs-reconnect", fix=fix):
            return Standing("needs-reconnect", since + why, fix or f"re{connect}")
        case _:
            return Standing("disconnected", since + why, connect)


def of_pull(state: PullState) -> Standing:
    """How pulling stands while QuickBooks is connected."""
    if state.failing is not None:
        return Standing("failing" if state.waits_for is None else "waits", state.failing, state.fix)
    if state.finished_at is None or state.finished_at < state.began_at:
        return Standing("running", progress(state))
    due = f", next {state.next_at:%H:%M} UTC" if state.next_at else ""
    return Standing("up to date", f"{outcome(state)}, {said(state.finished_at)}{due}")


def progress(state: PullState) -> str:
    """Where an unfinished pull stands."""
    if state.entity is None or state.read_until is None:
        return "reading what changed"
    first = "first pull, " if state.first else ""
    return f"{first}{state.entity} read up to {said(state.read_until)}, {counted(state.counts)} so far"


def outcome(state: PullState) -> str:
    """What a pull published."""
    return f"{counted(state.counts)} published" if state.counts else "nothing new"


def left_out(state: PullState) -> str | None:
    """What the last whole pull had to leave out, and how that is mended; None if nothing."""
    if not state.left_out:
        return None
    step = "open it in QuickBooks and save it again, or attach the file again"
    return f"left out: {', '.join(state.left_out)} → {step}"


def counted(counts: dict[str, int]) -> str:
    """Records by kind."""
    kinds = (f"{count:,} {kind}{'' if count == 1 else 's'}" for kind, count in sorted(counts.items()))
    return ", ".join(kinds) or "nothing"
