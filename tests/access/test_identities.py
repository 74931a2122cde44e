"""On a real broker: the table says what the broker does, refusals are loud, and what is stored cannot be read."""

import json
import re
from collections.abc import Sequence

import anyio
import nats.js.errors
import pytest
from structlog.testing import capture_logs

from common import codec, rights, subjects, topology
from common.buckets import Bucket, Documents
from common.bus import Bus
from common.consume import batches
from common.delivery import Delivery
from common.errors import Refused, RetryLater, UserError
from common.failures import Failures
from common.lease import lease
from common.messages import Done, Mirror, Tick, now
from common.rights import IDENTITIES, Identity
from common.standing import Connection as Shown
from common.topology import Topology
from tests.access.conftest import Guarded
from tests.common.test_rights import NEVER, concrete
from tests.console.desk.asking import WS


@pytest.mark.parametrize("who", IDENTITIES)
async def test_the_broker_does_what_the_table_says(guarded: Guarded, who: Identity) -> None:
    mine = rights.permissions(who, Topology("ap"))
    asked = {concrete(pattern) for one in IDENTITIES for pattern in rights.permissions(one, Topology("ap")).publish}
    asked |= {subject.replace("_eu", "_ap").replace("eu.", "ap.") for _, subject in NEVER}
    asked |= {f"$JS.API.STREAM.{verb}.DECISIONS_ap" for verb in ("DELETE", "PURGE")}
    asked |= {f"_INBOX_{one}.x" for one in IDENTITIES} | {"$SYS.REQ.SERVER.PING", "us.decision.a.1-1", "anything"}
    heard = {"ap.>", ">", "$SYS.>", "_INBOX.>", "us.review.>", *(f"_INBOX_{one}.>" for one in IDENTITIES)}
    heard |= {pattern for one in IDENTITIES for pattern in rights.permissions(one, Topology("ap")).subscribe}
    async with guarded.identity("ap", who) as someone:
        for subject in sorted(asked):
            await someone.client.publish(subject, b"")
        for subject in sorted(heard):
            await someone.client.subscribe(subject)
        await someone.settled()
        refused = {
            (kind, subject)
            for kind, subject in re.findall(r'for (publish|subscription) to "([^"]+)"', "\n".join(someone.denied))
        }
    assert {subject for kind, subject in refused if kind == "publish"} == {
        subject.lower() for subject in asked if not mine.may_publish(subject)
    }
    assert {subject for kind, subject in refused if kind == "subscription"} == {
        subject.lower() for subject in heard if not mine.may_subscribe(subject)
    }


async def test_a_region_cannot_see_that_another_is_there(guarded: Guarded) -> None:
    async with guarded.bus("us", "operator") as bus:
        answer = await bus.client.request("$JS.API.STREAM.NAMES", b"", timeout=5)
        assert b"_eu" not in answer.data
    async with guarded.identity("us", "console") as there, guarded.bus("eu", "operator") as here:
        heard = await there.client.subscribe("us.review.>")
        await here.publish(
            subjects.pull("eu", WS), Tick(workspace=WS, reason="asked", asked_at=now()), stream=here.topology.pulls
        )
        await there.settled()
        assert heard.pending_msgs == 0


async def test_who_decides_reads_no_tokens_and_it_is_told_loudly(guarded: Guarded) -> None:
    async with guarded.bus("eu", "scorer") as bus:
        bus.js  # noqa: B018 (connected)
        with capture_logs() as logs, pytest.raises(Exception, match=r".*"):
            await bus.client.request("$JS.API.STREAM.MSG.GET.KV_connections_eu", b"{}", timeout=2)
    [said] = [one for one in logs if one["event"] == "broker.denied"]
    assert (said["identity"], said["log_level"]) == ("scorer", "error")
    assert said["subject"].lower() == "$js.api.stream.msg.get.kv_connections_eu"


