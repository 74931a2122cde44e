"""What the demo shows while it runs and counts at the end."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from common.messages import Outcome
from services.cli.installation import Installation
from services.cli.tally import Tally


class Changes(NamedTuple):
    """The record keys of what the bookkeeper changed."""

    new: str
    edited: str
    paid: str
    deleted: str


EXPECTED: dict[str, Outcome] = {"new": "created", "edited": "superseded", "paid": "paid", "deleted": "withdrawn"}


class Figures(msgspec.Struct):
    """The demo's result. `precision` is the share of links and creates that agree with the truth."""

    pulled: int
    linked: int
    created: int
    updated: int
    withdrawn: int
    review: int
    refused: int
    failed: int
    duplicates: int
    precision: float
    verified: int
    broken: list[str]
    wrong: list[str]
    calls: int = 0
    seconds: float = 0.0


def figures(tally: Tally, truth: Mapping[str, Mapping[str, Any]], duplicates: int, changes: Changes) -> Figures:
    """Count, and check the laws: no duplicate, nothing unverified, no bill without an answer."""
    fates = tally.fates()
    automatic = [key for key in tally.bills if tally.fate(key) in {"linked", "created"}]
    wrong = [key for key in automatic if not _right(tally, key, truth)]
    broken = []
    if duplicates:
        broken.append(f"{duplicates} duplicate entries in Qonto")
    if tally.unverified:
        broken.append(f"{len(tally.unverified)} effects were not read back")
    if fates["undecided"] or fates["unposted"]:
        broken.append(f"{fates['undecided'] + fates['unposted']} bills without an answer")
    for name, outcome in EXPECTED.items():
        seen = [posting.outcome for posting in tally.postings.get(getattr(changes, name), ())]
        if outcome not in seen:
            broken.append(f"the {name} bill was not {outcome} but {', '.join(seen) or 'not posted'}")
    return Figures(
        pulled=len(tally.bills),
        linked=fates["linked"],
        created=fates["created"],
        updated=tally.updated,
        withdrawn=fates["withdrawn"],
        review=fates["review"],
        refused=fates["refused"],
        failed=fates["failed"],
        duplicates=duplicates,
        precision=round(1 - len(wrong) / len(automatic), 4) if automatic else 0.0,
        verified=tally.verified,
        broken=broken,
        wrong=wrong,
    )


def _right(tally: Tally, key: str, truth: Mapping[str, Mapping[str, Any]]) -> bool:
    """A link is right to the same document; a create where Qonto had none and the bill's copy is not posted too."""
    known = truth.get(tally.bills[key].id)
    if known is None:
        return tally.kind(key) == "created"  # entered during the demo: Qonto cannot have had it
    counterparts = {counterpart["id"] for counterpart in known["counterparts"]}
    if tally.kind(key) == "linked":
        return tally.entry(key) in counterparts
    twin = f"{tally.bills[key].realm}-{known['duplicate_of']}"
    entered_once = twin not in tally.bills or tally.fate(twin) not in {"linked", "created"}
    return not counterparts and entered_once


@contextmanager
def progress(screen: Console, title: str, tally: Tally) -> Iterator[Callable[[], None]]:
    """Bars per stage, and what was decided below them; the yielded function redraws them from the tally."""
    bars = Progress(
        TextColumn("  {task.description:<9}"), BarColumn(30), MofNCompleteColumn(), console=screen, transient=False
    )
    stages = {name: bars.add_task(name, total=None) for name in ("pulled", "decided", "verified")}

    def refresh() -> None:
        bills, fates = len(tally.bills), tally.fates()
        due = fates["linked"] + fates["created"] + fates["withdrawn"] + fates["unposted"]
        bars.update(stages["pulled"], total=bills or None, completed=bills)
        bars.update(stages["decided"], total=bills or None, completed=bills - fates["undecided"])
        bars.update(stages["verified"], total=due or None, completed=due - fates["unposted"])

    screen.print(f"\n[bold]{title}[/bold]")
    with bars:
        yield refresh
    screen.print("  " + " · ".join(f"{count} {fate}" for fate, count in tally.fates().most_common()))


def show(screen: Console, figures: Figures, tally: Tally, changes: Changes, weir: Installation) -> None:
    """The table, what became of the changes, and where to look next."""
    table = Table(title="\nWhat became of the bills", title_justify="left", box=None, show_header=False)
    table.add_column(justify="right")
    table.add_column()
    for value, what in (
        (figures.pulled, "bills pulled from QuickBooks"),
        (figures.linked, "linked to an entry Qonto already had"),
        (figures.created, "created in Qonto as supplier invoices"),
        (figures.updated, "changed in Qonto later, because the books changed"),
        (figures.withdrawn, "withdrawn because they were deleted"),
        (figures.review, "wait for a person, with ranked candidates"),
        (figures.refused, "refused, candidates kept"),
        (figures.failed, "failed"),
        (figures.duplicates, "duplicates in Qonto (counted in the sandbox's own store)"),
        (f"{figures.precision:.2%}", "of links and creates are right (against the generator's truth)"),
    ):
        table.add_row(f"[bold]{value}[/bold]", what)
    screen.print(table)
    screen.print("\n[bold]What was changed in the books[/bold]")
    for name, key in changes._asdict().items():
        outcomes = ", ".join(posting.outcome for posting in tally.postings.get(key, ())) or "nothing posted"
        screen.print(f"  the {name} bill {tally.bills[key].id if key in tally.bills else key}: {outcomes}")
    for notice in tally.trouble:
        screen.print(f"  [yellow]{notice.kind}[/yellow]: {notice.why}")
    for law in figures.broken:
        screen.print(f"  [red]broken law: {law}[/red]")
    screen.print(
        f"\n{figures.calls} API calls, {figures.seconds:g} s in all. Where to look next:\n"
        f"  logs of every service   {weir.logs}\n"
        f"  reviews as they come    set -a; . {weir.variables}; set +a   and the subscriber of the README\n"
        f"  how it works and why    docs/how-it-works.md"
    )
