"""What people ask a scorer: entries they look for, and what another policy would have decided."""

from datetime import date
from decimal import Decimal
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from common import codec, subjects
from common.buckets import Bucket
from common.bus import Bus
from common.messages import (
    Answer,
    Changes,
    Claim,
    Company,
    Decision,
    Entry,
    Found,
    Policy,
    Precision,
    Record,
    Refusal,
    ReviewClosed,
    Search,
    SelfCheck,
    WhatIf,
    now,
)
from common.settings import Settings
from services.scorer.matching.decisions import decision_on
from services.scorer.matching.search import Best, Query
from services.scorer.matching.whatif import Grounds, Outcome, Truth, decided, proves
from tests.scorer.cases import NOON, WS, bill, books, invoice, key, payment, vendor, verdicts
from tests.scorer.test_laws import worlds
from tests.scorer.test_service import decision, give, scoring

ENTRIES = (
    invoice("e1", counterparty="Société Écluse", amount=Decimal("1234.50"), number="F-77"),
    invoice("e2", counterparty="SLUICE & SONS", amount=Decimal("1200.00"), number="F-770", issued_on=date(2026, 6, 1)),
    payment("t1", amount=Decimal("99.00"), local_amount=Decimal("105.10"), local_currency="USD"),
    invoice("e3", counterparty="SLUICE & SONS", status="rejected"),
)


def found(text: str = "", limit: int = 50, **fields: Any) -> list[str]:
    """The ids of the entries that are found, best first."""
    best = Best(Query(text, **fields), limit)
    for entry in ENTRIES:
        best.look(entry, None)
    assert best.count >= len(best.hits())
    return [hit.entry.id for hit in best.hits()]


@pytest.mark.parametrize(
    "text, idents",
    [
        ("ecluse", ["e1"]),
        ("sluice", ["e2", "t1"]),  # a rejected one cannot be pinned
        ("1.234,50", ["e1"]),
        ("1,234.5", ["e1"]),
        ("1200", ["e2"]),
        ("105.10", ["t1"]),
        ("01.06.2026", ["e2"]),
        ("2026-05-20", ["t1"]),
        ("f-77", ["e1", "e2"]),  # the very number first
        ("sluice 1200 eur", ["e2"]),
        ("sluice nothing", []),
        ("", ["e2", "t1", "e1"]),  # the newest first
    ],
)
def test_entries_are_found_as_people_look_for_them(text: str, idents: list[str]) -> None:
    assert found(text) == idents


def test_a_kind_an_amount_and_a_limit_narrow_it() -> None:
    assert found(kind="transaction") == ["t1"]
    assert found(amount=Decimal("-105.1")) == ["t1"]
    assert found("sluice", limit=1) == ["e2"]


@settings(max_examples=40, deadline=None)
@given(world=worlds(), auto=st.floats(0.6, 0.99), blocked=st.booleans(), linked=st.booleans())
def test_under_its_own_policy_a_decision_comes_out_as_it_was(
    world: tuple[list[Record], list[Entry]], auto: float, blocked: bool, linked: bool
) -> None:
    policy = Policy(auto=auto, blocked_vendors=("1",) if blocked else (), amount_cap=Decimal(1000))
    records = {record.id: record for record in world[0] if record.kind == "bill"}
    claims = {"invoice-i1": key("1"), "transaction-t2": key("2")} if linked else {}
    for ident, verdict in verdicts(books(*world, policy=policy, claims=claims)).items():
        made = codec.decode(codec.encode(decision_on(records[ident], 1, verdict, policy, NOON)), Decision)
        if made.action == "withdraw":
            continue
        body: Any = records[ident].body
        outcome = decided(Grounds(made, body, None, None), policy)
        assert (outcome.action, outcome.why) == (made.action, made.why)
        assert (made.entry in outcome.entries) == (made.action == "link")


def grounds(record: Record, *entries: Entry, check: SelfCheck | None = None, company: Company | None = None) -> Grounds:
    """What was decided on a bill that meets these entries, and on what."""
    verdict = verdicts(books([vendor(), record], entries))[record.id]
    body: Any = record.body
    return Grounds(decision_on(record, 1, verdict, Policy(), NOON), body, company, check)


def test_what_depends_on_the_policy_is_looked_at_anew() -> None:
    sure = grounds(bill(), invoice())
    assert decided(sure, Policy()).action == "link"
    assert decided(sure, Policy()).entries == {"e1"}
    assert decided(sure, Policy(auto=1.0)).action == "review"
    assert decided(sure, Policy(amount_cap=Decimal(100))).action == "review"
    assert decided(sure, Policy(blocked_vendors=("7",))).why == "the vendor is blocked"
    closed = replace_company(sure, Company(name="Sample SAS", books_closed_on=date(2026, 5, 31)))
    assert "closed in QuickBooks" in decided(closed, Policy()).why
    alone = grounds(bill())
    assert decided(alone, Policy()).action == "create"
    assert decided(alone, Policy(review_vendors=("7",))).action == "review"
    assert decided(alone, Policy(blocked_vendors=("7",))).action == "refuse"
    shaky = Precision(right=18, cases=20, at_least=0.7)
    check = SelfCheck(at=NOON, target=0.5, overall=shaky, vendors={"9-7": shaky})
    aimed = grounds(bill(), invoice(), check=check)
    assert decided(aimed, Policy(target=0.5)).action == "link"
    assert decided(aimed, Policy(target=0.95)).action == "review"
    gone = Grounds(sure.decision, None, None, None)
    assert decided(gone, Policy(amount_cap=Decimal(100))).action == "link"


