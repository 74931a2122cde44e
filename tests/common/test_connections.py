"""Connecting, refreshing and losing a grant, against a token endpoint over real HTTP, several processes' worth."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import anyio
import pytest
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from common import codec, connections, http, revocations, subjects
from common.accounts import Accounts
from common.buckets import Bucket, Kept
from common.bus import Bus
from common.connections import Account, Connection, Connections, Identify
from common.errors import NotConnected, Refused, RetryLater
from common.messages import AccountClaim, Disconnect, Exchange, Notice, Tick, now
from common.oauth import Tokens
from common.settings import Settings
from common.vault import Vault
from tests.common.provider import (
    KEY,
    OTHER_REALM,
    OTHER_WS,
    REALM,
    WS,
    Provider,
    app,
    approved,
    connect,
    identify,
    maker,
    stated,
)
from tests.loopback import listening


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = Provider()
    async with listening(provider.routes()) as provider.url:
        yield provider


@pytest.fixture
async def made(bus: Bus, provider: Provider) -> AsyncIterator[Connections]:
    async with http.client() as client:
        yield maker(bus, provider, client)


async def kept(bus: Bus, workspace: str = WS) -> Kept[Connection]:
    found = await Bucket(bus, "connections", Connection).get(f"{workspace}.quickbooks")
    assert found is not None
    return found


async def claimed_by(bus: Bus, realm: str = REALM) -> str | None:
    found = await Bucket(bus, "accounts", AccountClaim).get(f"quickbooks.{realm}")
    return found.value.workspace if found is not None else None


async def alive(made: Connections, provider: Provider, bus: Bus, workspace: str) -> bool:
    """Whether the workspace is connected with a grant that its provider still knows."""
    found = (await kept(bus, workspace)).value
    return found.usable and made._register.open(found).refresh in provider.alive


async def expire(bus: Bus, made: Connections, workspace: str = WS) -> None:
    """Make the stored access token look nearly expired."""
    found = await kept(bus, workspace)
    tokens = replace(made._register.open(found.value), expires_at=now() + timedelta(seconds=5))
    aged = replace(found.value, sealed=made._register.seal(workspace, tokens), expires_at=tokens.expires_at)
    await made._register.write(found, aged)


async def notices(bus: Bus, workspace: str = WS) -> list[Notice]:
    """Every notice to the workspace so far, oldest first."""
    stream, subject = bus.topology.notices, subjects.notice(bus.region, workspace)
    found: list[Notice] = []
    for sequence in range(1, (await bus.js.stream_info(stream)).state.last_seq + 1):
        message = await bus.js.get_msg(stream, sequence)
        if message.subject == subject:
            found.append(codec.decode(message.data or b"", Notice))
    return found


async def kinds(bus: Bus, workspace: str = WS) -> list[str]:
    return [notice.kind for notice in await notices(bus, workspace)]


async def test_a_connection_is_made_once_per_state(made: Connections, bus: Bus) -> None:
    callback = await approved(made)
    connected = await made.exchange(callback)
    assert (connected.account, connected.name) == (REALM, "Fictional Lock Ltd")
    assert (await made.grant(WS)).access == "a1"
    with pytest.raises(Refused, match="used"):
        await made.exchange(callback)
    with pytest.raises(Refused):
        await made.exchange(Exchange(state="f" * 48, code="good"))
    tick = await bus.newest(bus.topology.pulls, subjects.pull(bus.region, WS), Tick)
    assert tick is not None
    assert tick.message.reason == "connected"


async def test_what_is_stored_holds_no_readable_token(made: Connections, bus: Bus) -> None:
    await connect(made)
    raw = await (await Bucket(bus, "connections", Connection).store()).get(f"{WS}.quickbooks")
    assert raw.value
    assert b'"access"' not in raw.value
    assert b'"refresh"' not in raw.value
    tokens = made._register.open((await kept(bus)).value)
    for shown in (repr(tokens), repr(await made.grant(WS)), repr(app(Provider()))):
        assert tokens.access not in shown
        assert tokens.refresh not in shown
        assert "not-so-secret" not in shown


async def test_a_denied_or_bad_callback_is_refused(made: Connections) -> None:
    with pytest.raises(Refused, match="access_denied"):
        await connect(made, error="access_denied", code=None)
    with pytest.raises(Refused):
        await connect(made, code="stolen")
    with pytest.raises(NotConnected):
        await made.grant(WS)


async def test_an_account_belongs_to_one_workspace(made: Connections, bus: Bus, provider: Provider) -> None:
    await connect(made)
    calls = len(provider.calls)
    with pytest.raises(Refused, match="another workspace") as refused:
        await connect(made, OTHER_WS)
    assert WS not in str(refused.value)
    assert refused.value.fix
    # Before the code was used, so the pair of the first is safe.
    assert len(provider.calls) == calls
    assert provider.revoked == []
    assert await made.workspace_of(REALM) == WS
    await made.disconnect(Disconnect(workspace=WS))
    assert await made.workspace_of(REALM) is None
    await connect(made, OTHER_WS)
    assert (await made.workspace_of(REALM), await claimed_by(bus)) == (OTHER_WS, OTHER_WS)
    assert await made.workspace_of("no such.account") is None


async def test_a_workspace_has_one_account(made: Connections, bus: Bus, provider: Provider) -> None:
    await connect(made)
    calls = len(provider.calls)
    for state in ("connected", "needs-reconnect"):
        with pytest.raises(Refused, match=f"Fictional Lock Ltd .{REALM}.") as refused:
            await connect(made, realm=OTHER_REALM)
        assert "disconnect" in (refused.value.fix or "")
        assert len(provider.calls) == calls
        assert (await kept(bus)).value.state == state
        await made.lost(WS, "no longer allowed")
    assert await claimed_by(bus, OTHER_REALM) is None
    # The same one may be connected anew without a disconnect.
    await connect(made)
    assert await made.account(WS) == REALM


async def test_the_notice_says_where_it_goes_on(made: Connections, bus: Bus) -> None:
    for realm, words in (
        (REALM, "is connected"),
        (REALM, "resumes where it stopped"),
        (OTHER_REALM, "starts from the beginning"),
        (REALM, "resumes where it stopped"),
    ):
        await connect(made, realm=realm)
        said = (await notices(bus))[-1]
        assert (said.kind, said.why.endswith(words) or f"{words}, and" in said.why) == ("connected", True), said.why
        await made.disconnect(Disconnect(workspace=WS))


async def unreachable(_tokens: Tokens, _callback: Exchange, _workspace: str) -> Account:
    raise RetryLater("the provider does not tell")


async def another(_tokens: Tokens, _callback: Exchange, _workspace: str) -> Account:
    return Account(OTHER_REALM)


@pytest.mark.parametrize("prove", [unreachable, another])
async def test_a_grant_that_is_not_proven_is_given_back(bus: Bus, provider: Provider, prove: Identify) -> None:
    qonto = replace(app(provider), provider="qonto", credentials="body")
    async with http.client() as client:
        made = Connections(bus, Vault(KEY), qonto, client, prove, stated=stated)
        with pytest.raises(Refused) as refused:
            await connect(made)
        assert "again" in (refused.value.fix or "")
        assert provider.revoked == ["r1"]
        assert await made._register.get(WS) is None
        assert await claimed_by(bus) is None


@pytest.mark.parametrize("prove", [unreachable, another])
@pytest.mark.parametrize("connected_before", [True, False])
async def test_a_grant_that_is_not_proven_ends_no_other_one(
    made: Connections, bus: Bus, provider: Provider, prove: Identify, connected_before: bool
) -> None:
    await connect(made, OTHER_WS, realm=OTHER_REALM)
    if connected_before:
        await connect(made)
    alive = dict(provider.alive)
    async with http.client() as client:
        doubting = Connections(bus, Vault(KEY), app(provider), client, prove, stated=stated)
        with pytest.raises(Refused) as refused:  # the code is for what the other workspace has
            await connect(doubting, code=f"good:{OTHER_REALM}")
    assert "again" in (refused.value.fix or "")
    assert provider.revoked == []
    assert provider.alive.items() >= alive.items()
    assert await made.account(OTHER_WS) == OTHER_REALM
    assert await made.account(WS) == (REALM if connected_before else None)


async def test_a_provider_that_tells_only_when_asked_gets_its_fresh_tokens_back(bus: Bus, provider: Provider) -> None:
    qonto = replace(app(provider), provider="qonto", credentials="body")

    async def form(request: Request) -> Response:
        provider.revoked.append(str((await request.form())["token"]))
        return Response()

    async with listening([Route("/revoke", form, methods=["POST"])]) as url, http.client() as client:
        made = Connections(bus, Vault(KEY), replace(qonto, revoke_url=f"{url}/revoke"), client, identify)
        await connect(made)
        with pytest.raises(Refused):
            await connect(made, realm=OTHER_REALM)
        with pytest.raises(Refused):
            await connect(made, OTHER_WS)
        assert provider.revoked == ["r2", "r3"]
        assert (await made.grant(WS)).access == "a1"


async def test_a_claim_left_behind_is_taken_over(made: Connections, bus: Bus) -> None:
    await Bucket(bus, "accounts", AccountClaim).create(
        f"quickbooks.{REALM}", AccountClaim(workspace=OTHER_WS, at=now())
    )
    await connect(made)
    assert await claimed_by(bus) == WS


async def test_a_workspace_that_is_connected_is_listed(made: Connections) -> None:
    await connect(made)
    await connect(made, OTHER_WS, realm=OTHER_REALM)
    assert {workspace async for workspace in made.connected()} == {WS, OTHER_WS}
    assert [workspace async for workspace in made.connected(but={WS})] == [OTHER_WS]
    await made.disconnect(Disconnect(workspace=WS))
    assert [workspace async for workspace in made.connected()] == [OTHER_WS]


async def test_many_processes_refresh_once(made: Connections, bus: Bus, settings: Settings, provider: Provider) -> None:
    await connect(made)
    await expire(bus, made)
    before = len(provider.calls)
    grants: list[str] = []

    async def one_process() -> None:
        other = Bus(settings, "puller")
        await other.connect()
        async with http.client() as client:
            grants.append((await maker(other, provider, client).grant(WS)).access)
        await other.close()

    async with anyio.create_task_group() as group:
        for _ in range(6):
            group.start_soon(one_process)
    assert set(grants) == {"a2"}
    assert len(provider.calls) == before + 1
    assert provider.headers[-1]["x-include-refresh-token-hard-expires-in"] == "true"


async def test_a_rejected_token_is_refreshed_once_and_a_newer_one_is_used(
    made: Connections, provider: Provider
) -> None:
    await connect(made)
    assert (await made.grant(WS, rejected="a1")).access == "a2"
    calls = len(provider.calls)
    assert (await made.grant(WS, rejected="a1")).access == "a2"
    assert len(provider.calls) == calls


async def test_a_lost_answer_keeps_the_token_and_tries_it_again(
    made: Connections, bus: Bus, provider: Provider
) -> None:
    await connect(made)
    await expire(bus, made)
    provider.lose_answers = 1
    with pytest.raises(RetryLater):
        await made.grant(WS)
    assert (await made.grant(WS)).access == "a2"


async def test_a_refresh_that_is_cut_short_keeps_what_the_provider_gave(
    made: Connections, bus: Bus, provider: Provider
) -> None:
    await connect(made)
    await expire(bus, made)
    async with anyio.create_task_group() as group:
        with provider.holding() as asked:
            group.start_soon(made.grant, WS)
            await asked.wait()
            group.cancel_scope.cancel()
    assert (await made.grant(WS)).access == "a2"


async def test_what_is_noted_during_a_refresh_does_not_cost_its_tokens(
    made: Connections, bus: Bus, provider: Provider
) -> None:
    await connect(made)
    await expire(bus, made)
    async with anyio.create_task_group() as group:
        with provider.holding() as asked:
            group.start_soon(made.grant, WS)
            await asked.wait()
            await made.paused(WS, "the subscription has ended", "renew it")
    found = (await kept(bus)).value
    assert made._register.open(found).access == "a2"
    assert found.paused is not None
    assert (await made.grant(WS)).access == "a2"


async def test_a_disconnect_during_a_refresh_revokes_what_the_refresh_got(
    made: Connections, bus: Bus, provider: Provider
) -> None:
    await connect(made)
    await expire(bus, made)
    refused: list[Exception] = []

    async def use() -> None:
        try:
            await made.grant(WS)
        except NotConnected as error:
            refused.append(error)

    async with anyio.create_task_group() as group:
        with provider.holding() as asked:
            group.start_soon(use)
            await asked.wait()
            group.start_soon(made.disconnect, Disconnect(workspace=WS))
            while (await kept(bus)).value.state != "disconnected":
                await anyio.sleep(0.02)
    assert len(refused) == 1
    assert provider.revoked == ["r2"]
    assert (await kept(bus)).value.sealed is None


async def test_a_dead_grant_needs_a_person_and_is_asked_for_only_once(
    made: Connections, bus: Bus, provider: Provider
) -> None:
    await connect(made)
    await expire(bus, made)
    provider.valid = "somebody else's"
    for _ in range(3):
        with pytest.raises(NotConnected):
            await made.grant(WS)
    assert sum(call["grant_type"] == "refresh_token" for call in provider.calls) == 1
    assert (await kinds(bus)).count("needs-reconnect") == 1
    assert (await notices(bus))[-1].fix
    assert (await kept(bus)).value.sealed is not None  # to be revoked, should the grant live after all


@pytest.mark.parametrize(
    "field, words", [("hard_expires_at", "reached its end"), ("refresh_expires_at", "not used for too long")]
)
async def test_an_end_that_was_foreseen_is_told_as_such(
    made: Connections, bus: Bus, provider: Provider, field: str, words: str
) -> None:
    await connect(made)
    await expire(bus, made)
    found = await kept(bus)
    await made._register.write(found, replace(found.value, **{field: now() - timedelta(days=1)}))
    provider.valid = "none: it is over"
    with pytest.raises(NotConnected, match=words):
        await made.grant(WS)


async def test_bad_client_credentials_do_not_cost_the_grant(made: Connections, bus: Bus, provider: Provider) -> None:
    await connect(made)
    await expire(bus, made)
    provider.status = 401
    with pytest.raises(RetryLater, match="WEIR_QUICKBOOKS"):
        await made.grant(WS)
    provider.status = 200
    assert (await made.grant(WS)).access == "a2"


async def test_the_end_of_a_connection_is_announced_once_each(made: Connections, bus: Bus, provider: Provider) -> None:
    day = 86_400.0
    provider.more = {"x_refresh_token_expires_in": 100 * day, "x_refresh_token_hard_expires_in": 400 * day}
    await connect(made)
    for left, announced in ((31, 0), (29, 1), (28, 1), (6.5, 2), (0.5, 3), (0.4, 3)):
        provider.more["x_refresh_token_hard_expires_in"] = left * day
        for _ in range(2):
            await expire(bus, made)
            await made.grant(WS)
        assert (await kinds(bus)).count("expires-soon") == announced, left
    said = (await notices(bus))[-1]
    assert f"{now() + timedelta(days=0.5):%Y-%m-%d}" in said.why
    assert "reconnect" in (said.fix or "")
    # A new consent begins a new count.
    await connect(made)
    await expire(bus, made)
    await made.grant(WS)
    assert (await kinds(bus)).count("expires-soon") == 4


async def test_an_idle_window_that_stops_growing_is_an_end(made: Connections, bus: Bus, provider: Provider) -> None:
    day = 86_400.0
    provider.more = {"x_refresh_token_expires_in": 100 * day}
    await connect(made)
    for left, announced in ((100, 0), (40, 0), (20, 1)):
        provider.more["x_refresh_token_expires_in"] = left * day
        await expire(bus, made)
        await made.grant(WS)
        assert (await kinds(bus)).count("expires-soon") == announced, left


async def test_a_pause_is_told_once_and_ends_by_itself(made: Connections, bus: Bus) -> None:
    await connect(made)
    for _ in range(2):
        error = await made.paused(WS, "the subscription has ended", "renew it in QuickBooks")
        assert "subscription" in str(error)
    assert (await kinds(bus)).count("paused") == 1
    await made.paused(WS, "the app is not allowed", "check the keys")
    assert (await kinds(bus)).count("paused") == 2
    assert (await made.grant(WS)).access == "a1"
    assert await made.account(WS) == REALM
    for _ in range(2):
        await made.resumed(WS)
    assert await kinds(bus) == ["connected", "paused", "paused", "connected"]
    assert (await kept(bus)).value.paused is None
    await made.resumed("nobody")


async def test_what_is_lost_keeps_its_tokens_only_to_revoke_them(
    made: Connections, bus: Bus, provider: Provider
) -> None:
    await connect(made)
    for _ in range(2):
        await made.lost(WS, "no longer allowed", fix="ask an administrator")
    said = (await notices(bus))[-1]
    assert (said.kind, said.fix) == ("needs-reconnect", "ask an administrator")
    assert (await kinds(bus)).count("needs-reconnect") == 1
    with pytest.raises(NotConnected, match="no longer allowed"):
        await made.grant(WS)
    assert await made.workspace_of(REALM) is None
    await made.disconnect(Disconnect(workspace=WS))
    assert provider.revoked == ["r1"]


async def test_a_refusal_of_what_was_replaced_does_not_end_what_took_its_place(made: Connections, bus: Bus) -> None:
    await connect(made)
    refused = await made.grant(WS)
    await connect(made)
    with pytest.raises(RetryLater, match="anew"):
        await made.lost(WS, "no longer allowed", grant=refused)
    present = await made.grant(WS)
    assert present.access == "a2"
    assert "needs-reconnect" not in await kinds(bus)
    assert isinstance(await made.lost(WS, "no longer allowed", grant=present), NotConnected)
    with pytest.raises(NotConnected, match="no longer allowed"):
        await made.grant(WS)


async def test_disconnect_revokes_and_forgets_and_reconnect_resumes(made: Connections, provider: Provider) -> None:
    await connect(made)
    await made.disconnect(Disconnect(workspace=WS))
    assert provider.revoked == ["r1"]
    with pytest.raises(NotConnected):
        await made.grant(WS)
    await made.disconnect(Disconnect(workspace=WS))
    assert provider.revoked == ["r1"]
    await connect(made)
    assert (await made.grant(WS)).access == "a2"


async def test_a_token_the_provider_does_not_know_is_as_good_as_revoked(
    made: Connections, bus: Bus, provider: Provider
) -> None:
    await connect(made)
    provider.revoke_status = 400
    await made.disconnect(Disconnect(workspace=WS))
    assert (await kept(bus)).value.sealed is None


@pytest.mark.parametrize("status", [401, 403, 429, 503])
async def test_a_revocation_that_fails_goes_on_until_it_works(
    made: Connections, bus: Bus, provider: Provider, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(revocations, "FIRST_PAUSE", 0.05)
    await connect(made)
    provider.revoke_status = status
    async with anyio.create_task_group() as group:
        group.start_soon(made._revocations.run)
        await made.disconnect(Disconnect(workspace=WS))
        found = (await kept(bus)).value
        assert (found.state, found.sealed is None) == ("disconnected", False)
        with pytest.raises(NotConnected):
            await made.grant(WS)
        assert await claimed_by(bus) is None
        said = (await notices(bus))[-1]
        assert said.kind == "disconnected"
        assert "until it does" in said.why
        await until(lambda: provider.revoke_tries >= 3)
        provider.revoke_status = 200
        await until(lambda: not made._revocations._followed)
        await made._revocations.stop()
    assert provider.revoked == ["r1"]
    assert (await kept(bus)).value.sealed is None


async def test_a_revocation_that_a_crash_cut_short_is_taken_up_at_the_next_start(
    made: Connections, bus: Bus, provider: Provider
) -> None:
    await connect(made)
    provider.revoke_status = 503
    await made.disconnect(Disconnect(workspace=WS))
    provider.revoke_status = 200
    async with http.client() as client, anyio.create_task_group() as group:
        fresh = maker(bus, provider, client)
        group.start_soon(fresh._revocations.run)
        await until(lambda: provider.revoked == ["r1"])
        await fresh._revocations.stop()


async def test_a_reconnect_ends_the_revocation_of_what_was_before(
    made: Connections, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocations, "FIRST_PAUSE", 0.05)
    await connect(made)
    provider.revoke_status = 503
    async with anyio.create_task_group() as group:
        group.start_soon(made._revocations.run)
        await made.disconnect(Disconnect(workspace=WS))
        await connect(made)
        provider.revoke_status = 200
        await until(lambda: not made._revocations._followed)
        await made._revocations.stop()
    assert provider.revoked == []
    assert (await made.grant(WS)).access == "a2"


async def test_another_account_does_not_leave_the_one_before_unrevoked(made: Connections, provider: Provider) -> None:
    await connect(made)
    provider.revoke_status = 503
    await made.disconnect(Disconnect(workspace=WS))
    provider.revoke_status = 200
    await connect(made, realm=OTHER_REALM)
    assert provider.revoked == ["r1"]
    assert (await made.grant(WS)).account == OTHER_REALM


async def test_an_open_revocation_ends_only_what_was_given_up(made: Connections, bus: Bus, provider: Provider) -> None:
    await connect(made)
    provider.revoke_status = 503
    await made.disconnect(Disconnect(workspace=WS))
    await connect(made, OTHER_WS)
    provider.revoke_status = 200
    assert await made._revocations.attempt(WS)
    assert await alive(made, provider, bus, OTHER_WS)
    given_up = (await kept(bus)).value
    assert (given_up.sealed, given_up.why) == (None, "disconnected by its owner")
    # It ends with the grant that goes on.
    await made.disconnect(Disconnect(workspace=OTHER_WS))
    assert provider.alive == {}


async def test_moving_on_ends_only_what_was_given_up(made: Connections, bus: Bus, provider: Provider) -> None:
    await connect(made)
    provider.revoke_status = 503
    await made.disconnect(Disconnect(workspace=WS))
    await connect(made, OTHER_WS)
    provider.revoke_status = 200
    await connect(made, realm=OTHER_REALM)
    assert await alive(made, provider, bus, OTHER_WS)
    assert await alive(made, provider, bus, WS)
    assert provider.revoked == []


async def test_consents_that_are_no_one_grant_are_revoked_each(bus: Bus, provider: Provider) -> None:
    qonto = replace(app(provider), provider="qonto", credentials="body")
    async with http.client() as client:
        made = Connections(bus, Vault(KEY), qonto, client, identify)
        await connect(made)
        provider.revoke_status = 503
        await made.disconnect(Disconnect(workspace=WS))
        await connect(made, OTHER_WS)
        provider.revoke_status = 200
        assert await made._revocations.attempt(WS)
        assert provider.revoked == ["r1"]


async def test_what_cannot_be_given_back_does_not_cost_the_new_connection(
    made: Connections, bus: Bus, provider: Provider
) -> None:
    await connect(made)
    provider.revoke_status = 503
    await made.disconnect(Disconnect(workspace=WS))
    found = await kept(bus)
    moved = made._register.seal(OTHER_WS, made._register.open(found.value))  # opens for that workspace only
    await made._register.write(found, replace(found.value, sealed=moved))
    await connect(made, realm=OTHER_REALM)
    assert (await made.grant(WS)).account == OTHER_REALM
    assert (await kinds(bus))[-1] == "connected"


async def test_what_was_to_be_revoked_still_is_when_another_account_could_not_be_had(
    made: Connections, bus: Bus, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    await connect(made)
    provider.revoke_status = 503
    await made.disconnect(Disconnect(workspace=WS))
    confirm = Accounts.confirm

    async def too_late(accounts: Accounts, account: str, workspace: str, revision: int) -> None:
        claim = AccountClaim(workspace=OTHER_WS, at=now())
        await Bucket(bus, "accounts", AccountClaim).replace(f"quickbooks.{account}", claim, revision)
        await confirm(accounts, account, workspace, revision)

    with monkeypatch.context() as patch:
        patch.setattr(Accounts, "confirm", too_late)
        with pytest.raises(Refused, match="another workspace"):
            await connect(made, realm=OTHER_REALM)
    provider.revoke_status = 200
    assert await made._revocations.attempt(WS)
    assert provider.revoked == ["r1"]
    assert (await kept(bus)).value.why == "disconnected by its owner"


async def test_what_the_provider_ended_already_is_plainly_disconnected(
    made: Connections, bus: Bus, provider: Provider
) -> None:
    await connect(made)
    await expire(bus, made)
    provider.valid = "somebody else's"
    with pytest.raises(NotConnected):
        await made.grant(WS)
    await made.disconnect(Disconnect(workspace=WS))
    assert (await kept(bus)).value.why == "disconnected by its owner"
    said = (await notices(bus))[-1]
    assert (said.kind, said.why) == ("disconnected", "QuickBooks is disconnected")
    assert provider.revoked == ["r1"]
    assert (await kept(bus)).value.sealed is None


async def test_a_provider_that_hangs_does_not_hold_up_the_person(
    bus: Bus, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "DISCONNECT_PATIENCE", 0.2)
    released = anyio.Event()

    async def hang(_request: Request) -> Response:
        await released.wait()
        return Response()

    async with listening([Route("/revoke", hang, methods=["POST"])]) as url, http.client() as client:
        slow = Connections(
            bus, Vault(KEY), replace(app(provider), revoke_url=f"{url}/revoke"), client, identify, stated=stated
        )
        await connect(slow)
        with anyio.fail_after(5):
            await slow.disconnect(Disconnect(workspace=WS))
        assert (await kept(bus)).value.state == "disconnected"
        released.set()


async def until(condition: Any, within: float = 10.0) -> None:
    """Wait for `condition` to become true."""
    with anyio.fail_after(within):
        while not condition():
            await anyio.sleep(0.02)
