"""Whether a secret of a run stands anywhere it must not: in logs, in messages, in what the broker has on its disk.

    known = secrets_of(data_dir / "sandbox", variables, session, link)
    assert known.found_in(data_dir / "logs", data_dir / "broker", captured_output) == []
    assert await known.found_on(bus) == []

What was found is told by what it is and how it begins, never as a whole.
"""

import base64
import re
import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from nats.js.api import RetentionPolicy

from common.bus import Bus
from common.feed import held
from common.history import messages
from common.settings import Settings
from services.cli.installation import SANDBOX_APPS
from services.sandbox.qonto.webhooks import KIND as WEBHOOKS

SECRET_VARIABLES = re.compile(r"WEIR_\w*(SECRET|TOKEN|KEY|KEY_PREVIOUS|VERIFIER|SEED|PASSWORD)\Z")
"""Settings whose value nobody may see."""
SEED = re.compile(rb"\bS[UAONCX][A-Z2-7]{56}\b")
"""A seed of an nkey, of whatever identity."""
SHORTEST = 8
"""Characters below which a secret is found by chance."""

_WORD = re.compile(rb"[A-Za-z0-9_.~+/=-]{8,}")


@dataclass(frozen=True)
class Secrets:
    """The secrets of one run, each form of each with what it is."""

    forms: Mapping[bytes, str]

    def found_in(self, *places: Path | bytes | str) -> list[str]:
        """Every secret in files (of directories all), or in what was printed; told with the place."""
        return [found for place in places for found in self._found_at(place)]

    async def found_on(self, bus: Bus) -> list[str]:
        """Every secret in a subject, header or body of any message that the region's streams hold."""
        found: list[str] = []
        for stream in bus.topology.streams:
            read = _one_by_one if stream.retention is RetentionPolicy.WORK_QUEUE else _in_pages
            said = [text async for text in read(bus, str(stream.name))]
            found += self._in_bytes(f"stream {stream.name}", b"\n".join(said))
        return found

    def _found_at(self, place: Path | bytes | str) -> Iterator[str]:
        match place:
            case str():
                yield from self._in_bytes("output", place.encode())
            case bytes():
                yield from self._in_bytes("output", place)
            case _ if place.is_dir():
                for path in sorted(one for one in place.rglob("*") if one.is_file()):
                    yield from self._in_bytes(str(path.relative_to(place.parent)), path.read_bytes())
            case _:
                yield from self._in_bytes(place.name, place.read_bytes())

    def _in_bytes(self, place: str, data: bytes) -> list[str]:
        if not data:
            return []
        # Each word once: a run says the same a thousand times.
        words = b"\n".join(set(_WORD.findall(data)))
        found = {f"{place}: {what}" for form, what in self.forms.items() if form in words or _odd(form, data)}
        return sorted(found | {f"{place}: nkey seed {one[:4].decode()}…" for one in SEED.findall(words)})


def secrets_of(sandbox: Path | None, variables: Mapping[str, str], *more: str) -> Secrets:
    """All that may not be seen: what the stand-ins ever issued, secret settings, and what else the run knows of.

    `sandbox` is the directory of the stand-ins (WEIR_SANDBOX_DIR), `variables` the environment of the services, `more`
    session ids, invitation links, keys. ValueError if one is so short that it would be found by chance.
    """
    known = {value: name for name, value in variables.items() if SECRET_VARIABLES.match(name) and value}
    known |= dict.fromkeys(more, "secret of the run")
    if sandbox is not None:
        known |= {value: f"{kind} issued by the stand-in" for value, kind in _issued(sandbox)}
    forms: dict[bytes, str] = {}
    for secret, what in known.items():
        if len(secret) < SHORTEST:
            raise ValueError(f"{what}: a secret of {len(secret)} characters would be found by chance")
        forms |= dict.fromkeys(_forms(secret), f"{what}, {secret[:4]}…")
    return Secrets(forms)


def told_by(directory: Path, settings: Settings) -> list[str]:
    """What of an installation's secrets its services logged, or left in the clear on the broker's disk.

    The stand-ins must have been in use: their own store, where all stands in the open, shows that we would find it.
    """
    shown = {f"WEIR_{name.upper()}": settings.required(name) for name in SANDBOX_APPS}
    key = (directory / "master.key").read_text()
    known = secrets_of(directory / "sandbox", {**shown, "WEIR_MASTER_KEY": key})
    assert known.found_in(directory / "sandbox")
    broker = [
        one for one in (directory / "broker").iterdir() if one.name != "keys"
    ]  # each service's own is a file there
    return known.found_in(directory / "logs", *broker)


async def _one_by_one(bus: Bus, stream: str) -> AsyncIterator[bytes]:
    """Subject, headers and body of every message of a stream that gives each to one consumer only."""
    async for one in messages(bus, stream, ">"):
        yield f"{one.subject} {one.headers or {}} ".encode() + (one.data or b"")


async def _in_pages(bus: Bus, stream: str) -> AsyncIterator[bytes]:
    """Subject, headers and body of every message of a stream."""
    async for one in held(bus, stream, ">"):
        yield f"{one.subject} {one.headers or {}} ".encode() + one.data


def _issued(sandbox: Path) -> Iterable[tuple[str, str]]:
    """Every code and token, used up and revoked ones too, and the secrets of webhooks."""
    with closing(sqlite3.connect(f"file:{sandbox / 'sandbox.sqlite3'}?mode=ro", uri=True)) as store:
        yield from store.execute("SELECT value, kind || ' token' FROM tokens")
        yield from store.execute(
            "SELECT json_extract(CAST(body AS TEXT), '$.secret'), 'webhook secret' FROM objects WHERE kind = ?",
            (WEBHOOKS,),
        )


def _forms(secret: str) -> Iterator[bytes]:
    """The secret as it is, as bytes a key stands for, and inside base64 wherever it begins there."""
    plain = secret.encode()
    yield plain
    for shift in range(3):
        # What stands before and behind decides over the characters at either end only.
        inside = base64.b64encode(b"\0" * shift + plain).rstrip(b"=")[shift and shift + 1 :]
        yield inside[: -1 if (shift + len(plain)) % 3 else None]
    try:
        raw = base64.b64decode(plain, validate=True)
    except ValueError:
        return
    if len(raw) == 32:  # a master key: as bytes and in hex it is one too
        yield raw
        yield raw.hex().encode()


def _odd(form: bytes, data: bytes) -> bool:
    """Whether a form that is no word, such as the bytes of a key, stands in `data`."""
    return _WORD.fullmatch(form) is None and form in data
