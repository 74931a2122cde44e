"""The figures of `weir score --evaluate`: worked out by hand, and by what must hold of any."""

import json
import math
import os
import random
import re
import subprocess
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from common.errors import UserError
from common.messages import Policy
from services.scorer.matching.bounds import lower_bound
from services.scorer.matching.whatif import Moves, moves
from services.scorer.offline.calibration import calibration
from services.scorer.offline.evaluation import Outcome, Ranked, evaluate
from services.scorer.offline.lines import Problems
from services.scorer.offline.score import score
from services.scorer.offline.tables import show_evaluation, show_what_if
from services.scorer.offline.truth import Truth, truths
from services.scorer.offline.whatif import links_of, thresholds, what_if, with_auto
from tests.conftest import ROOT
from tests.scorer.test_offline import BILL, INVOICE, PAYMENT, lines


def outcome(bill: str, action: str, *ranked: tuple[str, float], link: str | None = None, worth: int = 0) -> Outcome:
    """A decision with its candidates, of one entry each."""
    candidates = tuple(Ranked(frozenset({entry}), sure) for entry, sure in ranked)
    return Outcome(bill, action, candidates, frozenset({link} if link else ()), Decimal(worth))


DECIDED = [
    outcome("a", "link", ("e1", 0.95), ("x", 0.1), link="e1", worth=100),
    outcome("b", "link", ("x", 0.9), ("e2", 0.5), link="x", worth=300),
    outcome("c", "link", ("y", 0.88), link="y", worth=-50),
    outcome("d", "review", ("z", 0.7), ("e4", 0.6)),
    outcome("e", "review", ("e5", 0.84)),
    outcome("f", "create"),
    outcome("g", "create"),
    outcome("h", "create"),
    outcome("i", "refuse", ("e9", 0.3)),
    outcome("j", "review", ("w", 0.6)),
    outcome("k", "withdraw"),
    outcome("l", "link", ("e1", 0.99), link="e1", worth=1000),
]
TRUTH = {
    "a": Truth("a", ("e1",)),
    "b": Truth("b", ("e2",)),
    "c": Truth("c", ()),
    "d": Truth("d", ("e4",)),
    "e": Truth("e", ("e5",)),
    "f": Truth("f", ()),
    "g": Truth("g", ("gone",)),
    "h": Truth("h", (), duplicate_of="a"),
    "i": Truth("i", ("e9",)),
    "j": Truth("j", ("e10",), ambiguous=True),
    "k": Truth("k", ("e11",)),
    "m": Truth("m", ("e12",)),
}


def test_the_figures_of_eleven_bills_worked_out_by_hand() -> None:
    entries = {"e1", "e2", "e4", "e5", "e9", "e10", "e11", "w", "x", "y", "z"}
    found = evaluate(DECIDED, TRUTH, present=entries)
    assert (found.bills, found.without_truth, found.without_bill, found.without_entry) == (10, 1, 1, 1)

    links = found.links
    assert (links.count, links.right, links.matchable, links.ambiguous, links.used_twice) == (3, 1, 6, 0, 1)
    assert links.precision == pytest.approx(1 / 3)
    assert links.bound == pytest.approx(1 - 0.95 ** (1 / 3))  # one or more of three
    assert links.coverage == pytest.approx(3 / 10)
    assert links.recall == pytest.approx(1 / 6)
    assert links.wrong_per_thousand == pytest.approx(200)
    assert links.wrong_by_amount == pytest.approx(350 / 450)

    assert (found.creates.count, found.creates.beside, found.creates.second) == (3, 1, 1)
    assert (found.absent.count, found.absent.linked) == (3, 1)
    assert found.absent.share == pytest.approx(1 / 3)
    assert (found.absent.duplicates, found.absent.duplicates_linked) == (1, 0)

    asked = found.review
    assert (asked.count, asked.share, asked.with_counterpart, asked.position) == (3, 0.3, 3, 1.5)
    assert asked.listed == pytest.approx(2 / 3)
    assert asked.avoidable == pytest.approx(1 / 3)
    refused = found.refused
    assert (refused.count, refused.share, refused.false, refused.listed) == (1, 0.1, 1, 1.0)
    assert refused.share_false == pytest.approx(1 / 7)

    sure = found.calibration  # .95 and .84 and .3 right; .9, .88 and .7 wrong: a bin for each
    assert sure.count == 6
    assert sure.ece == pytest.approx((0.05 + 0.9 + 0.88 + 0.7 + 0.16 + 0.7) / 6)
    assert sure.worst_high_bin == pytest.approx(0.9)
    assert sure.brier == pytest.approx((0.05**2 + 0.9**2 + 0.88**2 + 0.7**2 + 0.16**2 + 0.7**2) / 6)
    assert sure.log_loss == pytest.approx(-sum(map(math.log, (0.95, 0.1, 0.12, 0.3, 0.84, 0.3))) / 6)
    assert sure.local.count == 3
    assert sure.local.gap == pytest.approx(1 / 3 - (0.9 + 0.88 + 0.84) / 3)


