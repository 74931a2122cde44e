"""`weir policy`: what a workspace lets Weir do by itself, and since when."""

import getpass
from datetime import date
from decimal import Decimal
from itertools import zip_longest
from typing import Annotated, Any

import anyio
import msgspec
from cyclopts import App, Parameter
from rich.text import Text

from common import codec, policies
from common.errors import UserError
from common.messages import Policy, said
from common.policies import FIELDS, FIRST_SET, MEANS, Name, Version
from services.cli.terminal import at, named, say, screen

policy = App(name="policy", help="What a workspace lets Weir do by itself, and since when.")

_Workspace = Annotated[str, Parameter(help="The workspace's name, as it was connected.")]


def _means(name: Name, values: str) -> Parameter:
    return Parameter(help=f"{values}: {MEANS[name]}.", negative="", show_default=False)


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
    anyio.run(_show, named(workspace), history, json)


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
    pull_every: Annotated[int | None, _means("pull-every", "Such as 30")] = None,
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
        "pull-every": pull_every,
    }
    given = {name: value for name, value in options.items() if value is not None and value != ()}
    if not given and not clear:
        raise UserError(f"nothing to set: name an option, such as --auto 0.9; `weir policy show {workspace}` has all")
    anyio.run(_set, named(workspace), given, clear)


async def _show(workspace: str, history: bool, json: bool) -> None:
    async with at(workspace) as (bus, found):
        kept = await policies.present(bus, workspace)
        past = await policies.versions(bus, workspace) if history else []
        now = kept.value if kept else Policy()
        names = await policies.vendor_names(bus, found, [now, *(one.policy for one in past)])
    if json:
        whole = {"policy": now, "history": [{"since": _since(one), "policy": one.policy} for one in past]}
        say(codec.encode(whole if history else now).decode())
        return
    say(f"{workspace}: policy version {now.version}{'' if kept else ', the default'}")
    for name in FIELDS:
        value = f"  {name:<14}{policies.said(name, now, names):<12}"
        screen().print(Text(value).append(f"  {MEANS[name]}", "dim"))
    for newer, older in zip_longest(past, past[1:]):
        by = f", by {newer.policy.by}" if newer.policy.by else ""
        say(f"\nversion {newer.policy.version}, {_since(newer)}{by}")
        if older is None and newer.policy.version > FIRST_SET:
            say("  earlier ones are no longer kept")
            break
        for one in policies.differences(older.policy if older else Policy(), newer.policy, names):
            say(f"  {one.name:<14}{one.before} → {one.after}")


async def _set(workspace: str, given: dict[Name, Any], clear: tuple[Name, ...]) -> None:
    async with at(workspace) as (bus, found):
        kept = await policies.present(bus, workspace)
        before = kept.value if kept else Policy()
        after = policies.amended(before, given, clear, called=lambda name: f"--{name}")
        if after is before:
            say(f"{workspace}: nothing to change, version {before.version} says so already")
            return
        try:
            await policies.store(bus, workspace, kept, msgspec.structs.replace(after, by=getpass.getuser()))
        except policies.Overtaken as error:
            raise UserError(f"{error}: `weir policy show {workspace}` has it") from None
        names = await policies.vendor_names(bus, found, [before, after])
    say(f"{workspace}: policy version {before.version} → {after.version}")
    for one in policies.differences(before, after, names):
        say(f"  {one.name:<14}{one.before} → {one.after}")
    for ident in sorted({*given.get("block-vendor", ()), *given.get("review-vendor", ())} - names.keys()):
        say(f"note: no vendor {ident} was pulled from QuickBooks yet; check the id")
    say("It holds for the records that come from now on; what was decided stays.")


def _since(version: Version) -> str:
    return said(version.since) if version.since is not None else "at an unknown time"
