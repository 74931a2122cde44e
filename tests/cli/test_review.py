"""`weir review` as a person uses it, beside a poster at work: what it shows, what it does, what it says came of it."""

import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import msgspec
import pytest

from common import answering
from common.buckets import Bucket
from common.errors import UserError
from common.messages import ReviewResolved, Workspace, now
from common.settings import Settings
from common.standing import Connection
from services.cli import review
from tests.cli.test_errors import weir
from tests.conftest import environment
from tests.console.desk.asking import candidate
from tests.poster.conftest import desk, idle, sandbox
from tests.poster.desk import WS, Desk, bill
from tests.poster.test_reviews import ask

__all__ = ["desk", "idle", "sandbox"]


@pytest.fixture
async def wired(desk: Desk) -> Desk:
    """A workspace whose QuickBooks company is known as well."""
    workspaces = Bucket(desk.bus, "workspaces", Workspace)
    await workspaces.put(WS, Workspace(id=WS, region=desk.bus.region, created_at=now()))
    connection = Connection(workspace=WS, account=desk.realm, state="connected", since=now())
    await Bucket(desk.bus, "connections", Connection).create(f"{WS}.quickbooks", connection)
    return desk


@pytest.fixture
def here(wired: Desk, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Awaitable[object]]:
    """Runs a command in this process, which takes a fraction of the time; what it writes is among the logs."""
    for name, value in environment(wired.settings, COLUMNS="80").items():
        monkeypatch.setenv(name, value)

    async def run(command: Callable[..., object], *arguments: str, **options: str) -> object:
        return await anyio.to_thread.run_sync(lambda: command(*arguments, **options))

    return run


async def run(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    variables = environment(settings, COLUMNS="80")
    return await anyio.to_thread.run_sync(
        lambda: weir("review", *arguments, cwd=Path(settings.data_dir), variables=variables)
    )


async def test_a_person_decides_in_a_terminal_and_it_ends_as_if_a_plain_client_had(
    wired: Desk, here: Callable[..., Awaitable[object]], capsys: pytest.CaptureFixture[str]
) -> None:
    await wired.mirror()
    foreign = await wired.foreign_invoice()
    best = candidate(foreign.id, 0.71, reference=0.2)
    for ident in ("1", "2", "3"):
        record, sequence = await wired.record(ident, bill(f"F-{ident}"))
        await wired.decide(record, sequence, "review")
    first = await ask(wired, "1", bill("F-1"), gate="near tie", candidates=(best,))
    second = await ask(wired, "2", bill("F-2"), "refused", gate="incomplete")
    third = await ask(wired, "3", bill("F-3"), gate="near tie", candidates=(best,))

    listed = await run(wired.settings, "ls", WS)
    assert listed.returncode == 0, listed.stderr
    lines = listed.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["1", "2", "3"]
    assert "Imaginary Quarry Ltd" in lines[1]
    assert "120.00 EUR" in lines[1]
    assert lines[1].rstrip().endswith("71%  near tie")
    assert max(map(len, lines)) <= 80
    await here(review.show, WS, "1")
    shown = capsys.readouterr().out
    assert f"1. invoice {foreign.id}: 71%" in shown
    assert "held by: near tie" in shown
    assert "reference" in shown

    ended = await run(wired.settings, "confirm", WS, "1", "--by", "Ida Imaginary", "--note", "the same [document]")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == f"{wired.realm}-1: linked {foreign.id} (the same [document])\n"
    assert await wired.claim("invoice", foreign.id) == f"{wired.realm}-1"
    late = await run(wired.settings, "create", WS, "1", "--by", "Tom Made-Up", "--json")
    assert late.returncode == 1
    assert msgspec.json.decode(late.stdout)["taken_by"] == "Ida Imaginary"
    assert await here(review.pin, WS, "3", foreign.id, by="Ida Imaginary") == 1
    assert f"rejected: entry {foreign.id} already serves bill {wired.realm}-1" in capsys.readouterr().out
    assert await here(review.create, WS, f"{wired.realm}-3") == 0
    await wired.answer("2", ReviewResolved(review=second.review, action="create", by="A Plain Client"))
    plain, told = await wired.closed("2", second.review), await wired.closed("3", third.review, nth=2)
    assert (plain.outcome, told.outcome) == ("created", "created")
    assert len(await wired.live("2")) == len(await wired.live("3")) == 1
    found = await answering.asked(wired.bus, WS, f"{wired.realm}-1")
    assert found is not None
    assert found.question.review == first.review
    capsys.readouterr()
    await here(review.ls, WS)
    assert "nothing waits for you" in capsys.readouterr().out


async def test_what_cannot_be_decided_names_the_fix(wired: Desk, here: Callable[..., Awaitable[object]]) -> None:
    await ask(wired, "5", bill())

    async def fails(command: Callable[..., object], *arguments: str, words: str, by: str = "A. Tester") -> None:
        with pytest.raises(UserError, match=words):
            await here(command, *arguments, by=by)

    await fails(review.confirm, WS, "5", words="has no candidate; pin an entry, create a new one, or refuse it")
    await fails(review.refuse, WS, "77", words="nobody was asked about such a bill")
    await fails(review.create, "elsewhere", "5", words="workspace elsewhere is not known here")
    await fails(review.refuse, WS, "5", words="--by: say who decides", by=" ")
    await fails(review.refuse, "Not.One", "5", words="workspace: 'Not.One'")
