"""Keeping within QuickBooks' limits: 10 requests a second and 500 a minute for each company."""

from collections.abc import Callable
from functools import lru_cache

import httpx
from aiolimiter import AsyncLimiter

_COMPANY = "/v3/company/"


class Pace:
    """Waits for a place within both windows of one company.

    A bucket of c tokens refilled at r per second lets c + r × t requests pass in any t seconds, so capacity
    and rate together stay below what the provider counts in its window.
    """

    def __init__(self) -> None:
        self._second = AsyncLimiter(2, 2 / 7.5)  # at most 2 + 7.5 in any second
        self._minute = AsyncLimiter(48, 48 / 7.5)  # at most 48 + 450 in any minute

    async def wait(self) -> None:
        """Return when one more request fits."""
        await self._minute.acquire()
        await self._second.acquire()


def keep_pace(http: httpx.AsyncClient, api_url: str) -> None:
    """Make every request of `http` to the data API at `api_url` wait for its place, repeats included."""
    host = httpx.URL(api_url).netloc
    pace: Callable[[str], Pace] = lru_cache(maxsize=1024)(lambda _realm: Pace())

    async def wait(request: httpx.Request) -> None:
        path = request.url.path
        if request.url.netloc == host and _COMPANY in path:
            await pace(path.partition(_COMPANY)[2].partition("/")[0]).wait()

    http.event_hooks = {**http.event_hooks, "request": [*http.event_hooks["request"], wait]}
