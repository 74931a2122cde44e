"""What the buckets say about workspaces, their connections and their pulls, without what is sealed in them."""

from datetime import datetime

import msgspec

from common import subjects
from common.buckets import Bucket
from common.bus import Bus
from common.messages import Provider, PullState, Workspace, now


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """Why a provider does not serve a connection for now, and what mends it."""

    why: str
    fix: str


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """The readable part of a connection; the sealed tokens beside it are never decoded here.

    `name` is what the provider calls the account.
    """

    workspace: str
    account: str
    state: str
    since: datetime
    name: str | None = None
    why: str | None = None
    paused: Pause | None = None
    refresh_expires_at: datetime | None = None
    hard_expires_at: datetime | None = None

    @property
    def label(self) -> str:
        """The account as people know it, and its id."""
        return f"{self.name} ({self.account})" if self.name else self.account

    @property
    def ends_at(self) -> datetime | None:
        """When the grant ends unless it is used before, or for good; None if the provider does not say."""
        ends = [end for end in (self.refresh_expires_at, self.hard_expires_at) if end is not None]
        return min(ends, default=None)


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """One workspace as people see it; a provider that was never connected is missing.

    `reads` are this calendar month's metered reads of QuickBooks (UTC).
    """

    workspace: str
    created_at: datetime | None = None
    connections: dict[Provider, Connection] = {}
    pull: PullState | None = None
    reads: int = 0

    def connected(self, provider: Provider) -> bool:
        """Whether this provider can be worked with now."""
        return provider in self.connections and self.connections[provider].state == "connected"

    @property
    def pulling(self) -> bool:
        """Whether the newest pull has not come to its end."""
        return self.pull is not None and (self.pull.finished_at is None or self.pull.finished_at < self.pull.began_at)

    def bound(self, provider: Provider) -> bool:
        """Whether an account of this provider belongs to the workspace until it is disconnected."""
        return provider in self.connections and self.connections[provider].state != "disconnected"


async def tenants(bus: Bus) -> list[Tenant]:
    """Every workspace that was pulled or connected, by name."""
    created = {kept.value.id: kept.value.created_at async for kept in Bucket(bus, "workspaces", Workspace).items()}
    pulls = {kept.key: kept.value async for kept in Bucket(bus, "pulls", PullState).items()}
    connected: dict[str, dict[Provider, Connection]] = {}
    async for kept in Bucket(bus, "connections", Connection).items():
        workspace, _, provider = kept.key.partition(".")
        match provider:
            case "quickbooks" | "qonto" as known:
                connected.setdefault(workspace, {})[known] = kept.value
    reads = await bus.counted(bus.topology.meters, subjects.meter(bus.region, "quickbooks", now(), "*"))
    return [
        Tenant(
            workspace=name,
            created_at=created.get(name),
            connections=connected.get(name, {}),
            pull=pulls.get(name),
            reads=reads.get(subjects.meter(bus.region, "quickbooks", now(), name), 0),
        )
        for name in sorted(created.keys() | connected.keys())
    ]


async def tenant(bus: Bus, workspace: str) -> Tenant:
    """One workspace; an empty Tenant if nobody ever connected it."""
    created = await Bucket(bus, "workspaces", Workspace).get(workspace)
    pull = await Bucket(bus, "pulls", PullState).get(workspace)
    bucket = Bucket(bus, "connections", Connection)
    providers: tuple[Provider, ...] = ("quickbooks", "qonto")
    kept = {provider: await bucket.get(f"{workspace}.{provider}") for provider in providers}
    meter = subjects.meter(bus.region, "quickbooks", now(), workspace)
    return Tenant(
        workspace=workspace,
        created_at=created.value.created_at if created else None,
        connections={provider: found.value for provider, found in kept.items() if found is not None},
        pull=pull.value if pull else None,
        reads=(await bus.counted(bus.topology.meters, meter)).get(meter, 0),
    )
