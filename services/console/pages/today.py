"""Where a workspace begins: what flowed, how far it is, and what people must do."""

from typing import Any

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from common.bus import Bus
from common.people import Role
from common.standing import outcome
from services.console.access import unknown
from services.console.desk.flow import Flow
from services.console.desk.present import DAYS, Desks, Present, Span, present
from services.console.desk.queue import Queue
from services.console.desk.shelf import Shelf
from services.console.page import Page
from services.console.picture import BANDS, BY_ITSELF, gather, spread, total, weeks
from services.console.problem import Problem
from services.console.sessions import Visitor

SPANS: dict[Span, str] = {"today": "Today", "week": "7 days", "month": "30 days", "all": "12 weeks"}
"""What the spans are called."""
WHERE: dict[str, str] = {
    "connect": "connections",
    "reconnect": "connections",
    "mend": "connections",
    "pull": "connections",
    "left out": "connections",
    "failures": "failures",
    "reviews": "reviews",
    "held": "reviews",
}
"""The page on which each duty is done."""
WHO: dict[str, Role] = {"connect": Role.OWNER, "reconnect": Role.OWNER, "mend": Role.OWNER}
"""The role that each duty takes, where it takes more than a reviewer's."""


class Today(Controller):
    """`/w/{workspace}`."""

    path = "/w/{workspace:str}"

    @get("/", needs=Role.VIEWER)
    async def show(
        self,
        workspace: FromPath[str],
        bus: NamedDependency[Bus],
        page: NamedDependency[Page],
        visitor: NamedDependency[Visitor],
        flows: NamedDependency[Shelf[Flow]],
        queues: NamedDependency[Shelf[Queue]],
        span: FromQuery[str] = "week",
    ) -> Response[str]:
        """The page."""
        found = await known(bus, Desks(flows, queues), workspace, visitor)
        return page("today.html", **_shown(found, spanned(span)))

    @get("/state", needs=Role.VIEWER)
    async def state(
        self,
        workspace: FromPath[str],
        bus: NamedDependency[Bus],
        page: NamedDependency[Page],
        visitor: NamedDependency[Visitor],
        flows: NamedDependency[Shelf[Flow]],
        queues: NamedDependency[Shelf[Queue]],
        span: FromQuery[str] = "week",
    ) -> Response[str]:
        """The part of the page that moves."""
        found = await known(bus, Desks(flows, queues), workspace, visitor)
        return page("today_state.html", **_shown(found, spanned(span)))


async def known(bus: Bus, desks: Desks, workspace: str, visitor: Visitor) -> Present:
    """How the workspace stands; Problem if it was never connected, and is not the person's own to connect."""
    found = await present(bus, desks, workspace)
    if not found.tenant.known and visitor.person.roles.get(workspace) is not Role.OWNER:
        raise unknown(workspace)
    return found


def spanned(text: str) -> Span:
    """The span of an address; Problem if there is none of that name."""
    for span in DAYS:
        if span == text:
            return span
    raise Problem(400, "No such span", f"{text:.40} is none of {', '.join(DAYS)}.")


def _shown(found: Present, span: Span) -> dict[str, Any]:
    counts = total(found.span(span))
    bands = [band for band in BANDS if band != "withdrawn" or counts.get(band)]
    return {
        "found": found,
        "span": span,
        "spans": SPANS,
        "counts": counts,
        "decided": sum(counts.get(band, 0) for band in bands),
        "bands": bands,
        "ours": sum(band in BY_ITSELF for band in bands),
        "spread": spread(counts, bands),
        "gather": gather(counts, bands),
        "weeks": weeks(found.days),
        "all_bands": BANDS,
        "where": WHERE,
        "who": WHO,
        "outcome": outcome,
    }
