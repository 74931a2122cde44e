"""`weir vault`: which master keys seal what, and moving everything under a new one. No key ever comes here."""

from typing import Annotated, TypeVar, get_args

import anyio
import msgspec
from cyclopts import App, Parameter
from rich.console import Console
from rich.status import Status
from rich.table import Table

from common import subjects
from common.bus import Bus
from common.errors import RetryLater, UserError, WeirError
from common.messages import NAMES, Keyring, Keys, Provider, Refusal, Rewrap, Rewrapped
from services.cli.terminal import broker, say, screen

vault = App(name="vault", help="Which master key what is sealed with, and replacing it.")

PROVIDERS: tuple[Provider, ...] = get_args(Provider)
ANSWERS_WITHIN = 60.0
"""Seconds in which a service should have counted or moved its values."""
_OWNER = {"quickbooks": "puller", "qonto": "poster"}

A = TypeVar("A", Keyring, Rewrapped)

_Json = Annotated[bool, Parameter(negative="", help="As JSON, for programs.")]


class NotRotated(WeirError):  # noqa: N818
    """Something is still under another key."""


@vault.command
def status(*, json: _Json = False) -> None:
    """Show for every master key, by its fingerprint, who has it and how many values are sealed under it."""
    anyio.run(_status, json)


@vault.command
def rotate() -> None:
    """Move everything sealed under the key that puller and poster seal with now; they go on working meanwhile.

    Start every puller and poster with both keys before, the new one first. Interrupted, it can be run again.
    """
    anyio.run(_rotate)


async def _status(json: bool) -> None:
    async with broker() as bus:
        rings = {provider: await _keyring(bus, provider) for provider in PROVIDERS}
    if json:
        told = {
            provider: {"fingerprints": ring.fingerprints, "values": ring.values} for provider, ring in rings.items()
        }
        screen().print(msgspec.json.encode(told).decode(), markup=False)
        return
    table = Table("Key", *(f"{_OWNER[provider]}: {NAMES[provider]}" for provider in rings), box=None)
    for key in dict.fromkeys(key for ring in rings.values() for key in (*ring.fingerprints, *ring.values)):
        table.add_row(key, *(_cell(ring, key) for ring in rings.values()))
    screen().print(table)
    say(_verdict(rings))


def _cell(ring: Keyring, key: str) -> str:
    held = "seals" if key == ring.fingerprints[0] else "opens" if key in ring.fingerprints else "missing"
    count = ring.values.get(key, 0)
    return "–" if held == "missing" and not count else f"{held}, {count:,} value{'' if count == 1 else 's'}"


def _verdict(rings: dict[Provider, Keyring]) -> str:
    """What an operator does next."""
    for provider, ring in rings.items():
        missing = [key for key in ring.values if key not in ring.fingerprints]
        if missing:
            return f"{_OWNER[provider]} lacks key {missing[0]}: start it with that key as WEIR_MASTER_KEY_PREVIOUS"
    sealing = {ring.fingerprints[0] for ring in rings.values()}
    if len(sealing) > 1:
        return "puller and poster seal with different keys: start both with the same ones, the new one first"
    (key,) = sealing
    if any(set(ring.values) - {key} for ring in rings.values()):
        return f"Next: `weir vault rotate` moves everything under {key}"
    if any(len(ring.fingerprints) > 1 for ring in rings.values()):
        return f"Everything is under {key}: the other keys can go"
    return f"Everything is under {key}"


async def _rotate() -> None:
    async with broker() as bus:
        rings = {provider: await _keyring(bus, provider) for provider in PROVIDERS}
        sealing = {ring.fingerprints[0] for ring in rings.values()}
        if len(sealing) > 1:
            raise UserError(_verdict(rings))
        (key,) = sealing
        stuck = 0
        with Console(stderr=True).status("") as shown:
            for provider in PROVIDERS:
                stuck += await _move(bus, provider, key, shown)
        after = {provider: await _keyring(bus, provider) for provider in PROVIDERS}
    if stuck or any(set(ring.values) - {key} for ring in after.values()):
        raise NotRotated(f"not everything could be moved; {_verdict(after)}; `weir vault status` shows what is left")
    say(_verdict(after))


async def _move(bus: Bus, provider: Provider, key: str, shown: Status) -> int:
    """Have everything of one service moved; how many values it could not open."""
    moved = 0
    while True:
        shown.update(f"{NAMES[provider]}: {moved:,} moved")
        step = await _ask(bus, provider, "rewrap", Rewrap(to=key), Rewrapped)
        moved += step.moved
        if not step.more:
            say(f"{NAMES[provider]}: {moved:,} moved under key {key}")
            return step.stuck


async def _keyring(bus: Bus, provider: Provider) -> Keyring:
    return await _ask(bus, provider, "keys", Keys(), Keyring)


async def _ask(bus: Bus, provider: Provider, verb: str, message: Keys | Rewrap, type_: type[A]) -> A:
    """The service's answer; UserError if it does not run or refuses."""
    try:
        answer = await bus.call(subjects.call(bus.region, provider, verb), message, timeout=ANSWERS_WITHIN)
    except RetryLater as error:
        raise UserError(f"{error}; is `weir {_OWNER[provider]}` running?") from None
    if isinstance(answer, Refusal):
        raise UserError(f"{answer.why}; {answer.fix or 'try again'}")
    if not isinstance(answer, type_):
        raise UserError(f"{_OWNER[provider]} is of another version of Weir; upgrade it")
    return answer
