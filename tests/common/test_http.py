"""Requests that are safe to repeat, over real HTTP on loopback."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from common import embedded, http
from tests.loopback import listening


@dataclass
class Moody:
    """Answers what it is told to, in order, then 200."""

    url: str = ""
    script: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    asked: int = 0

    async def answer(self, _request: Request) -> Response:
        self.asked += 1
        status, headers = self.script.pop(0) if self.script else (200, {})
        return Response("<html>not json</html>", status_code=status, headers=headers)


@pytest.fixture
async def moody() -> AsyncIterator[Moody]:
    moody = Moody()
    async with listening([Route("/", moody.answer, methods=["GET"])]) as url:
        moody.url = f"{url}/"
        yield moody


async def test_it_waits_as_long_as_the_server_asks(moody: Moody) -> None:
    moody.script = [(429, {"Retry-After": "1"}), (503, {})]
    began = time.monotonic()
    async with http.client() as client:
        assert (await http.repeated(client, "GET", moody.url)).status_code == 200
    assert moody.asked == 3
    assert time.monotonic() - began >= 1


async def test_too_long_a_wait_goes_back_to_the_caller(moody: Moody) -> None:
    moody.script = [(429, {"Retry-After": "3600"})]
    async with http.client() as client:
        with pytest.raises(http.NotRepeated) as caught:
            await http.repeated(client, "GET", moody.url)
    assert (caught.value.wait, moody.asked) == (3600, 1)


@pytest.mark.parametrize("status", [200, 400, 401, 404, 500])
async def test_an_answer_is_an_answer(moody: Moody, status: int) -> None:
    moody.script = [(status, {})]
    async with http.client() as client:
        assert (await http.repeated(client, "GET", moody.url)).status_code == status
    assert moody.asked == 1


async def test_nobody_there_is_a_transport_error(unused_port: int) -> None:
    async with http.client() as client:
        with pytest.raises(httpx.ConnectError):
            await http.repeated(client, "GET", f"http://127.0.0.1:{unused_port}/")


async def test_plain_http_leaves_this_machine_never() -> None:
    async with http.client() as client:
        with pytest.raises(httpx.UnsupportedProtocol):
            await http.repeated(client, "GET", "http://provider.example/")


@given(st.one_of(st.text(max_size=20), st.integers(0, 10**6).map(str)))
@example("\u00b2")
@example("9" * 400)
@example("Tue, 01 Dec 2026 00:00:00 -0000")
def test_any_retry_after_is_read_without_an_error(value: str) -> None:
    try:
        response = httpx.Response(429, headers={"Retry-After": value})
    except (UnicodeEncodeError, ValueError):
        return
    wait = http.retry_after(response)
    assert wait is None or 0 <= wait <= http.LATEST


@pytest.fixture
def unused_port() -> int:
    return embedded.free_port()
