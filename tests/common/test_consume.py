"""Pulling under bad weather: a stop in the middle of a batch, a broker that is killed, a handler that is slow."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio
import psutil
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.msg import Msg

from common import embedded, subjects, topology
from common.bus import Bus
from common.consume import Delivery, batches
from common.inbox import position
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


def test_sigterm_ends_a_process_cleanly(settings: Settings) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "services.scorer"],
        cwd=ROOT,
        env=environment(settings, WEIR_LOG_FORMAT="json"),
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