def replace_company(found: Grounds, company: Company) -> Grounds:
    return found._replace(company=company)


def test_only_what_is_done_unasked_can_be_wrong() -> None:
    link = Outcome("link", "", frozenset({"e1", "t1"}))
    assert proves(Truth("link", "t1"), link)
    assert proves(Truth("link", "e2"), link) is False
    assert proves(Truth("create"), link) is False
    assert proves(Truth("refuse"), link) is False
    assert proves(Truth("link", "e1"), Outcome("review", "")) is None
    assert proves(Truth("link", "e1", wrong=True), link) is False
    assert proves(Truth("link", "e2", wrong=True), link) is None
    assert proves(Truth("create"), Outcome("create", ""))


async def ask(bus: Bus, verb: Any, message: Search | WhatIf) -> Answer:
    """The answer of a scorer that has loaded the books."""
    with anyio.fail_after(30):
        while True:
            answer = await bus.call(subjects.ask_scorer(bus.region, verb), message)
            if not (isinstance(answer, Refusal) and answer.retry):
                return answer
            await anyio.sleep(0.05)


async def test_a_scorer_answers_from_the_books_it_decides_on(bus: Bus, settings: Settings) -> None:
    await Bucket(bus, "claims", Claim).create(f"{WS}.invoice-e9", Claim(bill=key("9"), at=now()))
    careful = Policy(version=2, auto=1.0)
    await Bucket(bus, "policies", Policy).create(WS, careful)
    mine = replace(invoice("made", number="W-1"), origin=key("8"))
    await give(bus, vendor(), invoice("e1"), invoice("e9", number="X-9", amount=Decimal(7)), mine)
    unlike: dict[str, Any] = {"number": "G-2", "total": Decimal("77.00")}
    near = invoice("e3", number=None, amount=Decimal("55.00"))
    await give(bus, near, bill("1"), bill("2", **unlike), bill("3", number=None, total=Decimal("55.00")))
    async with scoring(settings):
        made = {ident: await decision(bus, ident) for ident in ("1", "2", "3")}
        assert {ident: one.action for ident, one in made.items()} == dict.fromkeys("123", "review")
        answer = await ask(bus, "search", Search(workspace=WS, text="sluice"))
        assert isinstance(answer, Found)
        assert {hit.entry.id: hit.serves for hit in answer.hits} == {
            "e1": None, "e3": None, "e9": key("9"), "made": key("8")
        }  # fmt: skip
        elsewhere = await ask(bus, "search", Search(workspace="elsewhere", text="sluice"))
        assert isinstance(elsewhere, Found)
        assert elsewhere.count == 0
        name = subjects.ask_scorer(bus.region, "search")
        refused = await bus.call(name, {"type": "search.1", "workspace": WS, "limit": 51})
        assert isinstance(refused, Refusal)
        assert "limit: must lie between 1 and 50" in refused.why
        refused = await bus.call(name, {"type": "search.1", "workspace": WS, "text": "e " * 101})
        assert isinstance(refused, Refusal)
        assert "length <= 200" in refused.why

        closed = ReviewClosed(
            review=made["3"].id,
            workspace=WS,
            realm="9",
            bill="3",
            outcome="created",
            closed_at=now(),
            by="A. Tester",
        )
        subject = subjects.review(bus.region, "closed", WS, key("3"))
        await bus.publish(subject, closed, stream=bus.topology.reviews)
        same = await ask(bus, "whatif", WhatIf(workspace=WS, policy=careful))
        assert isinstance(same, Changes)
        assert (same.decisions, same.left_out, same.moves) == (3, 0, ())
        assert (same.now.links, same.now.creates, same.now.proved) == (0, 0, 0)
        bold = await ask(bus, "whatif", WhatIf(workspace=WS, policy=Policy()))
        assert isinstance(bold, Changes)
        moves = {(one.before, one.after): one.count for one in bold.moves}
        assert moves == {("review", "link"): 2, ("review", "create"): 1}
        assert (bold.gained, bold.lost, bold.then.links, bold.then.creates) == (2, 0, 2, 1)
        assert (bold.then.proved, bold.then.wrong, bold.then.estimated) == (1, 1, 3.0)
        name, trial = subjects.ask_scorer(bus.region, "whatif"), WhatIf(workspace=WS, policy=Policy())
        answers: list[Answer] = []

        async def try_out() -> None:
            answers.append(await bus.call(name, trial))

        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(try_out)
        refused_ones = [one for one in answers if isinstance(one, Refusal)]
        assert len(refused_ones) == 3
        assert all("another policy is being tried" in one.why and one.retry for one in refused_ones)
        held = await ask(bus, "whatif", WhatIf(workspace=WS, policy=Policy(amount_cap=Decimal(100))))
        assert isinstance(held, Changes)
        linked = next(one for one in held.moves if one.after == "link")
        assert [(one.bill, one.total) for one in linked.examples] == [(key("3"), Decimal("55.00"))]
        assert linked.examples[0].after.startswith("the same document as invoice e3")
