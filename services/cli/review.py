"""`weir review`: the bills that wait for a person, and deciding on them, for those who live in a terminal."""

from typing import Annotated, NamedTuple

import anyio
import msgspec
from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from common import answering, codec, waiting
from common.answering import Action, Asked, NotOpen, Taken
from common.errors import UserError
from common.invitations import operator
from common.messages import Candidate, ReviewClosed, ReviewRequested, ReviewResolved, said
from common.reviews import Review, Reviews
from common.service import STOPPED
from common.waiting import Waiting
from services.cli.terminal import at, bill, key_of, named

review = App(name="review", help="What waits for you, and deciding on it.")

WITHIN = 60.0
"""Seconds in which a poster should have carried an answer out, Qonto read back."""
_LOADS_WITHIN = 60.0
"""Seconds in which a workspace's reviews should be read."""

_Workspace = Annotated[str, Parameter(help="The workspace's name, as it was connected.")]
_Record = Annotated[str, Parameter(help="The bill's id in QuickBooks, or REALM-ID.")]
_By = Annotated[
    str | None, Parameter(help="Who decides; the user of this machine if nobody is named.", show_default=False)
]
_Note = Annotated[str | None, Parameter(help="Why; the history keeps it.")]
_Json = Annotated[bool, Parameter(negative="", help="As JSON, for programs.")]


class Result(msgspec.Struct, omit_defaults=True):
    """What became of an answer: `closed` says it, or `why` says why it was not given, or not yet carried out."""

    bill: str
    closed: ReviewClosed | None = None
    why: str | None = None
    taken_by: str | None = None

    @property
    def good(self) -> bool:
        """Whether the person's decision is done."""
        return self.closed is not None and self.closed.outcome in answering.DONE


class _Order(NamedTuple):
    """A decision as the command line has it; without an entry a link goes to the first candidate."""

    action: Action
    entry: str | None
    by: str
    note: str | None


@review.command(name="ls")
def ls(
    workspace: _Workspace,
    *,
    gate: Annotated[str | None, Parameter(help="Only what was held back by this.")] = None,
    limit: Annotated[int, Parameter(help="At most so many, longest waiting first.")] = 50,
    json: _Json = False,
) -> None:
    """List the bills of WORKSPACE that wait for a person, longest waiting first.

    Refused ones are among them: their candidates are kept, and one can be pinned.
    """
    if limit < 1:
        raise UserError("--limit: must be 1 or more")
    found = [one for one in anyio.run(_waiting, named(workspace)) if gate in {None, one.question.gate}]
    rows = [one.question for one in found[:limit]]
    out = Console(soft_wrap=json, highlight=False)
    if json:
        out.print(codec.encode({"waiting": rows, "in_all": len(found)}).decode(), markup=False)
        return
    if not rows:
        out.print("nothing waits for you")
        return
    out.print(_table(found[:limit]))
    more = f", {len(found) - len(rows)} more with --limit {len(found)}" if len(found) > len(rows) else ""
    out.print(
        Text(f"{len(found)} wait{'s' if len(found) == 1 else ''}{more}; `weir review show {workspace} BILL`", "dim")
    )


@review.command
def show(workspace: _Workspace, record: _Record, *, json: _Json = False) -> None:
    """Show the question about one bill, and its candidates field by field."""
    found = anyio.run(_asked, named(workspace), bill(record))
    out = Console(soft_wrap=json, highlight=False)
    if json:
        out.print(codec.encode(found).decode(), markup=False)
    else:
        _show(out, found)


@review.command
def confirm(workspace: _Workspace, record: _Record, *, by: _By = None, note: _Note = None, json: _Json = False) -> int:
    """Link the bill to its first candidate."""
    return _decide(workspace, record, "link", None, by, note, json)


