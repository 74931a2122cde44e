"""`weir history`: what became of a bill, step by step, as the streams have it."""

import csv as tables
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import anyio
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from common import codec, subjects
from common.bus import Bus
from common.errors import UserError
from common.history import seen
from common.subjects import RecordKey
from common.timeline import COLUMNS, Step, cells, timeline
from services.cli.terminal import bill, broker, known, named


def history(
    workspace: Annotated[str, Parameter(help="The workspace's name, as it was connected.")],
    record: Annotated[str | None, Parameter(help="The bill's id in QuickBooks, or REALM-ID; all if left out.")] = None,
    *,
    json: Annotated[bool, Parameter(negative="", help="As JSON lines, for programs.")] = False,
    csv: Annotated[Path | None, Parameter(help="Write a table for a spreadsheet to this file.")] = None,
    since: Annotated[datetime | None, Parameter(help="Only steps from this date or time on; UTC.")] = None,
) -> None:
    """Show what became of a bill of WORKSPACE: versions pulled, decisions, reviews, answers, postings, failures.

    Without RECORD every bill is told, one after the other; that needs `--csv` or `--json`.
    """
    if record is None and csv is None and not json:
        raise UserError("name a bill, or write all of them with --csv FILE or --json")
    if csv is not None and json:
        raise UserError("--csv and --json: choose one")
    start = since.replace(tzinfo=since.tzinfo or UTC) if since is not None else None
    anyio.run(_history, named(workspace), None if record is None else bill(record), json, csv, start)


async def _history(workspace: str, record: str | None, json: bool, csv: Path | None, since: datetime | None) -> None:
    async with broker() as bus:
        await known(bus, workspace)
        keys = await bills(bus, workspace)
        if record is not None:
            keys = [key for key in keys if record in {str(key), key.id}]
            if not keys:
                raise UserError(f"record {record}: no stream has a bill of this id in {workspace}; check it")
        if csv is not None:
            with _table(csv) as write:
                async for steps in _told(bus, workspace, keys, since):
                    write(cells(step) for step in steps)
            return
        async for steps in _told(bus, workspace, keys, since):
            _print(steps, json)


async def bills(bus: Bus, workspace: str) -> list[RecordKey]:
    """The bills that any stream knows, in order; what names none is told by `weir failures`."""
    region, at = bus.region, bus.topology
    places = {
        at.records: f"{region}.record.{workspace}.bill.*",
        at.decisions: f"{region}.decision.{workspace}.*",
        at.reviews: f"{region}.review.*.{workspace}.*",
        at.postings: f"{region}.posting.{workspace}.*",
        at.failures: f"{region}.failure.{workspace}.*.*",
    }
    found = [name for place in places.items() for name in await bus.subjects(*place)]
    entries = f"{region}.failure.{workspace}.mirror."  # about what Qonto has, and no bill
    names = {name.rpartition(".")[2] for name in found if not name.startswith(entries)}
    return sorted(key for key in map(_key, names) if key is not None)


def _key(name: str) -> RecordKey | None:
    try:
        return RecordKey.parse(name)
    except subjects.BadTokenError:  # anybody who answers reviews may write on any subject of theirs
        return None


async def _told(bus: Bus, workspace: str, keys: list[RecordKey], since: datetime | None) -> AsyncIterator[list[Step]]:
    """The steps of each bill in turn: no more than those of one are held at a time."""
    for key in keys:
        steps = timeline(await seen(bus, workspace, str(key)))
        yield [step for step in steps if since is None or step.at >= since]


@contextmanager
def _table(path: Path) -> Iterator[Callable[[Iterable[list[str]]], None]]:
    with path.open("w", encoding="utf-8-sig", newline="") as file:  # without the mark, Excel misreads accents
        writer = tables.writer(file, quoting=tables.QUOTE_ALL)  # some spreadsheets part cells at semicolons
        writer.writerow(COLUMNS)
        yield writer.writerows


def _print(steps: list[Step], json: bool) -> None:
    out = Console(soft_wrap=json, highlight=False)
    if json:
        for step in steps:
            out.print(codec.encode(step).decode(), markup=False)
        return
    if not steps:
        return
    table = Table("when (UTC)", "what", "outcome", "by", "entry", "why", box=None, title_justify="left")
    table.title = Text(steps[0].record, "bold")
    for step in steps:
        proof = " ✓" if step.verified_at is not None else ""
        version = f"version {step.version}" if step.what == "version" else step.what
        why = step.why or (f"sync token {step.sync_token}" if step.sync_token is not None else "")
        row = (f"{step.at:%Y-%m-%d %H:%M:%S}", version, f"{step.outcome or ''}{proof}", step.by, step.entry, why)
        table.add_row(*(Text(cell or "") for cell in row))
    out.print(table)
