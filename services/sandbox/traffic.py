"""How hard one QuickBooks company is called, and how its tokens are used, so that a client's manners can be checked."""

import re
import time
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import Literal

DATA = re.compile(r"/v3/company/([^/]+)/")
WINDOW = 60.0  # seconds kept of each company's calls

Event = Literal["throttled", "refreshes", "stale_refreshes", "revocations"]


@dataclass(slots=True)
class _Tally:
    calls: deque[float] = field(default_factory=deque)
    peak_second: int = 0
    peak_minute: int = 0
    events: Counter[Event] = field(default_factory=Counter)


class Traffic:
    """Tallies per realm, for one run; real time, which the sandbox's clock does not move."""

    def __init__(self) -> None:
        self._tallies: defaultdict[str, _Tally] = defaultdict(_Tally)

    def arrive(self, path: str) -> None:
        """Counts a data call as it comes in, whatever it will be answered; other paths do not count."""
        if match := DATA.match(path):
            tally, now = self._tallies[match[1]], time.monotonic()
            tally.calls.append(now)
            while tally.calls[0] <= now - WINDOW:
                tally.calls.popleft()
            tally.peak_minute = max(tally.peak_minute, len(tally.calls))
            last_second = 0
            for moment in reversed(tally.calls):
                if moment <= now - 1.0:
                    break
                last_second += 1
            tally.peak_second = max(tally.peak_second, last_second)

    def answered(self, path: str, status: int) -> None:
        if status == 429 and (match := DATA.match(path)):
            self.note(match[1], "throttled")

    def note(self, realm: str, event: Event) -> None:
        self._tallies[realm].events[event] += 1

    def told(self, realm: str) -> dict[str, int]:
        tally = self._tallies.get(realm, _Tally())
        counted: tuple[Event, ...] = ("throttled", "refreshes", "stale_refreshes", "revocations")
        return {
            "peak_second": tally.peak_second,
            "peak_minute": tally.peak_minute,
            **{event: tally.events[event] for event in counted},
        }

    def forget(self, realm: str) -> None:
        self._tallies.pop(realm, None)
