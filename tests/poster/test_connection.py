"""Access goes and comes: writes stop, the owner hears of it, and what waited goes on."""

from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from common.buckets import Bucket
from common.connections import Connection
from common.messages import Answer, Authorize, Connected, Done, Exchange, Notice, Redirect, Refusal
from tests.poster.desk import BACK, WS, Desk, bill


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.poster.posting.PAUSE", 1.0)


async def _needs_reconnect(desk: Desk) -> Notice | None:
    return next((one for one in await desk.notices() if one.kind == "needs-reconnect"), None)


async def test_revoked_access_stops_the_workspace_until_it_is_connected_again(desk: Desk) -> None:
    await desk.posting(await desk.create("1"))
    await desk.control.delete(f"/sandbox/companies/{desk.realm}/tokens/qonto")
    decisions = [await desk.create(str(number), bill(f"F-{number}")) for number in (2, 3)]
    notice = await desk.until(lambda: _needs_reconnect(desk))
    assert notice.provider == "qonto"
    assert await desk.invoices("2") == []
    refused = sum(count for name, count in (await desk.calls()).items() if "token" not in name)
    await desk.connect()
    for decision in decisions:
        assert (await desk.posting(decision)).outcome == "created"
    assert refused < 40
    assert len([one for one in await desk.notices() if one.kind == "needs-reconnect"]) == 1


async def test_an_expired_access_token_is_refreshed_on_the_way(desk: Desk) -> None:
    await desk.fault("status", "/v2/", method="GET", status=401, body='{"errors":[{"code":"unauthorized"}]}')
    assert (await desk.posting(await desk.create("1"))).outcome == "created"
    assert (await desk.calls())["POST /oauth2/token"] == 2


async def test_disconnecting_drops_the_consent_and_keeps_what_was_posted(desk: Desk) -> None:
    posting = await desk.posting(await desk.create("1"))
    assert isinstance(await desk.disconnect(), Done)
    assert (await desk.calls())["DELETE /v2/oauth2/consents"] == 1
    waiting = await desk.create("2", bill("F-2"))
    assert [one["id"] for one in await desk.live("1")] == [posting.entry]
    await desk.connect()
    assert (await desk.posting(waiting)).outcome == "created"


async def test_a_disconnect_drops_the_consent_even_when_the_access_token_has_ended(desk: Desk) -> None:
    await desk.switch(clock_offset=7200)
    assert isinstance(await desk.disconnect(), Done)
    calls = await desk.calls()
    # Refused once, and taken with a fresh access token.
    assert (calls["DELETE /v2/oauth2/consents"], calls["POST /oauth2/revoke"]) == (2, 1)
    kept = await Bucket(desk.bus, "connections", Connection).get(f"{WS}.qonto")
    assert kept is not None
    assert (kept.value.state, kept.value.sealed) == ("disconnected", None)
    said = (await desk.notices())[-1]
    assert (said.kind, "until it does" in said.why) == ("disconnected", False)


async def test_an_organization_belongs_to_one_workspace_and_has_its_name(desk: Desk) -> None:
    again = await _connect(desk, WS, desk.company["organization"])
    assert isinstance(again, Connected)
    assert again.account == desk.company["organization"]
    assert again.name
    answer = await desk.control.post("/sandbox/companies", json={"seed": "another", "bills": 40})
    other = answer.json()["organization"]
    for workspace, organization, words in (
        ("imaginary-quarry", desk.company["organization"], "another workspace"),
        (WS, other, again.name),
    ):
        before = (await desk.calls()).get("POST /oauth2/revoke", 0)
        refused = await _connect(desk, workspace, organization)
        assert isinstance(refused, Refusal)
        assert words in refused.why
        assert refused.fix
        # Which organization it is was known only with the fresh tokens, so those are taken back.
        assert (await desk.calls())["POST /oauth2/revoke"] == before + 1
    assert (await desk.posting(await desk.create("1"))).outcome == "created"


async def _connect(desk: Desk, workspace: str, organization: str) -> Answer:
    """Walk the consent for one organization; what the exchange was answered."""
    redirect = await desk.call("authorize", Authorize(workspace=workspace, redirect_uri=BACK))
    assert isinstance(redirect, Redirect)
    async with httpx.AsyncClient() as browser:
        answer = await browser.get(f"{redirect.url}&organization_id={organization}")
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    return await desk.call("exchange", Exchange(state=query["state"][0], code=query["code"][0]))


async def test_throttling_is_waited_out(desk: Desk) -> None:
    await desk.fault("storm429", "/bulk$", times=2)
    await desk.fault("storm429", "/supplier_invoices$", method="GET", times=2)
    assert (await desk.posting(await desk.create("1"))).outcome == "created"
    assert len(await desk.invoices("1")) == 1
