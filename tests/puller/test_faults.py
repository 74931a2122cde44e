"""What must hold when things go wrong: crashes, throttling, dead grants, several pullers."""

import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import anyio
import pytest

from common.buckets import Bucket
from common.connections import Connection
from common.messages import Connected, Exchange, Refusal
from services.puller.marker import Marker
from tests.conftest import environment
from tests.puller.stand import KEY, SECRET, WS, World, differences, puller, until
from tests.puller.test_documents import bare

pytestmark = pytest.mark.usefixtures("swift")


def start(world: World, log: Path) -> subprocess.Popen[bytes]:
    """A puller in a process of its own."""
    settings = world.settings
    more = {
        name: str(getattr(settings, name.removeprefix("WEIR_").lower()))
        for name in (
            "WEIR_QUICKBOOKS_API_URL",
            "WEIR_QUICKBOOKS_AUTHORIZE_URL",
            "WEIR_QUICKBOOKS_TOKEN_URL",
            "WEIR_QUICKBOOKS_REVOKE_URL",
            "WEIR_QUICKBOOKS_CLIENT_ID",
        )
    }
    more |= {
        "WEIR_QUICKBOOKS_CLIENT_SECRET": SECRET.get_secret_value(),
        "WEIR_MASTER_KEY": KEY.get_secret_value(),
    }
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "services.puller"], env=environment(settings, **more), stderr=output
        )


async def ready(log: Path, times: int = 1) -> None:
    async def said() -> bool:
        return (await anyio.Path(log).read_text()).count("service.ready") >= times

    await until(said)


async def test_a_killed_backfill_goes_on_without_a_gap(world: World, tmp_path: Path) -> None:
    world.realm = world.sandbox.company(bills=1300)
    log = tmp_path / "puller.log"
    process = start(world, log)
    try:
        await ready(log)
        # From the second page on, bills are slow to come, so that the kill falls between pages.
        assert isinstance(await world.connect(), Connected)

        async def first_page() -> bool:
            kept = await Bucket(world.bus, "markers", Marker).get(f"{WS}.{world.realm}.Bill")
            return kept is not None and kept.value.window is not None

        world.sandbox.fault("/query", "delay", seconds=2.0, times=100, skip=12)
        await until(first_page, 60)
        process.send_signal(signal.SIGKILL)
        process.wait()
        world.sandbox.control.delete("/sandbox/faults")
        marker = await world.marker("Bill")
        assert marker.until is None
        assert marker.window is not None
        held = await world.records("bill")
        assert 0 < len(held) < 1300
        bills = world.sandbox.bills(world.realm)
        behind = {
            ident
            for ident, bill in bills.items()
            if datetime.fromisoformat(bill["MetaData"]["LastUpdatedTime"]) < marker.window.since
        }
        assert behind <= held.keys()
        process = start(world, log)
        await ready(log, 2)
        await world.pulled(90)
        assert (await world.records("bill")).keys() == bills.keys()
        assert (await world.marker("Bill")).window is None
        # The page that was read when the kill came is read again, and published once.
        state = (await world.bus.js.stream_info(world.bus.topology.records)).state
        assert state.last_seq == state.messages
    finally:
        process.kill()
        process.wait()


async def test_two_pullers_do_not_pull_a_workspace_at_once(world: World) -> None:
    async with puller(world.settings), puller(world.settings):
        world.sandbox.fault("/query", "delay", seconds=0.15, times=6)
        world.sandbox.count()
        assert isinstance(await world.connect(), Connected)
        await until(lambda: began(world))
        await world.tick()
        await world.pulled()
        state = (await world.bus.js.stream_info(world.bus.topology.records)).state
        assert state.last_seq == state.messages
        calls = world.sandbox.calls()
        # Ten queries are the first pull, the capture is the second.
        assert calls["/v3/company/{id}/query 200"] == 10
        assert calls["/v3/company/{id}/cdc 200"] == 1


