"""Qonto's limits hold for all instances together, and dead grants do not use up what the living need."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
import httpx
import pytest

from common import http, masterkeys, subjects
from common.bus import Bus
from common.errors import NotConnected, RetryLater
from common.messages import Done, now
from common.oauth import Tokens
from common.register import Connection, Register
from common.settings import Settings
from common.topology import PACE
from services.poster.app import connected
from services.poster.connection import staging
from services.poster.limits import Pace, Refusals, keep_within_limits
from services.poster.qonto import NotSent, Part, Qonto
from tests.poster.desk import WS, Desk

DEAD = 300


@asynccontextmanager
async def instance(settings: Settings) -> AsyncIterator[Qonto]:
    """The Qonto side of a poster of its own."""
    bus = Bus(settings, "poster")
    await bus.connect()
    async with http.client(settings.qonto_api_url, staging(settings)) as client:
        pace = keep_within_limits(client, bus)
        yield Qonto(client, connected(bus, client), pace, Refusals(bus))
    await bus.close()


async def _answered(desk: Desk, status: int) -> int:
    told = (await desk.control.get("/sandbox/calls")).json()["calls"]
    return sum(call["count"] for call in told if call["side"] == "qonto" and call["status"] == status)


async def _bury(desk: Desk, workspace: str) -> None:
    """A connection that looks well, whose grant Qonto does not know any more."""
    tokens = Tokens(access=f"gone-{workspace}", refresh=f"gone-{workspace}", expires_at=now() + timedelta(hours=1))
    register = Register(desk.bus, masterkeys.vault(desk.settings), "qonto")
    made = Connection(workspace=workspace, account=f"org-{workspace}", state="connected", since=now())
    await register.write(None, made.holding(tokens, register.seal(workspace, tokens)))


async def test_three_hundred_dead_workspaces_do_not_stop_the_living(desk: Desk) -> None:
    dead = [f"fictional-{number}" for number in range(DEAD)]
    async with instance(desk.settings) as one, instance(desk.settings) as other:
        for workspace in dead:
            await _bury(desk, workspace)

        async def told(qonto: Qonto, workspace: str) -> None:
            with pytest.raises(NotConnected):
                await qonto.organization(workspace)

        for start in range(0, DEAD, 60):
            await asyncio.gather(
                *(told((one, other)[number % 2], name) for number, name in enumerate(dead[start : start + 60]))
            )
        assert 0 < await _answered(desk, 401) < 200
        assert await _answered(desk, 429) == 0
        # And nothing is asked for them again.
        before = await desk.calls()
        await told(one, dead[0])
        assert await desk.calls() == before
        assert (await other.organization(WS)).id == desk.company["organization"]


async def test_without_room_for_a_refusal_the_grant_is_proven_first(desk: Desk) -> None:
    stream = desk.bus.topology.pace("hour")
    kept = subjects.pace(desk.bus.region, "hour", "qonto", "kept")
    while await desk.bus.admit(stream, kept):
        pass
    refreshed = (await desk.calls())["POST /oauth2/token"]
    async with instance(desk.settings) as qonto:
        assert (await qonto.organization(WS)).id == desk.company["organization"]
        assert (await desk.calls())["POST /oauth2/token"] == refreshed + 1
        # A token that works is trusted for a while.
        await qonto.organization(WS)
        assert (await desk.calls())["POST /oauth2/token"] == refreshed + 1


async def test_an_answer_that_is_no_refusal_gives_its_place_back(desk: Desk) -> None:
    refusals = Refusals(desk.bus)
    for _ in range(PACE["hour"] + 5):
        place = await refusals.reserve("fictional", "kept")
        assert place is not None
        await place.answered(500)


async def test_ten_seconds_allow_so_many_calls_and_a_write_that_waits_was_not_sent(bus: Bus) -> None:
    stream = bus.topology.pace("ten-seconds")
    subject = subjects.pace(bus.region, "ten-seconds", "qonto", "address")
    admitted = 0
    for _ in range(20):
        admitted += sum(await asyncio.gather(*(bus.admit(stream, subject) for _ in range(50))))
    assert admitted == PACE["ten-seconds"]
    other = Bus(bus.settings, "poster")
    await other.connect()
    waited = True
    with anyio.move_on_after(0.5):
        await Pace(other).wait()
        waited = False
    await other.close()
    assert waited


async def test_without_a_word_from_the_broker_nothing_is_sent(desk: Desk) -> None:
    async with instance(desk.settings) as qonto, httpx.AsyncClient() as client:
        nowhere = Bus(desk.settings.model_copy(update={"region": "tnowhere"}), "poster")
        await nowhere.connect()
        qonto._pace = keep_within_limits(client, nowhere)
        part = Part(key="k", file_name="a.pdf", data=b"%PDF-", content_type="application/pdf")
        before = await desk.calls()
        with pytest.raises(NotSent):
            await qonto.upload(WS, [part])
        with pytest.raises(RetryLater):
            await client.get(desk.settings.qonto_api_url)
        assert await desk.calls() == before
        await nowhere.close()


async def test_calls_for_tokens_and_repeats_are_counted_too(desk: Desk) -> None:
    async def counted() -> int:
        names = f"{desk.bus.region}.pace.ten-minutes.qonto.address"
        info = await desk.bus.js.stream_info(desk.bus.topology.pace("ten-minutes"), subjects_filter=names)
        return (info.state.subjects or {}).get(names, 0)

    before, called = await counted(), sum((await desk.calls()).values())
    await desk.fault("storm429", "/v2/organization", method="GET", times=2)
    await desk.switch(access_lifetime=1)
    await desk.connect()
    async with instance(desk.settings) as qonto:
        await qonto.organization(WS)
    assert await counted() - before == sum((await desk.calls()).values()) - called - 1  # the browser's is not ours


async def test_a_disconnect_risks_no_refusal_without_room_for_it(desk: Desk) -> None:
    stream = desk.bus.topology.pace("hour")
    while await desk.bus.admit(stream, subjects.pace(desk.bus.region, "hour", "qonto", "kept")):
        pass
    await desk.switch(clock_offset=7200)  # the access token has ended, and nobody here knows
    assert isinstance(await desk.disconnect(), Done)
    assert await _answered(desk, 401) == 0
    assert (await desk.calls())["DELETE /v2/oauth2/consents"] == 1


async def test_a_refused_disconnect_counts_for_the_hour(desk: Desk) -> None:
    subject = f"{desk.bus.region}.pace.hour.qonto.*"

    async def counted() -> int:
        info = await desk.bus.js.stream_info(desk.bus.topology.pace("hour"), subjects_filter=subject)
        return sum((info.state.subjects or {}).values())

    await desk.switch(clock_offset=7200)
    before = await counted()
    assert isinstance(await desk.disconnect(), Done)
    assert await counted() - before == await _answered(desk, 401) == 1
