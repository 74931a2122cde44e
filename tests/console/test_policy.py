"""The policy over HTTP: previewed, set by compare-and-set, and told version by version."""

import re
from datetime import date

import httpx
import pytest
from msgspec.structs import replace

from common import policies, subjects
from common.buckets import Bucket
from common.bus import Bus
from common.messages import Policy, Record, Vendor, Workspace, now
from common.people import Role
from common.settings import Settings
from common.tenants import Connection
from services.console.draft import filled, seal
from tests.console.stand import console, served, sign_in, stranger
from tests.puller.stand import WS, World, puller

PAGE = f"/w/{WS}/policy"
API = f"/api/workspaces/{WS}/policy"
REALM = "4711"


@pytest.fixture
async def company(bus: Bus) -> Bus:
    """A company with vendors, as a puller would have left it."""
    made = Connection(workspace=WS, account=REALM, name="Fictional Lock Ltd", state="connected", since=now())
    await Bucket(bus, "connections", Connection).create(f"{WS}.quickbooks", made)
    for ident, name in enumerate(("Imaginary Quarry", "Märchen Mühle", "Imaginary Kiln"), start=7):
        await _vendor(bus, str(ident), name)
    return bus


async def _vendor(bus: Bus, ident: str, name: str) -> None:
    record = Record(
        workspace=WS, realm=REALM, id=ident, kind="vendor", content_hash=name, pulled_at=now(), body=Vendor(name=name)
    )
    await bus.publish(subjects.record(bus.region, WS, "vendor", record.key), record, stream=bus.topology.records)


def form(policy: Policy, version: int, **more: str) -> dict[str, list[str] | str]:
    """What the browser sends."""
    return {**{str(name): texts for name, texts in filled(policy).items()}, "version": str(version), **more}


async def test_it_is_previewed_and_then_set(company: Bus, wired: Settings) -> None:
    async with console(wired) as browser:
        shown = (await browser.get(PAGE)).text
        assert "version 1, the default" in shown
        wanted = Policy(margin=0.1, blocked_vendors=("8",))
        # Saved unseen it is not: what it would change comes first, or why nobody can say.
        unseen = await browser.post(PAGE, data=form(wanted, 1))
        assert unseen.status_code == 200
        assert "What it would change is not known" in unseen.text
        assert "weir scorer" in unseen.text
        assert "Märchen Mühle" in unseen.text
        assert await policies.present(company, WS) is None
        sealed = re.search(r'name="seal" value="(\w+)"', unseen.text)
        assert sealed
        assert sealed[1] == seal(replace(wanted, version=2))
        # What was previewed is not what is sent: it is previewed anew.
        other = await browser.post(PAGE, data=form(replace(wanted, margin=0.2), 1, seal=sealed[1]))
        assert other.status_code == 200
        saved = await browser.post(PAGE, data=form(wanted, 1, seal=sealed[1]))
        assert (saved.status_code, saved.headers["Location"]) == (303, f"{PAGE}?saved=2")
        kept = await policies.present(company, WS)
        assert kept is not None
        assert (kept.value.version, kept.value.margin, kept.value.by) == (2, 0.1, "olive@fictional-lock.example")
        told = (await browser.get(saved.headers["Location"])).text
        assert "Version 2 is set." in told
        assert "by olive@fictional-lock.example" in told
        assert "8 (Märchen Mühle)" in told
        wrong = await browser.post(
            f"{PAGE}/preview", data=form(replace(wanted, amount_cap=None, cap_currency="EUR"), 2)
        )
        assert "there is no cap" in wrong.text
        assert 'aria-invalid="true"' in wrong.text


async def test_of_two_who_save_the_second_sees_the_first(company: Bus, wired: Settings) -> None:
    async with console(wired) as browser:
        first = Policy(blocked_vendors=("7",), margin=0.1)
        await policies.store(company, WS, None, replace(first, version=2, by="Vera"))
        mine = Policy(blocked_vendors=("8",), margin=0.2, target=0.9)
        answer = await browser.post(PAGE, data=form(mine, 1, seal=seal(replace(mine, version=2))))
        assert answer.status_code == 200
        text = re.sub(r"\s+", " ", answer.text)
        assert "Vera set version 2 meanwhile" in text
        assert "<b>Never posted</b>: nobody → 7 (Imaginary Quarry)" in text
        assert "You both changed <b>Lead over the next match</b>" in text
        kept = await policies.present(company, WS)
        assert kept is not None
        assert kept.value.by == "Vera"
        both = replace(mine, blocked_vendors=("7", "8"), version=3)
        assert f'value="{seal(both)}"' in text
        again = await browser.post(PAGE, data=form(both, 2, seal=seal(both)))
        assert again.status_code == 303
        assert [one.policy.version for one in await policies.versions(company, WS)] == [3, 2]


