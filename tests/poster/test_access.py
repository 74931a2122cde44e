"""What Qonto wants before it answers: the staging token, a session that lives, the scopes."""

import asyncio
import base64
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from common import masterkeys
from common.bus import Bus
from common.errors import NotConnected
from common.messages import Mirror, Mirrored, Refusal, now
from common.oauth import Tokens
from common.register import Register
from common.settings import Settings
from services.poster.qonto import Part
from services.sandbox.app import DEFAULTS, build, serving
from tests.poster.desk import WS, Desk, poster
from tests.poster.test_limits import instance

STAGING = "fictional-staging-token"


@pytest.fixture
async def gated(bus: Bus, settings: Settings, tmp_path: Path) -> AsyncIterator[Desk]:
    """Qonto's sandbox as it is: nobody gets past its gate without the staging token."""
    async with serving(build(tmp_path, replace(DEFAULTS, qonto_staging_token=STAGING)), tmp_path) as urls:
        pointed = Settings.model_validate(
            {
                **settings.model_dump(),
                "qonto_api_url": urls.qonto,
                "qonto_oauth_url": urls.qonto,
                "qonto_client_id": DEFAULTS.qonto_client_id,
                "qonto_client_secret": DEFAULTS.qonto_client_secret,
                "qonto_staging_token": STAGING,
                "master_key": base64.b64encode(os.urandom(32)).decode(),
            }
        )
        desk = Desk(bus, pointed, urls.quickbooks)
        await desk.open()
        yield desk
        await desk.control.aclose()


async def test_every_call_carries_the_staging_token(gated: Desk) -> None:
    async with poster(gated.settings):
        await gated.connect()
        assert (await gated.mirror()).changed > 0
        await gated.disconnect()
    told = (await gated.control.get("/sandbox/calls")).json()["calls"]
    assert {call["status"] for call in told if call["side"] == "qonto"} <= {200, 204, 302, 303}


async def test_a_page_instead_of_data_names_the_setting(gated: Desk) -> None:
    async with poster(gated.settings):
        await gated.connect()
    async with poster(gated.settings.model_copy(update={"qonto_staging_token": None})):
        answer = await gated.call("mirror", Mirror(workspace=WS))
        assert isinstance(answer, Refusal)
        assert "WEIR_QONTO_STAGING_TOKEN" in f"{answer.why} {answer.fix}"
        assert answer.retry
    # Nothing was lost by it: with the token the same connection goes on.
    async with poster(gated.settings):
        assert isinstance(await gated.call("mirror", Mirror(workspace=WS)), Mirrored)
    assert [one for one in await gated.notices() if one.kind == "needs-reconnect"] == []


async def test_two_posters_that_refresh_at_once_keep_the_session(desk: Desk) -> None:
    async with instance(desk.settings) as one, instance(desk.settings) as other:
        before = (await desk.calls())["POST /oauth2/token"]
        for offset in (3600.0, 7200.0, 10_800.0):  # beyond the grace of the token before
            await desk.switch(clock_offset=offset)
            answers = await asyncio.gather(*(qonto.organization(WS) for qonto in (one, other, one, other)))
            assert {answer.id for answer in answers} == {desk.company["organization"]}
        assert (await desk.calls())["POST /oauth2/token"] == before + 3


async def _hold(desk: Desk, scope: str) -> None:
    """Have the workspace's grant allow less than Weir asks for, as when the app was registered with less."""
    path = f"/sandbox/companies/{desk.realm}/tokens"
    given = (await desk.control.post(path, json={"side": "qonto", "scope": scope})).json()
    register = Register(desk.bus, masterkeys.vault(desk.settings), "qonto")
    kept = await register.usable(WS)
    tokens = Tokens(access=given["access_token"], refresh=given["refresh_token"], expires_at=now() + timedelta(hours=1))
    await register.write(kept, kept.value.holding(tokens, register.seal(WS, tokens)))


@pytest.mark.parametrize(
    "scope, missing",
    [
        ("offline_access organization.read supplier_invoice.read", "supplier_invoice.write"),
        ("offline_access organization.read", "supplier_invoice.read"),
    ],
)
async def test_a_missing_scope_is_named(desk: Desk, scope: str, missing: str) -> None:
    await _hold(desk, scope)
    part = Part(key="k", file_name="a.pdf", data=b"%PDF-", content_type="application/pdf")
    async with instance(desk.settings) as qonto:
        call = qonto.upload(WS, [part]) if missing.endswith("write") else qonto.invoices(WS)
        with pytest.raises(NotConnected) as refused:
            await call
    assert missing in refused.value.why
    assert missing in refused.value.fix
    [notice] = [one for one in await desk.notices() if one.kind == "needs-reconnect"]
    assert missing in f"{notice.why}"
