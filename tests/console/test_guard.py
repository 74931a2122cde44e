"""What stands before every page: the hosts it answers for, who may write, and how long a request may take."""

import asyncio

import pytest

from common.bus import Bus
from common.errors import UserError
from common.settings import Settings, load
from services.console import app, guard
from tests.console.stand import served, stranger

AWAY = "https://weir.example"


async def test_over_tls_it_answers_for_its_own_host_alone(settings: Settings, bus: Bus) -> None:
    assert bus.region  # the buckets exist
    async with served(settings, console_url=AWAY) as url, stranger(url) as browser:
        port = browser.base_url.port
        for host in (f"127.0.0.1:{port}", f"localhost:{port}", "elsewhere.example"):
            assert (await browser.get("/signin", headers={"Host": host})).status_code == 421, host
            assert (await browser.get("/livez", headers={"Host": host})).status_code == 200, host
        browser.headers["Host"] = "weir.example"
        shown = await browser.get("/signin")
        assert (shown.status_code, shown.headers["Strict-Transport-Security"]) == (200, "max-age=31536000")
        for origin in (AWAY, "http://weir.example"):
            sent = await browser.post("/signin", data={"link": "guess"}, headers={"Origin": origin})
            assert (sent.status_code, "another site" in sent.text) == (403, origin != AWAY)


async def test_a_request_has_to_come_in_time(settings: Settings, bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bus.region  # the buckets exist
    monkeypatch.setattr(guard, "PATIENCE", 0.2)
    async with served(settings) as url, stranger(url) as browser:
        assert "Strict-Transport-Security" not in (await browser.get("/signin")).headers
        reader, writer = await asyncio.open_connection("127.0.0.1", browser.base_url.port)
        head = "POST /signin HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        writer.write(f"{head}Content-Length: 99\r\n\r\nlink=".encode())
        answer = await asyncio.wait_for(reader.read(), 10)  # to the end: the connection is closed
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"did not come whole" in answer
        writer.close()
        await writer.wait_closed()


async def test_more_connections_than_it_has_files_for_are_told_so(
    settings: Settings, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bus.region  # the buckets exist
    monkeypatch.setattr(app, "CONNECTIONS", 3)
    async with served(settings) as url, stranger(url) as browser:
        idle = [await asyncio.open_connection("127.0.0.1", browser.base_url.port) for _one in range(3)]
        assert (await browser.get("/livez")).status_code == 503
        for _reader, writer in idle:
            writer.close()
            await writer.wait_closed()


@pytest.mark.parametrize("proxies", ["proxy.example", "10.0.0.1/8", "10.0.0.5,", "*"])
def test_a_proxy_is_an_address_or_a_network(proxies: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_CONSOLE_PROXIES", proxies)
    with pytest.raises(UserError, match=r"WEIR_CONSOLE_PROXIES .* is no address or network"):
        load()
    monkeypatch.setenv("WEIR_CONSOLE_PROXIES", "10.0.0.5, fd00::/8")
    assert load().console_proxies == "10.0.0.5, fd00::/8"
