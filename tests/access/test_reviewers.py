"""Outsiders: all there is to the reviews of their workspace, and nothing of another, however they ask."""

import json
from collections.abc import AsyncIterator

import nats.errors
import nats.js.errors
import pytest

from common import answering, codec, subjects
from common.bus import Bus
from common.inbox import Inbox, status
from common.messages import ReviewRequested, ReviewResolved
from tests.access.conftest import OTHER, Guarded, Someone
from tests.console.desk.asking import WS, ask, key, question, resolved


@pytest.fixture
async def scorer(guarded: Guarded) -> AsyncIterator[Bus]:
    async with guarded.bus("eu", "scorer") as bus:
        yield bus


@pytest.fixture
async def reviewer(guarded: Guarded) -> AsyncIterator[Someone]:
    async with guarded.reviewer(WS) as someone:
        yield someone


async def asked_elsewhere(bus: Bus) -> str:
    """A question in the other workspace; its subject."""
    name = subjects.review("eu", "requested", OTHER, key("1"))
    await bus.publish(name, question(), stream=bus.topology.reviews)
    return name


def durable(workspace: str, region: str = "eu") -> str:
    return f"REVIEWS_{region}.reviewer-{workspace}"


async def past(someone: Someone, workspace: str = WS) -> list[str]:
    """What the one consumer of a workspace's reviewers still holds, acknowledged as it is read."""
    found = []
    async with Inbox(someone.client) as inbox:
        while True:
            reply = await inbox.ask(f"$JS.API.CONSUMER.MSG.NEXT.{durable(workspace)}", {"batch": 100, "no_wait": True})
            messages, word = await inbox.gather(reply, 100, within=5)
            for message in messages:
                found.append(message.subject)
                await message.ack()
            if word is None or status(word) != "100":
                return found


async def test_they_see_what_was_asked_before_and_what_is_asked_now(scorer: Bus, reviewer: Someone) -> None:
    before, now = question("101"), question("102")
    await ask(scorer, before)
    elsewhere = await asked_elsewhere(scorer)
    told = await past(reviewer)
    assert subjects.review("eu", "requested", WS, key("101")) in told
    assert elsewhere not in told
    assert all(name.split(".")[3] == WS for name in told)

    live = await reviewer.client.subscribe(f"eu.review.*.{WS}.>")
    everything = await reviewer.client.subscribe(">")
    await reviewer.settled()
    await asked_elsewhere(scorer)
    await ask(scorer, now)
    message = await live.next_msg(timeout=5)
    assert codec.decode(message.data, ReviewRequested) == now
    await reviewer.settled()
    heard = [everything.pending_msgs]
    first = await everything.next_msg(timeout=5)
    assert (heard, first.subject) == ([1], message.subject)
    assert await past(reviewer) == [message.subject]  # acknowledged ones do not come again


async def test_an_answer_ends_as_one_of_the_console(guarded: Guarded, scorer: Bus, reviewer: Someone) -> None:
    by_them, by_us = question("201"), question("202")
    await ask(scorer, by_them)
    await ask(scorer, by_us)
    order = {"review": by_them.review, "action": "link", "entry": "e1", "by": "R. Eviewer"}
    name = subjects.review("eu", "resolved", WS, key("201"))
    stored = await reviewer.client.request(name, json.dumps(order).encode(), timeout=5)
    assert json.loads(stored.data)["stream"] == "REVIEWS_eu"
    async with guarded.bus("eu", "console") as console:
        ours = resolved(by_us, action="link", entry="e1")
        await answering.answer(console, WS, key("202"), ours)
        found = await answering.asked(console, WS, key("201"))
        assert found is not None
        [given] = found.given
        assert (given.answer.by, given.answer.action, found.open) == ("R. Eviewer", "link", False)
        with pytest.raises(answering.Taken, match=r"R\. Eviewer decided it already"):
            await answering.answer(console, WS, key("201"), resolved(by_them))
    async with guarded.bus("eu", "poster") as poster, Inbox(poster.client) as inbox:
        ask_for = f"$JS.API.CONSUMER.MSG.NEXT.REVIEWS_eu.{poster.topology.answers.name}"
        messages, _ = await inbox.gather(await inbox.ask(ask_for, {"batch": 100, "no_wait": True}), 100, within=5)
        for message in messages:
            await message.ack()
        given_to = {message.subject.rpartition(".")[2]: message.data for message in messages}
        theirs, mine = (codec.decode(given_to[key(ident)], ReviewResolved) for ident in ("201", "202"))
        assert (theirs.entry, theirs.by, mine) == ("e1", "R. Eviewer", ours)


