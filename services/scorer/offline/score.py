"""`weir score`: decide on files, without broker or accounts."""

import re
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter
from rich.console import Console

from common.errors import UserError
from common.messages import Policy
from common.service import BAD_INPUT
from services.scorer.offline import evaluation, tables, truth, whatif
from services.scorer.offline.desk import Decided, Desk
from services.scorer.offline.evaluation import Evaluation, Outcome
from services.scorer.offline.lines import STDIN, Problems
from services.scorer.offline.whatif import WhatIf

_CURRENCY = re.compile(r"[A-Z]{3}\Z")


def _file(what: str) -> Parameter:
    return Parameter(help=what, allow_leading_hyphen=True)  # which - begins with


class Line(msgspec.Struct):
    """One line of output."""

    bill: str
    decision: str
    score: float
    candidates: list[dict[str, object]]
    why: str
    entry: str | None = None
    gate: str | None = None
    readiness: float | None = None
    counterfactual: str | None = None


class Figures(msgspec.Struct, omit_defaults=True):
    """The last line of output with `--json`; `unread` counts lines and objects that could not be used."""

    bills: int
    decisions: dict[str, int]
    unread: int
    evaluation: Evaluation | None = None
    thresholds: list[WhatIf] | None = None


def score(
    *,
    bills: Annotated[Path, _file("Raw QuickBooks Bill objects, one per line.")],
    entries: Annotated[Path, _file("Raw Qonto supplier invoices and transactions, one per line.")],
    vendors: Annotated[Path | None, _file("Raw QuickBooks Vendor objects, one per line.")] = None,
    policy: Annotated[Path | None, _file("A JSON object of thresholds and limits.")] = None,
    home_currency: Annotated[
        str | None, Parameter(help="Currency of the books, and of bills that name none: EUR.")
    ] = None,
    evaluate: Annotated[
        Path | None, _file('What is really so: {"bill": "145", "entries": ["…"]}, one bill per line.')
    ] = None,
    thresholds: Annotated[str | None, Parameter(help="Other auto thresholds to try, such as 0.80,0.90.")] = None,
    json: Annotated[bool, Parameter(negative="", help="Figures as a last line of JSON, not as tables.")] = False,
) -> int:
    """Write one decision per bill as JSON lines, in the order of the bills.

    Files may be gzip, and one may be - for standard input; objects may stand in answers of the APIs. A line that
    cannot be read is named, the others are scored, and the exit code is 2. A bill that lacks what scoring needs
    is refused and told what. Figures of --evaluate and --thresholds go to standard error as tables.
    """
    _check_files(bills, entries, vendors, policy, evaluate)
    others = whatif.thresholds(thresholds) if thresholds is not None else []
    problems = Problems()
    desk = Desk(_policy(policy) if policy else Policy(), _currency(home_currency), problems)
    known = truth.truths(evaluate, problems) if evaluate else None
    desk.read(bills, entries, vendors)
    own: list[Outcome] = []
    for batch in desk.decisions():
        _write(b"".join(msgspec.json.encode(_line(decided)) + b"\n" for decided in batch))
        own += (decided.outcome for decided in batch)
    measured = None
    if known is not None:
        measured = evaluation.evaluate(own, known, margin=desk.policy.margin, present=desk.entries)
    rows = [_what_if(desk, auto, own, known) for auto in others]
    if json:
        counts = dict(Counter(outcome.action for outcome in own))
        figures = Figures(len(own), counts, problems.count, measured, rows or None)
        _write(msgspec.json.encode(figures) + b"\n")
    else:
        screen = Console(stderr=True, highlight=False)
        if measured is not None:
            tables.show_evaluation(screen, measured)
        if rows:
            tables.show_what_if(screen, rows, desk.policy.auto)
    return BAD_INPUT if problems.count else 0


def _check_files(*paths: Path | None) -> None:
    for path in paths:
        if path is not None and path != STDIN and str(path).startswith("-"):
            raise UserError(f"{path} is no file; name one, or - for standard input")
    if paths.count(STDIN) > 1:
        raise UserError("- is given twice; standard input can be one file, name the others")


def _what_if(desk: Desk, auto: float, own: list[Outcome], known: dict[str, truth.Truth] | None) -> WhatIf:
    policy = whatif.with_auto(desk.policy, auto)
    other = [decided.outcome for batch in desk.decisions(policy) for decided in batch]
    return whatif.what_if(auto, own, other, known)


def _write(lines: bytes) -> None:
    """Write and flush: whoever reads along sees every batch as it is decided, in UTF-8 whatever the terminal."""
    sys.stdout.buffer.write(lines)
    sys.stdout.buffer.flush()


def _line(decided: Decided) -> Line:
    verdict = decided.verdict
    return Line(
        bill=decided.bill,
        decision=verdict.action,
        score=round(verdict.score, 4),
        candidates=[
            {
                "entry": candidate.entry,
                "kind": candidate.kind,
                "score": candidate.score,
                "fields": {field: compared.score for field, compared in candidate.fields.items()},
            }
            for candidate in verdict.candidates
        ],
        why=verdict.why,
        entry=verdict.entry.id if verdict.entry else None,
        gate=verdict.gate,
        readiness=verdict.readiness.score if verdict.readiness else None,
        counterfactual=verdict.counterfactual,
    )


def _currency(code: str | None) -> str | None:
    if code is not None and not _CURRENCY.match(code):
        raise UserError(f"--home-currency {code!r}: write an ISO code of three capital letters, such as EUR")
    return code


def _policy(path: Path) -> Policy:
    try:
        text = sys.stdin.buffer.read() if path == STDIN else path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); name an existing file") from None
    try:
        unknown = msgspec.json.decode(text, type=dict[str, msgspec.Raw]).keys() - set(Policy.__struct_fields__)
        if unknown:
            allowed = ", ".join(sorted(Policy.__struct_fields__))
            raise UserError(f"--policy {path}: {', '.join(sorted(unknown))} is unknown; allowed are {allowed}")
        found = msgspec.json.decode(text, type=Policy)
    except (ValueError, RecursionError) as error:
        raise UserError(f'--policy {path}: {error}; write a JSON object like {{"auto": 0.9}}') from None
    if found.amount_cap is not None and not found.amount_cap.is_finite():
        raise UserError(f"--policy {path}: amount_cap: {found.amount_cap} is no amount; leave it out for none")
    return found
