"""Signing in through an OpenID Connect provider that signs for real: honest answers pass, spoiled ones do not."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from joserfc.jwk import RSAKey
from pydantic import SecretStr

from common.bus import Bus
from common.invitations import Invitations
from common.people import People, Role
from common.settings import Settings
from services.console import oidc
from services.console.attempts import EACH
from services.console.oidc import LEEWAY
from tests.console.identity import CLIENT, SECRET, Identity, identity
from tests.console.stand import PERSON, served, stranger
from tests.puller.stand import WS


@asynccontextmanager
async def console(settings: Settings) -> AsyncIterator[tuple[Identity, str]]:
    """A provider, and a console that sends people there; its address."""
    async with identity() as provider:
        secret = SecretStr(SECRET)
        named = {"console_oidc_issuer": provider.url, "console_oidc_client_id": CLIENT}
        async with served(settings, **named, console_oidc_client_secret=secret) as url:
            yield provider, url


async def through(browser: httpx.AsyncClient, back: str = "") -> httpx.Response:
    """From the button to the console's answer; the browser follows nothing by itself."""
    away = await browser.get("/signin/oidc", params={"back": back})
    assert away.status_code == 303, away.text
    returned = await browser.get(away.headers["Location"])
    return await browser.get(returned.headers["Location"])


async def test_who_the_provider_vouches_for_is_signed_in(
    settings: Settings, bus: Bus, capsys: pytest.CaptureFixture[str]
) -> None:
    async with console(settings) as (provider, url), stranger(url) as browser:
        assert "/signin/oidc" in (await browser.get("/signin")).text
        unknown = await through(browser)
        assert (unknown.status_code, "weir people grant" in unknown.text) == (403, True)
        assert (await browser.get("/workspaces")).status_code == 303

        await People(bus).grant(PERSON, WS, Role.REVIEWER)
        provider.email = PERSON.upper()
        entered = await through(browser, back="/workspaces?x=1")
        assert (entered.status_code, entered.headers["Location"]) == (303, "/workspaces?x=1")
        assert PERSON in (await browser.get("/workspaces")).text
        assert set(browser.cookies) == {f"weir-{browser.base_url.port}"}
        said = capsys.readouterr()
        for secret in (PERSON, SECRET, next(iter(browser.cookies.values()))):
            assert secret.lower() not in f"{said}".lower()


async def test_what_the_provider_did_not_sign_for_this_sign_in_is_refused(settings: Settings, bus: Bus) -> None:
    await People(bus).grant(PERSON, WS, Role.REVIEWER)
    other, at = RSAKey.generate_key(2048, {"kid": "first"}), int(time.time())
    spoiled: list[dict[str, Any]] = [
        {"claims": {"nonce": "another"}},
        {"claims": {"nonce": None}},
        {"claims": {"aud": "another-client"}},
        {"claims": {"aud": "another-client", "azp": CLIENT}},
        {"claims": {"iss": "https://elsewhere.example"}},
        {"claims": {"exp": at - LEEWAY - 5}},
        {"claims": {"exp": None}},
        {"claims": {"email_verified": False}},
        {"claims": {"email_verified": "true"}},
        {"claims": {"email_verified": None}},
        {"claims": {"email": None}},
        {"claims": {"email": PERSON.replace("k", "\u212a")}},
        {"key": other},
        {"algorithm": "HS256"},
        {"algorithm": "none"},
    ]
    for start in range(0, len(spoiled), EACH - 1):  # a console for each few: it counts who fails
        async with console(settings) as (provider, url), stranger(url) as browser:
            provider.published = provider.key
            honest = {name: getattr(provider, name) for name in ("claims", "key", "algorithm")}
            for spoil in spoiled[start : start + EACH - 1]:
                for name, value in (honest | spoil).items():
                    setattr(provider, name, value)
                refused = await through(browser)
                assert (refused.status_code, "Not signed in" in refused.text) == (403, True), spoil
                assert (await browser.get("/workspaces")).status_code == 303, spoil
            for name, value in honest.items():
                setattr(provider, name, value)
            assert (await through(browser)).status_code == 303


