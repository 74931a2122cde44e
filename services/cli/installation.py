"""Everything on one machine: a broker unless one is named, the services as processes, and the stand-ins."""

import base64
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import httpx
import nats.errors

from common import embedded, joining, masterkeys, subjects, topology
from common.bus import Bus
from common.errors import UserError
from common.keys import Keys
from common.settings import Settings, load
from services.cli.processes import Child, environment, running

READY_WITHIN = 60.0
"""Seconds until every service has to answer."""

SANDBOX_APPS = {
    "quickbooks_client_id": "weir-demo-quickbooks",
    "quickbooks_client_secret": "fictional-quickbooks-secret",
    "qonto_client_id": "weir-demo-qonto",
    "qonto_client_secret": "fictional-qonto-secret",
    "qonto_staging_token": "fictional-staging-token",
}


@dataclass(frozen=True)
class Installation:
    """A running Weir on this machine.

    `variables` is a file that tells other commands and programs of this user where the broker is; `logs` is
    None where services write to our terminal.
    """

    settings: Settings
    bus: Bus
    children: dict[str, Child]
    console_url: str
    variables: Path
    logs: Path | None


@asynccontextmanager
async def installation(
    base: Settings, directory: Path, *, sandbox: bool, scorers: int = 1, own_logs: bool = False
) -> AsyncIterator[Installation]:
    """Run broker, services and, if asked, the stand-ins until the block ends.

    `own_logs` gives every service a log file below `directory` instead of our terminal. UserError when
    something does not come up, with what it said.
    """
    async with AsyncExitStack() as stack:
        chosen: dict[str, object] = {"data_dir": directory, "region": base.region}
        keys = _named(base)
        if base.nats_url is None:
            keys = Keys((directory / "broker" / "keys").resolve())
            keys.make(base.region)
            broker = await stack.enter_async_context(embedded.broker(directory / "broker", keys=keys))
            chosen |= {"nats_url": broker.url, "nats_seed_file": keys.file(base.region, "operator")}
        if not masterkeys.named(base):
            chosen["master_key"] = _master_key(directory / "master.key")
        if base.console_port == 0:
            chosen["console_port"] = embedded.free_port()
        if sandbox:
            chosen |= _sandbox(base)
        settings = load(**{**base.model_dump(exclude_unset=True), **chosen})
        logs = directory / "logs" if own_logs else None
        console = settings.console_url or f"http://{settings.console_host}:{settings.console_port}"
        known = _variables(directory / "weir.env", settings, console)
        names = [
            *(["sandbox"] if sandbox else []),
            "puller",
            "poster",
            "console",
            *(f"scorer-{number}" if scorers > 1 else "scorer" for number in range(1, scorers + 1)),
        ]
        ports = _ops_ports(base.ops_port, [name for name in names if name != "sandbox"])
        children = {
            name: Child(
                name,
                {**_environment(name, chosen, keys), **ports.get(name, {})},
                logs / f"{name}.log" if logs else None,
            )
            for name in names
        }
        bus = Bus(settings, "weir")
        await bus.connect()
        stack.push_async_callback(bus.close)
        await topology.ensure(bus.js, bus.topology)
        await stack.enter_async_context(running(*children.values()))
        if sandbox:
            await _answers(f"{settings.quickbooks_api_url}/sandbox/companies")
        for service, instances in (("puller", 1), ("poster", 1), ("console", 1), ("scorer", scorers)):
            await _ready(bus, service, instances)
        yield Installation(settings, bus, children, console, known, logs)


def _named(base: Settings) -> Keys | None:
    """The keys of a broker that others run, beside the operator's; None if it asks for none."""
    if base.nats_seed is not None:
        raise UserError(
            "WEIR_NATS_SEED: every service needs a key of its own; set WEIR_NATS_SEED_FILE to the operator's file, "
            "in the directory where `weir broker-config` put those of the services"
        )
    return Keys(base.nats_seed_file.parent) if base.nats_seed_file is not None else None


def _environment(child: str, chosen: dict[str, object], keys: Keys | None) -> dict[str, str]:
    """What a child process is told: of the keys of our own broker its own, the stand-ins none."""
    if keys is None:
        return environment(**chosen)
    service = joining.identity(child.partition("-")[0])
    own = {**chosen, "nats_seed_file": None if service == "operator" else keys.file(str(chosen["region"]), service)}
    return environment(**own)


def _ops_ports(first: int, names: list[str]) -> dict[str, dict[str, str]]:
    """A port for operators for each of these on one machine, counted up from the first; none if that is 0."""
    return {name: {"WEIR_OPS_PORT": str(first + number if first else 0)} for number, name in enumerate(names)}


def _sandbox(base: Settings) -> dict[str, object]:
    quickbooks = base.sandbox_quickbooks_port or embedded.free_port()
    qonto = base.sandbox_qonto_port or embedded.free_port()
    books, bank = f"http://127.0.0.1:{quickbooks}", f"http://127.0.0.1:{qonto}"
    return {
        **SANDBOX_APPS,
        "sandbox_quickbooks_port": quickbooks,
        "sandbox_qonto_port": qonto,
        "quickbooks_api_url": books,
        "quickbooks_authorize_url": f"{books}/connect/oauth2",
        "quickbooks_token_url": f"{books}/oauth2/v1/tokens/bearer",
        "quickbooks_revoke_url": f"{books}/v2/oauth2/tokens/revoke",
        "qonto_api_url": bank,
        "qonto_oauth_url": bank,
    }


def _master_key(path: Path) -> str:
    """One machine keeps its key in a file only its user can read; everybody else sets WEIR_MASTER_KEY."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(base64.b64encode(os.urandom(32)).decode())
    except FileExistsError:
        pass  # made at an earlier start
    return path.read_text().strip()


def _variables(path: Path, settings: Settings, console: str) -> Path:
    """What a shell sources to reach this broker and its console (`set -a; . FILE`); readable for its user only."""
    path.touch(mode=0o600)
    token = settings.nats_token.get_secret_value() if settings.nats_token else ""
    lines = {
        "WEIR_NATS_URL": settings.broker_url(),
        "WEIR_NATS_TOKEN": token,
        "WEIR_NATS_SEED_FILE": str(settings.nats_seed_file or ""),
        "WEIR_NATS_CA": str(settings.nats_ca or ""),
        "WEIR_REGION": settings.region,
        "WEIR_CONSOLE_URL": console,
    }
    path.write_text("".join(f"{name}={value}\n" for name, value in lines.items() if value))
    return path


async def _answers(url: str) -> None:
    with anyio.move_on_after(READY_WITHIN):
        async with httpx.AsyncClient(timeout=2.0, trust_env=False) as http:
            while True:
                try:
                    if (await http.get(url)).status_code == 200:
                        return
                except httpx.TransportError:
                    await anyio.sleep(0.05)
    raise UserError("the sandbox did not start; see its log")


async def _ready(bus: Bus, service: str, instances: int) -> None:
    """Wait until so many instances of a service say that they are ready."""
    with anyio.move_on_after(READY_WITHIN):
        while True:
            seen = 0
            inbox = bus.client.new_inbox()
            answers = await bus.client.subscribe(inbox)
            await bus.client.publish(subjects.ready(bus.region, service), b"", reply=inbox)
            try:
                while seen < instances:
                    answer = await answers.next_msg(timeout=0.3)
                    seen += b'"ready":true' in answer.data
                return
            except nats.errors.TimeoutError:
                continue
            finally:
                await answers.unsubscribe()
    raise UserError(f"{service} did not become ready within {READY_WITHIN:g} s; see its log")
