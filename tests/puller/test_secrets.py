"""No token is written anywhere, though QuickBooks shows the whole of one that has expired."""

import re

import pytest

from tests.puller.stand import World, puller, until

TOKEN = re.compile(r"eyJlbmMi|RT1-|XAB11")
"""How the stand-in's tokens and codes begin."""


async def test_a_token_that_expired_is_in_no_record_notice_state_or_log(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    async with puller(world.settings):
        await world.first_pull()
        world.sandbox.switch(access_lifetime=0)  # whatever token is fetched has expired already
        world.sandbox.switch(clock_offset=4000)
        capfd.readouterr()
        await world.tick()

        async def failing() -> bool:
            return (await world.state()).failing is not None

        await until(failing)
        state = await world.state()
        assert "3200" in str(state.failing)
        written = [str(state), *map(str, await world.notices()), *capfd.readouterr()]
        written += [str(item.message) for item in (await world.records("bill")).values()]
        assert [text for text in written if TOKEN.search(text)] == []
        token = world.sandbox.post(f"{world.realm}/tokens", json={"side": "quickbooks"})["access_token"]
        asked = f"/v3/company/{world.realm}/query"
        shown = world.sandbox.control.get(asked, headers={"Authorization": f"Bearer {token}"})
        assert token in shown.text
        world.sandbox.switch(access_lifetime=3600)
        await world.pulled()
        assert (await world.state()).failing is None