TRICKS = {
    "direct get": (f"$JS.API.DIRECT.GET.REVIEWS_eu.eu.review.requested.{OTHER}.9-1", b""),
    "last message": ("$JS.API.STREAM.MSG.GET.REVIEWS_eu", b'{"last_by_subj":"eu.review.requested.fictional-weir.9-1"}'),
    "a bucket": ("$JS.API.STREAM.MSG.GET.KV_policies_eu", b'{"seq":1}'),
    "a consumer of theirs": (
        f"$JS.API.CONSUMER.CREATE.REVIEWS_eu.mine.eu.review.*.{OTHER}.>",
        json.dumps(
            {
                "stream_name": "REVIEWS_eu",
                "config": {
                    "name": "mine",
                    "filter_subject": f"eu.review.*.{OTHER}.>",
                    "ack_policy": "none",
                    "deliver_policy": "all",
                    "deliver_subject": "eu.decision.stolen",
                },
            }
        ).encode(),
    ),
    "their consumer": (f"$JS.API.CONSUMER.MSG.NEXT.{durable(OTHER)}", b'{"batch":1,"no_wait":true}'),
    "the poster's answers": ("$JS.API.CONSUMER.MSG.NEXT.REVIEWS_eu.answers", b'{"batch":1,"no_wait":true}'),
    "names of streams": ("$JS.API.STREAM.NAMES", b""),
    "an answer to theirs": (f"eu.review.resolved.{OTHER}.9-1", b"{}"),
    "a question of their own": (f"eu.review.requested.{WS}.9-1", b"{}"),
    "a call": ("eu.call.qonto.undo", b"{}"),
    "the system": ("$SYS.REQ.SERVER.PING", b""),
}


@pytest.mark.parametrize("how", TRICKS)
async def test_nothing_else_is_answered(scorer: Bus, reviewer: Someone, how: str) -> None:
    await asked_elsewhere(scorer)
    sequence = await scorer.newest_sequence(scorer.topology.reviews, "eu.>")
    subject, body = TRICKS[how]
    try:
        answer = json.loads((await reviewer.client.request(subject, body, timeout=5)).data)
    except nats.errors.NoRespondersError:
        pass
    else:  # by their own account, which holds nothing
        assert answer["error"]["description"] == "JetStream not enabled for account"
    assert await scorer.newest_sequence(scorer.topology.reviews, "eu.>") == sequence


async def test_what_the_broker_sends_them_arrives_nowhere_else(
    guarded: Guarded, scorer: Bus, reviewer: Someone
) -> None:
    """A request may name any reply subject, and the broker does not look whether its sender may publish there."""
    await ask(scorer, question("301"))
    forged = subjects.decision("eu", WS, key("301"))
    async with guarded.identity("eu", "console") as inside:
        heard = await inside.client.subscribe("eu.decision.>")
        await inside.settled()
        own = await reviewer.client.subscribe(forged)
        body = b'{"batch":1,"no_wait":true}'
        await reviewer.client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{durable(WS)}", body, reply=forged)
        await own.next_msg(timeout=5)  # in their own account, where it is no decision
        await inside.settled()
        assert heard.pending_msgs == 0
    decided = [name async for name, *_ in scorer._newest(scorer.topology.decisions, [forged])]
    assert decided == []


async def test_services_leave_their_consumer_alone(guarded: Guarded) -> None:
    async with guarded.identity("eu", "poster") as poster:
        assert not await poster.tell(f"$JS.API.CONSUMER.DELETE.{durable(WS)}")
        assert not await poster.tell(f"$JS.API.CONSUMER.MSG.NEXT.{durable(WS)}", b"1")
