"""Sliding windows: so many calls in so many seconds."""

import time
from collections import defaultdict, deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limit:
    calls: int
    seconds: float


QUICKBOOKS_REALM = Limit(500, 60.0)
QUICKBOOKS_APP = Limit(10, 1.0)
QUICKBOOKS_BATCH = Limit(40, 60.0)
QUICKBOOKS_BATCH_REALM = Limit(120, 60.0)
QONTO_ADDRESS = (Limit(1000, 10.0), Limit(10_000, 600.0))
QONTO_UNAUTHORIZED = Limit(200, 3600.0)


class Windows:
    """Counts what was let through, per limit and caller. Real time: the sandbox's clock does not move it."""

    def __init__(self) -> None:
        self._seen: defaultdict[tuple[Limit, Hashable], deque[float]] = defaultdict(deque)

    def wait(self, limit: Limit, caller: Hashable) -> float:
        """Seconds until one more call fits; 0 when it fits now."""
        seen, now = self._seen[limit, caller], time.monotonic()
        while seen and seen[0] <= now - limit.seconds:
            seen.popleft()
        return 0.0 if len(seen) < limit.calls else seen[0] + limit.seconds - now

    def count(self, limit: Limit, caller: Hashable) -> None:
        self._seen[limit, caller].append(time.monotonic())

    def admit(self, limits: Sequence[tuple[Limit, Hashable]]) -> float:
        """Counts the call against all limits, or against none and answers the longest wait in seconds."""
        wait = max(self.wait(limit, caller) for limit, caller in limits)
        if wait == 0.0:
            for limit, caller in limits:
                self.count(limit, caller)
        return wait
