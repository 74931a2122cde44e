"""What waits for a person: the list, and confirming several bills that are alike together."""

from typing import Any, NamedTuple

from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from common import answering, subjects
from common.answering import Sent
from common.buckets import Bucket
from common.bus import Bus
from common.errors import UserError
from common.messages import Entry, Policy, ReviewClosed
from common.people import Role
from common.waiting import Waiting
from services.console.deciding import LAST, Done, bill_key, confirm_all
from services.console.desk.listing import MOST
from services.console.desk.listing import Page as Listed
from services.console.desk.queue import Queue
from services.console.desk.shelf import Seen, Shelf
from services.console.filters import Filters, number
from services.console.page import Page
from services.console.pages.connections import known
from services.console.problem import Problem
from services.console.sessions import Visitor

SHOWN = 50
"""Rows of a page."""


class Underway(NamedTuple):
    """An answer of a bulk confirmation, and what became of it so far."""

    sent: Sent
    closed: ReviewClosed | None


class Reviews(Controller):
    """`/w/{workspace}/reviews`."""

    path = "/w/{workspace:str}/reviews"

    @get("/", needs=Role.VIEWER)
    async def show(
        self,
        workspace: FromPath[str],
        request: Request[Any, Any, Any],
        bus: NamedDependency[Bus],
        queues: NamedDependency[Shelf[Queue]],
        page: NamedDependency[Page],
    ) -> Response[str]:
        """The list; the part that moves is taken out of the whole page by who asks for it."""
        tenant = await known(bus, workspace)
        filters, after = Filters.of(request.query_params), request.query_params.get("after")
        seen = await queues.look(workspace)
        shown = listed(seen, filters, after)
        vendor = next((one.name or one.key for one in shown.vendors if one.key == filters.vendor), filters.vendor)
        response = page(
            "queue.html",
            tenant=tenant,
            filters=filters,
            after=after,
            seen=seen,
            shown=shown,
            vendor=vendor,
            done=Done.of(request.query_params),
        )
        response.headers["HX-Replace-Url"] = f"/w/{workspace}/reviews{filters.address(after=after)}"
        return response

    @get("/bulk", needs=Role.REVIEWER)
    async def propose(
        self,
        workspace: FromPath[str],
        request: Request[Any, Any, Any],
        bus: NamedDependency[Bus],
        queues: NamedDependency[Shelf[Queue]],
        page: NamedDependency[Page],
    ) -> Response[str]:
        """What would be confirmed together: the chosen bills as far as they are alike, or all that are like the one."""
        await known(bus, workspace)
        chosen = [bill_key(text) for text in request.query_params.getall("bill", [])][:MOST]
        queue = await loaded(queues, workspace)
        first = next((row for key in chosen if (row := queue.row(key)) is not None), None)
        if first is None:
            raise Problem(404, "Nothing to confirm", "None of these bills waits any more.", "Go back to the list.")
        together = [row.bill for row in queue.alike(first.bill.key, await threshold(bus, workspace))]
        if len(chosen) > 1:
            together = [bill for bill in together if bill.key in chosen]
        taken = {bill.key for bill in together}
        left = [row.bill for key in chosen if key not in taken and (row := queue.row(key)) is not None]
        entries = await candidates(bus, workspace, together)
        return page("bulk.html", first=first.bill, together=together, left=left, entries=entries)

    @post("/bulk", needs=Role.REVIEWER)
    async def confirm(
        self,
        workspace: FromPath[str],
        request: Request[Any, Any, Any],
        bus: NamedDependency[Bus],
        queues: NamedDependency[Shelf[Queue]],
        page: NamedDependency[Page],
        visitor: NamedDependency[Visitor],
    ) -> Response[str]:
        """Confirm what the person was shown; a bill about which something else is asked by now is left as it is."""
        form = await request.form()
        queue = await loaded(queues, workspace)
        bills: list[Waiting] = []
        changed: list[str] = []
        for text in form.getall("item", [])[:MOST]:
            key, review, entry = parts(text)
            row = queue.row(bill_key(key))
            if row is not None and (row.bill.review, row.bill.entry) == (review, entry):
                bills.append(row.bill)
            else:
                changed.append(key)
        given = await confirm_all(bus, workspace, bills, visitor.person.name, form.get("note"))
        found = [Underway(one.sent, None) for one in given if one.sent is not None]
        return page("bulk_given.html", given=given, found=found, changed=changed)

    @post("/bulk/became", needs=Role.REVIEWER)
    async def became(
        self,
        workspace: FromPath[str],
        request: Request[Any, Any, Any],
        bus: NamedDependency[Bus],
        page: NamedDependency[Page],
    ) -> Response[str]:
        """What became so far of the answers that a bulk confirmation gave."""
        found = []
        for text in (await request.form()).getall("sent", [])[:MOST]:
            key, review, given = parts(text)
            sequence = number(given, LAST)
            if sequence is None:
                raise Problem(400, "Not an answer", "sent: the number of an answer is needed.", "Load the page again.")
            sent = Sent(workspace, bill_key(key), review, sequence)
            found.append(Underway(sent, await answering.became(bus, sent)))
        return page("bulk_became.html", found=found)


def listed(seen: Seen[Queue], filters: Filters, after: str | None, limit: int = SHOWN) -> Listed:
    """A page of the list; Problem if `after` is no mark of it."""
    try:
        return seen.picture.page(filters.query(), after or None, limit)
    except UserError as error:
        raise Problem(400, "Not a page", f"{error}.") from None


async def loaded(queues: Shelf[Queue], workspace: str) -> Queue:
    """The queue with all that waits in it; Problem while it is being read."""
    seen = await queues.look(workspace, within=5.0)
    if seen.loading or seen.behind is not None:
        raise Problem(503, "Not just now", "The reviews are still being read.", "Try again in a moment.")
    return seen.picture


async def candidates(bus: Bus, workspace: str, bills: list[Waiting]) -> dict[str, Entry]:
    """The first candidates of these bills as Qonto was last seen, by `{kind}-{id}`."""
    named = {
        subjects.entry(bus.region, workspace, bill.kind, bill.entry): f"{bill.kind}-{bill.entry}"
        for bill in bills
        if bill.kind is not None and bill.entry is not None
    }
    stored = await bus.latest(bus.topology.entries, named, Entry) if named else {}
    return {named[name]: one.message for name, one in stored.items()}


async def threshold(bus: Bus, workspace: str) -> float:
    """How likely a candidate is at least that people are asked about."""
    kept = await Bucket(bus, "policies", Policy).get(workspace)
    return (kept.value if kept is not None else Policy()).review


def parts(text: str) -> tuple[str, str, str]:
    """The three words of a form's hidden field; Problem if it has others."""
    words = text.split(" ")
    if len(words) != 3:
        raise Problem(400, "Not readable", "The form was not one of this page.", "Go back, and load it again.")
    return words[0], words[1], words[2]
