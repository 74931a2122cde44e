"""`weir setup`: the broker's streams and buckets, and a fresh master key."""

import base64
import os
from typing import Annotated

import anyio
from cyclopts import Parameter
from rich.console import Console

from common import topology
from common.settings import Settings, load
from services.cli.terminal import broker


def setup(
    *,
    new_key: Annotated[bool, Parameter(negative="", help="Print a new WEIR_MASTER_KEY and do nothing else.")] = False,
) -> None:
    """Create what is missing on the broker and upgrade what differs; nothing is ever deleted."""
    if new_key:
        Console(soft_wrap=True).print(base64.b64encode(os.urandom(32)).decode(), markup=False, highlight=False)
        return
    settings = load()
    changed = anyio.run(_ensure, settings)
    text = "\n".join(f"made or upgraded {name}" for name in changed) or "nothing to do: all is as it should be"
    Console().print(f"{text}\nregion {settings.region}: ready", highlight=False)


async def _ensure(settings: Settings) -> list[str]:
    async with broker(settings) as bus:
        return await topology.ensure(bus.js, bus.topology)
