"""Pulling under bad weather: a stop in the middle of a batch, a broker that is killed, a handler that is slow."""

import base64
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.msg import Msg

from common import embedded, subjects, topology
from common.bus import Bus
from common.consume import Handler, batches
from common.delivery import Delivery, spread
from common.errors import RetryLater, backoff
from common.failures import Failures
from common.inbox import position
from common.inhand import InHand
from common.messages import Tick, now
from common.settings import Settings, load
from tests.conftest import ROOT, environment


async def publish(bus: Bus, workspace: str) -> None:
    tick = Tick(workspace=workspace, reason="asked", asked_at=now())
    await bus.publish(subjects.pull(bus.region, workspace), tick, stream=bus.topology.pulls)


async def settled(bus: Bus) -> None:
    """Wait until the ticks are all acknowledged."""
    with anyio.fail_after(20):
        while True:
            info = await bus.js.consumer_info(bus.topology.pulls, "puller")
            if not info.num_pending and not info.num_ack_pending:
                return
            await anyio.sleep(0.02)


async def test_a_batch_in_hand_is_finished_before_the_service_leaves(bus: Bus, settings: Settings) -> None:
    service = Bus(settings, "puller")
    begun, go_on = anyio.Event(), anyio.Event()
    done: list[str] = []

    async def handle(deliveries: Sequence[Delivery[Tick]]) -> None:
        begun.set()
        await go_on.wait()
        done.extend(delivery.message.workspace for delivery in deliveries)

    batches(service, service.topology.puller, Tick, handle)
    await publish(bus, "one")
    async with anyio.create_task_group() as group:
        group.start_soon(service.run)
        with anyio.fail_after(10):
            await begun.wait()
        service.stop()
        await publish(bus, "two")
        go_on.set()
    info = await bus.js.consumer_info(bus.topology.pulls, "puller")
    assert info.num_ack_pending == 0
    assert done == ["one", "two"][: 2 - info.num_pending]


async def test_many_single_messages_all_come_at_once(bus: Bus, settings: Settings) -> None:
    service = Bus(settings, "puller")
    late: list[tuple[str, int]] = []
    seen: set[str] = set()

    async def handle(deliveries: Sequence[Delivery[Tick]]) -> None:
        for delivery in deliveries:
            seen.add(delivery.message.workspace)
            if delivery.attempt > 1:
                late.append((delivery.message.workspace, delivery.attempt))

    batches(service, service.topology.puller, Tick, handle, size=8)
    async with anyio.create_task_group() as group:
        group.start_soon(service.run)
        await service.started.wait()
        for number in range(60):
            await publish(bus, f"w{number}")
            await anyio.sleep(number % 7 / 100)  # gaps of all lengths, among them those a poll would miss
        await settled(bus)
        service.stop()
    assert len(seen) == 60
    assert late == []


async def test_pulling_goes_on_after_the_broker_was_killed(tmp_path: Path) -> None:
    async with embedded.broker(tmp_path) as broker:
        settings = load(nats_url=broker.url, nats_token=broker.token, region="eu")
        bus, service = Bus(settings, "test"), Bus(settings, "puller")
        seen: list[str] = []

        async def handle(deliveries: Sequence[Delivery[Tick]]) -> None:
            seen.extend(delivery.message.workspace for delivery in deliveries)

        batches(service, service.topology.puller, Tick, handle)
        await bus.connect()
        await topology.ensure(bus.js, bus.topology)
        async with anyio.create_task_group() as group:
            group.start_soon(service.run)
            await service.started.wait()
            await publish(bus, "before")
            await settled(bus)
            server = psutil.Process(broker.process.pid).children()[0]
            os.kill(server.pid, signal.SIGKILL)
            with anyio.fail_after(40):
                await publish(bus, "after")  # repeated by the bus until the broker is back
                while "after" not in seen:
                    await anyio.sleep(0.05)
            service.stop()
        await bus.close()


counts = st.integers(1, 2**63)


@given(
    st.sampled_from(["", "_.Q7fictional.", "hub.Q7fictional."]), counts, counts, counts, st.sampled_from(["", ".tail"])
)
def test_a_message_says_where_it_stands(account: str, attempt: int, stream: int, consumer: int, tail: str) -> None:
    rest = f"RECORDS_eu.scorer.{attempt}.{stream}.{consumer}.1796000000000000000.3{tail if account else ''}"
    message = Msg(Client(), reply=f"$JS.ACK.{account}{rest}")
    said = message.metadata
    assert position(message) == (said.sequence.stream, said.sequence.consumer, said.num_delivered)


