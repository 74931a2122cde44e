"""Access goes and comes: writes stop, the owner hears of it, and what waited goes on."""

import pytest

from common.messages import Done, Notice
from tests.poster.desk import Desk, bill


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


async def test_throttling_is_waited_out(desk: Desk) -> None:
    await desk.fault("storm429", "/bulk$", times=2)
    await desk.fault("storm429", "/supplier_invoices$", method="GET", times=2)
    assert (await desk.posting(await desk.create("1"))).outcome == "created"
    assert len(await desk.invoices("1")) == 1
