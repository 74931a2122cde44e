"""The master key is replaced while tokens are made, refreshed and revoked, whoever dies at whatever moment."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio
import httpx
import pytest
from msgspec.structs import replace

from common import http
from common.buckets import Bucket
from common.bus import Bus
from common.connections import Connection, Connections
from common.consent import Pending
from common.errors import Refused
from common.messages import Authorize, Disconnect, Keys, Rewrap, now
from common.oauth import Tokens
from common.proof import prove_master_key
from common.register import Register
from common.rewrapping import SLICE, Rewrapping, Shelf
from common.settings import Settings
from common.vault import Damaged, KeyMissing, Vault, fingerprint
from services.poster.subscriptions import Subscription
from tests.common.provider import KEY, REALM, WS, Provider, app, connect, identify, stated
from tests.loopback import listening

NEW = bytes(range(32, 64))
OLD_FIRST, NEW_FIRST = Vault(KEY, NEW), Vault(NEW, KEY)
FOREVER = 1_000_000
EACH = 5
"""Keys are turned at every fifth word to the broker: in so many lives at each of them once."""


class DeadError(BaseException):
    """The end of a life: nothing may catch it."""


Touched = Callable[[int], Awaitable[None]]


@asynccontextmanager
async def life(settings: Settings, touched: Touched) -> AsyncIterator[Bus]:
    """A process's place on the broker; before whatever it sends there, `touched` is told how often it has."""
    bus, touches = Bus(settings, "puller"), 0
    await bus.connect()
    plain = bus.client.publish

    async def counted(*given: Any, **named: Any) -> None:
        nonlocal touches
        touches += 1
        await touched(touches)
        await plain(*given, **named)

    bus.client.publish = counted  # type: ignore[method-assign]
    try:
        yield bus
    finally:
        await bus.close()


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = Provider(life=0)  # every use of a token is a refresh
    async with listening(provider.routes()) as provider.url:
        yield provider


async def turn(bus: Bus) -> None:
    """Have everything of QuickBooks under the other key than it is."""
    under = (await Rewrapping(bus, OLD_FIRST, "quickbooks").keys(Keys())).values
    vault = NEW_FIRST if OLD_FIRST.fingerprint in under else OLD_FIRST
    done = await Rewrapping(bus, vault, "quickbooks").rewrap(Rewrap(to=vault.fingerprint))
    assert (done.stuck, done.more) == (0, False)


async def test_a_grant_is_made_renewed_and_revoked_whenever_keys_are_turned(
    bus: Bus, settings: Settings, provider: Provider
) -> None:
    await prove_master_key(bus, OLD_FIRST)
    turned = set()
    async with http.client() as client:
        for first in range(EACH):

            async def touched(touch: int, rest: int = first) -> None:
                if touch % EACH == rest:
                    turned.add(touch)
                    await turn(bus)

            async with life(settings, touched) as place:
                made = Connections(place, OLD_FIRST, app(provider), client, identify, stated=stated)
                assert (await connect(made)).account == REALM
                assert (await made.grant(WS)).access == f"a{provider.number}"
                kept = await Bucket(bus, "connections", Connection).get(f"{WS}.quickbooks")
                assert kept is not None
                assert Register(bus, NEW_FIRST, "quickbooks").open(kept.value).refresh == provider.valid
                await made.disconnect(Disconnect(workspace=WS))
            assert provider.revoked[-1] == provider.valid
            assert provider.alive == {}
    assert turned >= set(range(1, 40))  # between any two words to the broker


