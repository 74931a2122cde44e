"""One account, one workspace: whatever order the broker sees the steps of several people in."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import nullcontext
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from common import expiry, http
from common.accounts import Accounts
from common.buckets import Bucket
from common.bus import Bus
from common.connections import Connection, Connections
from common.errors import Refused
from common.messages import AccountClaim, Disconnect
from common.settings import Settings
from tests.common.provider import Provider, connect, maker
from tests.loopback import listening

ACTOR: ContextVar[str | None] = ContextVar("actor", default=None)
NUMBERS = itertools.count(1)


class Died(BaseException):
    """A process that is no more: nothing it would do after this happens."""


class Interleaving:
    """Lets one actor at a time take its next step on the broker, in a given order.

    `crash` names an actor and the number of the step before which it dies, `blocked` the seconds after which an
    actor counts as waiting for another one.
    """

    def __init__(self, order: Sequence[int], crash: tuple[str, int] | None = None, *, blocked: float = 0.1) -> None:
        self._order = iter(order)
        self._crash = crash
        self._blocked = blocked
        self._waiting: dict[str, anyio.Event] = {}
        self._steps: dict[str, int] = {}
        self._alive: set[str] = set()
        self._over = False

    async def step(self, name: str) -> None:
        """Wait for the turn of the actor."""
        self._unless_over()
        self._steps[name] = self._steps.get(name, 0) + 1
        self._waiting[name] = turn = anyio.Event()
        await turn.wait()
        self._unless_over()
        if self._crash == (name, self._steps[name]):
            raise Died

    def _unless_over(self) -> None:
        if self._over:
            raise Died

    async def run(self, actors: dict[str, Callable[[], Awaitable[Any]]], check: Callable[[], Awaitable[None]]) -> None:
        """Run all actors to their ends; `check` holds after every step."""
        self._alive = set(actors)
        async with anyio.create_task_group() as group:
            for name, act in actors.items():
                group.start_soon(self._act, name, act)
            try:
                while self._alive:
                    with anyio.move_on_after(self._blocked):
                        while self._waiting.keys() != self._alive:
                            await anyio.sleep(0.001)
                    if self._waiting:
                        names = sorted(self._waiting)
                        self._waiting.pop(names[next(self._order, 0) % len(names)]).set()
                    await check()
            finally:
                self._over = True  # those who cannot be cancelled end at their next step
                for turn in self._waiting.values():
                    turn.set()

    async def _act(self, name: str, act: Callable[[], Awaitable[Any]]) -> None:
        ACTOR.set(name)
        try:
            await act()
        except* (Died, Refused):
            pass
        finally:
            self._alive.discard(name)


def without_lease(patch: pytest.MonkeyPatch) -> None:
    """Let several connect an account at once, as those who lost their lease on it can: claims hold without."""
    patch.setattr(Accounts, "connecting", lambda *_: nullcontext())


def gated(patch: pytest.MonkeyPatch, interleaving: Interleaving) -> None:
    """Make every step on claims and connections wait for its turn."""

    def wrap(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def wrapped(self: Bucket[Any], *args: Any, **options: Any) -> Any:
            name = ACTOR.get()
            if name is not None and self.name.startswith(("accounts_", "connections_")):
                await interleaving.step(name)
            return await original(self, *args, **options)

        return wrapped

    for method in ("get", "create", "replace", "delete"):
        patch.setattr(Bucket, method, wrap(getattr(Bucket, method)))


@pytest.fixture
async def world(bus: Bus) -> AsyncIterator[tuple[Bus, Provider, httpx.AsyncClient]]:
    provider = Provider()
    async with listening(provider.routes()) as provider.url, http.client() as client:
        yield bus, provider, client


async def connected_to(bus: Bus, realm: str, workspaces: Sequence[str]) -> list[str]:
    """Which of the workspaces may use the account now."""
    bucket = Bucket(bus, "connections", Connection)
    found = [await bucket.get(f"{workspace}.quickbooks") for workspace in workspaces]
    return [one.value.workspace for one in found if one is not None and one.value.usable and one.value.account == realm]


async def holder(bus: Bus, realm: str) -> str | None:
    claim = await Bucket(bus, "accounts", AccountClaim).get(f"quickbooks.{realm}")
    return claim.value.workspace if claim is not None else None


BURSTS = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 10)), min_size=4, max_size=16)
"""Who goes on, and for how many steps: what goes wrong needs somebody to be slow while another one is quick."""
ORDERS = BURSTS.map(lambda bursts: [who for who, steps in bursts for _ in range(steps)])
SLOW = settings(
    max_examples=40,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a smaller example is not worth minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@SLOW
@given(order=ORDERS, crash=st.none() | st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(1, 12)))
async def test_of_all_who_connect_an_account_at_once_one_gets_it(
    world: tuple[Bus, Provider, httpx.AsyncClient], order: list[int], crash: tuple[str, int] | None
) -> None:
    bus, provider, client = world
    number = next(NUMBERS)
    realm = f"{number:015d}"
    names = {letter: f"{letter}-{number}" for letter in "abc"}
    made = maker(bus, provider, client)

    async def check() -> None:
        assert len(await connected_to(bus, realm, [*names.values()])) <= 1

    interleaving = Interleaving(order, crash)
    with pytest.MonkeyPatch.context() as patch:
        gated(patch, interleaving)
        without_lease(patch)
        await interleaving.run({one: partial(connect, made, ws, realm=realm) for one, ws in names.items()}, check)
    await settled(bus, made, realm, [*names.values()], at_least=0 if crash else 1)


@SLOW
@given(order=ORDERS, crash=st.none() | st.tuples(st.sampled_from(["again", "end", "other"]), st.integers(1, 12)))
async def test_a_disconnect_never_takes_away_the_claim_of_a_reconnect(
    world: tuple[Bus, Provider, httpx.AsyncClient], order: list[int], crash: tuple[str, int] | None
) -> None:
    bus, provider, client = world
    number = next(NUMBERS)
    realm, first, second = f"{number:015d}", f"first-{number}", f"second-{number}"
    made = maker(bus, provider, client)
    await connect(made, first, realm=realm)

    async def check() -> None:
        assert len(await connected_to(bus, realm, [first, second])) <= 1

    interleaving = Interleaving(order, crash)
    with pytest.MonkeyPatch.context() as patch:
        gated(patch, interleaving)
        without_lease(patch)
        await interleaving.run(
            {
                "again": partial(connect, made, first, realm=realm),
                "end": partial(made._end, first),
                "other": partial(connect, made, second, realm=realm),
            },
            check,
        )
    await settled(bus, made, realm, [first, second])


@settings(SLOW, max_examples=15)
@given(
    order=ORDERS,
    crash=st.none() | st.tuples(st.sampled_from(["again", "other", "revoke"]), st.integers(1, 12)),
    elsewhere=st.booleans(),
)
async def test_no_revocation_ends_a_grant_that_is_worked_with(
    world: tuple[Bus, Provider, httpx.AsyncClient], order: list[int], crash: tuple[str, int] | None, elsewhere: bool
) -> None:
    bus, provider, client = world
    number = next(NUMBERS)
    realm, first, second = f"{number:015d}", f"first-{number}", f"second-{number}"
    made = maker(bus, provider, client)
    await connect(made, first, realm=realm)
    provider.revoke_status = 503
    await made.disconnect(Disconnect(workspace=first))
    provider.revoke_status = 200
    register = Bucket(bus, "connections", Connection)

    async def check() -> None:
        for workspace in (first, second):
            found = await register.get(f"{workspace}.quickbooks")
            if found is not None and found.value.usable:
                assert made._register.open(found.value).refresh in provider.alive

    interleaving = Interleaving(order, crash, blocked=0.03)  # for there are leases to wait for

    async def turn(_request: httpx.Request) -> None:
        name = ACTOR.get()
        if name is not None:
            await interleaving.step(name)

    client.event_hooks = {"request": [turn]}
    with pytest.MonkeyPatch.context() as patch:
        gated(patch, interleaving)
        await interleaving.run(
            {
                "again": partial(connect, made, first, realm=f"9{realm}" if elsewhere else realm),
                "other": partial(connect, made, second, realm=realm),
                "revoke": partial(made._revocations.attempt, first),
            },
            check,
        )
    client.event_hooks = {}
    # What was given up is not left behind for ever, and takes nothing with it even now.
    assert await made._revocations.attempt(first)
    assert await made._revocations.attempt(second)
    assert not {first, second} & {*await made._unrevoked()}
    await check()


async def settled(bus: Bus, made: Connections, realm: str, workspaces: Sequence[str], *, at_least: int = 0) -> None:
    """Who is connected holds the claim, and once all have disconnected the account is free for anybody."""
    connected = await connected_to(bus, realm, workspaces)
    assert at_least <= len(connected) <= 1
    if connected:
        assert await holder(bus, realm) == connected[0]
        assert await made.workspace_of(realm) == connected[0]
    for workspace in workspaces:
        await made._end(workspace)
    await connect(made, f"later-{realm}", realm=realm)
    assert await made.workspace_of(realm) == f"later-{realm}"


async def test_many_processes_connect_one_account_at_once(settings: Settings, bus: Bus) -> None:
    provider, realm = Provider(), "934145400000001"
    results: list[object] = []
    workspaces = [f"fictional-{number}" for number in range(6)]

    async def one_process(workspace: str) -> None:
        own = Bus(settings, "puller")
        await own.connect()
        async with http.client() as client:
            try:
                results.append(await connect(maker(own, provider, client), workspace, realm=realm))
            except Refused as error:
                results.append(error)
        await own.close()

    async with listening(provider.routes()) as provider.url, anyio.create_task_group() as group:
        for workspace in workspaces:
            group.start_soon(one_process, workspace)
    assert sum(not isinstance(result, Refused) for result in results) == 1
    [winner] = await connected_to(bus, realm, workspaces)
    assert await holder(bus, realm) == winner


AT = datetime(2026, 1, 1, tzinfo=UTC)
SPANS = st.timedeltas(timedelta(0), timedelta(days=2000))


@given(hard=st.none() | SPANS, idle=st.none() | SPANS, window=SPANS)
def test_an_end_in_sight_is_never_later_than_what_the_provider_says(
    hard: timedelta | None, idle: timedelta | None, window: timedelta
) -> None:
    def moment(span: timedelta | None) -> datetime | None:
        return None if span is None else AT + span

    end = expiry.end_of_chain(moment(hard), moment(idle), window, at=AT)
    if hard is not None:
        assert end is not None
        assert end <= AT + hard
    elif idle is not None and idle >= window:
        assert end is None  # as long as ever: each refresh begins it anew


@given(left=SPANS)
def test_an_announcement_is_due_when_less_is_left_than_it_says(left: timedelta) -> None:
    days = expiry.due(AT + left, at=AT)
    assert (days is None) == (left >= timedelta(days=max(expiry.DAYS)))
    if days is not None:
        assert left < timedelta(days=days)
        assert all(left >= timedelta(days=other) for other in expiry.DAYS if other < days)
