"""Webhooks over HTTP: a real console process, the puller behind it, and the stand-in as QuickBooks."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx
import pytest
from pydantic import SecretStr

from common import subjects
from common.bus import Bus
from common.messages import Bill, Done, Webhook, now
from common.quickbooks.events import Event
from common.settings import Settings
from services.console import webhooks as console_webhooks
from services.puller import schedule
from tests.console.stand import console, webhooks
from tests.loopback import serving
from tests.puller.stand import KEY, World, puller, running, until
from tests.puller.test_webhooks import FORMATS, VERIFIER, Format, body_of, sign

PATH = "/webhooks/quickbooks"
HOOKS = "/sandbox/webhooks"
STRANGER = Event("9341999999999999", "bill", "updated", "1", now())


@pytest.fixture
def unset(settings: Settings, bus: Bus) -> Settings:
    """Settings of a puller that has all it needs, but no verifier."""
    assert bus.region  # the streams exist
    return settings.model_copy(
        update={
            "quickbooks_client_id": "fictional",
            "quickbooks_client_secret": SecretStr("fictional"),
            "master_key": KEY,
        }
    )


def verified(settings: Settings) -> Settings:
    return settings.model_copy(update={"quickbooks_webhook_verifier": SecretStr(VERIFIER)})


async def post(browser: httpx.AsyncClient, body: bytes, signature: str | None, **headers: str) -> httpx.Response:
    signed = {} if signature is None else {"intuit-signature": signature}
    answer = await browser.post(PATH, content=body, headers={**signed, **headers})
    assert answer.headers["Content-Type"].startswith("text/plain")
    return answer


async def test_every_answer_is_one_that_intuit_understands(unset: Settings, tmp_path: Path) -> None:
    body = body_of([STRANGER], "legacy")
    async with console(unset, tmp_path / "log") as browser:
        assert (await post(browser, body, sign(body))).status_code == 503

        async with puller(unset):
            away = await post(browser, body, sign(body))
            assert away.status_code == 404
            assert "not set up" in away.text

        async with puller(verified(unset)):
            for format_ in FORMATS:
                told = body_of([STRANGER], format_)
                for _duplicate in range(2):
                    taken = await post(browser, told, sign(told), **{"Content-Type": "application/cloudevents+json"})
                    assert taken.status_code == 200
            for forged in (None, "", "AAAA", sign(body, "another"), sign(body) + "x", sign(body + b" ")):
                assert (await post(browser, body, forged)).status_code == 401, forged
            assert (await post(browser, b"{", sign(b"{"))).status_code == 400
            for method in ("GET", "PUT", "DELETE"):
                unfit = await browser.request(method, PATH)
                assert (unfit.status_code, unfit.headers["Allow"]) == (405, "POST")
                assert unfit.headers["Content-Type"].startswith("text/plain")
            assert (await browser.get("/webhooks/elsewhere")).status_code == 404

            large = json.dumps({"eventNotifications": [], "padding": "x" * (2**20 - 100)}).encode()
            assert (await post(browser, large, sign(large))).status_code == 200
            assert (await post(browser, large + b" " * 200, sign(large))).status_code == 413

            async def chunks() -> AsyncIterator[bytes]:
                for _ in range(20):
                    yield b"x" * 2**17

            endless = await browser.post(PATH, content=chunks(), headers={"intuit-signature": "AAAA"})
            assert endless.status_code == 413
        said = (tmp_path / "log").read_text()
        assert sign(body) not in said
        assert STRANGER.realm not in said


async def test_a_webhook_from_another_sites_page_is_refused(unset: Settings, tmp_path: Path) -> None:
    async with console(unset, tmp_path / "log") as browser:
        for headers in ({"Origin": "https://elsewhere.example"}, {"Sec-Fetch-Site": "cross-site"}):
            refused = await browser.post(PATH, content=b"{}", headers={"intuit-signature": "AAAA", **headers})
            assert refused.status_code == 403
        rebound = await browser.post(PATH, content=b"{}", headers={"Host": "elsewhere.example"})
        assert rebound.status_code == 421


@asynccontextmanager
async def route(bus: Bus) -> AsyncIterator[str]:
    """The route alone, in this process; its base URL."""
    async with serving(webhooks(bus)) as url:

        async def listens() -> bool:
            try:
                await (await anyio.connect_tcp("127.0.0.1", urlsplit(url).port or 0)).aclose()
            except OSError:
                return False
            return True

        await until(listens, 5)
        yield url


async def test_intuit_is_answered_within_three_seconds(
    unset: Settings, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert console_webhooks.ANSWER_WITHIN["quickbooks"] < 3
    monkeypatch.setattr(console_webhooks, "ANSWER_WITHIN", {"quickbooks": 0.5})
    slow = Bus(unset, "puller")
    release = anyio.Event()

    async def wait(_webhook: Webhook) -> Done:
        await release.wait()
        return Done()

    slow.answers(subjects.call(bus.region, "quickbooks", "webhook"), Webhook, wait)
    async with running(slow), route(bus) as url:
        async with httpx.AsyncClient(base_url=url) as browser:
            with anyio.fail_after(3):
                answer = await browser.post(PATH, content=b"{}", headers={"intuit-signature": "AAAA"})
            assert answer.status_code == 503
        release.set()


async def test_a_body_that_does_not_come_is_not_waited_for(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_webhooks, "READ_WITHIN", 0.2)
    async with route(bus) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        writer.write(
            b"POST /webhooks/quickbooks HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nintuit-signature: AAAA\r\n\r\n{"
        )
        with anyio.fail_after(5):
            assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("format_", FORMATS)
async def test_a_bill_changed_in_quickbooks_is_here_at_once(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_: Format
) -> None:
    monkeypatch.setattr(schedule, "GAP", 1.0)
    sandbox = world.sandbox.control
    async with puller(verified(world.settings)), console(world.settings, tmp_path / "log") as browser:
        await world.first_pull()
        wanted = {
            "url": f"{str(browser.base_url).rstrip('/')}{PATH}",
            "verifier": VERIFIER,
            "format": "legacy" if format_ == "legacy" else "cloudevents",
            "duplicate": True,
            "shuffle": True,
            "delay": 0.1,
            "retry_scale": 0.01,
        }
        sandbox.put(HOOKS, json=wanted).raise_for_status()
        try:
            memo = f"told {secrets.token_hex(4)}"
            bills = sorted(world.sandbox.bills(world.realm))[:3]
            for ident in bills:
                world.sandbox.patch(f"{world.realm}/quickbooks/bill/{ident}", {"PrivateNote": memo})

            async def told() -> bool:
                records = await world.records("bill")
                bodies = [records[ident].message.body for ident in bills]
                return all(isinstance(body, Bill) and body.memo == memo for body in bodies)

            async def taken() -> bool:
                return delivered(sandbox.get(HOOKS).json())

            await until(told)
            await until(taken)
            await world.pulled()
        finally:
            sandbox.delete(HOOKS).raise_for_status()


def delivered(told: dict[str, Any]) -> bool:
    """Whether all that the stand-in sent was taken; a refusal fails the test."""
    assert {delivery["status"] for delivery in told["deliveries"]} <= {0, 200}
    return not told["waiting"] and all(delivery["state"] == "delivered" for delivery in told["deliveries"])
