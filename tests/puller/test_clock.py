"""Whose clock counts: QuickBooks' own decides what is asked and when, ours makes no difference."""

import sys
from datetime import timedelta

import pytest

from common.messages import now
from tests.puller.stand import World, puller

pytestmark = pytest.mark.usefixtures("swift")

DAY = 86_400


@pytest.mark.parametrize("days", [31, -31])
async def test_a_wrong_calendar_costs_no_calls_and_keeps_the_day(
    world: World, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    async with puller(world.settings):
        await world.first_pull()
        for name, module in list(sys.modules.items()):
            if name.startswith("services.puller.") and hasattr(module, "now"):
                monkeypatch.setattr(module, "now", lambda: now() + timedelta(days=days))
        for _ in range(2):
            world.sandbox.count()
            await world.pull()
            assert world.sandbox.calls() == {"/v3/company/{id}/cdc 200": 1}
        before = (await world.marker("TaxCode")).until
        assert before is not None
        world.sandbox.switch(clock_offset=DAY)
        for _ in range(2):  # the company, then its tax codes
            await world.pull()
        after = (await world.marker("TaxCode")).until
        assert after is not None
        assert after - before >= timedelta(days=1)
        world.sandbox.count()
        await world.pull()
        assert sum(world.sandbox.calls().values()) == 1
