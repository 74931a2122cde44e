"""What the buckets say about workspaces and their connections, without what is sealed in them."""

from datetime import datetime

import msgspec

from common.buckets import Bucket
from common.bus import Bus
from common.messages import Provider, Workspace


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """The readable part of a connection; the sealed tokens beside it are never decoded here."""

    workspace: str
    account: str
    state: str
    since: datetime
    why: str | None = None


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """One workspace as the console lists it; a provider that was never connected is missing."""

    workspace: str
    created_at: datetime | None = None
    connections: dict[Provider, Connection] = {}

    def connected(self, provider: Provider) -> bool:
        """Whether this provider can be worked with now."""
        return provider in self.connections and self.connections[provider].state == "connected"


async def tenants(bus: Bus) -> list[Tenant]:
    """Every workspace that was pulled or connected, by name."""
    created = {kept.value.id: kept.value.created_at async for kept in Bucket(bus, "workspaces", Workspace).items()}
    connected: dict[str, dict[Provider, Connection]] = {}
    async for kept in Bucket(bus, "connections", Connection).items():
        workspace, _, provider = kept.key.partition(".")
        match provider:
            case "quickbooks" | "qonto" as known:
                connected.setdefault(workspace, {})[known] = kept.value
    return [
        Tenant(workspace=name, created_at=created.get(name), connections=connected.get(name, {}))
        for name in sorted(created.keys() | connected.keys())
    ]
