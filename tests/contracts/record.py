"""`python -m tests.contracts.record`: record what this release puts on the wire, from a real run.

Run it once for each release, before the next one changes anything, and commit what it writes: from then on the
tests replay it. It also renews the examples that the published schemas show. The company is the sandbox's.
"""

import json
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anyio
import msgspec

from common import answering, codec, embedded, subjects, topology
from common import messages as m
from common.buckets import Bucket
from common.bus import Bus
from common.invitations import Invitations
from common.masterkeys import vault
from common.people import People, Role
from common.settings import load
from common.tokens import Tokens
from services.cli.contracts import schemas
from services.cli.contracts.asyncapi import named
from services.cli.contracts.catalogue import CHANNELS, Ready
from services.cli.tally import Tally
from services.console.sessions import Sessions
from services.poster.subscriptions import Subscription
from services.puller.files import Lacking
from tests.conftest import ROOT
from tests.contracts.flow import BACK, WS, Flow, flow
from tests.contracts.recording import HERE, REGION, taken, write

OWNER = "olive@sample-sas.example"
EXAMPLES = ROOT / "services/cli/contracts/examples.json"


class Calls:
    """Asks services, and keeps what was asked and answered."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.kept: list[tuple[str, bytes, bytes]] = []

    async def ask(self, subject: str, message: Any) -> Any:
        """The answer to one request."""
        said = codec.encode(message) if message is not None else b""
        answer = await self._bus.client.request(subject, said, timeout=30)
        if isinstance(message, m.Exchange):  # what a browser brought is nobody's business, though it is used up
            said = codec.encode(msgspec.structs.replace(message, state="used-once", code="used-once"))
        self.kept.append((subject, said, answer.data))
        return codec.decode(answer.data, m.Answer if message is not None else Ready)  # type: ignore[arg-type]


async def _everything(work: Flow, calls: Calls) -> None:
    bus, region = work.bus, work.bus.region
    books = await work.company(24)
    await Bucket(bus, "policies", m.Policy).create(WS, m.Policy(version=2, amount_cap=Decimal(1500), by=OWNER))
    tally = Tally(bus, WS)
    await tally.follow()

    async def call(provider: m.Provider, verb: str, message: Any) -> Any:
        return await calls.ask(subjects.call(region, provider, verb), message)

    async with work.at_work("puller", "scorer", "poster"):
        await work.connect(books, calls.ask)
        await work.settled(tally)
        await _answered(bus)
        made = sorted(key for key in tally.bills if tally.fate(key) == "created")
        await books.pay(tally.bills[made[0]].id)
        await books.delete(tally.bills[made[1]].id)
        await call("quickbooks", "rewind", m.Rewind(workspace=WS, to=datetime(2000, 1, 1, tzinfo=UTC)))
        await call("quickbooks", "backfill", m.Backfill(workspace=WS, since=m.now() - timedelta(days=400)))
        await work.settled(tally)
        await call("qonto", "mirror", m.Mirror(workspace=WS))
        await call("qonto", "undo", m.Undo(workspace=WS, bill=made[2], by=OWNER, note="entered by hand already"))
        await call("qonto", "document", m.Draw(workspace=WS, bill=made[3]))
        await call("qonto", "webhook", m.Webhook(body=b"{}", signature="forged"))
        keyring = await call("qonto", "keys", m.Keys())
        await call("qonto", "rewrap", m.Rewrap(to=keyring.fingerprints[0]))
        for message in (m.Search(workspace=WS, limit=2), m.WhatIf(workspace=WS, policy=m.Policy(auto=0.99))):
            verb = "search" if isinstance(message, m.Search) else "whatif"
            await calls.ask(f"{region}.call.scorer.{verb}", message)
        await _failed(bus, calls, books.realm)
        await calls.ask(subjects.ready(region, "scorer"), None)
        await bus.publish(
            subjects.check(region, WS), m.Check(workspace=WS, asked_at=m.now()), stream=bus.topology.checks
        )
        await work.settled(tally)
        await call("qonto", "authorize", m.Authorize(workspace=WS, redirect_uri=BACK.format("qonto"), by=OWNER))
        await call("qonto", "disconnect", m.Disconnect(workspace="another-sample"))
        await _people(bus, books.organization, made[0])


async def _answered(bus: Bus) -> None:
    """People answer three questions, each in another way; every answer comes a second time, too late."""
    names = await bus.subjects(bus.topology.reviews, f"{bus.region}.review.requested.{WS}.*")
    asked = [one.message for one in (await bus.latest(bus.topology.reviews, names, m.ReviewRequested)).values()]
    assert len(asked) >= 4, f"only {len(asked)} questions"
    claimed = {kept.key.partition("-")[2] async for kept in Bucket(bus, "claims", m.Claim).items(f"{WS}.")}
    free = [one for one in asked if one.candidates and one.candidates[0].entry not in claimed]
    linked = free[0]
    others = sorted((one for one in asked if one is not linked), key=lambda one: len(one.candidates))
    ways: list[tuple[m.ReviewRequested, answering.Action]] = [
        (linked, "link"),
        (others[0], "create"),
        (others[1], "refuse"),
    ]
    for question, action in ways:
        entry = question.candidates[0].entry if action == "link" else None
        given = m.ReviewResolved(review=question.review, action=action, by=OWNER, entry=entry, note="a sample answer")
        sent = await answering.answer(bus, WS, f"{question.realm}-{question.bill}", given)
        closed = await answering.outcome(bus, sent, 30)
        assert closed is not None
        assert closed.outcome != "rejected", closed
        name = subjects.review(bus.region, "resolved", WS, sent.key)
        await bus.publish(name, given, stream=bus.topology.reviews)


async def _failed(bus: Bus, calls: Calls, realm: str) -> None:
    """A decision that nobody can read stands among the failures, and still does after it was tried again."""
    subject = subjects.decision(bus.region, WS, f"{realm}-0")
    await bus.publish(subject, {"type": "decision.1", "bill": 0}, stream=bus.topology.decisions)
    failure = subjects.failure(bus.region, WS, "poster", f"{realm}-0")
    with anyio.fail_after(20):
        while await bus.newest(bus.topology.failures, failure, m.Failure) is None:
            await anyio.sleep(0.05)
    asked = m.Retry(workspace=WS, id=f"poster.{realm}-0", by=OWNER)
    await calls.ask(subjects.retry(bus.region, "poster"), asked)


async def _people(bus: Bus, organization: str, bill: str) -> None:
    """What the console keeps, and what only an installation on the internet has."""
    await People(bus).grant(OWNER, WS, Role.OWNER)
    await Tokens(bus).make(OWNER, {WS: Role.VIEWER}, good_for=timedelta(days=9), purpose="a sample")
    await Invitations(bus).make(OWNER)
    await Sessions(bus).begin(OWNER)
    sealed = vault(bus.settings).seal(b"a sample", workspace=WS, provider="qonto", purpose="webhook")
    hook = Subscription(
        workspace=WS, url="https://weir.example/webhooks/qonto", since=m.now(), tried_at=m.now(), sealed=sealed, id="s"
    )
    await Bucket(bus, "subscriptions", Subscription).create(organization, hook)
    lacking = Lacking(files={"5": "0"}, names={"5": "invoice.pdf"})
    await Bucket(bus, "omissions", Lacking).create(f"{WS}.{bill.replace('-', '.')}", lacking)


def _examples(recorded: list[bytes]) -> dict[str, Any]:
    """For each message the recorded one that says most things without being long."""
    tags = {schemas.tag(one): one for channel in CHANNELS for one in (*channel.says, *channel.answers)}
    best: dict[str, tuple[int, dict[str, Any]]] = {}
    for data in recorded:
        try:
            told = json.loads(data)
        except ValueError:
            continue
        kind = told.get("type") if isinstance(told, dict) else None
        type_: Any = tags.get(kind)
        if kind is None and isinstance(told, dict):
            type_ = m.ReviewResolved if "action" in told and "review" in told else Ready if "ready" in told else None
        if type_ is None:
            continue
        try:
            codec.decode(data, type_)
        except msgspec.MsgspecError:
            continue
        worth = 400 * len(told) - len(data)
        if named(type_) not in best or worth > best[named(type_)][0]:
            best[named(type_)] = worth, told
    return {name: told for name, (_, told) in sorted(best.items())}


async def record(folder: Path) -> None:
    """Write the recording of this release, and the examples."""
    with tempfile.TemporaryDirectory() as place:
        async with embedded.broker(Path(place) / "broker") as broker:
            settings = load(nats_url=broker.url, nats_token=broker.token, region=REGION, data_dir=Path(place))
            bus = Bus(settings, "recorder")
            await bus.connect()
            await topology.ensure(bus.js, bus.topology)
            async with flow(bus, settings, Path(place) / "sandbox") as work:
                bus.settings = work.settings
                calls = Calls(bus)
                await _everything(work, calls)
            held = await taken(bus)
            await bus.close()
    await anyio.Path(folder).mkdir(exist_ok=True)
    values = [one for one in held if one.stream.startswith(("KV_", "OBJ_"))]
    write(folder / "streams.jsonl", [one for one in held if one not in values])
    write(folder / "values.jsonl", values)
    asked = [
        {"subject": name, "asked": said.decode(), "answered": answer.decode()} for name, said, answer in calls.kept
    ]
    (folder / "calls.jsonl").write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in asked))
    said = [one.data for one in held] + [data for _, *both in calls.kept for data in both]
    examples = _examples(said)
    lacking = {named(one) for channel in CHANNELS for one in (*channel.says, *channel.answers)} - examples.keys()
    assert not lacking, f"the run did not say {', '.join(sorted(lacking))}"
    EXAMPLES.write_text(json.dumps(examples, indent=1, ensure_ascii=False).replace(REGION, "eu") + "\n")


if __name__ == "__main__":
    release = HERE / version("weir")
    anyio.run(record, release)
    sys.stdout.write(f"{release.relative_to(ROOT)} and {EXAMPLES.relative_to(ROOT)} are written\n")
