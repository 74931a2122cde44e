"""A policy on its way from a form to the bucket: read, laid over what others set meanwhile, tried out, stored."""

from typing import NamedTuple

import msgspec
from litestar.datastructures import FormMultiDict

from common import policies
from common.bus import Bus
from common.errors import UserError
from common.messages import Changes, Policy, Refusal, WhatIf
from common.policies import FIELDS, Difference, Name, differences
from common.tenants import tenant
from services.console import calls
from services.console.draft import CALLED, Filled, filled, read, rebased
from services.console.problem import Problem


class Overtaken(NamedTuple):
    """What was overtaken: the other's version, what it changed, and which settings both changed."""

    theirs: Policy
    changed: list[Difference]
    both: tuple[Name, ...]


class Form(NamedTuple):
    """The form on the screen.

    `version` is the policy it was made from; `wanted` is what it asks for, None where that cannot be read, for the
    reason in `error`. `overtaken` is what somebody else set meanwhile, `changes` what the wanted policy would change,
    and `unknown` why nobody can say.
    """

    texts: Filled
    version: Policy
    wanted: Policy | None = None
    error: str | None = None
    overtaken: Overtaken | None = None
    changes: Changes | None = None
    unknown: Problem | None = None

    @property
    def unchanged(self) -> bool:
        """Whether it asks for what holds already."""
        return self.wanted is not None and self.wanted.version == self.version.version

    @property
    def at_fault(self) -> Name | None:
        """The setting that cannot be read."""
        return next((name for name, label in CALLED.items() if self.error and self.error.startswith(f"{label}:")), None)


async def what_if(bus: Bus, workspace: str, wanted: Policy) -> Changes:
    """What a policy would change; Problem if no scorer says."""
    match await calls.what_if(bus, WhatIf(workspace=workspace, policy=wanted)):
        case Changes() as changes:
            return changes
        case Refusal(why=why, fix=fix, retry=retry):
            raise Problem(503 if retry else 400, "Not just now", f"{why[:1].upper()}{why[1:]}.", fix)
        case other:
            raise calls.refused("the scorer", other)


async def stored(bus: Bus, workspace: str, wanted: Policy, by: str) -> int:
    """Set the policy; its version. Overtaken if the one before it is not what holds."""
    kept = await policies.present(bus, workspace)
    if (kept.value.version if kept else Policy().version) != wanted.version - 1:
        raise policies.Overtaken(f"the policy of {workspace} was changed by somebody else meanwhile")
    await policies.store(bus, workspace, kept, msgspec.structs.replace(wanted, by=by))
    return wanted.version


async def form_of(bus: Bus, workspace: str, given: FormMultiDict) -> Form:
    """What was sent, on top of what holds now."""
    texts = {name: [str(text) for text in given.getall(name, [])] for name in FIELDS}
    kept = await policies.present(bus, workspace)
    present = kept.value if kept else Policy()
    base = await _version(bus, workspace, str(given.get("version", "")), present)
    try:
        wanted = read(texts, base)
    except UserError as error:
        return Form(texts, base, error=str(error))
    if base.version == present.version:
        return Form(texts, present, wanted)
    changed = differences(base, present, await _names(bus, workspace, base, present))
    merged = rebased(base, present, wanted)
    unchanged = all(getattr(merged.policy, field) == getattr(present, field) for field in FIELDS.values())
    wanted = present if unchanged else merged.policy
    return Form(filled(wanted), present, wanted, overtaken=Overtaken(present, changed, merged.both))


async def previewed(bus: Bus, workspace: str, form: Form) -> Form:
    """The form with what its policy would change, or with why nobody can say."""
    if form.wanted is None or form.unchanged:
        return form
    try:
        return form._replace(changes=await what_if(bus, workspace, form.wanted))
    except Problem as problem:
        return form._replace(unknown=problem)


async def _version(bus: Bus, workspace: str, text: str, present: Policy) -> Policy:
    """The policy a form was made from; Problem if it is no longer kept."""
    if text == str(present.version):
        return present
    if text == str(Policy().version):
        return Policy()
    found = [one.policy for one in await policies.versions(bus, workspace) if str(one.policy.version) == text]
    if not found:
        raise Problem(409, "An old form", "The policy that this form shows is no longer kept.", "Load the page again.")
    return found[0]


async def _names(bus: Bus, workspace: str, *some: Policy) -> dict[str, str]:
    return await policies.vendor_names(bus, await tenant(bus, workspace), some)