@review.command
def pin(
    workspace: _Workspace,
    record: _Record,
    entry: Annotated[str, Parameter(help="The id of a supplier invoice or transaction in Qonto.")],
    *,
    by: _By = None,
    note: _Note = None,
    json: _Json = False,
) -> int:
    """Link the bill to any entry of Qonto, whether it is a candidate or not."""
    return _decide(workspace, record, "link", entry, by, note, json)


@review.command
def create(workspace: _Workspace, record: _Record, *, by: _By = None, note: _Note = None, json: _Json = False) -> int:
    """Create a new supplier invoice in Qonto for the bill."""
    return _decide(workspace, record, "create", None, by, note, json)


@review.command
def refuse(workspace: _Workspace, record: _Record, *, by: _By = None, note: _Note = None, json: _Json = False) -> int:
    """Post nothing for the bill; say why with `--note`."""
    return _decide(workspace, record, "refuse", None, by, note, json)


def _decide(
    workspace: str, record: str, action: Action, entry: str | None, by: str | None, note: str | None, json: bool
) -> int:
    order = _Order(action, entry, by if by is not None else operator(), note)
    if not order.by.strip():
        raise UserError("--by: say who decides")
    result = anyio.run(_answered, named(workspace), bill(record), order)
    out = Console(soft_wrap=True, highlight=False)
    out.print(codec.encode(result).decode() if json else _told(result), markup=False)
    return 0 if result.good else STOPPED


async def _answered(workspace: str, record: str, order: _Order) -> Result:
    async with at(workspace) as (bus, tenant):
        key = key_of(tenant, record)
        found = await answering.asked(bus, workspace, key)
        if found is None:
            raise UserError(f"record {record}: nobody was asked about such a bill; see `weir review ls {workspace}`")
        entry = order.entry
        if order.action == "link" and entry is None:
            first = next(iter(found.question.candidates), None)
            if first is None:
                raise UserError(f"bill {key} has no candidate; pin an entry, create a new one, or refuse it")
            entry = first.entry
        resolved = ReviewResolved(
            review=found.question.review, action=order.action, by=order.by, entry=entry, note=order.note
        )
        try:
            sent = await answering.answer(bus, workspace, key, resolved)
        except Taken as error:
            return Result(key, why=str(error), taken_by=error.by)
        except NotOpen as error:
            return Result(key, why=str(error))
        closed = await answering.outcome(bus, sent, WITHIN)
        late = None if closed else f"not carried out within {WITHIN:g} s, but it will be; see that `weir poster` runs"
        return Result(key, closed, late)


async def _asked(workspace: str, record: str) -> Asked:
    async with at(workspace) as (bus, tenant):
        found = await answering.asked(bus, workspace, key_of(tenant, record))
        if found is None:
            raise UserError(f"record {record}: nobody was asked about such a bill; see `weir review ls {workspace}`")
        return found


async def _waiting(workspace: str) -> list[Review[Waiting]]:
    async with at(workspace) as (bus, _):
        reviews = Reviews(waiting.brief)
        for feed in (waiting.given_up(bus, workspace, reviews), waiting.feed(bus, workspace, reviews)):
            try:
                if not await feed.read(_LOADS_WITHIN):
                    raise UserError(
                        f"the reviews of {workspace} could not be read within {_LOADS_WITHIN:g} s; try again"
                    )
            finally:
                await feed.close()
        return sorted(reviews.open.values(), key=lambda one: (one.question.since, one.question.key))


def _told(result: Result) -> str:
    match result.closed:
        case None:
            return f"{result.bill}: {result.why}"
        case ReviewClosed(outcome="rejected", why=why):
            return f"{result.bill}: your answer was rejected: {why}"
        case ReviewClosed(outcome=outcome, entry=entry, why=why):
            at = f" {entry}" if entry else ""
            return f"{result.bill}: {outcome}{at}{f' ({why})' if why else ''}"


