"""The port for operators: alive, ready, measured; also while the broker is away, the loop hangs, the process drains."""

import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import TaskStatus
from prometheus_client.parser import text_string_to_metric_families

from common import embedded, health, metrics, subjects
from common.bus import Bus
from common.consume import batches
from common.delivery import Delivery
from common.errors import RetryLater, UserError
from common.messages import Tick, now
from common.settings import Settings, load


class Port:
    """What the port of a process says; asked with a client that blocks, as whoever asks is another process."""

    def __init__(self, number: int) -> None:
        self._base = f"http://127.0.0.1:{number}"

    def now(self, path: str) -> tuple[int, str]:
        """Ask while this event loop stands still."""
        try:
            with urllib.request.urlopen(self._base + path, timeout=5) as answer:  # noqa: S310 (loopback)
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    async def ask(self, path: str) -> tuple[int, str]:
        """Ask while the event loop goes on."""
        return await anyio.to_thread.run_sync(self.now, path)

    async def until(self, path: str, right: Callable[[int, str], bool]) -> str:
        """Ask until the answer is right."""
        answer = (0, "")
        with anyio.move_on_after(20):
            while not right(*(answer := await self.ask(path))):
                await anyio.sleep(0.05)
            return answer[1]
        raise AssertionError(answer)

    async def value(self, name: str, **labels: str) -> float:
        """A sample of what is measured; 0 where there is none."""
        _, text = await self.ask("/metrics")
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return sample.value
        return 0.0


Handle = Callable[[Sequence[Delivery[Tick]]], Awaitable[None]]


async def _nothing(_deliveries: Sequence[Delivery[Tick]]) -> None:
    return None


@asynccontextmanager
async def served(settings: Settings, handle: Handle = _nothing) -> AsyncIterator[tuple[Bus, Port]]:
    """A service in this process that takes ticks, with its port open."""
    number = embedded.free_port()
    service = Bus(settings.model_copy(update={"ops_port": number}), "puller")
    batches(service, service.topology.puller, Tick, handle)
    async with anyio.create_task_group() as group:
        group.start_soon(service.run)
        with anyio.fail_after(20):
            await service.started.wait()
        yield service, Port(number)
        service.stop()


def ok(status: int, _body: str) -> bool:
    return status == 200


async def give(bus: Bus, workspace: str) -> None:
    tick = Tick(workspace=workspace, reason="asked", asked_at=now())
    await bus.publish(subjects.pull(bus.region, workspace), tick, stream=bus.topology.pulls)


async def test_who_drains_lives_and_is_not_ready(bus: Bus, settings: Settings) -> None:
    begun, go_on = anyio.Event(), anyio.Event()

    async def hold(_deliveries: Sequence[Delivery[Tick]]) -> None:
        begun.set()
        await go_on.wait()

    async with served(settings, hold) as (service, port):
        await port.until("/readyz", ok)
        await give(bus, "one")
        await begun.wait()
        service.stop()
        why = await port.until("/readyz", lambda status, _: status == 503)
        assert "told to stop" in why
        assert await port.ask("/livez") == (200, "ok\n")
        assert await port.value("weir_ready", service="puller", region=settings.region) == 0
        go_on.set()


async def test_what_is_handled_is_measured_and_what_is_missing_is_named(
    bus: Bus, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "LOOK_EVERY", 0.2)

    async def choose(deliveries: Sequence[Delivery[Tick]]) -> None:
        for delivery in deliveries:
            if delivery.message.workspace == "later":
                await delivery.failed(RetryLater("not now", delay=60))

    async with served(settings, choose) as (_, port):
        await port.until("/readyz", ok)
        outcomes = {"done": 0.0, "put-off": 0.0}
        before = {name: await port.value("weir_messages_total", stage="puller", outcome=name) for name in outcomes}
        await give(bus, "now")
        await give(bus, "later")
        with anyio.fail_after(20):
            while list(outcomes.values()) != [1, 1]:
                for name, earlier in before.items():
                    value = await port.value("weir_messages_total", stage="puller", outcome=name)
                    outcomes[name] = value - earlier
        assert await port.value("weir_ready") == await port.value("weir_broker_connected") == 1
        assert await port.value("weir_batch_seconds_count", stage="puller") >= 1
        assert (await port.ask("/elsewhere"))[0] == 404
        await bus.js.delete_consumer(bus.topology.pulls, "puller")
        why = await port.until("/readyz", lambda status, _: status == 503)
        assert f"the durable puller of {bus.topology.pulls}" in why


async def test_an_event_loop_that_hangs_is_told_of(
    bus: Bus, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "LATE", 2.5)
    async with served(settings) as (_, port):
        assert await port.ask("/livez") == (200, "ok\n")
        status, why = 200, ""
        for _ in range(20_000):  # the loop stands still meanwhile: nothing here awaits
            if status != 200:
                break
            status, why = port.now("/livez")
        assert status == 503
        assert "the event loop has not turned" in why
        await port.until("/livez", ok)
    assert bus.client.is_connected


async def test_without_a_broker_a_process_lives_and_is_not_ready(
    tmp_path: Path, region: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "LOOK_EVERY", 0.2)
    leave = anyio.Event()

    async def run(*, task_status: TaskStatus[embedded.Embedded]) -> None:
        async with embedded.broker(tmp_path) as broker:
            task_status.started(broker)
            await leave.wait()

    async with anyio.create_task_group() as group:
        broker = await group.start(run)
        own = load(nats_url=broker.url, nats_token=broker.token, region=region, data_dir=tmp_path)
        async with served(own) as (_, port):
            await port.until("/readyz", ok)
            leave.set()
            assert await port.until("/readyz", lambda status, _: status == 503) == "the broker is not connected\n"
            assert await port.ask("/livez") == (200, "ok\n")
            assert await port.value("weir_broker_connected") == 0


async def test_a_port_that_is_taken_is_named(bus: Bus, settings: Settings) -> None:
    async with served(settings) as (service, _):
        second = Bus(settings.model_copy(update={"ops_port": service.settings.ops_port}), "scorer")
        with pytest.raises(UserError, match="WEIR_OPS_PORT"):
            await second.run()
    assert bus.client.is_connected


def test_every_series_has_its_region_and_service() -> None:
    families = list(text_string_to_metric_families(metrics.exposition("scorer", "eu").decode()))
    assert {"weir_ready", "weir_messages", "python_gc_objects_collected"} <= {family.name for family in families}
    for family in families:
        for sample in family.samples:
            assert sample.labels["service"] == "scorer", sample
            assert sample.labels["region"] == "eu", sample
