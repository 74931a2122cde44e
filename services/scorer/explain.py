"""`weir explain`: why a bill was decided as it was, field by field, and whether the same comes out again."""

from math import log
from typing import Annotated

import anyio
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from common import codec, subjects
from common.bus import Bus
from common.errors import UserError
from common.history import messages
from common.messages import Candidate, Decision, Policy, said
from common.settings import load
from services.scorer.matching import model
from services.scorer.matching.decide import odds, per_cent
from services.scorer.matching.reproduce import differences, weights_of

DIFFERS = 1
"""Exit code where something else comes out."""


def explain(
    workspace: Annotated[str, Parameter(help="The workspace's name, as it was connected.")],
    bill: Annotated[str, Parameter(help="The bill's id in QuickBooks.")],
    decision: Annotated[
        str | None, Parameter(help="The id of an earlier decision; the newest if none is named.")
    ] = None,
    *,
    json: Annotated[bool, Parameter(negative="", help="As JSON, for programs.")] = False,
) -> int:
    """Explain the decision on BILL field by field, take it again from what is stored with it, and compare.

    Ends with 1 if something else comes out.
    """
    found, policy = anyio.run(_found, _checked(workspace), bill, decision)
    differ = ["the policy it was made by is no longer kept"] if policy is None else _differences(found, policy)
    console = Console(soft_wrap=json, highlight=False)
    if json:
        console.print(codec.encode({"decision": found, "differences": differ}).decode(), markup=False)
    else:
        _show(console, found, differ)
    return DIFFERS if differ else 0


def _differences(decision: Decision, policy: Policy) -> list[str]:
    try:
        return differences(decision, policy)
    except UserError as error:  # weights that this release does not have
        return [str(error)]


async def _found(workspace: str, bill: str, ident: str | None) -> tuple[Decision, Policy | None]:
    """The decision, and the policy that it names; UserError if there is no such decision."""
    bus = Bus(load(), "cli")
    await bus.connect()
    try:
        stream = bus.topology.decisions
        known = await bus.subjects(stream, f"{bus.region}.decision.{workspace}.*")
        on_bill = [name for name in known if bill in {key := name.rpartition(".")[2], key.partition("-")[2]}]
        if not on_bill:
            raise UserError(
                f"nothing was decided on bill {bill} of {workspace}; name the id it has in QuickBooks, and see with"
                " `weir connections` whether the workspace was pulled"
            )
        made = [codec.decode(one.data or b"", Decision) async for one in messages(bus, stream, on_bill[-1])]
        chosen = [one for one in made if ident in {None, one.id}]
        if not chosen:
            ids = ", ".join(f"{one.id} ({one.action}, {said(one.decided_at)})" for one in made)
            raise UserError(f"there is no decision {ident} on bill {bill}; there are {ids}")
        return chosen[-1], await _policy(bus, workspace, chosen[-1].policy_version)
    finally:
        await bus.close()


async def _policy(bus: Bus, workspace: str, version: int) -> Policy | None:
    """The policy of that version; the default is the first."""
    bucket = bus.topology.bucket("policies")
    async for one in messages(bus, f"KV_{bucket}", f"$KV.{bucket}.{workspace}"):
        if one.data and (policy := codec.decode(one.data, Policy)).version == version:
            return policy
    return Policy() if version == Policy().version else None


def _show(console: Console, decision: Decision, differ: list[str]) -> None:
    def say(line: str) -> None:
        console.print(line, markup=False)

    at = f" {decision.entry_kind} {decision.entry}" if decision.entry else ""
    say(f"bill {decision.bill} of {decision.workspace}: {decision.action}{at}, decided {said(decision.decided_at)}")
    say(f"  {per_cent(decision.score)} that Qonto holds its document")
    say(f"  because {decision.why}")
    if decision.gate:
        say(f"  held by: {decision.gate}")
    if decision.counterfactual:
        say(f"  {decision.counterfactual}")
    if decision.readiness:
        ready = decision.readiness
        standing = "; ".join(ready.standing) or "nothing is known of the vendor"
        say(f"  {per_cent(ready.score)} ready to be posted; {standing}")
    for candidate in decision.candidates:
        console.print(_table(candidate, _weights(decision), recurs=decision.grounds.recurs))
    say(f"policy version {decision.policy_version}, model {decision.model_version}, decision {decision.id}")
    if not differ:
        say("Taken again from what is stored with it: the same comes out.")
    for line in differ:
        say(f"Taken again: {line}.")


def _weights(decision: Decision) -> model.Weights:
    """Those it was made by; today's where this release does not have them."""
    try:
        return weights_of(decision)
    except UserError:
        return model.weights()


def _table(candidate: Candidate, weights: model.Weights, *, recurs: bool) -> Table:
    taken = f", {per_cent(candidate.free)} free of bill {candidate.taken_by}" if candidate.taken_by else ""
    title = f"{candidate.kind} {candidate.entry}: {per_cent(candidate.score)}, {per_cent(candidate.alone)} alone{taken}"
    table = Table("field", "bill", "Qonto", "agreement", "log-odds", "", title=title, title_justify="left")
    for name, compared in candidate.fields.items():
        agreement = "not said" if compared.score is None else per_cent(compared.score)
        table.add_row(
            name, compared.bill or "–", compared.entry or "–", agreement, f"{compared.worth:+.2f}", compared.why or ""
        )
    if candidate.same_identity:
        table.add_row("VAT number or IBAN", "", "", "the same", f"{weights.identity:+.2f}", "")
    scores = {name: compared.score for name, compared in candidate.fields.items()}
    period = weights.another_period(scores.get("date")) if recurs else 0.0
    if period:
        why = "the supplier bills the same again and again"
        table.add_row("may be another period's", "", "", "", f"{period:+.2f}", why)
    accident = weights.coincidence(scores, recurs=recurs)
    if accident:
        table.add_row("amount and date together", "", "", "", f"{accident:+.2f}", "by how often they agree by accident")
    table.add_row("before anything is compared", "", "", "", f"{weights.prior:+.2f}", "")
    if weights.habits.presence:
        usual = "by how many bills Qonto holds here"
        table.add_row("as is usual here", "", "", "", f"{weights.habits.presence:+.2f}", usual)
    if 0.0 < candidate.free < 1.0:
        table.add_row("other bills want it", "", "", "", f"{log(candidate.free):+.2f}", "by how well it fits those")
    stake = odds(candidate.alone) * candidate.free
    contradicts = model.contradicts(scores["name"], scores["reference"])
    tempered = weights.correction(recurs=recurs).odds(stake, contradicts=contradicts)
    if tempered != stake:
        often = "by how often as much was right in such books"
        table.add_row("all of it together", "", "", "", f"{log(tempered / stake):+.2f}", often)
    return table


def _checked(workspace: str) -> str:
    try:
        return subjects.workspace(workspace)
    except subjects.BadTokenError as error:
        raise UserError(str(error)) from None