async def test_a_message_that_may_not_be_sent_says_so(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.bus.PUBLISH_TIMEOUT", 0.3)
    async with guarded.bus("eu", "console") as bus:
        tick = Tick(workspace=WS, reason="asked", asked_at=now())
        with pytest.raises(RetryLater, match=r"permissions do not let console publish on eu\.decision"):
            await bus.publish(subjects.decision("eu", WS, "9-1"), tick, stream=bus.topology.decisions)
        with pytest.raises(RetryLater, match=r"permissions do not let console publish on eu\.call\.none\.x"):
            await bus.call("eu.call.none.x", tick, timeout=0.5)


async def test_a_service_with_a_key_makes_no_streams(guarded: Guarded) -> None:
    bus = Bus(guarded.settings("ap", "scorer"), "scorer")
    with pytest.raises(UserError, match=r"no stream \w+_ap; run `weir setup` first"):
        await bus.run()
    await bus.close()


async def test_the_key_of_another_service_is_named(guarded: Guarded) -> None:
    bus = Bus(guarded.settings("eu", "scorer"), "poster")
    with pytest.raises(UserError, match=r"WEIR_NATS_SEED_FILE.*eu-poster\.seed"):
        await bus.connect()


async def test_streams_of_another_version_are_noticed(guarded: Guarded) -> None:
    at = Topology("us")
    async with guarded.bus("us", "operator") as bus:
        [wanted] = [stream for stream in at.streams if stream.name == at.records]
        await bus.js.add_stream(wanted.evolve(allow_atomic=False))
    async with guarded.bus("us", "scorer") as bus:
        with pytest.raises(UserError, match=r"RECORDS_us is of another version \(allow_atomic\)"):
            await topology.check(bus.js, at, {at.records}, ())


async def test_each_does_its_work(guarded: Guarded) -> None:
    """Leases, buckets, documents and calls, as their owners use them."""
    async with guarded.bus("eu", "puller") as puller, guarded.bus("eu", "poster") as poster:
        sha = await Documents(puller).put(b"x" * 300_000)
        assert len(await Documents(poster).get(sha)) == 300_000
        async with lease(puller, f"pull.{WS}"):
            pass
        async with lease(poster, f"mirror.{WS}"):
            pass
        kept = Shown(workspace=WS, account="9", state="connected", since=now())
        await Bucket(puller, "connections", Shown).put(f"{WS}.quickbooks", kept)
        assert [one.key async for one in Bucket(poster, "connections", Shown).items()] == [f"{WS}.quickbooks"]

        async def mirror(_asked: Mirror) -> Done:
            return Done()

        poster.answers(subjects.call("eu", "qonto", "mirror"), Mirror, mirror)
        await poster.broker.start()
        await poster.client.flush()
        await poster.client.flush()  # the first may overtake what waits to be written
        answer = await puller.call(subjects.call("eu", "qonto", "mirror"), Mirror(workspace=WS), timeout=5)
        assert isinstance(answer, Done)


async def test_a_stream_can_be_copied_and_none_that_is_there_is_replaced(guarded: Guarded) -> None:
    """As `nats account backup` and `restore` do it: chunks that are acknowledged, the last of them empty."""
    async with guarded.bus("eu", "operator") as bus:
        at = bus.topology
        await topology.ensure(bus.js, at)
    name = f"KV_{at.bucket('policies')}"
    async with guarded.identity("eu", "backup") as someone:
        chunks = await someone.client.subscribe(where := someone.client.new_inbox())
        asked = json.dumps({"deliver_subject": where, "no_consumers": False}).encode()
        answer = json.loads((await someone.client.request(f"$JS.API.STREAM.SNAPSHOT.{name}", asked, timeout=5)).data)
        assert answer["config"]["name"] == name
        copied = b""
        while (chunk := await chunks.next_msg(timeout=5)).data:
            copied += chunk.data
            if chunk.reply:
                await chunk.respond(b"")
        assert copied
        config = json.dumps({"config": answer["config"], "state": answer["state"]}).encode()
        refused = await someone.client.request(f"$JS.API.STREAM.RESTORE.{name}", config, timeout=5)
        assert "already in use" in json.loads(refused.data)["error"]["description"]
        assert someone.denied == []


async def test_nothing_stored_can_be_read_on_disk(guarded: Guarded) -> None:
    known = b"a-sentence-that-is-nowhere-else"
    async with guarded.bus("eu", "puller") as bus:
        await Documents(bus).put(known * 10)
    files = [path for path in guarded.store.rglob("*") if path.is_file()]
    assert any(path.suffix == ".blk" and path.stat().st_size for path in files)
    assert not [path for path in files if known in path.read_bytes()]


async def test_a_decision_that_the_console_has_the_broker_send_is_none(guarded: Guarded) -> None:
    """The broker's replies go wherever its clients say; what was kept elsewhere is told from what was published."""
    forged = subjects.decision("eu", WS, "9-66")
    handled: list[str] = []

    async def handle(deliveries: Sequence[Delivery[Tick]]) -> None:
        handled.extend(delivery.subject for delivery in deliveries)

    poster = Bus(guarded.settings("eu", "poster"), "poster")
    batches(poster, poster.topology.poster, Tick, handle)
    async with guarded.bus("eu", "console") as console, guarded.bus("eu", "scorer") as scorer:
        tick = Tick(workspace=WS, reason="asked", asked_at=now())
        mine = subjects.review("eu", "resolved", WS, "9-66")
        stream = console.topology.reviews
        with pytest.raises(nats.js.errors.BadRequestError, match="expected stream does not match"):
            await console.js.publish(mine, codec.encode(tick), stream=console.topology.decisions)
        await console.js.publish(mine, codec.encode(tick))
        question = json.dumps({"last_by_subj": mine}).encode()
        await console.client.publish(f"$JS.API.DIRECT.GET.{stream}", question, reply=forged)
        async with anyio.create_task_group() as group:
            group.start_soon(poster.run)
            await poster.started.wait()
            while await scorer.newest_sequence(scorer.topology.failures, f"eu.failure.{WS}.poster.9-66") == 0:
                await anyio.sleep(0.05)
            good = subjects.decision("eu", WS, "9-67")
            await scorer.publish(good, tick, stream=scorer.topology.decisions)
            while not handled:
                await anyio.sleep(0.05)
            poster.stop()
        assert handled == [good]
        [failure] = await Failures(console).standing(WS, "poster")
        assert "not published for its stream" in failure.why
        with pytest.raises(Refused, match="not published for its stream"):
            await Failures(scorer).message(failure)
