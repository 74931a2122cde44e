"""A QuickBooks connection against the stand-in's own OAuth: proof, rotation, the end, and giving it back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio
import httpx
import pytest
from msgspec.structs import replace

from common import http, revocations
from common.buckets import Bucket
from common.bus import Bus
from common.connections import Connection, Connections
from common.errors import NotConnected, Refused, RetryLater
from common.messages import Connected, Disconnect, Done, Exchange, Refusal, now
from services.puller.app import connected
from tests.puller.stand import SECRET, WS, World, approved, puller, until

pytestmark = pytest.mark.usefixtures("swift")

OTHER_WS = "imaginary-quarry"
DAY = 86_400.0
TOKENS = "/oauth2/v1/tokens/bearer"
REVOKE = "/v2/oauth2/tokens/revoke"
MODES = ["grace_24h", "dead_at_once", "reuse_revokes_family"]


@asynccontextmanager
async def process(world: World) -> AsyncIterator[Connections]:
    """What another process of the puller sees of the connections."""
    bus = Bus(world.settings, "puller")
    await bus.connect()
    async with http.client() as client:
        yield connected(bus, client)
    await bus.close()


async def kept(world: World, workspace: str = WS) -> Connection:
    found = await Bucket(world.bus, "connections", Connection).get(f"{workspace}.quickbooks")
    assert found is not None
    return found.value


async def kinds(world: World) -> list[str]:
    return [notice.kind for notice in await world.notices()]


def company_name(world: World) -> str:
    companies = world.sandbox.control.get("/sandbox/companies").json()["companies"]
    return str(next(one["name"] for one in companies if one["realm"] == world.realm))


async def works(world: World, access: str, realm: str | None = None) -> bool:
    """Whether the company, or another one, opens with this token."""
    realm = realm or world.realm
    async with httpx.AsyncClient(base_url=world.sandbox.url) as client:
        path = f"/v3/company/{realm}/companyinfo/{realm}"
        return (await client.get(path, headers={"Authorization": f"Bearer {access}"})).status_code == 200


async def test_the_company_is_proven_and_its_name_kept(world: World) -> None:
    async with process(world) as made:
        world.sandbox.count()
        connected = await made.exchange(await approved(made.authorize, world.realm))
        assert (connected.account, connected.name) == (world.realm, company_name(world))
        assert world.sandbox.calls()["/v3/company/{id}/companyinfo/{id} 200"] == 1
        found = await kept(world)
        assert found.name == connected.name
        assert found.hard_expires_at is not None
        assert abs(found.hard_expires_at - now() - timedelta(days=1825)) < timedelta(minutes=5)
        assert company_name(world) in (await world.notices())[-1].why


async def test_a_callback_that_names_another_company_is_refused(world: World) -> None:
    other = world.sandbox.company()
    async with process(world) as made:
        callback = await approved(made.authorize, world.realm)
        forged = Exchange(state=callback.state, code=callback.code, realm=other)
        world.sandbox.count()
        with pytest.raises(Refused, match="not for company") as refused:
            await made.exchange(forged)
        assert refused.value.fix
        # Nothing is bound, and nothing revoked: it might be the grant of whoever has that company.
        assert f"{REVOKE} 200" not in world.sandbox.calls()
        assert await made.workspace_of(other) is None
        with pytest.raises(NotConnected):
            await made.grant(WS)
        await made.exchange(await approved(made.authorize, world.realm))
        assert await made.workspace_of(world.realm) == WS


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 500, "times": 1}, {"kind": "html502", "times": 5}])
async def test_a_grant_that_cannot_be_proven_now_is_not_kept(world: World, fault: dict[str, Any]) -> None:
    async with process(world) as made:
        world.sandbox.fault("/companyinfo", **fault)
        world.sandbox.count()
        with pytest.raises(Refused) as refused:
            await made.exchange(await approved(made.authorize, world.realm))
        assert "connect again" in (refused.value.fix or "")
        assert f"{REVOKE} 200" not in world.sandbox.calls()
        assert await made.account(WS) is None
        await made.exchange(await approved(made.authorize, world.realm))
        assert (await made.grant(WS)).account == world.realm


@pytest.mark.parametrize(
    "state, why, fix",
    [
        ("lapsed", "subscription has ended", "renew it in QuickBooks, then connect again"),
        ("app-refused", "this app", "production"),
        ("locked", "for now", "in a moment"),
        ("no-rights", "not for company", "administrator"),
    ],
)
async def test_a_company_that_lets_nobody_in_says_why_and_what_to_do(
    world: World, state: str, why: str, fix: str
) -> None:
    async with process(world) as made:
        world.sandbox.access(world.realm, state)
        with pytest.raises(Refused, match=why) as refused:
            await made.exchange(await approved(made.authorize, world.realm))
        assert fix in (refused.value.fix or "")
        world.sandbox.access(world.realm, "open")
        await made.exchange(await approved(made.authorize, world.realm))


async def test_a_forged_callback_does_not_end_the_grant_of_another_workspace(world: World) -> None:
    other = world.sandbox.company()
    async with process(world) as made:
        await made.exchange(await approved(made.authorize, other, OTHER_WS))
        callback = await approved(made.authorize, other)
        with pytest.raises(Refused, match="not for company"):
            await made.exchange(replace(callback, realm=world.realm))
        assert await works(world, (await made.grant(OTHER_WS)).access, other)
        assert [workspace async for workspace in made.connected()] == [OTHER_WS]


async def test_reconnecting_in_vain_does_not_cost_the_connection_that_works(world: World) -> None:
    async with puller(world.settings):
        await world.first_pull()
        world.sandbox.fault("/companyinfo/", "status", status=403)
        refused = await world.connect()
        assert isinstance(refused, Refusal)
        bill, *_ = sorted(world.sandbox.bills(world.realm))
        before = (await world.bill(bill)).sequence
        world.sandbox.patch(f"{world.realm}/quickbooks/bill/{bill}", {"PrivateNote": "edited"})
        await world.pull()
        assert (await world.bill(bill)).sequence > before
        assert "needs-reconnect" not in [notice.kind for notice in await world.notices()]


async def test_what_belongs_elsewhere_is_refused_before_the_code_is_used(world: World) -> None:
    other = world.sandbox.company()
    async with process(world) as made:
        await made.exchange(await approved(made.authorize, world.realm))
        world.sandbox.count()
        with pytest.raises(Refused, match="another workspace") as refused:
            await made.exchange(await approved(made.authorize, world.realm, OTHER_WS))
        assert refused.value.fix
        assert WS not in str(refused.value)
        with pytest.raises(Refused, match=company_name(world)):
            await made.exchange(await approved(made.authorize, other))
        assert not [route for route in world.sandbox.calls() if route.startswith(TOKENS)]
        assert await works(world, (await made.grant(WS)).access)


async def test_two_pullers_do_not_give_one_company_to_two_workspaces(world: World) -> None:
    async with process(world) as one, process(world) as another:
        callbacks = [
            (made, await approved(made.authorize, world.realm, workspace))
            for made, workspace in ((one, WS), (another, OTHER_WS))
        ]
        results: list[Connected | Refused] = []

        async def exchange(made: Connections, callback: Exchange) -> None:
            try:
                results.append(await made.exchange(callback))
            except Refused as error:
                results.append(error)

        async with anyio.create_task_group() as group:
            for made, callback in callbacks:
                group.start_soon(exchange, made, callback)
        [winner] = [result for result in results if isinstance(result, Connected)]
        assert await one.workspace_of(world.realm) == winner.workspace
        assert [workspace async for workspace in one.connected()] == [winner.workspace]
        assert await works(world, (await one.grant(winner.workspace)).access)


@pytest.mark.parametrize("realm", [None, "", "123456789", "1" * 20, "934145\n7021", "93414570217.2202"])
async def test_a_callback_without_a_proper_realm_is_refused(world: World, realm: str | None) -> None:
    async with process(world) as made:
        world.sandbox.count()
        callback = await approved(made.authorize, world.realm)
        with pytest.raises(Refused):
            await made.exchange(Exchange(state=callback.state, code=callback.code, realm=realm))
        assert world.sandbox.calls().keys() <= {"/connect/oauth2 302"}


@pytest.mark.parametrize("mode", MODES)
async def test_a_lost_answer_costs_the_connection_only_where_it_must(world: World, mode: str) -> None:
    world.sandbox.switch(old_token=mode, rotate_after=0, access_lifetime=200)
    async with process(world) as made:
        await made.exchange(await approved(made.authorize, world.realm))
        assert await works(world, (await made.grant(WS)).access)
        world.sandbox.fault(TOKENS, "drop_after")
        with pytest.raises(RetryLater):
            await made.grant(WS)
        assert (await kept(world)).state == "connected"
        if mode == "grace_24h":
            assert await works(world, (await made.grant(WS)).access)
            assert await works(world, (await made.grant(WS)).access)
            assert await kinds(world) == ["connected"]
            return
        world.sandbox.count()
        for _ in range(3):
            with pytest.raises(NotConnected):
                await made.grant(WS)
        assert world.sandbox.calls()[f"{TOKENS} 400"] == 1
        assert await kinds(world) == ["connected", "needs-reconnect"]
        assert (await world.notices())[-1].fix
        world.sandbox.switch(access_lifetime=3600)
        await made.exchange(await approved(made.authorize, world.realm))
        assert await works(world, (await made.grant(WS)).access)
        assert "resumes" in (await world.notices())[-1].why


async def test_a_disconnect_after_a_lost_answer_ends_the_access_that_lives_on(world: World) -> None:
    world.sandbox.switch(old_token="dead_at_once", rotate_after=0)
    async with process(world) as made:
        await made.exchange(await approved(made.authorize, world.realm))
        access = (await made.grant(WS)).access
        world.sandbox.fault(TOKENS, "drop_after")
        with pytest.raises(RetryLater):
            await made.grant(WS, rejected=access)
        with pytest.raises(NotConnected):
            await made.grant(WS, rejected=access)
        assert await works(world, access)
        assert await made.disconnect(Disconnect(workspace=WS)) == Done()
        assert not await works(world, access)
        assert (await kept(world)).sealed is None


@pytest.mark.parametrize("mode", MODES)
async def test_a_lost_answer_within_a_day_is_made_good_in_every_mode(world: World, mode: str) -> None:
    world.sandbox.switch(old_token=mode, rotate_after=DAY, access_lifetime=200)
    async with process(world) as made:
        await made.exchange(await approved(made.authorize, world.realm))
        world.sandbox.fault(TOKENS, "drop_after")
        with pytest.raises(RetryLater):
            await made.grant(WS)
        assert await works(world, (await made.grant(WS)).access)


@pytest.mark.parametrize("mode", MODES)
async def test_two_processes_that_refresh_at_once_send_one_token_once(world: World, mode: str) -> None:
    world.sandbox.switch(old_token=mode, rotate_after=0, access_lifetime=3600)
    async with process(world) as one, process(world) as another:
        await one.exchange(await approved(one.authorize, world.realm))
        old = (await one.grant(WS)).access
        world.sandbox.fault(TOKENS, "delay", seconds=0.3)
        world.sandbox.count()
        grants: list[str] = []

        async def use(made: Connections) -> None:
            grants.append((await made.grant(WS, rejected=old)).access)

        async with anyio.create_task_group() as group:
            for made in (one, another, one, another):
                group.start_soon(use, made)
        assert world.sandbox.calls()[f"{TOKENS} 200"] == 1
        assert len(set(grants)) == 1
        assert await works(world, grants[0])
        assert await works(world, (await another.grant(WS, rejected=grants[0])).access)


async def test_the_hard_end_is_announced_and_then_told(world: World) -> None:
    world.sandbox.switch(hard_expiry=29.5 * DAY, access_lifetime=200)
    async with process(world) as made:
        await made.exchange(await approved(made.authorize, world.realm))
        for days, announced in ((29.5, 1), (29.5, 1), (6.5, 2), (0.5, 3), (0.5, 3)):
            world.sandbox.switch(hard_expiry=days * DAY)
            await made.grant(WS)
            assert (await kinds(world)).count("expires-soon") == announced, days
        said = (await world.notices())[-1]
        assert f"{now() + timedelta(days=0.5):%Y-%m-%d}" in said.why
        assert "reconnect" in (said.fix or "")
        world.sandbox.switch(clock_offset=0.6 * DAY)
        with pytest.raises(NotConnected):
            await made.grant(WS)
        assert (await kinds(world))[-1] == "needs-reconnect"
        world.sandbox.switch(clock_offset=0, hard_expiry=1825 * DAY)
        await made.exchange(await approved(made.authorize, world.realm))
        assert await works(world, (await made.grant(WS)).access)


async def test_a_hundred_days_without_use_end_the_connection_and_say_so(world: World) -> None:
    async with process(world) as made:
        await made.exchange(await approved(made.authorize, world.realm))
        world.sandbox.switch(clock_offset=101 * DAY)
        with pytest.raises(NotConnected):
            await made.grant(WS, rejected=(await made.grant(WS)).access)
        assert (await kinds(world)).count("needs-reconnect") == 1


async def test_a_disconnect_revokes_even_what_is_no_longer_usable(world: World) -> None:
    async with process(world) as made:
        await made.exchange(await approved(made.authorize, world.realm))
        access = (await made.grant(WS)).access
        await made.lost(WS, "QuickBooks does not let this connection into the company")
        assert await works(world, access)
        assert await made.disconnect(Disconnect(workspace=WS)) == Done()
        assert not await works(world, access)
        assert (await kept(world)).sealed is None
        # The company is free for another workspace now.
        await made.exchange(await approved(made.authorize, world.realm, OTHER_WS))
        assert await made.workspace_of(world.realm) == OTHER_WS


async def test_an_unreachable_intuit_holds_up_nobody_and_gets_the_access_back_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocations, "FIRST_PAUSE", 0.1)
    async with puller(world.settings) as service:
        await world.first_pull()
        world.sandbox.fault("/revoke", "drop_before", times=2)
        world.sandbox.count()
        answer = await world.bus.call(world.subject("disconnect"), Disconnect(workspace=WS))
        assert isinstance(answer, Done)
        assert (await kept(world)).state == "disconnected"
        said = (await world.notices())[-1]
        assert (said.kind, "until it does" in said.why) == ("disconnected", True)

        async def revoked() -> bool:
            return (await kept(world)).sealed is None

        await until(revoked)
        assert world.sandbox.calls()[f"{REVOKE} 200"] == 1
        assert service.client.is_connected


async def test_an_open_revocation_does_not_end_the_grant_of_who_connects_next(world: World) -> None:
    async with process(world) as made:
        await made.exchange(await approved(made.authorize, world.realm))
        world.sandbox.fault("/revoke", "status", status=503, times=1)
        await made.disconnect(Disconnect(workspace=WS))
        assert (await kept(world)).sealed is not None
        await made.exchange(await approved(made.authorize, world.realm, OTHER_WS))

    async def over() -> bool:
        return (await kept(world)).sealed is None

    world.sandbox.count()
    async with puller(world.settings), process(world) as made:
        await until(over)
        assert f"{REVOKE} 200" not in world.sandbox.calls()
        access = (await made.grant(OTHER_WS)).access
        assert await works(world, access)
        # Whoever has the company ends the grant for all.
        await made.disconnect(Disconnect(workspace=OTHER_WS))
        assert not await works(world, access)


async def test_a_workspace_that_moves_on_does_not_end_the_grant_of_who_came_after_it(world: World) -> None:
    async with process(world) as made:
        await made.exchange(await approved(made.authorize, world.realm))
        world.sandbox.fault("/revoke", "status", status=503, times=1)
        await made.disconnect(Disconnect(workspace=WS))
        await made.exchange(await approved(made.authorize, world.realm, OTHER_WS))
        await made.exchange(await approved(made.authorize, world.sandbox.company()))
        assert await works(world, (await made.grant(OTHER_WS)).access)


@pytest.mark.parametrize("one_grant", [True, False])
async def test_the_stand_in_ends_all_grants_of_a_company_with_one_as_switched(world: World, one_grant: bool) -> None:
    world.sandbox.switch(one_grant=one_grant)
    other = world.sandbox.company()
    first, second, elsewhere = (
        world.sandbox.post(f"{realm}/tokens", json={"side": "quickbooks"})
        for realm in (world.realm, world.realm, other)
    )
    async with httpx.AsyncClient(base_url=world.sandbox.url) as client:
        secret = (world.settings.quickbooks_client_id or "", SECRET.get_secret_value())
        for kind in ("refresh_token", "access_token"):
            assert (await client.post(REVOKE, json={"token": first[kind]}, auth=secret)).status_code in {200, 400}
    assert not await works(world, first["access_token"])
    assert await works(world, second["access_token"]) == (not one_grant)
    assert await works(world, elsewhere["access_token"], other)


async def test_what_quickbooks_ended_itself_is_plainly_disconnected(world: World) -> None:
    async with process(world) as made:
        await made.exchange(await approved(made.authorize, world.realm))
        world.sandbox.delete(f"{world.realm}/tokens/quickbooks")
        with pytest.raises(NotConnected):
            await made.grant(WS, rejected=(await made.grant(WS)).access)
        assert (await kept(world)).state == "needs-reconnect"
        await made.disconnect(Disconnect(workspace=WS))
        assert (await kept(world)).why == "disconnected by its owner"
        assert "until" not in (await world.notices())[-1].why


async def test_a_restart_goes_on_with_what_was_not_revoked(world: World) -> None:
    async with puller(world.settings):
        await world.first_pull()
        world.sandbox.fault("/revoke", "status", status=503, times=1)
        await world.bus.call(world.subject("disconnect"), Disconnect(workspace=WS))
    assert (await kept(world)).sealed is not None

    async def revoked() -> bool:
        return (await kept(world)).sealed is None

    async with puller(world.settings):
        await until(revoked)


async def test_reconnecting_elsewhere_needs_a_disconnect_and_says_what_follows(world: World) -> None:
    async with puller(world.settings):
        await world.first_pull()
        first, world.realm = world.realm, world.sandbox.company()
        refused = await world.connect()
        assert isinstance(refused, Refusal)
        assert "disconnect" in (refused.fix or "")
        await world.bus.call(world.subject("disconnect"), Disconnect(workspace=WS))
        assert isinstance(await world.connect(), Connected)
        assert "starts from the beginning" in [one.why for one in await world.notices() if one.kind == "connected"][-1]
        await world.pulled()
        await world.bus.call(world.subject("disconnect"), Disconnect(workspace=WS))
        world.realm = first
        assert isinstance(await world.connect(), Connected)
        assert "resumes" in [one.why for one in await world.notices() if one.kind == "connected"][-1]
        await world.pulled()