async def test_an_answer_counts_once_and_in_the_browser_that_asked(settings: Settings, bus: Bus) -> None:
    await People(bus).grant(PERSON, WS, Role.REVIEWER)
    async with (
        console(settings) as (provider, url),
        stranger(url) as browser,
        stranger(url) as victim,
    ):
        away = await browser.get("/signin/oidc")
        answer = (await browser.get(away.headers["Location"])).headers["Location"]
        # Sent to somebody else, it would sign them in as the sender.
        assert (await victim.get(answer)).status_code == 403
        assert (await browser.get(f"{answer}x".replace("state=", "state=x"))).status_code == 403
        assert (await browser.get(answer)).status_code == 303
        assert (await browser.get(answer)).status_code == 403
        for broken in ("", "?state=x", "?error=access_denied&state=x", "?state=%C3%A9&code=x"):
            assert (await victim.get(f"/signin/callback{broken}")).status_code == 403

        # The provider's next key is fetched when a token names one that is not known.
        provider.key = RSAKey.generate_key(2048, {"kid": "second"})
        assert (await through(browser)).status_code == 303
        provider.document = {"issuer": "https://elsewhere.example"}


async def test_a_provider_that_cannot_be_used_is_told_of(
    settings: Settings, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    await People(bus).grant(PERSON, WS, Role.REVIEWER)
    async with console(settings) as (provider, url), stranger(url) as browser:
        provider.document = {"issuer": "https://elsewhere.example"}
        unfit = await browser.get("/signin/oidc")
        assert (unfit.status_code, "calls itself https://elsewhere.example" in unfit.text) == (502, True)
        # For a moment nobody asks it again: with one that does not answer, each would wait for the one before.
        provider.document = {"id_token_signing_alg_values_supported": ["HS256"]}
        assert (await browser.get("/signin/oidc")).text == unfit.text
        monkeypatch.setattr(oidc, "AGAIN", 0.0)
    async with console(settings) as (provider, url), stranger(url) as browser:
        provider.document = {"id_token_signing_alg_values_supported": ["HS256", "none"]}
        unfit = await browser.get("/signin/oidc")
        assert (unfit.status_code, "signs in none" in unfit.text) == (502, True)
        provider.document = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
        for keys in ({}, {"keys": ["x"]}, {"keys": [{"kid": "first"}]}, {"keys": None}):
            provider.shown = keys
            unfit = await through(browser)
            assert (unfit.status_code, "provider cannot be used" in unfit.text) == (502, True), keys
        provider.shown = None
        assert (await through(browser)).status_code == 303


async def test_who_fails_too_often_waits(settings: Settings, bus: Bus) -> None:
    await People(bus).grant(PERSON, WS, Role.REVIEWER)
    async with console(settings) as (_provider, url), stranger(url) as browser:
        for _attempt in range(EACH):
            assert (await browser.post("/signin", data={"link": "guess"})).status_code == 403
        waits = await browser.post("/signin", data={"link": "guess"})
        assert (waits.status_code, int(waits.headers["Retry-After"]) > 200) == (429, True)
        # Nobody keeps others out by it.
        link = await Invitations(bus).make(PERSON)
        assert (await browser.post("/signin", data={"link": link})).status_code == 303
        assert (await through(browser)).status_code == 303


async def test_only_an_answer_to_what_the_browser_began_counts(settings: Settings, bus: Bus) -> None:
    await People(bus).grant(PERSON, WS, Role.REVIEWER)
    async with console(settings) as (provider, url), stranger(url) as browser:
        for _attempt in range(EACH + 1):
            await browser.get("/signin/oidc")
            assert (await browser.get("/signin/callback", params={"state": "x", "code": "y"})).status_code == 403
        # Nor does what goes wrong at the provider.
        provider.status = 500
        for _attempt in range(EACH + 1):
            assert (await through(browser)).status_code == 502
        provider.status = 200
        away = httpx.URL((await browser.get("/signin/oidc")).headers["Location"])
        forged = {"state": away.params["state"], "code": "guess"}
        for _attempt in range(EACH):
            assert (await browser.get("/signin/callback", params=forged)).status_code == 403
        assert (await browser.get("/signin/callback", params=forged)).status_code == 429


async def test_without_a_provider_there_is_no_way_to_one(settings: Settings, bus: Bus) -> None:
    assert bus.region
    async with served(settings) as url, stranger(url) as browser:
        for path in ("/signin/oidc", "/signin/callback?state=x&code=y"):
            assert (await browser.get(path)).status_code == 404