async def began(world: World) -> bool:
    """Whether the first pull has written something."""
    return await world.last_sequence() > 0


async def test_every_rotated_refresh_token_is_kept(world: World) -> None:
    # An access token that lives less than five minutes is refreshed before every use.
    world.sandbox.switch(rotate_after=0, access_lifetime=200)
    async with puller(world.settings):
        await world.first_pull()
        assert (await world.records("bill")).keys() == world.sandbox.bills(world.realm).keys()
        await world.pull()
    assert [notice.kind for notice in await world.notices()] == ["connected", "pulled"]


async def test_a_grant_taken_back_stops_the_workspace_once_and_says_so(world: World) -> None:
    async with puller(world.settings):
        await world.first_pull()
        world.sandbox.delete(f"{world.realm}/tokens/quickbooks")
        world.sandbox.count()
        await world.pull()
        await world.pull()
        assert sum(world.sandbox.calls().values()) == 2  # refused once, and once more by the token endpoint
        kinds = [notice.kind for notice in await world.notices()]
        assert kinds.count("needs-reconnect") == 1
        assert "pull-failed" not in kinds
        kept = await Bucket(world.bus, "connections", Connection).get(f"{WS}.quickbooks")
        assert kept is not None
        assert kept.value.state == "needs-reconnect"
        before = await world.last_sequence()
        assert isinstance(await world.connect(), Connected)
        await world.pulled()
        assert await world.last_sequence() == before


async def test_an_access_token_that_ended_early_is_refreshed_once(world: World) -> None:
    async with puller(world.settings):
        await world.first_pull()
        world.sandbox.switch(clock_offset=7200)
        world.sandbox.count()
        await world.pull()
        calls = world.sandbox.calls()
        assert calls["/oauth2/v1/tokens/bearer 200"] == 1
        assert calls["/v3/company/{id}/cdc 401"] == 1
        assert calls["/v3/company/{id}/cdc 200"] == 1


async def test_an_access_that_is_refused_even_when_renewed_says_what_to_do(world: World) -> None:
    body = '{"fault":{"error":[{"message":"AuthenticationFailed","code":"3200"}],"type":"AUTHENTICATION"}}'
    async with puller(world.settings):
        await world.first_pull()
        world.sandbox.fault("/cdc", "status", status=401, body=body, times=2)
        await world.tick()
        await until(lambda: refused(world))
        await world.pulled()
        assert (await world.state()).failing is None
        assert "needs-reconnect" not in [notice.kind for notice in await world.notices()]


async def refused(world: World) -> bool:
    state = await world.state()
    return state.failing is not None and "connect it again" in (state.fix or "")


XML = '<IntuitResponse><Fault type="X"><Error code="{}"><Message>No</Message></Error></Fault></IntuitResponse>'
JSON = '{{"fault":{{"error":[{{"message":"No","code":"{}"}}],"type":"SERVICE"}},"time":1}}'


@pytest.mark.parametrize(
    "status, body, words",
    [
        (401, XML.format("120"), "no longer has access"),
        (401, XML.format("100"), "into the company"),
    ],
)
async def test_what_only_a_person_can_mend_is_said_once(world: World, status: int, body: str, words: str) -> None:
    async with puller(world.settings):
        await world.first_pull()
        world.sandbox.fault("/cdc", "status", status=status, body=body, times=2)
        await world.pull()
        await world.pull()
        lost = [notice for notice in await world.notices() if notice.kind == "needs-reconnect"]
        assert len(lost) == 1
        assert words in lost[0].why
        assert lost[0].fix


