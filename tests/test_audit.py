"""What bandit finds in our code is exactly what docs/audit.md explains."""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import ROOT

ROW = re.compile(r"^\| (B\d+) \| `([^`]+)`(?: ×(\d+))? \| .{10,} \|$", re.MULTILINE)


def findings(*paths: str) -> Counter[tuple[str, str]]:
    """How often bandit finds what where."""
    command = [sys.executable, "-m", "bandit", "--quiet", "--exit-zero", "--ignore-nosec", "-f", "json", "-r", *paths]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=True)
    told = json.loads(ended.stdout)
    assert told["errors"] == []
    assert told["metrics"]["_totals"]["loc"] > 0
    return Counter((one["test_id"], one["filename"]) for one in told["results"])


@pytest.mark.timeout(300)
def test_every_finding_is_explained_and_every_explanation_needed() -> None:
    rows = ROW.findall((ROOT / "docs/audit.md").read_text())
    explained = {(rule, path): int(times or 1) for rule, path, times in rows}
    assert len(explained) == len(rows)
    assert findings("common", "services") == explained


def test_a_finding_would_be_seen(tmp_path: Path) -> None:
    path = tmp_path / "shell.py"
    path.write_text("import os\n\nos.system(input())  # nosec\n")
    assert findings(str(path)) == {("B605", str(path)): 1}
