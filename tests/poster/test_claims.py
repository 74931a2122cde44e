"""One entry serves one bill, and what a crash left claimed serves the next."""

import itertools
from datetime import UTC, datetime
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from common.buckets import Bucket
from common.bus import Bus
from common.errors import AskPerson
from common.messages import Claim
from services.poster.claims import Claims
from services.poster.ledger import Ledger, Page, State

AT = datetime(2026, 3, 1, tzinfo=UTC)
WS, ONE, TWO, ENTRY = "fictional-lock", "9-1", "9-2", "E1"


class Books:
    """A bucket of claims and the pages they rest on, written as the poster writes them."""

    def __init__(self, bus: Bus) -> None:
        self.claims = Claims(bus)
        self.kept = Bucket(bus, "claims", Claim)
        self._pages = Bucket(bus, "idempotency", Page)

    async def page(self, bill: str, state: State, **changes: Any) -> None:
        values: dict[str, Any] = {"revision": 1, "epoch": 1, "owner": "o", "deadline": AT, "record_seq": 1}
        page = Page(**{**values, "record_hash": "h", "decision": "d", "state": state, **changes})
        await self._pages.put(Ledger.key(WS, *bill.split("-")), page)

    async def take(self, bill: str) -> bool:
        """Whether the bill got the entry."""
        try:
            await self.claims.take(WS, "invoice", ENTRY, bill)
        except AskPerson:
            return False
        return True

    async def bill(self) -> str | None:
        kept = await self.kept.get(Claims.key(WS, "invoice", ENTRY))
        return kept.value.bill if kept is not None else None


@pytest.mark.parametrize(
    "state, entry, stands",
    [
        ("linked", ENTRY, True),
        ("claimed", ENTRY, True),
        ("superseding", "E2", True),  # replaces ENTRY, which is still there
        ("withdrawn", ENTRY, False),
        ("verified", "E2", False),
        ("claimed", None, False),
    ],
)
async def test_a_claim_stands_as_long_as_its_page_holds_the_entry(
    bus: Bus, state: State, entry: str | None, stands: bool
) -> None:
    books = Books(bus)
    await books.page(ONE, state, entry=entry, replaced=ENTRY if state == "superseding" else None)
    assert await books.take(ONE)
    assert await books.claims.holder(WS, "invoice", ENTRY) == (ONE if stands else None)
    assert await books.take(TWO) is not stands
    assert await books.bill() == (ONE if stands else TWO)


async def test_without_a_page_nothing_speaks_against_a_claim(bus: Bus) -> None:
    """The ledger was lost: the claim is all that is left to tell."""
    books = Books(bus)
    assert await books.take(ONE)
    assert not await books.take(TWO)


async def test_an_old_worker_does_not_give_up_what_was_linked_again(bus: Bus) -> None:
    """It withdrew the link, slept, and wakes when the bill is linked to the same entry once more."""
    books = Books(bus)
    await books.page(ONE, "linked", entry=ENTRY)
    await books.take(ONE)
    await books.page(ONE, "withdrawn", entry=ENTRY)
    await books.page(ONE, "claimed", entry=ENTRY)
    await books.take(ONE)
    assert not await books.claims.release(WS, "invoice", ENTRY, ONE)
    assert not await books.take(TWO)


async def test_however_linking_and_giving_up_meet_one_bill_has_the_entry(bus: Bus) -> None:
    """Two bills link and let go at the same time, many times over: never do both pages and the claim disagree."""
    books = Books(bus)
    holders: set[str] = set()
    won = dict.fromkeys((ONE, TWO), 0)

    async def link_and_let_go(bill: str) -> None:
        for turn in itertools.count():
            if turn > 400 or min(won.values()) >= 15:
                return
            await books.page(bill, "claimed", entry=ENTRY)
            if await books.take(bill):
                if await books.claims.release(WS, "invoice", ENTRY, bill):
                    continue
                holders.add(bill)
                won[bill] += 1
                await anyio.lowlevel.checkpoint()
                assert holders == {bill}
                assert await books.bill() == bill
                holders.discard(bill)
            await books.page(bill, "withdrawn", entry=ENTRY)
            await books.claims.release(WS, "invoice", ENTRY, bill)

    async with anyio.create_task_group() as group:
        for bill in (ONE, TWO):
            group.start_soon(link_and_let_go, bill)
    assert min(won.values()) > 0, won
