"""`weir reviewers`: outsiders who see and answer the reviews of one workspace through any NATS client."""

from pathlib import Path
from typing import Annotated

import anyio
import nats.js.errors
from cyclopts import App, Parameter

from common import brokerconf, topology
from common.errors import UserError
from common.keys import Keys
from common.settings import Settings, load
from services.cli.brokerconfig import KEYS
from services.cli.terminal import broker, known, named, say

reviewers = App(name="reviewers", help="Outsiders who answer the reviews of one workspace.")

_Workspace = Annotated[str, Parameter(help="The workspace whose reviews they see.")]
_Directory = Annotated[
    Path | None, Parameter(help="Where `weir broker-config` wrote; that of `weir up` if none is named.")
]
_RELOAD = "have the broker read it: `nats-server --signal reload`, or start `weir up` anew"
_TWICE = f"{_RELOAD}; reload twice, since nats-server takes what a new account imports at the second time"


@reviewers.command(name="ls")
def ls(*, directory: _Directory = None) -> None:
    """List the workspaces that have reviewers."""
    settings = load()
    found = _keys(settings, directory).reviewers(settings.region)
    say("\n".join(found) or "nobody yet; `weir reviewers add` makes the first key")


@reviewers.command
def add(workspace: _Workspace, *, directory: _Directory = None) -> None:
    """Make a key for the reviewers of WORKSPACE, and what they read its reviews through; one that exists stays."""
    settings, workspace = load(), named(workspace)
    keys = _keys(settings, directory)
    anyio.run(_make, settings, workspace)
    path = keys.make_reviewer(settings.region, workspace)
    written = brokerconf.write(keys.directory.parent, brokerconf.accounts(keys))
    say(f"{path}: the key of the reviewers of {workspace}; hand it over privately")
    say(f"{written}: what it may do; {_TWICE}")


@reviewers.command
def remove(workspace: _Workspace, *, directory: _Directory = None) -> None:
    """Take the key of the reviewers of WORKSPACE away, and where they were in its reviews."""
    settings, workspace = load(), named(workspace)
    keys = _keys(settings, directory)
    if not keys.forget_reviewer(settings.region, workspace):
        raise UserError(f"{workspace} has no reviewers here; `weir reviewers ls` lists those there are")
    written = brokerconf.write(keys.directory.parent, brokerconf.accounts(keys))
    anyio.run(_forget, settings, workspace)
    say(f"{written}: the key is gone; {_RELOAD}")


async def _make(settings: Settings, workspace: str) -> None:
    async with broker(settings) as bus:
        await known(bus, workspace)
        await topology.ensure_reviewer(bus.js, bus.topology, workspace)


async def _forget(settings: Settings, workspace: str) -> None:
    async with broker(settings) as bus:
        consumer = bus.topology.reviewer(workspace)
        try:
            await bus.js.delete_consumer(consumer.stream, consumer.name)
        except nats.js.errors.NotFoundError:
            return


def _keys(settings: Settings, directory: Path | None) -> Keys:
    """The keys below a directory; UserError if the region has none there."""
    place = directory if directory is not None else settings.data_dir / "broker"
    keys = Keys(place / KEYS)
    if settings.region not in keys.regions():
        raise UserError(
            f"--directory {place}: there are no keys of region {settings.region}; name where `weir broker-config` wrote"
        )
    return keys
