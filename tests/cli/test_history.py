"""`weir history` and `weir undo` as a person runs them."""

import csv
from pathlib import Path

import anyio
import msgspec

from common import subjects
from common.bus import Bus
from common.messages import Decision, Failure, Posting, Record, now
from common.settings import Settings
from common.timeline import COLUMNS
from tests.cli.test_errors import weir
from tests.cli.test_policy import REALM, WS, tenant
from tests.conftest import environment

__all__ = ["tenant"]


async def a_bill(bus: Bus, ident: str, why: str) -> None:
    """A bill that was pulled twice, decided twice, and posted once."""
    for version in ("1", "2"):
        record = Record(
            workspace=WS,
            realm=REALM,
            id=ident,
            kind="bill",
            content_hash=f"h{version}",
            pulled_at=now(),
            sync_token=version,
        )
        name = subjects.record(bus.region, WS, "bill", record.key)
        sequence = await bus.publish(name, record, stream=bus.topology.records)
        decision = Decision(
            id=f"d-{ident}-{version}",
            workspace=WS,
            realm=REALM,
            bill=ident,
            action="create",
            score=0.02,
            why=why,
            record_hash=record.content_hash,
            record_seq=sequence,
            entries_seq=0,
            policy_version=1,
            model_version="test",
            decided_at=now(),
        )
        await bus.publish(subjects.decision(bus.region, WS, record.key), decision, stream=bus.topology.decisions)
    posting = Posting(
        id=f"p-{ident}",
        workspace=WS,
        realm=REALM,
        bill=ident,
        decision=f"d-{ident}-2",
        outcome="created",
        revision=1,
        posted_at=now(),
        entry="e-1",
        verified_at=now(),
    )
    name = subjects.posting(bus.region, WS, f"{REALM}-{ident}")
    await bus.publish(name, posting, stream=bus.topology.postings)
    failure = Failure(
        id=f"lessons.{REALM}-{ident}",
        workspace=WS,
        stage="lessons",
        record=f"{REALM}-{ident}",
        why="the answer names nobody",
        first_seen=now(),
        last_seen=now(),
        attempts=1,
        subject=f"{bus.region}.review.closed.{WS}.{REALM}-{ident}",
        stream=bus.topology.reviews,
        sequence=1,
        retryable=True,
        fix="answer it again",
    )
    name = subjects.failure(bus.region, WS, "lessons", f"{REALM}-{ident}")
    await bus.publish(name, failure, stream=bus.topology.failures)


async def test_history_and_undo_in_a_terminal(tenant: Bus, settings: Settings) -> None:
    folder = Path(settings.data_dir)
    await a_bill(tenant, "7", "nothing like it [in Qonto]")
    await a_bill(tenant, "8", '=HYPERLINK("http://nowhere.example")')
    # Anybody who may answer reviews may write here, and need not know what a bill is called.
    for strange in ("nobody", "9341-", "a:b"):
        await tenant.js.publish(f"{tenant.region}.review.resolved.{WS}.{strange}", b"?")
    variables = environment(settings, COLUMNS="110")

    def runs(*arguments: str) -> str:
        ended = weir(*arguments, cwd=folder, variables=variables)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    shown = await anyio.to_thread.run_sync(runs, "history", WS, "7")
    assert f"{REALM}-7" in shown
    assert "nothing like it [in Qonto]" in " ".join(shown.split())
    assert "created ✓" in shown
    assert f"{REALM}-8" not in shown
    lines = (await anyio.to_thread.run_sync(runs, "history", WS, f"{REALM}-7", "--json")).splitlines()
    told = [msgspec.json.decode(line) for line in lines]
    assert [step["what"] for step in told] == ["version", "decision", "version", "decision", "posting", "failure"]
    await anyio.to_thread.run_sync(runs, "history", WS, "--csv", "all.csv")
    with (folder / "all.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS)
    assert [row["record"] for row in rows] == [f"{REALM}-7"] * 6 + [f"{REALM}-8"] * 6
    assert {row["why"] for row in rows if row["what"] == "decision" and row["record"].endswith("8")} == {
        '\'=HYPERLINK("http://nowhere.example")'
    }
    ended = await anyio.to_thread.run_sync(
        lambda: weir("undo", WS, "7", "--by", "Ida Imaginary", cwd=folder, variables=variables)
    )
    assert told[-1]["why"] == "the answer names nobody; answer it again"
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "no running service answers" in ended.stderr
