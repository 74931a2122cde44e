"""`weir explain` as a person uses it: the newest decision or a named one, taken again and compared."""

from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace

from common import subjects
from common.buckets import Bucket
from common.bus import Bus
from common.messages import Decision, Policy
from common.settings import Settings
from services.scorer.matching.decisions import decision_on
from services.scorer.matching.model import weights
from tests.cli.test_errors import weir
from tests.conftest import environment
from tests.scorer.cases import NOON, WS, bill, decided, invoice

STRICT = Policy(version=2, auto=0.9999)


@pytest.fixture
async def made(bus: Bus) -> list[Decision]:
    """Two decisions on one bill: linked by the default policy, then held by a strict one."""
    await Bucket(bus, "policies", Policy).create(WS, STRICT)
    entries = (invoice(), invoice("e2", number=None))
    found = [
        decision_on(bill(), 1, decided(bill(), *entries, policy=policy), policy, NOON) for policy in (Policy(), STRICT)
    ]
    for one in found:
        await bus.publish(subjects.decision(bus.region, WS, one.key), one, stream=bus.topology.decisions)
    return found


async def explained(settings: Settings, *arguments: str) -> tuple[int, str]:
    variables = environment(settings, COLUMNS="120")
    ended = await anyio.to_thread.run_sync(
        lambda: weir("explain", *arguments, cwd=Path(settings.data_dir), variables=variables)
    )
    return ended.returncode, ended.stdout + ended.stderr


async def test_a_decision_is_explained_and_comes_out_the_same(made: list[Decision], settings: Settings) -> None:
    code, newest = await explained(settings, WS, "1")
    assert code == 0
    assert "bill 1 of fictional-lock: review invoice e1" in newest
    assert "policy version 2" in newest
    assert "invoice e2" in newest
    assert "the same comes out" in newest
    code, first = await explained(settings, WS, made[0].key, made[0].id)
    assert code == 0
    assert "bill 1 of fictional-lock: link invoice e1" in first
    assert "the same comes out" in first


async def test_rivals_and_the_last_correction_are_told_where_there_are_any(
    bus: Bus, made: list[Decision], settings: Settings
) -> None:
    _, plain = await explained(settings, WS, "1", made[0].id)
    assert "other bills want it" not in plain
    assert "all of it together" not in plain
    wanted = replace(made[0].candidates[0], free=0.5)
    unusual = replace(made[0], candidates=(wanted,), grounds=replace(made[0].grounds, strangers=-2.0))
    await bus.publish(subjects.decision(bus.region, WS, unusual.key), unusual, stream=bus.topology.decisions)
    _, told = await explained(settings, WS, "1")
    (rivals,) = (line for line in told.splitlines() if "other bills want it" in line)
    (corrected,) = (line for line in told.splitlines() if "all of it together" in line)
    assert "-0.69" in rivals
    assert f"{-2 * weights().temper.strangers:+.2f}" in corrected


async def test_what_does_not_come_out_again_is_told(bus: Bus, made: list[Decision], settings: Settings) -> None:
    for change, said in (
        ({"action": "create"}, "create was decided, review comes out"),
        ({"model_version": "2020.1"}, "weights 2020.1 are unknown"),
        ({"policy_version": 7}, "the policy it was made by is no longer kept"),
    ):
        other = replace(made[1], **change)
        await bus.publish(subjects.decision(bus.region, WS, other.key), other, stream=bus.topology.decisions)
        code, told = await explained(settings, WS, "1")
        assert code == 1
        assert said in " ".join(told.split())


async def test_wrong_names_are_told_with_what_there_is(made: list[Decision], settings: Settings) -> None:
    for arguments, said in (
        ((WS, "99"), "nothing was decided on bill 99"),
        ((WS, "1", "nonsense"), made[0].id),
        (("No Workspace", "1"), "workspace"),
    ):
        code, told = await explained(settings, *arguments)
        assert code == 2
        assert said in told
