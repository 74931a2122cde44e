"""Calls to the services that own the providers, as pages make them: what goes wrong becomes a Problem."""

from typing import Any

import structlog

from common import subjects
from common.bus import Bus
from common.errors import RetryLater
from common.messages import NAMES, Answer, Found, Provider, Refusal, Search, WhatIf
from services.console.problem import Problem

log = structlog.get_logger()

TIMEOUT = 60.0
"""Seconds for a call that waits for a provider."""
SEARCHED_WITHIN = 20.0
"""Seconds for a search, a scorer's first look at the workspace included."""
OWNERS: dict[Provider, str] = {"quickbooks": "puller", "qonto": "poster"}
"""The service that speaks with each provider."""


async def ask(bus: Bus, provider: Provider, verb: str, message: Any) -> Answer:
    """The answer of the service that speaks with the provider, a Refusal included; Problem if none comes."""
    try:
        return await bus.call(subjects.call(bus.region, provider, verb), message, timeout=TIMEOUT)
    except RetryLater as error:
        log.warning("console.no_answer", provider=provider, verb=verb, error=error)
        why = f"The service that speaks with {NAMES[provider]} does not answer."
        fix = f"Start it (`weir {OWNERS[provider]}`), or try again in a moment."
        raise Problem(503, "Not just now", why, fix) from None


async def what_if(bus: Bus, message: WhatIf) -> Answer:
    """The scorer's answer, a Refusal included; Problem if none comes."""
    try:
        return await bus.call(subjects.ask_scorer(bus.region, "whatif"), message, timeout=TIMEOUT)
    except RetryLater as error:
        log.warning("console.no_answer", verb="whatif", error=error)
        why = "The scorer, which knows what was decided so far, does not answer."
        raise Problem(503, "Not just now", why, "Start it (`weir scorer`), or try again in a moment.") from None


async def search(bus: Bus, message: Search) -> Found:
    """The entries that a scorer finds; Problem if none answers, or with its reason."""
    try:
        answer = await bus.call(subjects.ask_scorer(bus.region, "search"), message, timeout=SEARCHED_WITHIN)
    except RetryLater as error:
        log.warning("console.no_answer", verb="search", error=error)
        why = "The scorer, which knows what Qonto holds, does not answer."
        raise Problem(503, "Not just now", why, "Start it (`weir scorer`), or try again in a moment.") from None
    match answer:
        case Found():
            return answer
        case Refusal(why=why, fix=fix, retry=retry):
            raise Problem(503 if retry else 400, "Not searched", f"{why[:1].upper()}{why[1:]}.", fix)
        case _:
            raise Problem(502, "Unexpected answer", f"The scorer answered with {type(answer).__name__}.")


def provider(name: str) -> Provider:
    """The provider of an address; Problem if Weir does not connect it."""
    match name:
        case "quickbooks":
            return "quickbooks"
        case "qonto":
            return "qonto"
        case _:
            raise Problem(404, "No such provider", "Weir connects quickbooks and qonto.")


def refused(name: str, answer: Answer) -> Problem:
    """What to tell of an answer that is not the one hoped for."""
    match answer:
        case Refusal(why=why, fix=fix, retry=retry):
            return Problem(503 if retry else 400, f"{name} is not connected", why, fix)
        case _:
            return Problem(502, "Unexpected answer", f"A service answered with {type(answer).__name__}.")
