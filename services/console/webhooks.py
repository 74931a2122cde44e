"""Webhooks over HTTP: handed on unread to the service that owns the provider, and answered as soon as it wants.

Answers here, refusals included, are plain text for a machine.
"""

from collections.abc import Mapping
from typing import Any

import anyio
import structlog
from litestar import Controller, Request, Response, post
from litestar.di import NamedDependency
from litestar.enums import MediaType
from litestar.exceptions import ClientException, InternalServerException

from common import subjects
from common.bus import Bus
from common.errors import RetryLater
from common.messages import Done, Provider, Refusal, Webhook
from services.console.access import PUBLIC

log = structlog.get_logger()

LARGEST = 2**20
"""Bytes of a webhook: Intuit sends up to 1 MB, Qonto far less."""
READ_WITHIN = 10.0
"""Seconds a sender has to deliver the body."""
ANSWER_WITHIN: Mapping[Provider, float] = {"quickbooks": 2.5, "qonto": 0.8}
"""Seconds the service has; without an answer Intuit takes three for a failure, Qonto one."""
SIGNATURES: Mapping[Provider, str] = {"quickbooks": "intuit-signature", "qonto": "x-qonto-signature"}
"""The header that each provider signs in."""

_STATUS = {"forged": 401, "not-set-up": 404}


class _TooLarge(Exception):  # noqa: N818 (answered, never seen as an error)
    """The body is larger than LARGEST."""


class Webhooks(Controller):
    """`/webhooks/{provider}`."""

    path = "/webhooks"

    @post("/quickbooks", needs=PUBLIC, request_max_body_size=None)
    async def quickbooks(self, request: Request[Any, Any, Any], bus: NamedDependency[Bus]) -> Response[str]:
        """What Intuit sends."""
        return await _take(bus, "quickbooks", request)

    @post("/qonto", needs=PUBLIC, request_max_body_size=None)
    async def qonto(self, request: Request[Any, Any, Any], bus: NamedDependency[Bus]) -> Response[str]:
        """What Qonto sends."""
        return await _take(bus, "qonto", request)


def text(line: str, status: int = 200) -> Response[str]:
    """A line for a machine."""
    return Response(line, status_code=status, media_type=MediaType.TEXT)


async def _take(bus: Bus, provider: Provider, request: Request[Any, Any, Any]) -> Response[str]:
    signature = request.headers.get(SIGNATURES[provider])
    if not signature:
        return text(f"The header {SIGNATURES[provider]} is missing.", 401)
    try:
        with anyio.fail_after(READ_WITHIN):
            body = await _body(request)
    except _TooLarge:
        return text(f"A webhook has at most {LARGEST} bytes.", 413)
    except (TimeoutError, ClientException, InternalServerException):
        return text("The body did not arrive.", 408)
    return await _hand_on(bus, provider, Webhook(body=body, signature=signature))


async def _hand_on(bus: Bus, provider: Provider, webhook: Webhook) -> Response[str]:
    try:
        answer = await bus.call(
            subjects.call(bus.region, provider, "webhook"), webhook, timeout=ANSWER_WITHIN[provider]
        )
    except RetryLater as error:
        log.warning("console.no_answer", provider=provider, verb="webhook", error=error)
        return text("Not just now; send it again.", 503)
    match answer:
        case Done():
            return text("Taken.")
        case Refusal(retry=True):
            return text("Not just now; send it again.", 503)
        case Refusal(why=why, reason=reason):
            log.info("console.webhook_refused", provider=provider, why=why)
            return text(f"Refused: {why}.", _STATUS.get(reason or "", 400))
        case other:
            log.error("console.unexpected_answer", provider=provider, verb="webhook", answer=type(other).__name__)
            return text("A service gave an answer that makes no sense.", 502)


async def _body(request: Request[Any, Any, Any]) -> bytes:
    told = request.headers.get("content-length", "0")
    if told.isdecimal() and int(told) > LARGEST:
        raise _TooLarge
    found = bytearray()
    async for chunk in request.stream():
        found += chunk
        if len(found) > LARGEST:
            raise _TooLarge
    return bytes(found)