@pytest.mark.parametrize("service", ["scorer", "puller", "poster"])
def test_sigterm_ends_a_process_cleanly(service: str, settings: Settings) -> None:
    provider = {"puller": "QUICKBOOKS", "poster": "QONTO"}.get(service)
    secrets = {
        f"WEIR_{provider}_CLIENT_ID": "fictional-client",
        f"WEIR_{provider}_CLIENT_SECRET": "fictional-secret",
        "WEIR_MASTER_KEY": base64.b64encode(bytes(32)).decode(),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", f"services.{service}"],
        cwd=ROOT,
        env=environment(settings, WEIR_LOG_FORMAT="json", **(secrets if provider else {})),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert any("service.ready" in line for line in iter(process.stderr.readline, ""))
    process.send_signal(signal.SIGTERM)
    rest = process.stderr.read()
    assert process.wait(20) == 0
    assert "service.draining" in rest
    assert "Traceback" not in rest


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody acknowledged comes again within a second, what is to be retried at once."""
    monkeypatch.setattr("common.topology.ACK_WAIT", 1.0)
    monkeypatch.setattr("common.consume.ACK_WAIT", 1.0)
    monkeypatch.setattr("common.errors.backoff", lambda _attempt: 0.05)


async def lived(settings: Settings, handle: Handler[Tick], over: Callable[[], Awaitable[bool]], **more: Any) -> None:
    """One life of a service, until `over`; then it is gone as after kill -9: nothing is finished or acknowledged."""
    service = Bus(settings, "puller")
    batches(service, service.topology.puller, Tick, handle, size=8, **more)
    async with anyio.create_task_group() as group:
        group.start_soon(service.run)
        await service.started.wait()
        with anyio.fail_after(20):
            while not await over():
                await anyio.sleep(0.02)
        group.cancel_scope.cancel()
    await service.close()


@pytest.mark.usefixtures("_soon")
async def test_a_message_that_ends_its_process_each_time_is_given_up(bus: Bus, settings: Settings) -> None:
    done: list[str] = []
    lives = 0

    async def quiet() -> bool:
        return bool(await Failures(bus).standing()) and len(done) > 1

    for name in ("one", "poison", "two"):
        await publish(bus, name)
    while not await quiet():
        lives += 1
        assert lives < 9, "it goes round and round"
        died = anyio.Event()

        async def handle(deliveries: Sequence[Delivery[Tick]], died: anyio.Event = died) -> None:
            if any(delivery.message.workspace == "poison" for delivery in deliveries):
                died.set()
                await anyio.sleep_forever()
            done.extend(delivery.message.workspace for delivery in deliveries)

        async def over(died: anyio.Event = died) -> bool:
            return died.is_set() or await quiet()

        await lived(settings, handle, over)
    [failure] = await Failures(bus).standing()
    assert (failure.workspace, "never finished" in failure.why) == ("poison", True)
    assert sorted(done) == ["one", "two"]
    await settled(bus)


@pytest.mark.usefixtures("_soon")
async def test_a_handler_that_hangs_is_cut_off_and_its_message_given_up(bus: Bus, settings: Settings) -> None:
    done: list[str] = []

    async def handle(deliveries: Sequence[Delivery[Tick]]) -> None:
        if any(delivery.message.workspace == "hangs" for delivery in deliveries):
            await anyio.sleep_forever()
        done.extend(delivery.message.workspace for delivery in deliveries)

    async def over() -> bool:
        return "other" in done and bool(await Failures(bus).standing("hangs"))

    for name in ("hangs", "other"):
        await publish(bus, name)
    await lived(settings, handle, over, within=0.2)
    assert done == ["other"]


@pytest.mark.usefixtures("_soon")
async def test_what_waits_for_long_is_not_taken_for_poison(bus: Bus, settings: Settings) -> None:
    attempts: list[int] = []

    async def handle(deliveries: Sequence[Delivery[Tick]]) -> None:
        for delivery in deliveries:
            attempts.append(delivery.attempt)
            if delivery.attempt < 12:
                await delivery.failed(RetryLater("not yet", 0.01))

    async def over() -> bool:
        return 12 in attempts

    await publish(bus, "patient")
    await lived(settings, handle, over)
    assert attempts == list(range(1, 13))
    assert await Failures(bus).standing() == []


@given(st.integers(1, 10_000))
def test_retries_come_ever_later_up_to_an_end_and_not_all_at_once(attempt: int) -> None:
    pauses = {spread(backoff(attempt)) for _ in range(8)}
    assert len(pauses) > 1
    assert all(0.9 * backoff(attempt) <= pause <= 1.1 * backoff(attempt) for pause in pauses)
    assert backoff(attempt) <= backoff(attempt + 1) <= 300


async def test_readers_of_one_process_note_what_they_have_in_hand_each_for_itself(bus: Bus) -> None:
    """A puller has several readers of its durable, and what waits for its turn comes to all of them."""
    first, second = InHand(bus, bus.topology.puller), InHand(bus, bus.topology.puller)
    async with first.noted([1]), second.noted([2]):
        assert await first.left([1, 2, 3]) == {1: 1, 2: 1}
    assert await first.left([1, 2]) == {}
