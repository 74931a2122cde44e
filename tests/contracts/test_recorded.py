"""What earlier releases put on the wire: this one reads all of it, and goes on from it as if nothing had happened."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import anyio
import pytest

from common import answering, codec
from common.buckets import Bucket
from common.bus import Bus
from common.failures import Failures
from common.messages import (
    Answer,
    Decision,
    Entry,
    Posting,
    Record,
    ReviewClosed,
    ReviewRequested,
    ReviewResolved,
)
from common.settings import Settings
from services.cli.bookkeeper import Bookkeeper
from services.cli.contracts.catalogue import CHANNELS
from services.cli.contracts.channels import meets
from services.cli.contracts.values import VALUES, Value
from services.poster.ledger import Page
from tests.contracts.flow import WS, Flow, flow
from tests.contracts.recording import HERE, RELEASES, Recorded, put_back, read, taken

BILLS = 24
SAME = ("DECISIONS", "REVIEWS", "KV_claims", "KV_aliases", "KV_policies")
"""What nothing may be added to, lost or changed by being read again."""
SPENT = b'{"type":"decision.1","bill":0}'
"""The one recorded message that no release can read, which stands among the failures."""


def value_of(subject: str) -> Value:
    """What a bucket's key holds."""
    _, bucket, key = subject.split(".", maxsplit=2)
    name, tokens = bucket.rpartition("_")[0], key.split(".")
    found = [one for one in VALUES if one.bucket == name]
    if name == "markers" and len(found) > 1:
        last = tokens[-1].partition("-")[0]
        special = [one for one in found if one.name == f"markers.{last}"]
        kind = "entity" if tokens[1].isdigit() else "list"
        return special[0] if special else next(one for one in found if one.name == f"markers.{kind}")
    [only] = found
    return only


def type_of(one: Recorded) -> Any:
    """The type of a recorded message; None for the bytes of documents."""
    if one.subject.startswith("$O."):
        return None
    if one.subject.startswith("$KV."):
        return value_of(one.subject).type
    [channel] = [channel for channel in CHANNELS if meets(channel.pattern, one.subject)]
    [type_] = channel.says
    return type_


@pytest.mark.parametrize("release", RELEASES)
def test_every_message_of_an_earlier_release_is_read(release: str) -> None:
    met: dict[Any, int] = defaultdict(int)
    for one in read(release):
        type_ = type_of(one)
        if type_ is None or not one.data or one.data == SPENT:
            continue
        message = codec.decode(one.data, type_)
        assert codec.decode(codec.encode(message), type_) == message
        met[type_] += 1
    assert {Record, Entry, Decision, Posting, ReviewRequested, ReviewResolved, ReviewClosed, Page} <= met.keys()


@pytest.mark.parametrize("release", RELEASES)
def test_every_call_of_an_earlier_release_is_read(release: str) -> None:
    met: set[str] = set()
    for line in (HERE / release / "calls.jsonl").read_text().splitlines():
        told = json.loads(line)
        [channel] = [one for one in CHANNELS if meets(one.pattern, told["subject"])]
        for asked in channel.says:
            codec.decode(told["asked"].encode(), asked)
        if channel.name != "ready":
            codec.decode(told["answered"].encode(), Answer)  # type: ignore[arg-type]
        met.add(channel.name)
    assert {"call.qonto.exchange", "call.quickbooks.rewind", "call.scorer.search", "retry", "ready"} <= met


async def drained(work: Flow) -> None:
    """Wait until every durable was brought everything, and has done with it."""
    bus = work.bus
    with anyio.fail_after(40):
        for one in bus.topology.consumers:
            while (info := await bus.js.consumer_info(one.stream, one.name)).num_pending or info.num_ack_pending:
                await anyio.sleep(0.05)


async def held(bus: Bus) -> dict[str, list[Recorded]]:
    """What is in the streams and buckets that must not change."""
    found: dict[str, list[Recorded]] = defaultdict(list)
    for one in await taken(bus):
        if one.stream.rpartition("_")[0] in SAME:
            found[one.stream].append(one)
    return found


async def stands(bus: Bus) -> dict[str, tuple[str, str | None, int]]:
    """What the ledger says of each bill: its state, its entry, its revision."""
    pages = [kept async for kept in Bucket(bus, "idempotency", Page).items()]
    return {kept.key: (kept.value.state, kept.value.entry, kept.value.revision) for kept in pages}


async def effects(work: Flow) -> dict[str, int]:
    """What Qonto was asked to do, beside signing in."""
    calls = (await work.http.get("/sandbox/calls")).json()["calls"]
    asked = [one for one in calls if one["side"] == "qonto" and one["method"] != "GET" and "oauth2" not in one["route"]]
    return {f"{one['method']} {one['route']}": one["count"] for one in asked}


async def paid_as_recorded(work: Flow, books: Bookkeeper) -> None:
    """Have Qonto show as paid what Weir had marked so."""
    names = await work.bus.subjects(work.bus.topology.entries, f"{work.bus.region}.entry.{WS}.invoice.*")
    for stored in (await work.bus.latest(work.bus.topology.entries, names, Entry)).values():
        path = f"/sandbox/companies/{books.realm}/qonto/supplier_invoices/{stored.message.id}"
        if stored.message.status == "paid" and stored.message.origin is None:
            (await work.http.patch(path, json={"status": "paid"})).raise_for_status()


@pytest.mark.parametrize("release", RELEASES)
async def test_this_release_goes_on_where_an_earlier_one_stopped(
    release: str, bus: Bus, settings: Settings, tmp_path: Path
) -> None:
    await put_back(bus, release)
    before, ledger = await held(bus), await stands(bus)
    posted = (await bus.js.stream_info(bus.topology.postings)).state.messages
    async with flow(bus, settings, tmp_path / "sandbox") as work:
        books = await work.company(BILLS)  # the same company again, in whose Qonto nothing that Weir made stands
        await paid_as_recorded(work, books)
        async with work.at_work("poster"):
            await work.connect(books, None, "qonto")
        async with work.at_work("poster", "scorer", "puller"):
            await drained(work)
            # Everything was brought again, and nothing was done again.
            assert await held(bus) == before
            assert await stands(bus) == ledger
            assert await effects(work) == {}
            news = [one for one in await taken(bus) if one.stream == bus.topology.postings and one.sequence > posted]
            assert {codec.decode(one.data, Posting).outcome for one in news} <= {"stale"}
            [standing] = await Failures(bus).standing(WS)
            assert standing.stage == "poster"
            # What waits for people still does.
            names = await bus.subjects(bus.topology.reviews, f"{bus.region}.review.requested.{WS}.*")
            asked = [await answering.asked(bus, WS, name.rpartition(".")[2]) for name in names]
            waiting: list[ReviewRequested] = [one.question for one in asked if one is not None and one.open]
            assert waiting
            question = waiting[0]
            given = ReviewResolved(review=question.review, action="create", by="A. Tester")
            sent = await answering.answer(bus, WS, f"{question.realm}-{question.bill}", given)
            closed = await answering.outcome(bus, sent, 30)
            assert closed is not None
            assert closed.outcome == "created", closed
            assert (await effects(work))["POST /v2/supplier_invoices/bulk"] == 1
