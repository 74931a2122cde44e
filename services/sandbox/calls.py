"""A tally of calls, so that call budgets can be checked."""

import re
import time
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

KEPT = 500_000  # calls; older ones are forgotten
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
NUMBER = re.compile(r"(?<=/)\d+(?=/|$)")


def route_of(path: str) -> str:
    """The path with its ids replaced: `/v3/company/{id}/bill/{id}`."""
    return NUMBER.sub("{id}", UUID.sub("{id}", path))


@dataclass(frozen=True, slots=True)
class Call:
    at: float
    side: str
    method: str
    route: str
    status: int


class Calls:
    """Every call answered in this run; status 0 is a connection dropped on purpose."""

    def __init__(self) -> None:
        self._calls: deque[Call] = deque(maxlen=KEPT)

    def note(self, side: str, method: str, path: str, status: int) -> None:
        self._calls.append(Call(time.time(), side, method, route_of(path), status))

    def since(self, moment: float) -> list[dict[str, Any]]:
        """Counts per side, method, route and status from `moment` (epoch seconds) on."""
        counted = Counter(
            (call.side, call.method, call.route, call.status) for call in self._calls if call.at >= moment
        )
        return [
            {"side": side, "method": method, "route": route, "status": status, "count": count}
            for (side, method, route, status), count in sorted(counted.items())
        ]

    def busiest(self, side: str, seconds: float) -> int:
        """The most calls of one side within any window of so many seconds."""
        window: deque[float] = deque()
        most = 0
        for call in self._calls:
            if call.side == side:
                window.append(call.at)
                while window[0] <= call.at - seconds:
                    window.popleft()
                most = max(most, len(window))
        return most