def _table(found: list[Review[Waiting]]) -> Table:
    """One line for each bill in 80 columns; what does not fit is cut, never wrapped."""
    rows = [one.question for one in found]
    companies = {row.key.partition("-")[0] for row in rows}
    table = Table(box=None, pad_edge=False, expand=False)
    table.add_column("bill", no_wrap=True)
    table.add_column("supplier", no_wrap=True, overflow="ellipsis", max_width=22)
    table.add_column("total", no_wrap=True, justify="right")
    table.add_column("since", no_wrap=True)
    table.add_column("match", no_wrap=True, justify="right")
    table.add_column("held by", no_wrap=True, overflow="ellipsis")
    for one in found:
        row = one.question
        held = row.gate or ("refused" if row.step == "refused" else "")
        if one.given is not None:
            held = f"answered by {one.given.by}"
        table.add_row(
            Text(row.key if len(companies) > 1 else row.key.partition("-")[2]),
            Text(row.vendor or row.vendor_id),
            Text(f"{row.total:,.2f} {row.currency}"),
            Text(f"{row.since:%Y-%m-%d}"),
            Text(f"{row.likely:.0%}" if row.likely is not None else "–"),
            Text(held),
        )
    return table


def _show(out: Console, found: Asked) -> None:
    asked = found.question
    bill = asked.summary
    said_of = f"{bill.vendor.name or bill.vendor.id}, {bill.total:,.2f} {bill.currency}"
    number = f", number {bill.number}" if bill.number else ""
    issued = f", of {bill.issued_on.isoformat()}" if bill.issued_on else ""
    due = f", due {bill.due_on.isoformat()}" if bill.due_on else ""
    out.print(Text(f"{asked.realm}-{asked.bill}: {said_of}{number}{issued}{due}", "bold"))
    out.print(Text(f"{'refused' if found.step == 'refused' else 'waits'} since {said(asked.requested_at)}"))
    out.print(Text(f"because {asked.why}"))
    for line in (f"held by: {asked.gate}" if asked.gate else None, asked.counterfactual, _standing(found)):
        if line:
            out.print(Text(line))
    if asked.readiness and asked.readiness.lacks:
        out.print(Text(f"it lacks {'; '.join(asked.readiness.lacks)}"))
    for place, candidate in enumerate(asked.candidates, start=1):
        _candidate(out, place, candidate)
    if not asked.candidates:
        out.print("\nno candidates")
    out.print(Text(f"\n{_next(asked, found)}", "dim"))


def _standing(found: Asked) -> str | None:
    if found.closed is not None:
        by = f" by {found.closed.by}" if found.closed.by else ""
        return f"closed {said(found.closed.closed_at)}{by}: {found.closed.outcome}"
    for one in found.given:
        return f"answered {said(one.at)} by {one.answer.by}: {one.answer.action}; not carried out yet"
    for one in reversed(found.given_up):
        return f"{one.answer.by}'s answer ({one.answer.action}) failed; decide again, or see `weir failures`"
    return None


def _candidate(out: Console, place: int, candidate: Candidate) -> None:
    verb = "serves" if candidate.claimed else "fits"
    rival = f", but it {verb} bill {candidate.taken_by}" if candidate.taken_by else ""
    out.print(Text(f"\n{place}. {candidate.kind} {candidate.entry}: {candidate.score:.0%}{rival}", "bold"))
    table = Table("field", "bill", "Qonto", "agrees", box=None)
    for name, compared in candidate.fields.items():
        agrees = "–" if compared.score is None else f"{compared.score:.0%}"
        same = compared.score is None or compared.score >= waiting.AGREES
        table.add_row(
            name, Text(compared.bill or "–"), Text(compared.entry or "–"), Text(agrees, "" if same else "red")
        )
    out.print(table)


def _next(asked: ReviewRequested, found: Asked) -> str:
    if found.closed is not None:
        return "nothing is left to decide"
    verbs = (["confirm"] if asked.candidates else []) + ["pin", "create", "refuse"]
    return f"weir review {'|'.join(verbs)} {asked.workspace} {asked.bill}" + " (pin: and an entry's id)"
