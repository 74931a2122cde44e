"""Grants that are given up but not yet taken back by their provider: tried until it works, also after a restart."""

from collections.abc import Awaitable, Callable
from itertools import count
from random import uniform

import anyio
import structlog
from anyio.abc import TaskGroup

from common.errors import backoff

log = structlog.get_logger()

AT_ONCE = 4
"""Revocations one instance tries side by side in the background."""
FIRST_PAUSE = 2.0
LONGEST_PAUSE = 900.0
"""Seconds between tries, doubling from the first to the longest."""


class Revocations:
    """Follows every revocation that did not work at once.

    `revoke` takes back what a workspace gave up and returns when nothing is left to do; what it raises means
    another try. `leftovers` tells which workspaces an earlier process left behind.
    """

    def __init__(
        self, provider: str, revoke: Callable[[str], Awaitable[None]], leftovers: Callable[[], Awaitable[list[str]]]
    ) -> None:
        self._provider = provider
        self._revoke = revoke
        self._leftovers = leftovers
        self._followed: set[str] = set()
        self._slots = anyio.Semaphore(AT_ONCE)
        self._group: TaskGroup | None = None
        self._stopped = anyio.Event()

    async def run(self) -> None:
        """Follow what was left and what comes, until `stop`."""
        async with anyio.create_task_group() as group:
            self._group = group
            group.start_soon(self._resume)
            await self._stopped.wait()
            group.cancel_scope.cancel()

    async def stop(self) -> None:
        """End `run`; what is open is found again at the next start."""
        self._stopped.set()

    async def attempt(self, workspace: str, *, number: int = 1) -> bool:
        """Try once; whether nothing is left to do."""
        try:
            await self._revoke(workspace)
        except Exception as error:  # noqa: BLE001 (whatever it is, the next try may pass)
            log.warning(
                "connection.revocation_failed",
                workspace=workspace,
                provider=self._provider,
                attempt=number,
                error=f"{type(error).__name__}: {error}",
            )
            return False
        return True

    def follow(self, workspace: str, *, tries: int = 1) -> None:
        """Try in the background until it works, after `tries` that did not."""
        if self._group is not None and workspace not in self._followed:
            self._followed.add(workspace)
            self._group.start_soon(self._until_revoked, workspace, tries)

    async def _resume(self) -> None:
        for number in count(1):
            try:
                for workspace in await self._leftovers():
                    self.follow(workspace, tries=0)
                return
            except Exception as error:  # noqa: BLE001 (the broker may be away; they are looked for again)
                log.warning("connection.leftovers_unknown", provider=self._provider, error=error)
                await anyio.sleep(backoff(number, first=FIRST_PAUSE, cap=LONGEST_PAUSE))

    async def _until_revoked(self, workspace: str, tries: int) -> None:
        try:
            while True:
                if tries:
                    await anyio.sleep(backoff(tries, first=FIRST_PAUSE, cap=LONGEST_PAUSE) * uniform(0.8, 1.2))
                tries += 1
                async with self._slots:
                    if await self.attempt(workspace, number=tries):
                        return
        finally:
            self._followed.discard(workspace)
