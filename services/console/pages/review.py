"""One review: the bill on one side, its candidates on the other, and deciding."""

from typing import Any

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from common import answering
from common.answering import NotOpen, Sent
from common.bus import Bus
from common.messages import Search
from common.people import Role
from services.console.calls import search
from services.console.deciding import UNDOABLE, Done, Order, bill_key, resolved
from services.console.desk.listing import Beside
from services.console.desk.queue import Queue
from services.console.desk.record import Whole, whole
from services.console.desk.shelf import Shelf
from services.console.filters import Filters
from services.console.links import in_qonto, in_quickbooks
from services.console.page import Page
from services.console.pages.connections import known
from services.console.pages.queue import threshold
from services.console.problem import Problem
from services.console.sessions import Visitor
from services.console.turns import Turns

PATIENCE = 20.0
"""Seconds for which a page waits at a time to hear what became of an answer."""
RESULTS = 20
"""Entries that a search shows."""


class Review(Controller):
    """`/w/{workspace}/reviews/{key}`; its address says as well in which list it is looked at."""

    path = "/w/{workspace:str}/reviews/{key:str}"

    @get("/", needs=Role.VIEWER)
    async def show(
        self,
        workspace: FromPath[str],
        key: FromPath[str],
        request: Request[Any, Any, Any],
        bus: NamedDependency[Bus],
        queues: NamedDependency[Shelf[Queue]],
        page: NamedDependency[Page],
    ) -> Response[Any]:
        """The page; a bill that nobody was asked about has a record only."""
        found = await whole(bus, workspace, bill_key(key))
        if found is not None and found.asked is None:
            return Redirect(f"/w/{workspace}/bills/{key}", status_code=303)
        return await shown(found, workspace, request, bus, queues, page)

    @post("/", needs=Role.REVIEWER)
    async def decide(
        self,
        workspace: FromPath[str],
        key: FromPath[str],
        request: Request[Any, Any, Any],
        bus: NamedDependency[Bus],
        queues: NamedDependency[Shelf[Queue]],
        page: NamedDependency[Page],
        visitor: NamedDependency[Visitor],
    ) -> Response[Any]:
        """Answer, and go on to the next bill; who came second is told who decided, when, and what."""
        form, filters = await request.form(), Filters.of(request.query_params)
        answer = resolved(order(form), visitor.person.name)
        seen = await queues.look(workspace)
        beside = seen.picture.beside(bill_key(key), filters.query())
        try:
            sent = await answering.answer(bus, workspace, key, answer)
        except NotOpen as error:
            found = await whole(bus, workspace, key)
            return await shown(found, workspace, request, bus, queues, page, told=error)
        next_ = (beside.after or beside.before) if beside is not None else None
        done = Done(key, sent.review, sent.sequence)
        where = f"/{next_.key}" if next_ is not None else ""
        return Redirect(f"/w/{workspace}/reviews{where}{filters.address(**done.words())}", status_code=303)

    @get("/standing", needs=Role.VIEWER)
    async def standing(
        self, workspace: FromPath[str], key: FromPath[str], bus: NamedDependency[Bus], page: NamedDependency[Page]
    ) -> Response[str]:
        """Whether it still waits, asked for when something moved."""
        asked = await answering.asked(bus, workspace, bill_key(key))
        if asked is None:
            raise Problem(404, "No such review", "Nobody was ever asked about such a bill.")
        return page("review_standing.html", asked=asked, key=key)

    @get("/became", needs=Role.VIEWER)
    async def became(
        self,
        workspace: FromPath[str],
        key: FromPath[str],
        request: Request[Any, Any, Any],
        bus: NamedDependency[Bus],
        page: NamedDependency[Page],
        visitor: NamedDependency[Visitor],
        waits: NamedDependency[Turns],
    ) -> Response[str]:
        """What became of an answer; waits a while for it, unless the person waits for several others already."""
        done = Done.of({**request.query_params, "done": key})
        if done is None:
            raise Problem(400, "Not an answer", "answer: the number of an answer is needed.")
        sent = Sent(workspace, bill_key(key), done.review, done.answer)
        with waits.taken(visitor.person.name) as may:
            closed = await (answering.outcome(bus, sent, PATIENCE) if may else answering.became(bus, sent))
        return page("toast.html", sent=sent, closed=closed, undoable=UNDOABLE)

    @get("/find", needs=Role.REVIEWER)
    async def find(
        self,
        workspace: FromPath[str],
        key: FromPath[str],
        request: Request[Any, Any, Any],
        bus: NamedDependency[Bus],
        page: NamedDependency[Page],
    ) -> Response[str]:
        """Entries of Qonto that could be pinned."""
        text = request.query_params.get("text", "").strip()[:200]
        try:
            found = await search(bus, Search(workspace=workspace, text=text, limit=RESULTS)) if text else None
        except Problem as problem:
            return page("found.html", found=None, problem=problem, key=key)
        return page("found.html", found=found, problem=None, key=key)


def order(form: Any) -> Order:
    """What the form says; Problem if it is none of this page's."""
    choice, _, entry = str(form.get("choice", "")).partition(" ")
    note, review = form.get("note"), str(form.get("review", ""))
    match choice:
        case "link" | "create" | "refuse":
            return Order(review=review, action=choice, entry=entry or None, note=note)
        case _:
            raise Problem(400, "Not a decision", "choice: link, create or refuse.", "Go back, and load the page again.")


async def shown(
    found: Whole | None,
    workspace: str,
    request: Request[Any, Any, Any],
    bus: Bus,
    queues: Shelf[Queue],
    page: Page,
    *,
    told: NotOpen | None = None,
) -> Response[str]:
    """The review as a page, with what a person is told whose answer came too late."""
    if found is None or found.asked is None:
        raise Problem(404, "No such bill", "Nothing is known of such a bill in this workspace.", "Go back to the list.")
    tenant, filters = await known(bus, workspace), Filters.of(request.query_params)
    queue = (await queues.look(workspace)).picture
    beside = queue.beside(found.key, filters.query()) or _first(queue, filters)
    alike = queue.alike(found.key, await threshold(bus, workspace)) if found.asked.open else []
    worths = [abs(one.worth) for candidate in found.candidates for one in candidate.fields.values()]
    settings = bus.settings
    return page(
        "review.html",
        status=409 if told is not None else 200,
        tenant=tenant,
        found=found,
        filters=filters,
        beside=beside,
        alike=len(alike) - 1,
        told=told,
        most=max([1.0, *worths]),
        done=Done.of(request.query_params),
        in_quickbooks=in_quickbooks(settings, found.key.partition("-")[2]),
        in_qonto={name: in_qonto(settings, entry) for name, entry in found.entries.items()},
    )


def _first(queue: Queue, filters: Filters) -> Beside:
    """Where to go on from a bill that does not wait any more: where the list begins."""
    first = queue.page(msgspec.structs.replace(filters.query(), answered=False), limit=1)
    return Beside(0, first.count, None, first.rows[0].bill if first.rows else None)
