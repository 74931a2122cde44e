"""The whole of Weir at once: every service a process, the demo's rounds, and what a kill -9 may not change."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from rich.console import Console

from common.settings import load
from services.cli import demo, report
from services.cli.bookkeeper import Bookkeeper
from services.cli.installation import Installation, installation
from services.cli.tally import Tally
from tests.collector import Collector, collecting
from tests.conftest import ROOT, RunningBroker
from tests.leaks import told_by

BILLS = 90
SEED = "kill"


@dataclass(frozen=True)
class EndState:
    """What became of each bill, told without anything that differs from run to run."""

    fates: dict[str, str]
    links: dict[str, str | None]
    figures: report.Figures


Meddle = Callable[[Installation, Tally], Coroutine[Any, Any, None]]


async def run(directory: Path, meddle: Meddle | None = None) -> EndState:
    """The demo's rounds on a fresh installation, with somebody meddling meanwhile."""
    base = load(console_port=0).model_copy(update={"sandbox_quickbooks_port": 0, "sandbox_qonto_port": 0})
    screen = Console(stderr=True, quiet=True)
    async with (
        installation(base, directory, sandbox=True, scorers=2, own_logs=True) as weir,
        httpx.AsyncClient(base_url=weir.settings.quickbooks_api_url, timeout=60, trust_env=False) as http,
        anyio.create_task_group() as group,
    ):
        bookkeeper = await Bookkeeper.new_company(http, SEED, BILLS)
        tally = Tally(weir.bus, demo.WORKSPACE)
        await tally.follow()
        for provider in ("quickbooks", "qonto"):
            await demo.connect(weir, provider)
        if meddle is not None:
            group.start_soon(meddle, weir, tally)
        changes = await demo.rounds(weir.bus, bookkeeper, tally, screen)
        figures = report.figures(tally, await bookkeeper.truth(), await bookkeeper.duplicates(), changes)
    # Every process has its own key: what one needs and may not do would stand here.
    for log in (directory / "logs").iterdir():
        assert "broker.denied" not in log.read_text(), log
    fates = {tally.bills[key].id: tally.fate(key) for key in tally.bills}
    links = {tally.bills[key].id: tally.entry(key) for key in tally.bills if tally.fate(key) == "linked"}
    assert told_by(directory, weir.settings) == []
    return EndState(dict(fates), links, figures)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> EndState:
    """The end state when nothing goes wrong."""
    return anyio.run(run, tmp_path_factory.mktemp("undisturbed"))


SECRETS = ("fictional-quickbooks-secret", "fictional-qonto-secret", "ory_at_", "ory_rt_")

MOMENTS: dict[str, Callable[[Tally], bool]] = {
    "puller": lambda tally: bool(tally.bills),
    "scorer-1": lambda tally: bool(tally.bills),
    "poster": lambda tally: len(tally.postings) > 5,
    "console": lambda tally: bool(tally.decisions),
    "sandbox": lambda tally: len(tally.postings) > 20,
}


@pytest.mark.long
@pytest.mark.timeout(280)
@pytest.mark.parametrize("services", [("puller", "console", "poster"), ("scorer-1", "sandbox")], ids=" ".join)
async def test_kill_9_of_any_service_changes_nothing(
    services: tuple[str, ...], undisturbed: EndState, tmp_path: Path
) -> None:
    async def kill(weir: Installation, tally: Tally) -> None:
        for service in services:
            while not MOMENTS[service](tally):
                await anyio.sleep(0.005)
            process = weir.children[service].process
            assert process is not None
            os.kill(process.pid, signal.SIGKILL)
            with anyio.fail_after(60):
                while weir.children[service].starts < 2:
                    await anyio.sleep(0.05)

    after = await run(tmp_path, kill)
    assert after.figures.broken == []
    assert after.fates == undisturbed.fates
    assert after.links == undisturbed.links


@pytest.mark.timeout(280)
@pytest.mark.parametrize("own_broker", [True, False])
def test_the_demo_counts_and_ends_well(own_broker: bool, broker: RunningBroker, tmp_path: Path) -> None:
    named = {} if own_broker else {"WEIR_NATS_URL": broker.url, "WEIR_NATS_TOKEN": broker.token}
    with collecting() as collector:
        traced = {} if own_broker else {"WEIR_OTLP_URL": collector.url}
        ended = subprocess.run(
            [sys.executable, "-m", "services.cli.app", "demo", "--once", "--json", "--bills", "60"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), **named, **traced},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    assert ended.returncode == 0, ended.stderr
    figures = json.loads(ended.stdout.splitlines()[-1])
    assert figures["pulled"] == 61
    assert figures["duplicates"] == figures["failed"] == 0
    assert figures["precision"] >= 0.97
    kinds = ("linked", "created", "withdrawn", "review", "refused", "failed")
    assert sum(figures[kind] for kind in kinds) == figures["pulled"]
    assert figures["updated"] == 3
    assert "Traceback" not in ended.stderr
    for log in sorted((tmp_path / ".weir/demo/logs").glob("*.log")):
        text = log.read_text()
        assert "Traceback" not in text, log
        assert '"level": "error"' not in text, log
        for secret in SECRETS:
            assert secret not in text, log
        for line in text.splitlines():
            assert {"service", "event", "timestamp", "level"} <= json.loads(line).keys(), line
    if own_broker:
        assert collector.spans == []
    else:
        assert_traces_are_whole(collector)
        assert '"trace": "' in (tmp_path / ".weir/demo/logs/poster.log").read_text()


def assert_traces_are_whole(collector: Collector) -> None:
    """A bill that was created has one trace: from the pull by way of decision and posting to what Qonto showed."""
    whole = 0
    batches = {span.trace for span in collector.spans if span.name in {"puller.batch", "scorer.batch", "poster.batch"}}
    for spans in collector.traces().values():
        named = {span.name: span for span in spans}
        if "poster.verified" not in named or "puller.record" not in named:
            continue
        record, decided, posted, verified = (
            named[name] for name in ("puller.record", "scorer.decide", "poster.carry_out", "poster.verified")
        )
        assert record.parent == ""
        assert (decided.parent, posted.parent, verified.parent) == (record.id, decided.id, posted.id)
        assert [span.service for span in (record, decided, posted)] == ["weir-puller", "weir-scorer", "weir-poster"]
        assert record.about["weir.record"] == decided.about["weir.record"] == posted.about["weir.record"]
        for span in (record, decided, posted):
            assert set(span.links) & batches, span
        whole += 1
    assert whole > 30
    calls = [span for span in collector.spans if "url.template" in span.about]
    assert {"weir-puller", "weir-poster"} <= {span.service for span in calls}
    assert any(span.about["url.template"] == "/v2/supplier_invoices/bulk" for span in calls)
    for secret in SECRETS:
        assert secret.encode() not in collector.raw