def test_a_payment_that_settles_the_invoice_is_the_same_document() -> None:
    unit = frozenset({"inv", "pay"})
    linked = Outcome("1", "link", (Ranked(unit, 0.9),), unit)
    for entry in unit:
        assert evaluate([linked], {"1": Truth("1", (entry,))}).links.right == 1
    other = Outcome("2", "link", (Ranked(frozenset({"pay"}), 0.9),), frozenset({"pay"}))
    assert evaluate([linked, other], {}).links.used_twice == 1


def test_a_second_entry_counts_only_where_the_first_is_posted() -> None:
    truth = {"1": Truth("1", ()), "2": Truth("2", (), duplicate_of="1")}
    for first, count in (("create", 1), ("link", 1), ("review", 0), ("refuse", 0)):
        assert evaluate([outcome("1", first), outcome("2", "create")], truth).creates.second == count


def test_nothing_to_measure_is_none() -> None:
    found = evaluate([], {})
    assert (found.links.precision, found.links.bound, found.links.recall, found.links.wrong_by_amount) == (
        None,
        0.0,
        None,
        None,
    )
    assert (found.calibration.ece, found.calibration.log_loss, found.calibration.local.gap) == (None, None, None)


def test_a_lucky_link_of_an_ambiguous_bill_is_counted_but_finds_nothing() -> None:
    found = evaluate([outcome("1", "link", ("e", 0.9), link="e")], {"1": Truth("1", ("e",), ambiguous=True)})
    assert (found.links.right, found.links.ambiguous, found.links.matchable, found.links.recall) == (1, 1, 0, None)
    assert found.calibration.count == 0


@given(st.randoms(use_true_random=False))
def test_the_order_of_bills_does_not_matter(shuffle: random.Random) -> None:
    mixed = [*DECIDED]
    shuffle.shuffle(mixed)
    assert evaluate(mixed, TRUTH) == evaluate(DECIDED, TRUTH) or _close(evaluate(mixed, TRUTH).calibration.brier)


def _close(brier: float | None) -> bool:
    """Sums of floats in another order differ in the last digit."""
    return brier == pytest.approx(evaluate(DECIDED, TRUTH).calibration.brier)


SAMPLES = st.lists(
    st.tuples(st.sampled_from([0.0, 0.2, 0.81, 0.85, 0.95, 1.0]), st.booleans()), min_size=1, max_size=60
)


@given(SAMPLES, st.randoms(use_true_random=False))
def test_the_order_of_candidates_does_not_matter_even_among_equals(
    samples: list[tuple[float, bool]], shuffle: random.Random
) -> None:
    mixed = [*samples]
    shuffle.shuffle(mixed)
    one, other = (calibration(*zip(*found, strict=True)) for found in (samples, mixed))
    assert (one.ece, one.worst_high_bin, one.brier, one.log_loss) == tuple(
        None if value is None else pytest.approx(value, abs=1e-12)
        for value in (other.ece, other.worst_high_bin, other.brier, other.log_loss)
    )


