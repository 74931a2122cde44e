"""The page for those who subscribe: what it shows in Python is run here, as it stands there."""

import re
from typing import Any

import anyio
from nats.js.api import AckPolicy, ConsumerConfig

from common.bus import Bus
from common.settings import Settings
from tests.conftest import ROOT
from tests.poster.conftest import desk, idle, sandbox
from tests.poster.desk import WS, Desk, bill
from tests.poster.test_reviews import ask

__all__ = ["desk", "idle", "sandbox"]

PAGE = ROOT / "docs/subscribe.md"


def shown() -> dict[str, Any]:
    """What the page defines, every piece in its order."""
    pieces = re.findall(r"^```python name=\w+\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(pieces) == PAGE.read_text().count("```python")
    defined: dict[str, Any] = {}
    for piece in pieces:
        exec(compile(piece, str(PAGE), "exec"), defined)  # noqa: S102 (our own page)
    return defined


async def reader(bus: Bus) -> None:
    """The durable that a reviewer's key comes with."""
    config = ConsumerConfig(
        durable_name=f"reviewer-{WS}",
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=15.0,
        filter_subject=f"{bus.region}.review.*.{WS}.>",
    )
    await bus.js.add_consumer(bus.topology.reviews, config)


async def test_the_page_reads_questions_answers_them_and_hears_what_became_of_it(
    desk: Desk, settings: Settings
) -> None:
    page, bus = shown(), desk.bus
    await reader(bus)
    assert settings.nats_token is not None
    client = await page["connect"](settings.nats_url, token=settings.nats_token.get_secret_value())
    try:
        asked = {}
        for ident, total in (("1", "120.00"), ("2", "7.20"), ("3", "9.99")):
            await desk.record(ident, bill(f"F-{ident}", total))
            asked[f"{desk.realm}-{ident}"] = (await ask(desk, ident, bill(f"F-{ident}", total))).review
        first, second, third = asked
        say = page["answer"], client, bus.region, WS
        # One is answered before the program starts; what it is told of that is over.
        closed = await say[0](*say[1:], third, {"review": asked[third]}, "refuse", "A. Tester")
        assert (closed["outcome"], closed["by"]) == ("refused", "A. Tester")
        became = await page["refuse_small_ones"](client, bus.region, WS, "10.00")
        assert became == {second: "refused"}
        # It read all of it, and acknowledged it.
        info = await bus.js.consumer_info(bus.topology.reviews, f"reviewer-{WS}")
        assert info.num_ack_pending == 0
        question = {"review": asked[first]}
        for wrong, why in (({"review": "another"}, "taken its place"), (question, "Qonto has no entry")):
            closed = await say[0](*say[1:], first, wrong, "link", "A. Tester", entry="unheard-of")
            assert closed["outcome"] == "rejected"
            assert why in closed["why"]
        closed = await say[0](*say[1:], first, question, "create", "A. Tester", note="looks right")
        assert closed["outcome"] == "created"
        assert [one["id"] for one in await desk.live("1")] == [closed["entry"]]
        closed = await say[0](*say[1:], first, question, "create", "A. Tester")
        assert closed["outcome"] == "rejected"
        assert "already closed" in closed["why"]
    finally:
        await client.close()


async def test_however_busy_a_program_is_it_ends_when_nothing_more_comes(bus: Bus) -> None:
    questions = shown()["questions"]
    await reader(bus)

    async def read() -> None:
        assert [one async for one in questions(bus.client, bus.region, WS, patience=0.1)] == []

    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(read)
