"""`weir policy` as a person uses it: shown, changed with the difference printed, and never overwritten unseen."""

import getpass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from common import subjects
from common.buckets import Bucket
from common.bus import Bus
from common.errors import UserError
from common.messages import Policy, Record, Vendor, Workspace, now
from common.policies import FIELDS, Name, Overtaken, amended, present, store, versions
from common.settings import Settings
from common.standing import Connection
from services.cli.policy import set_, show
from tests.cli.test_errors import the_line, weir
from tests.conftest import environment

WS, REALM = "fictional-lock", "9341"


@pytest.fixture
async def tenant(bus: Bus) -> Bus:
    """A workspace that is connected and has one vendor."""
    await Bucket(bus, "workspaces", Workspace).create(WS, Workspace(id=WS, region=bus.region, created_at=now()))
    connection = Connection(workspace=WS, account=REALM, state="connected", since=now())
    await Bucket(bus, "connections", Connection).create(f"{WS}.quickbooks", connection)
    vendor = Record(
        workspace=WS,
        realm=REALM,
        id="7",
        kind="vendor",
        content_hash="v",
        pulled_at=now(),
        body=Vendor(name="Sluice & Sons SARL"),
    )
    await bus.publish(subjects.record(bus.region, WS, "vendor", vendor.key), vendor, stream=bus.topology.records)
    return bus


async def said(settings: Settings, *arguments: str) -> str:
    """What the command writes; it must succeed."""
    variables = environment(settings, COLUMNS="100")
    ended = await anyio.to_thread.run_sync(
        lambda: weir("policy", *arguments, cwd=Path(settings.data_dir), variables=variables)
    )
    assert ended.returncode == 0, ended.stderr
    return " ".join(ended.stdout.split())


async def test_a_policy_is_set_and_shown_with_its_history(tenant: Bus, settings: Settings) -> None:
    shown = await said(settings, "show", WS)
    assert f"{WS}: policy version 1, the default" in shown
    assert "auto 0.85" in shown
    changed = await said(
        settings, "set", WS, "--auto", "0.9", "--cap", "5000", "--currency", "EUR", "--currency", "USD",
        "--block-vendor", "7", "--review-vendor", "99", "--closed-until", "2026-03-31", "--pull-every", "30",
    )  # fmt: skip
    for words in (
        "policy version 1 → 2",
        "auto 0.85 → 0.9",
        "cap – → 5,000",
        "currency any → EUR, USD",
        "block-vendor nobody → 7 (Sluice & Sons SARL)",
        "closed-until – → 2026-03-31",
        "note: no vendor 99 was pulled from QuickBooks yet; check the id",
        "what was decided stays",
    ):
        assert words in changed
    kept = await present(tenant, WS)
    assert kept is not None
    assert kept.value == Policy(
        version=2,
        auto=0.9,
        amount_cap=Decimal(5000),
        currencies=("EUR", "USD"),
        blocked_vendors=("7",),
        review_vendors=("99",),
        closed_until=date(2026, 3, 31),
        pull_every=30,
        by=getpass.getuser(),
    )
    assert "nothing to change, version 2 says so already" in await said(settings, "set", WS, "--auto", "0.9")
    changed = await said(settings, "set", WS, "--clear", "currency", "--currency", "GBP", "--clear", "cap")
    assert "policy version 2 → 3 cap 5,000 → – currency EUR, USD → GBP It holds" in changed
    shown = await said(settings, "show", WS, "--history")
    assert shown.index(f"{WS}: policy version 3 ") < shown.index("version 3, 2") < shown.index("version 2, 2")
    assert "auto 0.85 → 0.9" in shown.partition("version 2, 2")[2]
    assert f"UTC, by {getpass.getuser()}" in shown
    found = msgspec.json.decode(await said(settings, "show", WS, "--history", "--json"))
    assert [one["policy"]["version"] for one in found["history"]] == [3, 2]
    assert found["policy"]["currencies"] == ["GBP"]


async def test_of_two_at_once_the_second_is_told(tenant: Bus) -> None:
    for attempt in range(2):  # of the first policy, and of one that is there
        first, second = await present(tenant, WS), await present(tenant, WS)
        before = first.value if first else Policy()
        await store(tenant, WS, first, amended(before, {"auto": 0.9 + attempt / 100}))
        with pytest.raises(Overtaken, match=f"the policy of {WS} was changed by somebody else"):
            await store(tenant, WS, second, amended(before, {"auto": 0.99}))
    assert [one.policy.auto for one in await versions(tenant, WS)] == [0.91, 0.9]


