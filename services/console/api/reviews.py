"""`/api/workspaces/{workspace}/reviews`, `/bills` and `/entries`: what the pages of these show and do, for programs."""

from typing import Any

import msgspec
from litestar import Controller, Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from common import answering
from common.answering import Asked, NotOpen, Sent, Taken
from common.bus import Bus
from common.messages import Found, ReviewClosed, ReviewResolved, Search, Undone
from common.people import Role
from common.waiting import Waiting
from services.console.calls import search
from services.console.deciding import Order, bill_key, resolved, undo
from services.console.desk.listing import MOST, Vendor
from services.console.desk.queue import Queue
from services.console.desk.record import Whole
from services.console.desk.shelf import Shelf
from services.console.filters import Filters, number
from services.console.pages.queue import SHOWN, listed
from services.console.pages.record import of
from services.console.problem import Problem
from services.console.sessions import Visitor
from services.console.turns import Turns

LONGEST_WAIT = 60
"""Seconds for which an answer may be waited for."""


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """A bill that waits; `given` is an answer that is being carried out."""

    bill: Waiting
    given: ReviewResolved | None = None


class Rows(msgspec.Struct, frozen=True):
    """A page of what waits; `next` goes as `after` into the question for the following page, `count` counts them all.

    While `loading`, not all of them are read yet.
    """

    rows: list[Row]
    next: str | None
    count: int
    gates: dict[str, int]
    vendors: tuple[Vendor, ...]
    loading: bool


class Answered(msgspec.Struct, frozen=True):
    """An answer as the stream has it, and what became of it if that was waited for; None if nothing did yet."""

    sequence: int
    closed: ReviewClosed | None


class Undoing(msgspec.Struct, frozen=True):
    """Why something is undone; with the id of an `entry`, only if that is what stands in Qonto."""

    note: str | None = None
    entry: str | None = None


class ReviewsApi(Controller):
    """What waits for people, and deciding on it."""

    path = "/api/workspaces/{workspace:str}/reviews"

    @get("/", needs=Role.VIEWER)
    async def waiting(
        self, workspace: FromPath[str], request: Request[Any, Any, Any], queues: NamedDependency[Shelf[Queue]]
    ) -> Rows:
        """The bills that wait, a page at a time: text, step, gate, vendor, least, most, days, sort, descending."""
        given = request.query_params
        filters, limit = Filters.of(given), number(given.get("limit", str(SHOWN)), MOST)
        if not limit:
            raise Problem(400, "Not a limit", f"limit: a number from 1 to {MOST} is needed.")
        seen = await queues.look(workspace, within=5.0)
        if seen.behind is not None:
            raise Problem(503, "Not just now", "The broker does not answer.", "Try again in a moment.")
        page = listed(seen, filters, given.get("after"), limit)
        rows = [Row(row.bill, row.given) for row in page.rows]
        return Rows(rows, page.next, page.count, page.gates, page.vendors, seen.loading)

    @get("/{key:str}", needs=Role.VIEWER)
    async def asked(self, workspace: FromPath[str], key: FromPath[str], bus: NamedDependency[Bus]) -> Asked:
        """The newest question about a bill, open or closed, with its candidates."""
        found = await answering.asked(bus, workspace, bill_key(key))
        if found is None:
            raise Problem(404, "No such review", "Nobody was ever asked about such a bill.")
        return found

    @post("/{key:str}", needs=Role.REVIEWER, status_code=200)
    async def answer(
        self,
        workspace: FromPath[str],
        key: FromPath[str],
        data: JSONBody[Order],
        request: Request[Any, Any, Any],
        bus: NamedDependency[Bus],
        visitor: NamedDependency[Visitor],
        waits: NamedDependency[Turns],
    ) -> Answered:
        """Decide. With `?within=` so many seconds, at most 60, wait for what becomes of it; four at a time may wait."""
        within = number(request.query_params.get("within", "0"), LONGEST_WAIT)
        if within is None:
            raise Problem(400, "Not a time", f"within: whole seconds from 0 to {LONGEST_WAIT} are needed.")
        order = resolved(data, visitor.person.name)
        if not within:
            sent = await _given(bus, workspace, bill_key(key), order)
            return Answered(sent.sequence, None)
        with waits.taken(visitor.person.name) as may:
            if not may:
                why = "As many answers of yours are waited for as may be; this one was not given."
                raise Problem(429, "Too many at once", why, "Give it without within, or when another has ended.")
            sent = await _given(bus, workspace, bill_key(key), order)
            return Answered(sent.sequence, await answering.outcome(bus, sent, within))


async def _given(bus: Bus, workspace: str, key: str, order: ReviewResolved) -> Sent:
    """The answer on its way; Problem if it cannot be given."""
    try:
        return await answering.answer(bus, workspace, key, order)
    except Taken as error:
        raise Problem(409, "Already decided", f"{error}.") from None
    except NotOpen as error:
        raise Problem(409, "Not open", f"{error}.", "Read the review again.") from None


class BillsApi(Controller):
    """Everything about one bill."""

    path = "/api/workspaces/{workspace:str}"

    @get("/bills/{key:str}", needs=Role.VIEWER)
    async def whole(self, workspace: FromPath[str], key: FromPath[str], bus: NamedDependency[Bus]) -> Whole:
        """The newest of everything, and its history."""
        return await of(bus, workspace, key)

    @post("/bills/{key:str}/undo", needs=Role.REVIEWER, status_code=200)
    async def undo(
        self,
        workspace: FromPath[str],
        key: FromPath[str],
        data: JSONBody[Undoing],
        bus: NamedDependency[Bus],
        visitor: NamedDependency[Visitor],
    ) -> Undone:
        """Take back what stands in Qonto; the bill then waits for a person."""
        return await undo(bus, workspace, bill_key(key), visitor.person.name, data.note, data.entry)

    @get("/entries", needs=Role.VIEWER)
    async def entries(
        self, workspace: FromPath[str], request: Request[Any, Any, Any], bus: NamedDependency[Bus]
    ) -> Found:
        """Live entries of Qonto in which every word of `text` is found: name, number, amount, date."""
        text = request.query_params.get("text", "").strip()[:200]
        return await search(bus, Search(workspace=workspace, text=text))
