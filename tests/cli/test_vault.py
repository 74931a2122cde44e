"""`weir vault`: what an operator sees while a master key is replaced."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from common.bus import Bus
from common.connections import Connection
from common.errors import UserError
from common.messages import Provider, now
from common.oauth import Tokens
from common.proof import prove_master_key
from common.register import Register
from common.rewrapping import Rewrapping
from common.settings import Settings
from common.vault import Vault
from services.cli import vault as command
from tests.puller.stand import running

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
OLD_NAME, NEW_NAME = Vault(OLD).fingerprint, Vault(NEW).fingerprint
SERVICES: dict[str, Provider] = {"puller": "quickbooks", "poster": "qonto"}


@asynccontextmanager
async def services(settings: Settings, **keys: Vault) -> AsyncIterator[None]:
    """Puller and poster, as far as master keys go."""
    async with AsyncExitStack() as stack:
        for name, held in keys.items():
            bus = Bus(settings, name)
            Rewrapping(bus, held, SERVICES[name]).serve()
            await stack.enter_async_context(running(bus))
        yield


@pytest.fixture
async def sealed(bus: Bus, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A region with three connections under the old key, and settings that have none of the keys."""
    monkeypatch.setenv("WEIR_NATS_URL", settings.broker_url())
    monkeypatch.setenv("WEIR_NATS_TOKEN", settings.required("nats_token"))
    monkeypatch.setenv("WEIR_REGION", settings.region)
    await prove_master_key(bus, Vault(OLD))
    tokens = Tokens(access="a", refresh="r", expires_at=now())
    places: list[tuple[Provider, str]] = [("quickbooks", "lock"), ("qonto", "lock"), ("qonto", "quarry")]
    for provider, workspace in places:
        register = Register(bus, Vault(OLD), provider)
        made = Connection(workspace=workspace, account=workspace, state="connected", since=now())
        await register.write(None, made.holding(tokens, register.seal(workspace, tokens)))
    return settings


async def test_an_operator_is_led_from_the_old_key_to_the_new(
    sealed: Settings, bus: Bus, capsys: pytest.CaptureFixture[str]
) -> None:
    async def status() -> str:
        capsys.readouterr()
        await command._status(json=False)
        return " ".join(capsys.readouterr().out.split())

    with pytest.raises(UserError, match=r"is `weir puller` running\?"):
        await command._status(json=False)
    async with services(sealed, puller=Vault(OLD), poster=Vault(OLD)):
        assert f"{OLD_NAME} seals, 1 value seals, 2 values Everything is under {OLD_NAME}" in await status()
    async with services(sealed, puller=Vault(NEW, OLD), poster=Vault(OLD)):
        with pytest.raises(UserError, match="different keys"):
            await command._rotate()
        assert "different keys" in await status()
    async with services(sealed, puller=Vault(NEW, OLD), poster=Vault(NEW, OLD)):
        assert f"Next: `weir vault rotate` moves everything under {NEW_NAME}" in await status()
        await command._rotate()
        assert "Qonto: 2 moved" in capsys.readouterr().out
        assert "the other keys can go" in await status()
        await command._rotate()  # as after a kill: it can be run again
        assert "Qonto: 0 moved" in capsys.readouterr().out
        await command._status(json=True)
        told = json.loads(capsys.readouterr().out)
        assert told["qonto"] == {"fingerprints": [NEW_NAME, OLD_NAME], "values": {NEW_NAME: 2}}
    await prove_master_key(bus, Vault(NEW))
    with pytest.raises(UserError, match=f"{OLD_NAME}.*{NEW_NAME}.*weir vault rotate"):
        await prove_master_key(bus, Vault(OLD))
    async with services(sealed, puller=Vault(NEW), poster=Vault(bytes(32))):
        assert f"poster lacks key {NEW_NAME}" in await status()


async def test_what_cannot_be_moved_is_said(sealed: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    async with services(sealed, puller=Vault(NEW, OLD), poster=Vault(NEW)):
        with pytest.raises(command.NotRotated, match=f"poster lacks key {OLD_NAME}"):
            await command._rotate()
    shown = "".join(capsys.readouterr())
    assert not any(base64.b64encode(key).decode() in shown for key in (OLD, NEW))
