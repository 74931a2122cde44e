"""Three brokers, of which one at a time is killed or cut off while work goes on: two carry on, and all is as it was.

A whole sync through all of it takes minutes: `make cluster` runs it, with `WEIR_TEST_BILLS` bills.
"""

import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from common.bus import Bus
from common.errors import RetryLater
from common.settings import load
from tests.cluster.brokers import NODES, Cluster, can_cut, cluster
from tests.cluster.office import AWAY, Office, office

BILLS = int(os.environ.get("WEIR_TEST_BILLS", "0"))
STEP = max(1, BILLS // 15)
"""Bills that are carried out while a broker is away."""
WITHIN = 120.0


@pytest.fixture
async def three(tmp_path: Path) -> AsyncIterator[Cluster]:
    """Three brokers that hold the same."""
    with cluster(tmp_path) as found:
        await found.healthy()
        yield found


async def goes_on(scene: Office, what: str) -> None:
    """Wait until work was done since now; what says why it could stand still."""
    before, began = done(scene), anyio.current_time()
    with anyio.move_on_after(WITHIN):
        while done(scene) < min(before + STEP, len(scene.tally.bills)):
            await anyio.sleep(0.05)
        took = anyio.current_time() - began
        print(f"{what}: {done(scene) - before} bills carried out within {took:.1f} s, {done(scene)} in all")  # noqa: T201
        return
    raise AssertionError(f"{what}: {done(scene) - before} bills within {WITHIN:g} s; {await scene.under_way()}")


def done(scene: Office) -> int:
    """Bills with an answer."""
    fates = scene.tally.fates()
    return sum(fates.values()) - fates["undecided"] - fates["unposted"]


async def leads(bus: Bus, stream: str) -> str:
    """Who leads a stream, once somebody does."""
    with anyio.fail_after(WITHIN):
        while True:
            with suppress(*AWAY):
                info = await bus.js.stream_info(stream)
                if info.cluster is not None and info.cluster.leader:
                    return str(info.cluster.leader)
            await anyio.sleep(0.05)


@pytest.mark.timeout(500)
async def test_a_publisher_gets_through_whatever_broker_dies_or_falls_silent(
    three: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.bus.PING_EVERY", 0.5)
    bus = Bus(load(**three.settings), "test")
    await bus.connect()
    await bus.js.add_stream(name="KEPT", subjects=["kept"], num_replicas=3)
    sent: list[int] = []

    async def send() -> None:
        """Publish one more; between two leaders it is put off, as a service would, and tried with the same key."""
        with anyio.fail_after(WITHIN):
            while True:
                with suppress(RetryLater):
                    sent.append(await bus.publish("kept", {"n": len(sent)}, stream="KEPT", key=str(len(sent))))
                    return
                await anyio.sleep(0.2)

    await send()
    leader = await leads(bus, "KEPT")
    three.kill(leader)
    await send()
    three.start(leader)
    await three.healthy(leader)
    leader_now = await leads(bus, "KEPT")
    follower = next(name for name in NODES if name != leader_now)
    three.kill(follower)
    await send()
    three.start(follower)
    await three.healthy()
    if can_cut():
        (silent,) = [name for name in NODES if bus.instance in await three.clients(name)]
        three.cut(silent)
        await send()
        assert [name for name in NODES if name != silent and bus.instance in await three.clients(name)]
        three.mend(silent)
        await three.healthy()
    assert sent == list(range(1, len(sent) + 1))
    with anyio.fail_after(WITHIN):  # who led when it was cut off says for a moment what it knew then
        while (await bus.js.stream_info("KEPT")).state.messages != len(sent):
            await anyio.sleep(0.05)
    await bus.close()


@pytest.mark.skipif(not BILLS, reason="takes minutes: make cluster")
@pytest.mark.timeout(300 + BILLS / 4)
async def test_a_sync_survives_the_death_of_any_broker_and_a_partition(three: Cluster, tmp_path: Path) -> None:
    began = anyio.current_time()
    async with office(tmp_path / "office", bills=BILLS, seed="cluster", settings=three.settings) as scene:
        names = scene.weir.bus.topology
        with anyio.fail_after(WITHIN):
            while not done(scene):
                await anyio.sleep(0.05)
        print(f"work began after {anyio.current_time() - began:.1f} s")  # noqa: T201
        for stream in (names.records, names.decisions, f"KV_{names.bucket('idempotency')}"):
            victim = await leads(scene.weir.bus, stream)
            three.kill(victim)
            await goes_on(scene, f"{victim}, leader of {stream}, killed")
            three.start(victim)
            await three.healthy(victim)
        leader = await leads(scene.weir.bus, names.decisions)
        follower = next(name for name in NODES if name != leader)
        three.kill(follower)
        await goes_on(scene, f"{follower}, a follower of {names.decisions}, killed")
        three.start(follower)
        await three.healthy(follower)
        if can_cut():
            cut = await leads(scene.weir.bus, names.postings)
            attached = await three.clients(cut)
            three.cut(cut)
            await goes_on(scene, f"{cut}, leader of {names.postings}, cut off with {attached}")
            three.mend(cut)
            await three.healthy()
        await scene.settled(WITHIN + BILLS / 4)
        print(f"settled after {anyio.current_time() - began:.1f} s: {dict(scene.tally.fates())}")  # noqa: T201
        assert await scene.differences() == []