async def test_only_the_policies_of_the_workspace_are_its_history(tenant: Bus, settings: Settings) -> None:
    bucket = Bucket(tenant, "policies", Policy)
    await bucket.create("fictional-lock-2", Policy(version=9))
    assert await versions(tenant, WS) == []
    for version in range(2, 70):
        await bucket.put(WS, Policy(version=version))
        await bucket.put("fictional-lock-2", Policy(version=version))
    assert [one.policy.version for one in await versions(tenant, WS)] == list(range(69, 5, -1))
    shown = await said(settings, "show", WS, "--history")
    assert shown.count(" UTC") == 64
    assert shown.endswith("earlier ones are no longer kept")


@pytest.mark.usefixtures("bus")
async def test_a_workspace_nobody_connected_is_named(settings: Settings) -> None:
    arguments = ("policy", "set", "elsewhere", "--auto", "0.9")
    ended = await anyio.to_thread.run_sync(
        lambda: weir(*arguments, cwd=Path(settings.data_dir), variables=environment(settings))
    )
    assert "workspace elsewhere is not known here; connect it in the console" in the_line(ended)


def test_nothing_to_set_says_what_can_be() -> None:
    with pytest.raises(UserError, match=f"--auto 0.9; `weir policy show {WS}` has all"):
        set_(WS)
    with pytest.raises(UserError, match="workspace: 'Not"):
        show("Not.One")


@pytest.mark.parametrize(
    "named, clear, words",
    [
        ({"auto": 90.0}, (), "--auto 90: must lie above 0 and up to 1; write 0.9 for 90 per cent"),
        ({"auto": 0.0}, (), "--auto 0: must lie above 0"),
        ({"review": float("nan")}, (), "--review nan: must lie above 0"),
        ({"margin": -0.1}, (), "--margin -0.1: must lie from 0 up to 1"),
        ({"auto": 0.5}, (), "--review 0.55 lies above --auto 0.5: lower the one or raise the other"),
        ({"cap": Decimal(-1)}, (), "--cap -1: must be an amount of 0 or more"),
        ({"cap": Decimal("NaN")}, (), "--cap NaN: must be an amount"),
        ({"cap": Decimal("1E+99999999")}, (), "--cap 1E+99999999: must be an amount of 0 or more, below 1,000,000,000"),
        ({"cap": Decimal("1E-7")}, (), "--cap 1E-7: must be an amount of 0 or more"),
        ({"currency": tuple(map(str, range(201)))}, (), "--currency: 201 are named, and 200 at most can be"),
        (
            {"block-vendor": tuple(map(str, range(1001)))},
            (),
            "--block-vendor: 1,001 are named, and 1,000 at most can be",
        ),
        ({"block-vendor": ("1" * 21,)}, (), "must be the vendor's id in QuickBooks"),
        ({"cap-currency": "EUR"}, (), "--cap-currency EUR: there is no cap; name --cap with it"),
        ({"cap": Decimal(5), "cap-currency": "euro"}, (), "--cap-currency euro: must be three capital letters"),
        ({"currency": ("eur",)}, (), "--currency eur: must be three capital letters, such as EUR"),
        ({"block-vendor": ("Sluice",)}, (), "--block-vendor Sluice: must be the vendor's id in QuickBooks"),
        ({"review-vendor": ("7.*",)}, (), "--review-vendor 7.*: must be"),
    ],
)
def test_what_cannot_be_set_names_the_option_and_the_fix(
    named: dict[Name, Any], clear: tuple[Name, ...], words: str
) -> None:
    with pytest.raises(UserError) as raised:
        amended(Policy(), named, clear, called=lambda name: f"--{name}")
    assert words in str(raised.value)


def test_both_thresholds_can_be_moved_past_each_other_at_once() -> None:
    low = amended(Policy(), {"auto": 0.5, "review": 0.3})
    assert amended(low, {}, ("auto", "review")) == Policy(version=3)


def test_what_is_not_named_stays_and_lists_grow() -> None:
    before = Policy(version=5, margin=0.1, blocked_vendors=("7", "8"), amount_cap=Decimal(9), cap_currency="USD")
    after = amended(before, {"block-vendor": ("8", "9"), "cap": Decimal(10)})
    assert after.blocked_vendors == ("7", "8", "9")
    assert (after.version, after.margin, after.cap_currency) == (6, 0.1, "USD")
    cleared = amended(before, {}, tuple(FIELDS))
    assert cleared == Policy(version=6)
    assert amended(before, {}, ("cap",)).cap_currency is None
    assert amended(before, {"block-vendor": ("7",)}) is before
