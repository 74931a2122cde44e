"""Scripted faults: what a test wants to go wrong, how often, and for which calls."""

import re
from typing import Literal

import msgspec

Side = Literal["quickbooks", "qonto"]
Kind = Literal["status", "delay", "drop_before", "drop_after", "truncate", "html502", "storm429"]


class Match(msgspec.Struct, forbid_unknown_fields=True):
    """Which calls a fault meets; a field left out meets all. `path_regex` is searched, not anchored."""

    side: Side | None = None
    method: str | None = None
    path_regex: str = ""

    def meets(self, side: str, method: str, path: str) -> bool:
        return (
            (self.side is None or self.side == side)
            and (self.method is None or self.method.upper() == method)
            and re.search(self.path_regex, path) is not None
        )


class Fault(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One scripted fault, used up after `times` calls; `skip` calls pass untouched before.

    `status` answers `status` and `body` without any effect; `delay` waits `seconds`, then goes on;
    `drop_before` closes the connection without effect, `drop_after` once the effect is stored;
    `truncate` sends half of the true answer; `html502` is a proxy's page, before the effect unless
    `after` is set; `storm429` is the provider's own throttling answer.
    """

    match: Match = msgspec.field(default_factory=Match)
    kind: Kind
    times: int = 1
    skip: int = 0
    status: int = 500
    body: str = ""
    seconds: float = 0.0
    after: bool = False


class Faults:
    """The queue of scripted faults. It is for one run: a restart clears it."""

    def __init__(self) -> None:
        self.queue: list[Fault] = []

    def script(self, fault: Fault) -> None:
        re.compile(fault.match.path_regex)
        self.queue.append(fault)

    def take(self, side: str, method: str, path: str) -> Fault | None:
        """The first fault that meets this call, counted down."""
        for fault in self.queue:
            if not fault.match.meets(side, method, path):
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            fault.times -= 1
            if fault.times <= 0:
                self.queue.remove(fault)
            return fault
        return None
