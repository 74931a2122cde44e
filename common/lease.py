"""Leases: one worker at a time on one thing, across processes and hosts.

A lease is a key that the broker forgets after its time to live, by the broker's clock, so clocks of hosts do
not matter. It is about progress only: whoever must not act twice proves it by compare-and-set on the thing
itself (an old holder may wake up after its lease went to another).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import nats.errors
import structlog

from common.buckets import Bucket
from common.bus import Bus
from common.errors import Conflict, RetryLater

log = structlog.get_logger()

TTL = 15.0
"""Seconds until a dead holder's lease is free."""


class Taken(RetryLater):
    """Somebody else holds the lease."""


@asynccontextmanager
async def lease(bus: Bus, key: str, *, wait: float = 0.0) -> AsyncIterator[None]:
    """Hold `key` during the block; Taken if another holds it for longer than `wait` seconds.

    The block is cancelled, and Taken raised, if the lease is lost on the way (the broker was away for
    longer than the lease lives).
    """
    bucket = Bucket(bus, "leases", str)
    revision = await _acquire(bucket, key, bus.instance, wait)
    lost = False
    failure: Exception | None = None

    try:
        async with anyio.create_task_group() as group:

            async def renew() -> None:
                nonlocal revision, lost
                while True:
                    await anyio.sleep(TTL / 3)
                    try:
                        revision = await bucket.replace(key, bus.instance, revision, ttl=TTL)
                    except Conflict:
                        lost = True
                        log.warning("lease.lost", key=key)
                        group.cancel_scope.cancel()
                        return
                    except (RetryLater, nats.errors.Error):
                        continue  # the broker is away; the next beat, or the loss, will tell

            group.start_soon(renew)
            try:
                yield
            except Exception as error:  # noqa: BLE001 (raised below, outside the group, so as not to be wrapped by it)
                failure = error
            group.cancel_scope.cancel()
    finally:
        if not lost:
            with anyio.CancelScope(shield=True):
                await _release(bucket, key, revision)
    if failure is not None:
        raise failure
    if lost:
        raise Taken(f"lease {key} was lost")


async def held(bus: Bus, key: str) -> bool:
    """Whether anybody holds `key` now."""
    return await Bucket(bus, "leases", str).get(key) is not None


async def _acquire(bucket: Bucket[str], key: str, holder: str, wait: float) -> int:
    deadline = anyio.current_time() + wait
    while True:
        try:
            return await bucket.create(key, holder, ttl=TTL)
        except Conflict:
            if anyio.current_time() >= deadline:
                raise Taken(f"{key} is in other hands", delay=1.0) from None
            await anyio.sleep(0.1)


async def _release(bucket: Bucket[str], key: str, revision: int) -> None:
    try:
        await bucket.delete(key, revision)
    except Conflict:
        return  # renewed or taken in between: it ends by itself
