"""The figures of an evaluation, for people."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from services.scorer.offline.calibration import HIGH, LOCAL
from services.scorer.offline.evaluation import Evaluation
from services.scorer.offline.whatif import WhatIf

_NONE = "–"


def show_evaluation(screen: Console, found: Evaluation) -> None:
    """Every figure with what it means; `–` where there was nothing to measure."""
    links, asked, refused, absent = found.links, found.review, found.refused, found.absent
    sure = found.calibration
    _table(
        screen,
        f"{found.bills:,} bills with a truth",
        (
            (_percent(links.precision), f"of {links.count:,} links are right"),
            (_percent(links.bound), "are right at least, with 95% confidence"),
            (_percent(links.coverage), "of all bills are linked"),
            (_percent(links.recall), f"of {links.matchable:,} matchable bills are linked rightly"),
            (_number(links.wrong_per_thousand, 2), "wrong links per 1,000 bills"),
            (_percent(links.wrong_by_amount), "of the amount linked is linked wrongly"),
            (f"{links.ambiguous:,}", "links of bills nobody could tell apart"),
            (f"{links.used_twice:,}", "entries are used twice"),
            (_percent(absent.share), f"of {absent.count:,} bills without counterpart are linked"),
            (_of(absent.duplicates_linked, absent.duplicates), "duplicates among them are linked"),
            (_of(found.creates.beside, found.creates.count), "creates stand beside a counterpart"),
            (f"{found.creates.second:,}", "creates enter a bill a second time"),
            (_percent(asked.share), f"of all bills are for a person: {asked.count:,}"),
            (_percent(asked.listed), f"of these with a counterpart ({asked.with_counterpart:,}) have it in the list"),
            (_number(asked.position, 2), "is its mean place in the list"),
            (_percent(asked.avoidable), "of them had it first and clearly ahead"),
            (_percent(refused.share), f"of all bills are refused: {refused.count:,}"),
            (_percent(refused.share_false), f"of all bills with a counterpart are refused: {refused.false:,}"),
            (_percent(refused.listed), "of these have it in the list"),
            (_number(sure.ece, 4), f"expected calibration error of {sure.count:,} top candidates"),
            (_number(sure.worst_high_bin, 4), f"largest error of a bin above {HIGH}"),
            (_number(sure.brier, 4), "Brier score"),
            (_number(sure.log_loss, 4), "log loss"),
            (
                _number(sure.local.gap, 4, sign=True),
                f"share right less score between {LOCAL[0]} and {LOCAL[1]}: {sure.local.count:,}",
            ),
        ),
    )
    for count, what in (
        (found.without_truth, "bills without truth, not measured"),
        (found.without_bill, "truths about bills that are not here"),
        (found.without_entry, "bills whose counterpart is not among the entries"),
    ):
        if count:
            screen.print(f"{what}: {count:,}")


def show_what_if(screen: Console, rows: Sequence[WhatIf], own: float) -> None:
    """One row for each threshold."""
    title = f"\nOther thresholds, beside the policy's own {own:g}"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for head in ("auto", "linked", "alone", "asked", "refused", "right", "bound", "gained", "lost", "moved"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        shares = (row.link_share, row.auto_share, row.review_share, row.refuse_share)
        table.add_row(
            f"{row.auto:g}",
            *(_percent(share, 1) for share in shares),
            *map(_percent, (row.precision, row.bound)),
            *(f"{count:,}" for count in (row.gained, row.lost, row.changed)),
        )
    screen.print(table)


def _table(screen: Console, title: str, rows: Iterable[tuple[str, str]]) -> None:
    table = Table(title=title, title_justify="left", box=None, show_header=False)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    for value, what in rows:
        table.add_row(f"[bold]{value}[/bold]", what)
    screen.print(table)


def _percent(share: float | None, decimals: int = 2) -> str:
    return _NONE if share is None else f"{share:.{decimals}%}"


def _number(value: float | None, decimals: int, *, sign: bool = False) -> str:
    return _NONE if value is None else f"{value:{'+' if sign else ''}.{decimals}f}"


def _of(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,}"