@pytest.mark.parametrize(
    "state, words, step", [("app-refused", "this app", "API_URL"), ("lapsed", "subscription has ended", "renew")]
)
async def test_what_is_mended_elsewhere_pauses_the_workspace_and_it_goes_on_by_itself(
    world: World, state: str, words: str, step: str
) -> None:
    async with puller(world.settings):
        await world.first_pull()
        world.sandbox.access(world.realm, state)
        await world.pull()
        await world.pull()
        (paused,) = [notice for notice in await world.notices() if notice.kind == "paused"]
        assert words in paused.why
        assert step in (paused.fix or "")
        assert (await world.state()).failing
        assert await world.bus.subjects(world.bus.topology.pulls, f"{world.bus.region}.schedule.*")
        world.sandbox.access(world.realm, "open")
        await world.pull()
        assert (await world.notices())[-1].kind == "connected"
        assert (await world.state()).failing is None


@pytest.mark.parametrize("shape", ["xml", "Fault", "fault"])
async def test_throttling_in_any_shape_is_waited_out(world: World, shape: str) -> None:
    world.sandbox.switch(throttle_shape=shape)
    world.sandbox.fault("/query", "storm429", times=2, skip=2)
    world.sandbox.fault("/query", "html502", times=1, skip=1)
    async with puller(world.settings):
        await world.first_pull()
    assert (await world.records("bill")).keys() == world.sandbox.bills(world.realm).keys()


async def test_without_qonto_bills_wait_and_nothing_is_lost(world: World) -> None:
    async with puller(world.settings):
        world.qonto_connected = False
        await world.first_pull()
        assert await world.records("vendor")
        assert await world.records("bill") == {}
        world.qonto_connected = True
        await world.pull()
        assert (await world.records("bill")).keys() == world.sandbox.bills(world.realm).keys()
        assert "pull-failed" not in [notice.kind for notice in await world.notices()]


async def test_the_next_pull_is_scheduled_and_fires(world: World) -> None:
    async with puller(world.settings.model_copy(update={"pull_every": 2})) as service:
        await world.first_pull()
        world.sandbox.count()

        async def pulled_again() -> bool:
            return "/v3/company/{id}/cdc 200" in world.sandbox.calls()

        await until(pulled_again, 40)
        assert service.client.is_connected


async def test_a_connected_workspace_without_a_tick_is_not_forgotten(world: World) -> None:
    async with puller(world.settings):
        await world.first_pull()
    # As if the puller had died between storing the connection and sending the first tick.
    await world.bus.js.purge_stream(world.bus.topology.pulls)
    world.sandbox.count()

    async def pulled_again() -> bool:
        return "/v3/company/{id}/cdc 200" in world.sandbox.calls()

    async with puller(world.settings):
        await until(pulled_again)


async def test_a_state_is_good_once_and_only_if_it_is_ours(world: World) -> None:
    async with puller(world.settings):
        forged = await world.bus.call(
            world.subject("exchange"), Exchange(state="f" * 48, code="XAB", realm=world.realm)
        )
        assert isinstance(forged, Refusal)
        redeemed: list[Exchange] = []
        assert isinstance(await world.connect(keep=redeemed), Connected)
        assert isinstance(await world.bus.call(world.subject("exchange"), redeemed[0]), Refusal)


async def test_a_bill_deleted_while_a_first_pull_had_failed_for_long_is_deleted(world: World) -> None:
    ident, other, *_ = bare(world)
    world.sandbox.attach(world.realm, other, b"%PDF-1.4 fictional")  # not to be had: all but its bill is published
    world.sandbox.fault("/attachments/", "status", status=503, times=10_000)
    async with puller(world.settings):
        assert isinstance(await world.connect(), Connected)

        async def published() -> bool:
            failing = (await world.state()).failing if await world.records("bill") else None
            return failing is not None and ident in await world.records("bill")

        await until(published)
        world.sandbox.delete(f"{world.realm}/quickbooks/bill/{ident}")
        world.sandbox.switch(clock_offset=world.sandbox.at_first["clock_offset"] + 3700)  # longer than windows overlap
        world.sandbox.control.delete("/sandbox/faults").raise_for_status()
        await world.pull()
        await world.pull()
        assert (await world.bill(ident)).message.deleted
        assert await differences(world) == []