async def test_vendors_are_found_by_name_and_programs_set_it_whole(company: Bus, wired: Settings) -> None:
    async with console(wired) as browser:

        async def found(text: str, *chosen: str) -> list[str]:
            query = {"search-block-vendor": text, "block-vendor": list(chosen)}
            return re.findall(r'value="(\d+)"', (await browser.get(f"{PAGE}/vendors", params=query)).text)

        assert await found("imaginary") == ["9", "7"]
        assert await found("marchen", "7") == ["7", "8"]
        assert await found("IMAG quar", "7") == ["7"]
        assert await found("", "99") == ["99"]
        await _vendor(company, "10", "Imaginary Abbey")
        assert await found("imaginary") == ["10", "9", "7"]

        assert (await browser.get(API)).json()["policy"] == {"type": "policy.1"}
        answer = await browser.put(API, json={"version": 1, "margin": 0.1, "currencies": ["EUR"]})
        assert (answer.status_code, answer.json()["version"], answer.json()["by"]) == (
            200,
            2,
            "olive@fictional-lock.example",
        )
        stale = await browser.put(API, json={"version": 1, "margin": 0.2})
        assert (stale.status_code, stale.json()["error"]) == (409, "Overtaken")
        for body, words in (
            ({"version": 2, "auto": 1.5}, "thresholds"),
            ({"version": 2, "currencies": ["euro"]}, "currencies euro"),
            ({"version": 2, "amount_cap": "1E+999999999"}, "amount_cap 1E+999999999"),
            ({"version": "x"}, "version"),
        ):
            refused = await browser.put(API, json=body)
            assert refused.status_code == 400
            assert words in refused.json()["why"]
        silent = await browser.post(f"{API}/whatif", json={"version": 2})
        assert (silent.status_code, "weir scorer" in silent.json()["fix"]) == (503, True)
        past = (await browser.get(API)).json()["versions"]
        assert [one["policy"]["version"] for one in past] == [2]

        async def asked(day: str) -> httpx.Response:
            return await browser.post(f"{PAGE}/backfill", data={"since": day})

        assert "is no date" in (await asked("soon")).text
        assert "from 2000-01-01" in (await asked("1999-12-31")).text
        assert "from 2000-01-01" in (await asked("2999-12-31")).text
        nobody = await asked("2026-01-01")
        assert (nobody.status_code, "weir puller" in nobody.text) == (503, True)


async def test_only_owners_change_it(company: Bus, wired: Settings) -> None:
    async with served(wired) as url:
        for role in (Role.VIEWER, Role.REVIEWER):
            async with stranger(url) as browser:
                await sign_in(browser, company, f"{role}", {WS: role})
                assert "takes the role owner" in (await browser.get(PAGE)).text
                for ask in (
                    browser.post(PAGE, data=form(Policy(), 1)),
                    browser.post(f"{PAGE}/preview", data=form(Policy(), 1)),
                    browser.post(f"{PAGE}/backfill", data={"since": "2026-01-01"}),
                    browser.put(API, json={}),
                ):
                    assert (await ask).status_code == 403


async def test_the_puller_reads_from_the_day_that_is_named(world: World) -> None:
    late = world.settings.model_copy(update={"backfill_from": date(2024, 1, 1)})
    async with puller(late), console(late) as browser:
        await world.first_pull()
        asked = await browser.post(f"{PAGE}/backfill", data={"since": "2020-02-29"})
        assert (asked.status_code, asked.headers["Location"]) == (303, f"{PAGE}?reading=2020-02-29")
        assert "Reading what changed since" in (await browser.get(asked.headers["Location"])).text
        kept = await Bucket(world.bus, "workspaces", Workspace).get(WS)
        assert kept is not None
        assert kept.value.backfill_from == date(2020, 2, 29)
        await world.pulled()