@given(st.floats(0, 1), st.lists(st.booleans(), min_size=1, max_size=200))
def test_one_score_for_all_is_off_by_its_distance_from_the_share(sure: float, right: list[bool]) -> None:
    assert calibration([sure] * len(right), right).ece == pytest.approx(abs(sure - sum(right) / len(right)), abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_true_probability_has_no_error_but_chance(seed: int) -> None:
    draw = np.random.default_rng(seed)
    sure = draw.uniform(size=40_000)
    right = draw.uniform(size=sure.size) < sure
    # A bin of 2,667 has a deviation below .01; the mean of 15 such gaps stays far below .02.
    assert (calibration(sure, right).ece or 0.0) < 0.02
    assert (calibration(sure, ~right).ece or 0.0) > 0.4
    assert calibration(np.clip(sure + 0.1, 0, 1), right).ece == pytest.approx(0.1, abs=0.02)


@given(SAMPLES)
def test_errors_are_errors(samples: list[tuple[float, bool]]) -> None:
    found = calibration(*zip(*samples, strict=True))
    assert found.ece is not None
    assert found.brier is not None
    assert found.log_loss is not None
    assert 0 <= found.ece <= 1
    assert 0 <= found.brier <= 1
    assert 0 <= found.log_loss < 10
    assert found.worst_high_bin is None or 0 <= found.worst_high_bin <= 1


@pytest.mark.parametrize(
    "right, total, bound",
    [
        (598, 598, 0.995),
        (946, 947, 0.995),
        (1256, 1258, 0.995),
        (299, 299, 0.99),
        (472, 473, 0.99),
        (4741, 4742, 0.999),
    ],
)
def test_the_published_counts_of_the_bound(right: int, total: int, bound: float) -> None:
    assert lower_bound(right, total) >= bound
    assert lower_bound(right - 1, total - 1) < bound


def test_bounds_by_hand() -> None:
    assert lower_bound(0, 0) == lower_bound(0, 7) == 0.0
    assert lower_bound(3, 3) == pytest.approx(0.05 ** (1 / 3))
    assert lower_bound(1, 2) == pytest.approx(1 - math.sqrt(0.95))
    assert lower_bound(2, 3, 0.5) == pytest.approx(0.5)  # two or more of three are as likely as not
    for wrong in ((-1, 3), (4, 3)):
        with pytest.raises(ValueError, match="right"):
            lower_bound(*wrong)
    with pytest.raises(ValueError, match="confidence"):
        lower_bound(1, 3, 1.0)


@given(st.integers(1, 300), st.data(), st.sampled_from([0.5, 0.8, 0.95, 0.99]))
def test_the_bound_is_exact_and_monotone(total: int, data: st.DataObject, confidence: float) -> None:
    right = data.draw(st.integers(1, total))
    bound = lower_bound(right, total, confidence)
    chance = sum(math.comb(total, k) * bound**k * (1 - bound) ** (total - k) for k in range(right, total + 1))
    assert chance == pytest.approx(1 - confidence, rel=1e-6)
    assert lower_bound(right - 1, total, confidence) < bound <= right / total
    assert lower_bound(right, total + 1, confidence) < bound < lower_bound(right + 1, total + 1, confidence)


def test_moves_by_hand() -> None:
    own = [outcome("1", "link", link="a"), outcome("2", "link", link="b"), outcome("3", "review")]
    other = [outcome("1", "link", link="c"), outcome("2", "review"), outcome("3", "link", link="d")]
    assert moves(links_of(own), links_of(other)) == Moves(gained=1, lost=1, changed=1)
    assert moves(links_of(own), links_of(own)) == Moves(0, 0, 0)
    found = what_if(0.7, own, other, {"1": Truth("1", ("c",)), "3": Truth("3", ())})
    assert (found.link_share, found.auto_share, found.review_share) == (2 / 3, 2 / 3, 1 / 3)
    assert (found.precision, found.recall) == (0.5, 1.0)
    assert what_if(0.7, own, other, None).precision is None


def test_thresholds_are_numbers_between_0_and_1() -> None:
    assert thresholds("0.9, 0.80,0.9,") == [0.8, 0.9]
    for bad in ("", "high", "0", "1.1", "nan", "0.8;0.9", "-0.5"):
        with pytest.raises(UserError, match="--thresholds"):
            thresholds(bad)
    assert (with_auto(Policy(), 0.4).auto, with_auto(Policy(), 0.4).review) == (0.4, 0.4)


def test_a_line_of_truth_that_is_none_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = lines(
        tmp_path / "t", {"bill": "1", "entries": ["a"]}, {"bill": "1", "entries": []}, {"bill": 5}, "{", "[" * 9999
    )
    problems = Problems()
    assert truths(path, problems) == {"1": Truth("1", ())}
    said = capsys.readouterr().err
    assert problems.count == 3
    assert all(f"line {number}: " in said for number in (3, 4, 5))
    assert "lines about a bill named before: 1;" in said


def test_people_see_every_figure() -> None:
    screen = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: PTH123, SIM115
    show_evaluation(screen, evaluate(DECIDED, TRUTH))
    show_what_if(screen, [what_if(0.9, DECIDED, DECIDED, None)], 0.85)
    shown = screen.export_text()
    assert all(
        part in shown
        for part in ("33.33%", "200.00", "77.78%", "1.50", "0.5650", "bills without truth, not measured: 1", "–")
    )


def company(directory: Path) -> dict[str, Path]:
    """Bills that link for sure, link less surely, and do not; what is really so."""
    bills, entries, truth = [], [], []
    for number in range(40):
        ident, day = str(number), f"2026-05-{1 + number % 28:02}"
        total, reference = 100.0 + 7 * number, f"F-2026-{number:04}"
        bills.append({**BILL, "Id": ident, "DocNumber": reference, "TotalAmt": total, "TxnDate": day})
        late = f"2026-05-{1 + (number + number % 9) % 28:02}"
        if number % 5:
            amount = {"value": f"{total:.2f}", "currency": "EUR"}
            fields = {"id": f"inv-{ident}", "issue_date": late, "total_amount": amount}
            entries.append({**INVOICE, **fields, "invoice_number": reference if number % 3 else None})
        truth.append({"bill": ident, "entries": [f"inv-{ident}"] if number % 5 else []})
    return {
        "bills": lines(directory / "bills.jsonl", *bills),
        "entries": lines(directory / "entries.jsonl", *entries, PAYMENT),
        "evaluate": lines(directory / "truth.jsonl", *truth),
    }


def figures(capsys: pytest.CaptureFixture[str], **options: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The decisions and the figures."""
    assert score(json=True, **options) == 0
    *decided, last = map(json.loads, capsys.readouterr().out.splitlines())
    return decided, last


def test_what_if_agrees_with_a_run_under_that_threshold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = company(tmp_path)
    tried: Sequence[float] = (0.5, 0.85, 0.99, 0.9999)
    own, found = figures(capsys, **files, thresholds=",".join(map(str, tried)))
    before = {one["bill"]: one["entry"] for one in own if one["decision"] == "link"}
    assert found["evaluation"]["bills"] == found["bills"] == len(own) == 40
    for row in found["thresholds"]:
        policy = lines(tmp_path / "policy", {"auto": row["auto"], "review": min(0.55, row["auto"])})
        other, alone = figures(capsys, **files, policy=policy)
        after = {one["bill"]: one["entry"] for one in other if one["decision"] == "link"}
        assert row["linked"] == len(after)
        assert row["gained"] == len(after.keys() - before.keys())
        assert row["lost"] == len(before.keys() - after.keys())
        links = alone["evaluation"]["links"]
        assert (row["precision"], row["bound"], row["recall"]) == (links["precision"], links["bound"], links["recall"])
        assert row["review_share"] == sum(one["decision"] == "review" for one in other) / 40
    by_auto = {row["auto"]: row for row in found["thresholds"]}
    assert (by_auto[0.85]["gained"], by_auto[0.85]["lost"], by_auto[0.85]["changed"]) == (0, 0, 0)
    assert by_auto[0.9999]["lost"] > 0


def test_without_truth_there_are_shares_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = company(tmp_path)
    del files["evaluate"]
    _, found = figures(capsys, **files, thresholds="0.9")
    assert "evaluation" not in found
    (row,) = found["thresholds"]
    assert (row["precision"], row["bound"], row["recall"]) == (None, None, None)
    assert row["link_share"] > 0


def test_a_page_of_the_manual_does_what_it_says(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "evaluate.md").read_text()
    blocks: dict[str, list[str]] = {}
    for language, body in re.findall(r"^```(\w+)\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        blocks.setdefault(language, []).append(body)
    bills = [
        BILL,
        {**BILL, "Id": "146", "DocNumber": "F-2026-1002", "TotalAmt": 60.5, "TxnDate": "2026-04-10"},
        {**BILL, "Id": "147", "DocNumber": "Z-9", "TotalAmt": 33.0, "TxnDate": "2026-01-10"},
        {**BILL, "Id": "148", "MetaData": {"CreateTime": "2026-05-09T10:00:00-07:00"}},
        {
            **BILL,
            "Id": "149",
            "DocNumber": "K-1",
            "TotalAmt": 500.0,
            "TxnDate": "2026-02-02",
            "VendorRef": {"value": "8"},
        },
    ]
    entries = [
        {**INVOICE, "id": "inv-145"},
        {**INVOICE, "id": "inv-146", "invoice_number": "F-2026-1002", "issue_date": "2026-04-10"}
        | {"total_amount": {"value": "60.50", "currency": "EUR"}, "matched_transactions": ["pay-146"]},
        {**PAYMENT, "id": "pay-146", "amount": 60.5, "local_amount": 60.5, "label": "SLUICE & SONS"},
    ]
    lines(tmp_path / "bills.jsonl", *bills)
    lines(tmp_path / "entries.jsonl", *entries)
    (tmp_path / "truth.jsonl").write_text(blocks["json"][0])
    weir = tmp_path / "weir"
    weir.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m services.cli.app "$@"\n')
    weir.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    said = ""
    for commands in blocks["sh"]:
        ended = subprocess.run(
            ["/bin/sh", "-ec", commands],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        said += ended.stderr
    assert [line.rstrip() for line in said.splitlines()][:5] == blocks["text"][0].splitlines()
    assert "Other thresholds" in said
    decided = (tmp_path / "decisions.jsonl").read_text().splitlines()
    assert [json.loads(line)["bill"] for line in decided] == ["145", "146", "147", "148", "149"]
    found = json.loads((tmp_path / "figures.json").read_text())["evaluation"]
    named = re.findall(r"^\|[^|]*\| .*\|$", page, re.MULTILINE)
    for group, figure in re.findall(r"`(\w+)\.(\w+)`", "".join(named)):
        assert figure in found[group]
    assert len(named) > 10
