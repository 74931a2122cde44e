"""Alerts and dashboard name what the code measures, Prometheus takes the rules, and they fire when they should."""

import json
import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from common import metrics
from tests.conftest import ROOT

ALERTS = ROOT / "deploy/observe/alerts.yaml"
DASHBOARD = ROOT / "deploy/observe/dashboard.json"
RUNBOOK = ROOT / "docs/runbook.md"
CASES = ROOT / "tests/observe_cases.yaml"
WORDS = re.compile(r"\bweir_[a-z0-9_]+")


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def unknown(text: str) -> set[str]:
    """What is named like a metric and is none."""
    return set(WORDS.findall(text)) - metrics.names()


def test_alerts_and_panels_name_only_what_is_measured() -> None:
    assert unknown("".join(rule["expr"] for rule in alerts())) == set()
    expressions = [target["expr"] for panel in panels() for target in panel.get("targets", [])]
    assert unknown("".join(expressions)) == set()
    assert unknown("weir_messages_total weir_mesages_total") == {"weir_mesages_total"}


def test_the_docs_tell_of_every_metric_and_of_no_other() -> None:
    told = set(WORDS.findall((ROOT / "docs/observe.md").read_text()))
    assert told == {re.sub(r"_seconds_(bucket|count|sum)$", "_seconds", name) for name in metrics.names()}


def test_every_alert_says_what_it_is_about_and_where_to_read_on() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(set(names)) == len(names) > 20
    for rule in alerts():
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}, rule["alert"]
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in {"warning", "critical"}


def test_every_alert_has_its_heading_in_the_runbook() -> None:
    headings = {line.lstrip("# `").rstrip("` ") for line in RUNBOOK.read_text().splitlines() if line.startswith("#")}
    assert {rule["alert"] for rule in alerts()} - headings == set()


def test_the_dashboard_can_be_imported() -> None:
    board = json.loads(DASHBOARD.read_text())
    assert board["id"] is None
    assert board["schemaVersion"] >= 39
    assert [panel["title"] for panel in panels() if panel["type"] == "row"] == [
        "Processes and broker",
        "Pull",
        "Decide",
        "Review",
        "Post",
        "Providers and connections",
    ]
    assert len({panel["id"] for panel in panels()}) == len(panels())
    for panel in panels():
        for target in panel.get("targets", []):
            assert target["datasource"]["uid"] == "${datasource}", panel["title"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool comes with Debian's package prometheus")
@pytest.mark.parametrize("command", [("check", "rules", ALERTS), ("test", "rules", CASES)], ids=["check", "test"])
def test_prometheus_takes_the_rules(command: tuple[Any, ...]) -> None:
    checked = subprocess.run(
        ["promtool", *map(str, command)],  # noqa: S607 (wherever it is installed)
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
