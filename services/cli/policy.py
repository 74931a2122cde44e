"""`weir policy`: what a workspace lets Weir do by itself, and since when."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from decimal import Decimal
from itertools import zip_longest
from typing import Annotated, Any, NamedTuple

import anyio
from cyclopts import App, Parameter
from rich.console import Console
from rich.text import Text

from common import codec, subjects
from common.buckets import Bucket, Kept
from common.bus import Bus
from common.errors import Conflict, UserError
from common.history import messages
from common.messages import Policy, Record, Vendor, said
from common.settings import load
from common.tenants import Tenant, tenant
from services.cli import amendment
from services.cli.amendment import FIELDS, Name, amended, differences

policy = App(name="policy", help="What a workspace lets Weir do by itself, and since when.")

_FIRST_SET = 2
"""Version of the first policy that is set: where nobody has set one, the default is version 1."""

_MEANS: dict[Name, str] = {
    "auto": "from this score on it acts by itself",
    "review": "from this score on it asks; a bill below is refused",
    "margin": "by how much the best match must be ahead of the next",
    "target": "vendors whose automatic decisions prove right less often go to a person",
    "cap": "bills above it are for a person",
    "cap-currency": "what the cap is in; the home currency of the books if none is named",
    "currency": "bills in others are for a person",
    "block-vendor": "nothing of these is ever posted",
    "review-vendor": "every bill of these is for a person",
    "closed-until": "bills dated up to this day are for a person",
}

_Workspace = Annotated[str, Parameter(help="The workspace's name, as it was connected.")]


class Version(NamedTuple):
    """A policy that was set, and when, as people read it."""

    policy: Policy
    since: str


def _means(name: Name, values: str) -> Parameter:
    return Parameter(help=f"{values}: {_MEANS[name]}.", negative="", show_default=False)


@policy.command
def show(
    workspace: _Workspace,
    *,
    history: Annotated[bool, Parameter(negative="", help="Also what each version changed, newest first.")] = False,
    json: Annotated[bool, Parameter(negative="", help="As JSON, for programs.")] = False,
) -> None:
    """Show the policy of WORKSPACE that holds for the records that come from now on.

    Every decision names the version it was made by; `--history` shows the last 64.
    """
    anyio.run(_show, _checked(workspace), history, json)


@policy.command(name="set")
def set_(
    workspace: _Workspace,
    *,
    auto: Annotated[float | None, _means("auto", "Above 0 and up to 1")] = None,
    review: Annotated[float | None, _means("review", "Above 0 and up to --auto")] = None,
    margin: Annotated[float | None, _means("margin", "From 0 up to 1")] = None,
    target: Annotated[float | None, _means("target", "From 0 up to below 1")] = None,
    cap: Annotated[Decimal | None, _means("cap", "An amount, such as 5000")] = None,
    cap_currency: Annotated[str | None, _means("cap-currency", "Such as EUR")] = None,
    currency: Annotated[tuple[str, ...], _means("currency", "Such as EUR")] = (),
    block_vendor: Annotated[tuple[str, ...], _means("block-vendor", "An id in QuickBooks")] = (),
    review_vendor: Annotated[tuple[str, ...], _means("review-vendor", "An id in QuickBooks")] = (),
    closed_until: Annotated[date | None, _means("closed-until", "Such as 2026-03-31")] = None,
    clear: Annotated[
        tuple[Name, ...],
        Parameter(negative="", show_default=False, help="Set an option back to its default, before the others count."),
    ] = (),
) -> None:
    """Change the policy of WORKSPACE; what is not named stays as it is.

    Currencies and vendors are added to those that are there: `--clear` their option to begin anew. A change makes a
    new version and holds for later records only; nothing that was decided is decided again.
    """
    options: dict[Name, Any] = {
        "auto": auto,
        "review": review,
        "margin": margin,
        "target": target,
        "cap": cap,
        "cap-currency": cap_currency,
        "currency": currency,
        "block-vendor": block_vendor,
        "review-vendor": review_vendor,
        "closed-until": closed_until,
    }
    named = {name: value for name, value in options.items() if value is not None and value != ()}
    if not named and not clear:
        raise UserError(f"nothing to set: name an option, such as --auto 0.9; `weir policy show {workspace}` has all")
    anyio.run(_set, _checked(workspace), named, clear)


async def present(bus: Bus, workspace: str) -> Kept[Policy] | None:
    """The policy that was set last, None if none ever was."""
    return await Bucket(bus, "policies", Policy).get(workspace)


async def store(bus: Bus, workspace: str, before: Kept[Policy] | None, after: Policy) -> None:
    """Put `after` in the place of `before`; UserError if that is no longer what holds."""
    bucket = Bucket(bus, "policies", Policy)
    try:
        if before is None:
            await bucket.create(workspace, after)
        else:
            await bucket.replace(workspace, after, before.revision)
    except Conflict:
        raise UserError(
            f"the policy of {workspace} was changed by somebody else at the same time, and yours was not set;"
            f" look at it with `weir policy show {workspace}` and set it again"
        ) from None


async def versions(bus: Bus, workspace: str) -> list[Version]:
    """The policies that were set for the workspace, newest first, as far as they are kept."""
    bucket = bus.topology.bucket("policies")
    kept = [one async for one in messages(bus, f"KV_{bucket}", f"$KV.{bucket}.{workspace}") if one.data]
    return [
        Version(codec.decode(one.data or b"", Policy), said(one.time) if one.time else "at an unknown time")
        for one in reversed(kept)
    ]


async def _show(workspace: str, history: bool, json: bool) -> None:
    async with _known(workspace) as (bus, found):
        kept = await present(bus, workspace)
        past = await versions(bus, workspace) if history else []
        policies = [kept.value if kept else Policy(), *(one.policy for one in past)]
        names = await _vendor_names(bus, found, policies)
    now = policies[0]
    if json:
        whole = {"policy": now, "history": [{"since": one.since, "policy": one.policy} for one in past]}
        _say(codec.encode(whole if history else now).decode())
        return
    _say(f"{workspace}: policy version {now.version}{'' if kept else ', the default'}")
    for name in FIELDS:
        value = f"  {name:<14}{amendment.said(name, now, names):<12}"
        Console(soft_wrap=True, highlight=False).print(Text(value).append(f"  {_MEANS[name]}", "dim"))
    for newer, older in zip_longest(past, past[1:]):
        _say(f"\nversion {newer.policy.version}, {newer.since}")
        if older is None and newer.policy.version > _FIRST_SET:
            _say("  earlier ones are no longer kept")
            break
        for line in differences(older.policy if older else Policy(), newer.policy, names):
            _say(f"  {line}")


async def _set(workspace: str, named: dict[Name, Any], clear: tuple[Name, ...]) -> None:
    async with _known(workspace) as (bus, found):
        kept = await present(bus, workspace)
        before = kept.value if kept else Policy()
        after = amended(before, named, clear)
        if after is before:
            _say(f"{workspace}: nothing to change, version {before.version} says so already")
            return
        await store(bus, workspace, kept, after)
        names = await _vendor_names(bus, found, [before, after])
    _say(f"{workspace}: policy version {before.version} → {after.version}")
    for line in differences(before, after, names):
        _say(f"  {line}")
    for ident in sorted({*named.get("block-vendor", ()), *named.get("review-vendor", ())} - names.keys()):
        _say(f"note: no vendor {ident} was pulled from QuickBooks yet; check the id")
    _say("It holds for the records that come from now on; what was decided stays.")


async def _vendor_names(bus: Bus, found: Tenant, policies: list[Policy]) -> dict[str, str]:
    """What the vendors that the policies name are called, by id, as far as they were pulled."""
    company = found.connections.get("quickbooks")
    wanted = {ident for one in policies for ident in (*one.blocked_vendors, *one.review_vendors)}
    if company is None or not wanted:
        return {}
    idents = {
        subjects.record(bus.region, found.workspace, "vendor", f"{company.account}-{ident}"): ident for ident in wanted
    }
    newest = await bus.latest(bus.topology.records, idents, Record)
    bodies = {idents[subject]: stored.message.body for subject, stored in newest.items()}
    return {ident: body.name for ident, body in bodies.items() if isinstance(body, Vendor)}


@asynccontextmanager
async def _known(workspace: str) -> AsyncIterator[tuple[Bus, Tenant]]:
    """The broker and the workspace; UserError if nobody ever connected it."""
    bus = Bus(load(), "cli")
    await bus.connect()
    try:
        found = await tenant(bus, workspace)
        if not found.known:
            raise UserError(f"workspace {workspace} is not known here; connect it in the console, or check WEIR_REGION")
        yield bus, found
    finally:
        await bus.close()


def _checked(workspace: str) -> str:
    try:
        return subjects.workspace(workspace)
    except subjects.BadTokenError as error:
        raise UserError(str(error)) from None


def _say(line: str) -> None:
    Console(soft_wrap=True, highlight=False).print(line, markup=False)
