"""One bill whole: how it stands, why, everything that happened to it, its files, and undoing."""

from typing import Any

from anyio import CapacityLimiter
from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from common.bus import Bus
from common.errors import RetryLater
from common.messages import Document
from common.people import Role
from services.console.deciding import bill_key, undo
from services.console.desk.record import NoDocument, Whole, document, drawn, whole
from services.console.links import in_qonto, in_quickbooks
from services.console.page import Page
from services.console.pages.connections import known
from services.console.problem import Problem
from services.console.sessions import Visitor

SHOWN_INLINE = frozenset({"application/pdf", "image/jpeg", "image/png", "image/gif", "image/webp"})
"""Types that a browser shows without running anything; everything else is only handed over."""
# No sandbox directive: Chromium shows no PDF with it. Nothing in a file may load or run anything either way.
_FRAMED = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; object-src 'self'; frame-ancestors 'self'"


class Record(Controller):
    """`/w/{workspace}/bills/{key}`."""

    path = "/w/{workspace:str}/bills/{key:str}"

    @get("/", needs=Role.VIEWER)
    async def show(
        self, workspace: FromPath[str], key: FromPath[str], bus: NamedDependency[Bus], page: NamedDependency[Page]
    ) -> Response[str]:
        """The page."""
        tenant, found = await known(bus, workspace), await of(bus, workspace, key)
        worths = [abs(one.worth) for candidate in found.candidates for one in candidate.fields.values()]
        return page(
            "record.html",
            tenant=tenant,
            found=found,
            entry=standing_entry(found),
            undoable=undoable(found),
            most=max([1.0, *worths]),
            in_quickbooks=in_quickbooks(bus.settings, bill_key(key).partition("-")[2]),
            in_qonto={name: in_qonto(bus.settings, entry) for name, entry in found.entries.items()},
        )

    @get("/state", needs=Role.VIEWER)
    async def state(
        self, workspace: FromPath[str], key: FromPath[str], bus: NamedDependency[Bus], page: NamedDependency[Page]
    ) -> Response[str]:
        """The parts of the page that move, asked for when an event says that they did."""
        found = await of(bus, workspace, key)
        named = {name: in_qonto(bus.settings, entry) for name, entry in found.entries.items()}
        return page(
            "record_state.html",
            found=found,
            entry=standing_entry(found),
            undoable=undoable(found),
            in_qonto=named,
        )

    @post("/undo", needs=Role.REVIEWER)
    async def undo(
        self,
        workspace: FromPath[str],
        key: FromPath[str],
        request: Request[Any, Any, Any],
        bus: NamedDependency[Bus],
        page: NamedDependency[Page],
        visitor: NamedDependency[Visitor],
    ) -> Response[Any]:
        """Take back what the person saw standing in Qonto; say what came of it in the page that asked, or go there."""
        form = await request.form()
        part = "hx-request" in request.headers
        try:
            undone = await undo(bus, workspace, bill_key(key), visitor.person.name, form.get("note"), form.get("entry"))
        except Problem as problem:
            if not part:
                raise
            return page("undone.html", key=key, undone=None, problem=problem)
        if not part:
            return Redirect(f"/w/{workspace}/bills/{key}", status_code=303)
        return page("undone.html", key=key, undone=undone, problem=None)

    @get("/files/{sha256:str}", needs=Role.VIEWER)
    async def file(
        self,
        workspace: FromPath[str],
        key: FromPath[str],
        sha256: FromPath[str],
        bus: NamedDependency[Bus],
        files: NamedDependency[CapacityLimiter],
    ) -> Response[bytes]:
        """A file of the bill, by its hash; only one that this bill of this workspace has."""
        try:
            async with files:
                return handed(*await document(bus, workspace, bill_key(key), sha256))
        except NoDocument as error:
            return words(404, f"{str(error)[:1].upper()}{str(error)[1:]}.")
        except RetryLater as error:
            return words(503, f"The file cannot be shown now: {error}.")

    @get("/drawn", needs=Role.VIEWER)
    async def drawn(
        self,
        workspace: FromPath[str],
        key: FromPath[str],
        bus: NamedDependency[Bus],
        drawings: NamedDependency[CapacityLimiter],
    ) -> Response[bytes]:
        """What Weir would post for the bill, or has posted."""
        try:
            async with drawings:
                return handed(*await drawn(bus, workspace, bill_key(key)))
        except NoDocument as error:
            return words(404, f"There is no document to show: {error}.")
        except RetryLater:
            return words(503, "The service that draws documents does not answer; see that `weir poster` runs.")


async def of(bus: Bus, workspace: str, key: str) -> Whole:
    """Everything about a bill; Problem if nothing is known of it."""
    found = await whole(bus, workspace, bill_key(key))
    if found is None:
        raise Problem(404, "No such bill", "Nothing is known of such a bill in this workspace.", "Check its number.")
    return found


def standing_entry(found: Whole) -> str | None:
    """The name (`{kind}-{id}`) of the entry that stands for the bill in Qonto; None if none does."""
    posting = found.posting
    if posting is None or posting.entry is None or posting.outcome in {"withdrawn", "failed", "stale", "uncertain"}:
        return None
    return f"{posting.entry_kind or 'invoice'}-{posting.entry}"


def undoable(found: Whole) -> bool:
    """Whether something stands in Qonto that could be taken back."""
    return standing_entry(found) is not None


def handed(named: Document, data: bytes) -> Response[bytes]:
    """A file as an answer: shown in a page of ours if browsers can do that safely, else handed over to be saved."""
    shown = named.content_type in SHOWN_INLINE
    name = "".join(mark if mark.isascii() and (mark.isalnum() or mark in "._- ") else "_" for mark in named.name)
    how = "inline" if shown else "attachment"
    headers = {
        "Content-Disposition": f'{how}; filename="{name[:120] or "document"}"',
        "Content-Security-Policy": _FRAMED,
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    type_ = named.content_type if shown else "application/octet-stream"
    return Response(data, media_type=type_, headers=headers)


def words(status: int, why: str) -> Response[bytes]:
    """Why there is no file, where the file would be."""
    headers = {"Content-Security-Policy": _FRAMED}
    return Response(why.encode(), status_code=status, media_type="text/plain; charset=utf-8", headers=headers)
