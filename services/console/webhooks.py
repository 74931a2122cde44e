"""Webhooks over HTTP: handed on unread to the service that owns the provider, and answered as soon as it wants.

An application of its own beside the pages: its answers, refusals included, are plain text for a machine.
"""

from collections.abc import Mapping

import anyio
import structlog
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from common import subjects
from common.bus import Bus
from common.errors import RetryLater
from common.messages import Done, Provider, Refusal, Webhook

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


def webhooks(bus: Bus) -> Starlette:
    """What is mounted at `/webhooks`."""

    async def take(provider: Provider, request: Request) -> PlainTextResponse:
        signature = request.headers.get(SIGNATURES[provider])
        if not signature:
            return PlainTextResponse(f"The header {SIGNATURES[provider]} is missing.", 401)
        try:
            with anyio.fail_after(READ_WITHIN):
                body = await _body(request)
        except _TooLarge:
            return PlainTextResponse(f"A webhook has at most {LARGEST} bytes.", 413)
        except (TimeoutError, ClientDisconnect):
            return PlainTextResponse("The body did not arrive.", 408)
        return await _hand_on(bus, provider, Webhook(body=body, signature=signature))

    async def quickbooks(request: Request) -> PlainTextResponse:
        return await take("quickbooks", request)

    async def qonto(request: Request) -> PlainTextResponse:
        return await take("qonto", request)

    return Starlette(
        routes=[
            Route("/quickbooks", quickbooks, methods=["POST"]),
            Route("/qonto", qonto, methods=["POST"]),
        ]
    )


async def _hand_on(bus: Bus, provider: Provider, webhook: Webhook) -> PlainTextResponse:
    try:
        answer = await bus.call(
            subjects.call(bus.region, provider, "webhook"), webhook, timeout=ANSWER_WITHIN[provider]
        )
    except RetryLater as error:
        log.warning("console.no_answer", provider=provider, verb="webhook", error=error)
        return PlainTextResponse("Not just now; send it again.", 503)
    match answer:
        case Done():
            return PlainTextResponse("Taken.")
        case Refusal(retry=True):
            return PlainTextResponse("Not just now; send it again.", 503)
        case Refusal(why=why, reason=reason):
            log.info("console.webhook_refused", provider=provider, why=why)
            return PlainTextResponse(f"Refused: {why}.", _STATUS.get(reason or "", 400))
        case other:
            log.error("console.unexpected_answer", provider=provider, verb="webhook", answer=type(other).__name__)
            return PlainTextResponse("A service gave an answer that makes no sense.", 502)


async def _body(request: Request) -> bytes:
    told = request.headers.get("content-length", "0")
    if told.isdecimal() and int(told) > LARGEST:
        raise _TooLarge
    found = bytearray()
    async for chunk in request.stream():
        found += chunk
        if len(found) > LARGEST:
            raise _TooLarge
    return bytes(found)
