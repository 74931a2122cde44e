"""What could not be handled in a workspace, why, what to do about it, and trying it again."""

import time
from typing import Any

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from common.bus import Bus
from common.errors import RetryLater
from common.failures import WHOLE, Failures
from common.messages import Failure
from common.people import Role
from common.retrying import SERVICES, STAGES, again, known
from services.console.page import Page
from services.console.problem import Problem
from services.console.sessions import Visitor

MOST = 100
"""Failures listed, and tried again at once, longest standing first."""
BUDGET = 45.0
"""Seconds after which no further failure is begun: the person presses the button again for the rest."""
_OF_BILLS = frozenset({"scorer", "poster", "answers"})


class Tried(msgspec.Struct, frozen=True):
    """Failures as they stand after they were tried again, and how many were not."""

    tried: list[Failure]
    left: int = 0

    @property
    def over(self) -> int:
        """How many of them succeeded."""
        return sum(_over(failure) for failure in self.tried)


class FailuresPage(Controller):
    """`/w/{workspace}/failures`."""

    path = "/w/{workspace:str}/failures"

    @get("/", needs=Role.VIEWER)
    async def show(
        self, workspace: FromPath[str], bus: NamedDependency[Bus], page: NamedDependency[Page]
    ) -> Response[str]:
        """The page."""
        return page("failures.html", **await _listed(bus, workspace))

    @get("/list", needs=Role.VIEWER)
    async def part(
        self, workspace: FromPath[str], bus: NamedDependency[Bus], page: NamedDependency[Page]
    ) -> Response[str]:
        """The part of the page that moves."""
        return page("failures_list.html", **await _listed(bus, workspace))

    @post("/{ident:str}/retry", needs=Role.REVIEWER, status_code=200)
    async def retry(
        self,
        workspace: FromPath[str],
        ident: FromPath[str],
        request: Request[Any, Any, Any],
        bus: NamedDependency[Bus],
        page: NamedDependency[Page],
        visitor: NamedDependency[Visitor],
    ) -> Response[Any]:
        """Try one again now, and say what came of it."""
        return await _told(bus, workspace, page, request, await retried(bus, workspace, ident, visitor.person.name))

    @post("/retry", needs=Role.REVIEWER, status_code=200)
    async def retry_all(
        self,
        workspace: FromPath[str],
        request: Request[Any, Any, Any],
        bus: NamedDependency[Bus],
        page: NamedDependency[Page],
        visitor: NamedDependency[Visitor],
    ) -> Response[Any]:
        """Try all again, one after the other; the list shows each as it ends."""
        return await _told(bus, workspace, page, request, await all_retried(bus, workspace, visitor.person.name))


async def retried(bus: Bus, workspace: str, ident: str, by: str) -> Tried:
    """One failure after it was tried again; Problem if there never was one, or nobody answers."""
    found = await known(bus, workspace, ident)
    if found is None:
        raise Problem(404, "No such failure", f"{workspace} has no failure {ident:.100}.")
    return Tried([found if _over(found) else await _again(bus, found, by)])


async def all_retried(bus: Bus, workspace: str, by: str) -> Tried:
    """Those that can be tried again, longest standing first; Problem if nobody answers."""
    until = time.monotonic() + BUDGET
    standing = await Failures(bus).standing(workspace)
    due = [failure for failure in standing if failure.retryable][:MOST]
    tried: list[Failure] = []
    for failure in due:
        if time.monotonic() > until:
            break
        tried.append(await _again(bus, failure, by))
    return Tried(tried, len(standing) - len(tried))


async def _again(bus: Bus, failure: Failure, by: str) -> Failure:
    try:
        return await again(bus, failure, by)
    except RetryLater:
        service = SERVICES[failure.stage]
        why = f"The {service}, which would try it again, does not answer."
        raise Problem(503, "Not just now", why, f"Start it (`weir {service}`), or try again in a moment.") from None


async def _told(bus: Bus, workspace: str, page: Page, request: Request[Any, Any, Any], tried: Tried) -> Response[Any]:
    if "hx-request" not in request.headers:
        return Redirect(f"/w/{workspace}/failures", status_code=303)  # loading the page again tries nothing again
    return page("failures_told.html", tried=tried, over=_over, **await _listed(bus, workspace))


async def _listed(bus: Bus, workspace: str) -> dict[str, Any]:
    standing = await Failures(bus).standing(workspace)
    return {
        "failures": standing[:MOST],
        "count": len(standing),
        "retryable": sum(failure.retryable for failure in standing),
        "stages": STAGES,
        "bill": _bill,
    }


def _bill(failure: Failure) -> str | None:
    """The record key of the bill a failure is about; None if it is about something else."""
    about_one = failure.stage in _OF_BILLS and failure.record != WHOLE and "-" in failure.record
    return failure.record if about_one else None


def _over(failure: Failure) -> bool:
    return failure.resolved_at is not None or failure.resolution is not None
