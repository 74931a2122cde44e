"""What a workspace lets Weir do by itself: the policy, its versions, and what another would change."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from itertools import zip_longest
from typing import Any, NamedTuple

from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect

from common import policies
from common.buckets import Bucket
from common.bus import Bus
from common.messages import Backfill, Done, Policy, Refusal, Workspace, now
from common.people import Role
from common.policies import FIRST_SET, MEANS, Difference, Version, differences
from common.settings import EARLIEST
from common.tenants import tenant
from services.console import calls
from services.console.desk.shelf import Shelf
from services.console.desk.suppliers import Supplier, Suppliers
from services.console.draft import CALLED, VENDORS, filled, seal
from services.console.drafting import Form, form_of, previewed, stored
from services.console.page import Page
from services.console.problem import Problem
from services.console.sessions import Visitor

OFFERED = 12
"""Vendors that a search shows at once."""


class PolicyPage(Controller):
    """`/w/{workspace}/policy`."""

    path = "/w/{workspace:str}/policy"

    @get("/", needs=Role.VIEWER)
    async def show(
        self,
        workspace: FromPath[str],
        bus: NamedDependency[Bus],
        page: NamedDependency[Page],
        suppliers: NamedDependency[Shelf[Suppliers]],
        saved: FromQuery[int | None] = None,
        reading: FromQuery[date | None] = None,
    ) -> Response[str]:
        """The page; `saved` is the version just set, `reading` the day from which is being read anew."""
        kept = await policies.present(bus, workspace)
        form = Form(filled(kept.value if kept else Policy()), kept.value if kept else Policy())
        return await _page(bus, workspace, page, suppliers, form, saved=saved, reading=reading)

    @get("/newer", needs=Role.VIEWER)
    async def newer(
        self, workspace: FromPath[str], bus: NamedDependency[Bus], page: NamedDependency[Page], than: FromQuery[int]
    ) -> Response[str]:
        """Whether somebody set another version than the one that is on the screen."""
        kept = await policies.present(bus, workspace)
        return page("policy_newer.html", newer=kept.value if kept and kept.value.version > than else None)

    @get("/vendors", needs=Role.VIEWER)
    async def vendors(
        self,
        workspace: FromPath[str],
        request: Request[Any, Any, Any],
        bus: NamedDependency[Bus],
        page: NamedDependency[Page],
        suppliers: NamedDependency[Shelf[Suppliers]],
    ) -> Response[str]:
        """The vendors chosen for a list, and those whose names fit the search beside it."""
        given = request.query_params
        name = next((name for name in VENDORS if f"search-{name}" in given), VENDORS[0])
        choice = await _choice(bus, workspace, suppliers, given.getall(name, []), given.get(f"search-{name}"))
        return page("policy_vendors.html", choice=choice, name=name)

    @post("/preview", needs=Role.OWNER, status_code=200)
    async def preview(
        self,
        workspace: FromPath[str],
        request: Request[Any, Any, Any],
        bus: NamedDependency[Bus],
        page: NamedDependency[Page],
        suppliers: NamedDependency[Shelf[Suppliers]],
    ) -> Response[str]:
        """The page again, with what the policy of the form would change."""
        form = await form_of(bus, workspace, await request.form())
        response = await _page(bus, workspace, page, suppliers, await previewed(bus, workspace, form))
        if form.overtaken:  # the fields themselves show something else now, not only what they would change
            response.headers.update({"HX-Retarget": "#policy", "HX-Reselect": "#policy"})
        return response

    @post("/", needs=Role.OWNER, status_code=200)
    async def save(
        self,
        workspace: FromPath[str],
        request: Request[Any, Any, Any],
        bus: NamedDependency[Bus],
        page: NamedDependency[Page],
        suppliers: NamedDependency[Shelf[Suppliers]],
        visitor: NamedDependency[Visitor],
    ) -> Response[Any]:
        """Set what was previewed, unless somebody was faster: then theirs is shown with ours on top of it."""
        given = await request.form()
        form = await form_of(bus, workspace, given)
        if form.wanted is None or form.overtaken or form.unchanged or given.get("seal") != seal(form.wanted):
            return await _page(bus, workspace, page, suppliers, await previewed(bus, workspace, form))
        try:
            version = await stored(bus, workspace, form.wanted, visitor.person.name)
        except policies.Overtaken:
            form = await form_of(bus, workspace, given)
            return await _page(bus, workspace, page, suppliers, await previewed(bus, workspace, form))
        return Redirect(f"/w/{workspace}/policy?saved={version}", status_code=303)

    @post("/backfill", needs=Role.OWNER)
    async def backfill(
        self, workspace: FromPath[str], request: Request[Any, Any, Any], bus: NamedDependency[Bus]
    ) -> Response[Any]:
        """Have everything that changed since a day read, and what is missing published."""
        text = str((await request.form()).get("since", ""))
        try:
            since = date.fromisoformat(text)
        except ValueError:
            raise Problem(400, "No date", f"{text:.40} is no date.", "Write it like 2025-01-31.") from None
        moment = datetime.combine(since, time(), UTC)
        if not EARLIEST <= moment <= now():
            raise Problem(400, "Not that date", f"Name a date from {EARLIEST:%Y-%m-%d} up to today.")
        match await calls.ask(bus, "quickbooks", "backfill", Backfill(workspace=workspace, since=moment)):
            case Done():
                return Redirect(f"/w/{workspace}/policy?reading={since.isoformat()}", status_code=303)
            case Refusal(why=why, fix=fix, retry=retry):
                raise Problem(503 if retry else 400, "It is not read", f"{why}.", fix)
            case other:
                raise calls.refused("QuickBooks", other)


class Step(NamedTuple):
    """A version, and what it changed; None where the one before it is no longer kept."""

    version: Version
    changed: list[Difference] | None


class Choice(NamedTuple):
    """The vendors of one list: those chosen, those a search found, how many more it found, and what is to be said."""

    chosen: Sequence[Supplier]
    found: Sequence[Supplier] = ()
    more: int = 0
    note: str | None = None


async def _page(
    bus: Bus, workspace: str, page: Page, suppliers: Shelf[Suppliers], form: Form, **more: Any
) -> Response[str]:
    past = await policies.versions(bus, workspace)
    company = await tenant(bus, workspace)
    place = await Bucket(bus, "workspaces", Workspace).get(workspace)
    names = await policies.vendor_names(bus, company, [one.policy for one in past])
    choices = {name: await _choice(bus, workspace, suppliers, form.texts.get(name, ()), None) for name in VENDORS}
    steps = [
        Step(
            newer,
            differences(older.policy if older else Policy(), newer.policy, names)
            if older or newer.policy.version <= FIRST_SET
            else None,
        )
        for newer, older in zip_longest(past, past[1:])
    ]
    known: dict[str, Any] = {
        "form": form,
        "seal": seal(form.wanted) if form.wanted else "",
        "steps": steps,
        "choices": choices,
        "called": CALLED,
        "means": MEANS,
        "tenant": company,
        "every": bus.settings.pull_every,
        "begins": (place.value.backfill_from if place else None) or bus.settings.backfill_from,
        "earliest": EARLIEST.date(),
        "today": now().date(),
        "saved": None,
        "reading": None,
    }
    return page("policy.html", **{**known, **more})


async def _choice(bus: Bus, workspace: str, shelf: Shelf[Suppliers], chosen: Sequence[str], text: str | None) -> Choice:
    realm = await _realm(bus, workspace)
    seen = await shelf.look(workspace)
    kept = [seen.picture.named(realm, ident) for ident in dict.fromkeys(chosen)]
    if text is None or not text.strip():
        return Choice(kept, note=None if kept else "None.")
    found, more = seen.picture.search(realm, text, OFFERED + len(kept))
    offered = [one for one in found if one not in kept]
    note = None
    if not realm:
        note = "Vendors are known once QuickBooks is connected."
    elif seen.loading:
        note = "The vendors are still being read; there may be more in a moment."
    elif not offered:
        note = "No other vendor has that name."
    return Choice(kept, offered[:OFFERED], more + max(0, len(offered) - OFFERED), note)


async def _realm(bus: Bus, workspace: str) -> str:
    company = (await tenant(bus, workspace)).connections.get("quickbooks")
    return company.account if company else ""
