"""The broker part: publishing, pages, leases, buckets, batches and their fates, on a real nats-server."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import anyio
import msgspec
import pytest

from common import buckets, subjects, topology
from common.buckets import Bucket, Documents, Kept
from common.bus import Bus
from common.consume import batches
from common.delivery import Delivery
from common.errors import Conflict, Fatal, Refused, RetryLater
from common.lease import Taken, lease
from common.messages import Answer, Claim, Disconnect, Done, Notice, Record, Refusal, Tick, now
from common.settings import Settings

WS = "fictional-lock"


def record(ident: str, kind: Any = "bill", content: str = "a") -> Record:
    return Record(workspace=WS, realm="9", id=ident, kind=kind, content_hash=content, pulled_at=now())


def subject(bus: Bus, item: Record) -> str:
    return subjects.record(bus.region, WS, item.kind, item.key)


async def running(bus: Bus, group: Any) -> None:
    """Start the bus in the background and wait until its handlers are bound."""
    group.start_soon(bus.run)
    with anyio.fail_after(10):
        await bus.started.wait()


async def test_topology_is_made_once_and_drift_is_mended(bus: Bus) -> None:
    assert await topology.ensure(bus.js, bus.topology) == []
    info = await bus.js.stream_info(bus.topology.records)
    await bus.js.update_stream(info.config.evolve(max_msgs_per_subject=7))
    assert await topology.ensure(bus.js, bus.topology) == [bus.topology.records]
    assert (await bus.js.stream_info(bus.topology.records)).config.max_msgs_per_subject == 1


async def test_the_same_key_is_stored_once(bus: Bus) -> None:
    name = subjects.notice(bus.region, WS)
    notice = Notice(workspace=WS, kind="pulled", at=now(), why="test")
    first = await bus.publish(name, notice, stream=bus.topology.notices, key="k")
    assert await bus.publish(name, notice, stream=bus.topology.notices, key="k") == first


async def test_publish_to_a_stream_that_does_not_own_the_subject_is_no_silent_loss(bus: Bus) -> None:
    with pytest.raises(RetryLater):
        await bus.publish("nobody.listens", record("1"), stream=bus.topology.records)


async def test_a_page_is_stored_whole_and_read_back_by_subject(bus: Bus) -> None:
    page = [(subject(bus, item), item) for item in (record(str(number)) for number in range(1000))]
    sequence = await bus.publish_page(bus.topology.records, page)
    assert sequence == 1000
    found = await bus.latest(bus.topology.records, [name for name, _ in page] + ["x.y"], Record)
    assert {name: stored.message for name, stored in found.items()} == dict(page)
    assert await bus.newest_sequence(bus.topology.records, f"{bus.region}.record.{WS}.>") == 1000
    assert await bus.newest_sequence(bus.topology.records, f"{bus.region}.record.other.>") == 0


async def test_a_page_never_covers_a_newer_version(bus: Bus) -> None:
    old, new = record("1", content="old"), record("1", content="new")
    name = subject(bus, new)
    seen = await bus.publish_page(bus.topology.records, [(name, old)], expected={name: 0})
    await bus.publish_page(bus.topology.records, [(name, new)], expected={name: seen})
    other = record("2")
    with pytest.raises(Conflict):
        await bus.publish_page(bus.topology.records, [(subject(bus, other), other), (name, old)], expected={name: seen})
    found = await bus.latest(bus.topology.records, [name, subject(bus, other)], Record)
    assert {stored.message.content_hash for stored in found.values()} == {"new"}


async def test_one_unreadable_message_does_not_hide_the_others(bus: Bus) -> None:
    good, bad = record("1"), f"{bus.region}.record.{WS}.bill.9-bad"
    await bus.publish(subject(bus, good), good, stream=bus.topology.records)
    await bus.publish(bad, {"type": "record.1"}, stream=bus.topology.records)
    found = await bus.latest(bus.topology.records, [bad, subject(bus, good)], Record)
    assert [stored.message.id for stored in found.values()] == ["1"]


async def test_more_than_the_broker_answers_at_once_is_asked_for_again(bus: Bus) -> None:
    page = [(subject(bus, item), item) for item in (record(str(n), content="x" * 1_000_000) for n in range(70))]
    for name, item in page:
        await bus.publish(name, item, stream=bus.topology.records)
    found = await bus.latest(bus.topology.records, [name for name, _ in page], Record)
    assert len(found) == 70  # 70 MB: the broker cuts an answer at 64


async def test_subjects_are_listed(bus: Bus) -> None:
    page = [(subject(bus, item), item) for item in map(record, ("1", "2", "3"))]
    await bus.publish_page(bus.topology.records, page)
    names = await bus.subjects(bus.topology.records, f"{bus.region}.record.{WS}.bill.*")
    assert sorted(names) == sorted(name for name, _ in page)
    assert await bus.subjects(bus.topology.records, f"{bus.region}.record.other.>") == []


async def test_an_uncommitted_page_leaves_nothing(bus: Bus) -> None:
    item = record("1")
    await bus.client.publish(
        subject(bus, item),
        msgspec.json.encode(item),
        headers={"Nats-Expected-Stream": bus.topology.records, "Nats-Batch-Id": "b", "Nats-Batch-Sequence": "1"},
    )
    await bus.client.flush()
    assert (await bus.js.stream_info(bus.topology.records)).state.messages == 0


async def test_buckets_never_overwrite(bus: Bus) -> None:
    claims = Bucket(bus, "claims", Claim)
    first = await claims.create("ws.e1", Claim(bill="9-1", at=now()))
    with pytest.raises(Conflict):
        await claims.create("ws.e1", Claim(bill="9-2", at=now()))
    second = await claims.replace("ws.e1", Claim(bill="9-1", at=now()), first)
    with pytest.raises(Conflict):
        await claims.replace("ws.e1", Claim(bill="9-2", at=now()), first)
    with pytest.raises(Conflict):
        await claims.delete("ws.e1", first)
    assert [kept.key async for kept in claims.items("ws.")] == ["ws.e1"]
    await claims.delete("ws.e1", second)
    assert await claims.get("ws.e1") is None
    await claims.create("ws.e1", Claim(bill="9-3", at=now()))


async def test_documents_are_kept_once_under_their_hash(bus: Bus) -> None:
    documents = Documents(bus)
    name = await documents.put(b"%PDF-fictional")
    assert await documents.put(b"%PDF-fictional") == name
    assert await documents.get(name) == b"%PDF-fictional"
    assert not await documents.holds("0" * 64)
    with pytest.raises(RetryLater):
        await documents.get("0" * 64)


async def test_what_a_bucket_holds_is_read_whole_however_busy_we_are(bus: Bus) -> None:
    markers = Bucket(bus, "markers", str)
    for number in range(12):
        await markers.create(f"ws.realm.{number}", "here")
    seen: list[int] = []

    async def read() -> None:
        seen.append(len([kept.key async for kept in markers.items("ws.realm.")]))

    async with anyio.create_task_group() as group:
        for _ in range(150):
            group.start_soon(read)
    assert seen == [12] * 150
    kept = await markers.get("ws.realm.0")
    assert kept is not None
    await markers.delete("ws.realm.0", kept.revision)
    assert [kept.key async for kept in markers.items("ws.realm.1.")] == []
    assert len([kept.key async for kept in markers.items("ws.")]) == 11
    assert (await bus.js.stream_info(f"KV_{markers.name}")).state.consumer_count == 0


async def test_what_goes_while_a_bucket_is_read_ends_in_another_try(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "_PAGE", 2)
    markers = Bucket(bus, "markers", str)
    for number in range(6):
        await markers.create(f"ws.{number}", "here")
    readers = [markers.items("ws.") for _ in range(50)]  # the client library says in three ways that nothing came
    for values in readers:
        await anext(values)
    await bus.js.purge_stream(f"KV_{markers.name}")
    monkeypatch.setattr(buckets, "PUBLISH_TIMEOUT", 0.05)

    async def read_on(values: AsyncGenerator[Kept[str], None]) -> None:
        with pytest.raises(RetryLater, match="does not answer"):
            [kept.key async for kept in values]

    async with anyio.create_task_group() as group:
        for values in readers:
            group.start_soon(read_on, values)


async def test_what_a_lost_connection_swallows_of_a_bucket_is_missed(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "_PAGE", 2)
    markers = Bucket(bus, "markers", str)
    for number in range(6):
        await markers.create(f"ws.{number}", "here")
    values = markers.items("ws.")
    await anext(values)
    # The broker delivers the next one to somebody who is gone.
    [reader] = await bus.js.consumers_info(f"KV_{markers.name}")
    stolen = bus.client.new_inbox()
    lost = await bus.client.subscribe(stolen)
    await bus.client.publish(
        f"$JS.API.CONSUMER.MSG.NEXT.{reader.stream_name}.{reader.name}", b'{"batch":1,"no_wait":true}', reply=stolen
    )
    await lost.next_msg(timeout=5)
    with pytest.raises(RetryLater, match="swallowed"):
        [kept.key async for kept in values]


async def test_a_lease_excludes_and_is_free_again(bus: Bus) -> None:
    async with lease(bus, "pull.ws"):
        with pytest.raises(Taken):
            async with lease(bus, "pull.ws"):
                pytest.fail("two holders")
    async with lease(bus, "pull.ws"):
        pass
    with pytest.raises(ZeroDivisionError):
        async with lease(bus, "pull.ws"):
            _ = 1 / 0
    async with lease(bus, "pull.ws"):
        pass


async def test_a_lease_is_free_at_once_when_its_work_is_cancelled(bus: Bus) -> None:
    held = anyio.Event()

    async def work() -> None:
        async with lease(bus, "pull.ws"):
            held.set()
            await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        group.start_soon(work)
        await held.wait()
        group.cancel_scope.cancel()
    async with lease(bus, "pull.ws"):
        pass


async def test_a_lost_lease_cancels_the_work(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.lease.TTL", 1.0)
    bucket = Bucket(bus, "leases", str)
    with pytest.raises(Taken):  # noqa: PT012 (the block is the work)
        async with lease(bus, "pull.ws"):
            await bucket.put("pull.ws", "somebody else")
            with anyio.fail_after(5):
                await anyio.sleep_forever()


async def test_each_message_of_a_batch_has_its_own_fate(bus: Bus, settings: Settings) -> None:
    service = Bus(settings, "scorer")
    seen: list[tuple[str, int]] = []

    async def handle(deliveries: Sequence[Delivery[Record]]) -> None:
        for delivery in deliveries:
            seen.append((delivery.message.id, delivery.attempt))
            match delivery.message.id:
                case "retry" if delivery.attempt < 3:
                    await delivery.failed(RetryLater("not yet", delay=0.05))
                case "park":
                    await delivery.failed(Refused("never", field="total", fix="correct the total"))

    batches(service, service.topology.scorer, Record, handle)
    page = [(subject(bus, item), item) for item in map(record, ("good", "retry", "park"))]
    await bus.publish_page(bus.topology.records, page)
    await bus.publish(f"{bus.region}.record.{WS}.bill.9-bad", {"type": "record.1"}, stream=bus.topology.records)

    async with anyio.create_task_group() as group:
        await running(service, group)

        async def settled() -> None:
            while True:
                info = await bus.js.consumer_info(bus.topology.records, "scorer")
                if info.num_pending == 0 and info.num_ack_pending == 0:
                    return
                await anyio.sleep(0.05)

        with anyio.fail_after(15):
            await settled()
        service.stop()

    assert sorted(seen) == [("good", 1), ("park", 1), ("retry", 1), ("retry", 2), ("retry", 3)]
    notices = await bus.js.stream_info(bus.topology.notices)
    assert notices.state.messages == 2
    newest = await bus.newest(bus.topology.notices, subjects.notice(bus.region, WS), Notice)
    assert newest is not None
    assert newest.message.kind == "failed"


async def test_a_fatal_error_ends_the_process_and_keeps_the_message(bus: Bus, settings: Settings) -> None:
    service = Bus(settings, "scorer")

    async def handle(_deliveries: Sequence[Delivery[Record]]) -> None:
        raise Fatal("cannot go on")

    batches(service, service.topology.scorer, Record, handle)
    await bus.publish(subject(bus, record("1")), record("1"), stream=bus.topology.records)
    with anyio.fail_after(15), pytest.raises(Fatal):
        await service.run()
    info = await bus.js.consumer_info(bus.topology.records, "scorer")
    assert info.num_pending + info.num_ack_pending == 1


async def test_calls_are_answered_refused_or_reported_as_unanswered(bus: Bus, settings: Settings) -> None:
    service = Bus(settings, "poster")
    name = subjects.call(bus.region, "qonto", "disconnect")

    async def answer(request: Disconnect) -> Answer:
        if request.workspace == "unknown":
            raise Refused("no such workspace", fix="connect it")
        return Done()

    service.answers(name, Disconnect, answer)
    with pytest.raises(RetryLater):
        await bus.call(name, Disconnect(workspace=WS))
    async with anyio.create_task_group() as group:
        await running(service, group)
        assert await bus.call(name, Disconnect(workspace=WS)) == Done()
        assert await bus.call(name, Disconnect(workspace="unknown")) == Refusal(
            why="no such workspace", fix="connect it"
        )
        ready = await bus.client.request(subjects.ready(bus.region, "poster"), timeout=5)
        assert msgspec.json.decode(ready.data)["ready"] is True
        service.stop()


async def test_ticks_of_a_workspace_collapse_into_the_newest(bus: Bus) -> None:
    for reason in ("schedule", "asked", "connected"):
        tick = Tick(workspace=WS, reason=reason, asked_at=now())
        await bus.publish(subjects.pull(bus.region, WS), tick, stream=bus.topology.pulls)
    held = await bus.newest(bus.topology.pulls, subjects.pull(bus.region, WS), Tick)
    assert held is not None
    assert held.message.reason == "connected"
    assert (await bus.js.stream_info(bus.topology.pulls)).state.messages == 1


async def test_a_key_that_ends_while_it_is_looked_at_is_no_unforeseen_error(bus: Bus) -> None:
    leases = Bucket(bus, "leases", str)
    taken: list[int] = []

    async def take(number: int) -> None:
        while not taken:
            try:
                taken.append(await leases.create("kept", f"n{number}"))
            except Conflict:
                continue

    await leases.create("kept", "first", ttl=1)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            for number in range(32):
                group.start_soon(take, number)
    assert len(taken) == 1