async def test_a_rotation_that_is_killed_anywhere_goes_on_under_load(
    bus: Bus, settings: Settings, provider: Provider
) -> None:
    await prove_master_key(bus, OLD_FIRST)
    hooks = Shelf(Bucket(bus, "subscriptions", Subscription), "webhook", "sealed")
    hook = OLD_FIRST.seal(b"hook", purpose="webhook", workspace=WS, provider="quickbooks")
    at = now()
    await hooks.bucket.create("org", Subscription(workspace=WS, url="u", since=at, tried_at=at, sealed=hook))
    asleep = Register(bus, OLD_FIRST, "quickbooks")
    tokens = Tokens(access="a-asleep", refresh="r-asleep", expires_at=at + timedelta(days=1))
    for workspace in ("asleep-1", "asleep-2"):
        fresh = Connection(workspace=workspace, account=workspace, state="needs-reconnect", since=at)
        await asleep.write(None, fresh.holding(tokens, asleep.seal(workspace, tokens)))
    async with http.client() as client, anyio.create_task_group() as group:
        made = Connections(bus, OLD_FIRST, app(provider), client, identify, stated=stated)
        await connect(made)
        await made.authorize(Authorize(workspace="waiting", redirect_uri="http://127.0.0.1/cb"))
        before = provider.number

        async def use() -> None:
            while True:
                assert (await made.grant(WS)).access == f"a{provider.number}"

        group.start_soon(use)
        last, deaths = 0, 1
        while deaths > 0:
            last, deaths = last + 1, 0
            vault = NEW_FIRST if last % 2 else OLD_FIRST
            for touches in (last, FOREVER):

                async def touched(touch: int, end: int = touches) -> None:
                    if touch >= end:
                        raise DeadError

                async with life(settings, touched) as place:
                    rewrapping = Rewrapping(place, vault, "quickbooks", [hooks_of(place)])
                    try:
                        done = await rewrapping.rewrap(Rewrap(to=vault.fingerprint))
                    except DeadError:
                        deaths += 1
                        continue
                    assert (done.stuck, done.more) == (0, False)
            for workspace in ("asleep-1", "asleep-2"):
                kept = await asleep.get(workspace)
                assert kept is not None
                assert kept.value.sealed is not None
                assert kept.value.sealed.master == vault.fingerprint
                assert asleep.open(kept.value) == tokens
            found = await hooks.bucket.get("org")
            assert found is not None
            opened = Vault(NEW if last % 2 else KEY).open(
                found.value.sealed, purpose="webhook", workspace=WS, provider="quickbooks"
            )
            assert opened == b"hook"
        group.cancel_scope.cancel()
    assert last > 8
    assert provider.number > before + 3
    assert (await Rewrapping(bus, OLD_FIRST, "quickbooks").keys(Keys())).values.keys() <= set(OLD_FIRST.fingerprints)


def hooks_of(bus: Bus) -> Shelf[Subscription]:
    return Shelf(Bucket(bus, "subscriptions", Subscription), "webhook", "sealed")


async def test_values_are_counted_by_key_and_moved_a_few_at_a_time(bus: Bus) -> None:
    lost = Vault(bytes(32))
    place: dict[str, Any] = {"purpose": "verifier", "workspace": WS, "provider": "quickbooks"}
    pending = Bucket(bus, "authorizations", Pending)
    for number in range(SLICE + 2):
        sealed = (lost if number == 0 else OLD_FIRST).seal(b"v", **place)
        one = Pending(workspace=WS, provider="quickbooks", redirect_uri="u", verifier=sealed)
        await pending.create(f"s{number}", one, ttl=60)
    other = Pending(workspace=WS, provider="qonto", redirect_uri="u", verifier=OLD_FIRST.seal(b"v", **place))
    await pending.create("of-qonto", other, ttl=60)
    rewrapping = Rewrapping(bus, NEW_FIRST, "quickbooks")
    with pytest.raises(Refused, match=f"seals with key {fingerprint(NEW)}, not with {fingerprint(KEY)}"):
        await rewrapping.rewrap(Rewrap(to=fingerprint(KEY)))
    steps = [await rewrapping.rewrap(Rewrap(to=fingerprint(NEW))) for _ in range(3)]
    assert [(step.moved, step.stuck, step.more) for step in steps] == [
        (SLICE, 1, True),
        (1, 1, False),
        (0, 1, False),
    ]
    ring = await rewrapping.keys(Keys())
    assert ring.fingerprints == (fingerprint(NEW), fingerprint(KEY))
    assert ring.values == {fingerprint(NEW): SLICE + 1, lost.fingerprint: 1}
    untouched = await pending.get("of-qonto")
    assert untouched is not None
    assert untouched.value.verifier == other.verifier


async def test_a_stolen_store_opens_with_no_key_and_nothing_moved_within_it(bus: Bus, provider: Provider) -> None:
    async with http.client() as client:
        made = Connections(bus, OLD_FIRST, app(provider), client, identify, stated=stated)
        await connect(made)
        redirect = await made.authorize(Authorize(workspace=WS, redirect_uri="http://127.0.0.1/cb"))
    bucket = Bucket(bus, "connections", Connection)
    kept = await bucket.get(f"{WS}.quickbooks")
    pending = await Bucket(bus, "authorizations", Pending).get(httpx.URL(redirect.url).params["state"])
    assert kept is not None
    assert pending is not None
    with pytest.raises(KeyMissing):
        Register(bus, Vault(bytes(32)), "quickbooks").open(kept.value)
    await bucket.create("other.quickbooks", replace(kept.value, workspace="other"))
    await bucket.create(f"{WS}.qonto", kept.value)
    await bucket.replace(kept.key, replace(kept.value, sealed=pending.value.verifier), kept.revision)
    for provider_, workspace in (("quickbooks", "other"), ("qonto", WS), ("quickbooks", WS)):
        register = Register(bus, OLD_FIRST, provider_)  # type: ignore[arg-type]
        moved = await register.usable(workspace)
        with pytest.raises(Damaged):
            register.open(moved.value)
