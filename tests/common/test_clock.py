"""The broker's time, whatever the clock of this host says."""

from datetime import UTC, datetime, timedelta

import anyio
import nats.errors
import pytest

from common.bus import Bus
from common.clock import Clock
from common.errors import RetryLater


async def test_the_time_is_the_broker_s_and_goes_on_between_two_readings(bus: Bus) -> None:
    clock = Clock(bus)
    first = await clock.about()
    assert abs(first - datetime.now(UTC)) < timedelta(seconds=5)  # the broker of the tests runs on this host
    asked = bus.client.stats["out_msgs"]
    await anyio.sleep(0.05)
    assert await clock.about() >= first + timedelta(seconds=0.05)
    assert bus.client.stats["out_msgs"] == asked
    assert await clock.now() >= first
    assert bus.client.stats["out_msgs"] == asked + 1


async def test_a_broker_that_does_not_tell_the_time_is_asked_again_later(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(*_given: object, **_named: object) -> None:
        raise nats.errors.TimeoutError

    monkeypatch.setattr(bus.client, "request", silent)
    with pytest.raises(RetryLater):
        await Clock(bus).about()
