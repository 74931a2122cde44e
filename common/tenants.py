"""What the buckets say about workspaces, their connections and their pulls, without what is sealed in them."""

from datetime import datetime

import msgspec

from common import standing, subjects
from common.buckets import Bucket
from common.bus import Bus
from common.messages import NAMES, Provider, PullState, Workspace, now, said
from common.standing import Connection, Pause, Standing

__all__ = ["Connection", "Pause", "Standing", "Tenant", "metered", "names", "tenant", "tenants"]


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """One workspace as people see it; a provider that was never connected is missing.

    `reads` are this calendar month's metered reads of QuickBooks (UTC).
    """

    workspace: str
    created_at: datetime | None = None
    connections: dict[Provider, Connection] = {}
    pull: PullState | None = None
    reads: int = 0

    @property
    def known(self) -> bool:
        """Whether it was ever connected or pulled."""
        return self.created_at is not None or bool(self.connections)

    def connected(self, provider: Provider) -> bool:
        """Whether this provider can be worked with now."""
        return provider in self.connections and self.connections[provider].state == "connected"

    def bound(self, provider: Provider) -> bool:
        """Whether an account of this provider belongs to the workspace until it is disconnected."""
        return provider in self.connections and self.connections[provider].state != "disconnected"

    def standing(self, provider: Provider) -> Standing:
        """How the connection to a provider stands, for people."""
        return standing.of_connection(provider, self.connections.get(provider))

    @property
    def pull_standing(self) -> Standing | None:
        """How pulling stands, for people; None where there was nothing to pull yet."""
        name, company = NAMES["quickbooks"], self.connections.get("quickbooks")
        if company is None:
            return None
        pull = self._pull_of_company
        last = f"; last read {said(pull.finished_at)}" if pull and pull.finished_at else ""
        # The next step is that of the connection.
        if company.state != "connected":
            how = "disconnected" if company.state == "disconnected" else "to be reconnected"
            return Standing("stopped", f"{name} is {how}{last}")
        if pull is not None and pull.waits_for == "quickbooks" and company.paused is not None:
            return Standing("waits", f"{name} is paused{last}")
        if pull is None:
            return Standing("waits", "no pull has begun yet", "see that `weir puller` runs if this lasts")
        return standing.of_pull(pull)

    @property
    def left_out(self) -> str | None:
        """What the last whole pull had to leave out, and how that is mended; None if nothing."""
        pull = self._pull_of_company
        return None if pull is None else standing.left_out(pull)

    @property
    def _pull_of_company(self) -> PullState | None:
        company = self.connections.get("quickbooks")
        return self.pull if self.pull and company and self.pull.realm == company.account else None


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


async def names(bus: Bus) -> list[str]:
    """Every workspace that was pulled or connected, in order; nothing but the name is read of each."""
    found: set[str] = set()
    for bucket in ("workspaces", "connections"):
        prefix = f"$KV.{bus.topology.bucket(bucket)}."
        subjects_ = await bus.subjects(f"KV_{bus.topology.bucket(bucket)}", f"{prefix}>")
        found.update(subject.removeprefix(prefix).partition(".")[0] for subject in subjects_)
    return sorted(found)


async def tenant(bus: Bus, workspace: str) -> Tenant:
    """One workspace; an empty Tenant if nobody ever connected it."""
    created = await Bucket(bus, "workspaces", Workspace).get(workspace)
    pull = await Bucket(bus, "pulls", PullState).get(workspace)
    bucket = Bucket(bus, "connections", Connection)
    kept = {provider: await bucket.get(f"{workspace}.{provider}") for provider in NAMES}
    return Tenant(
        workspace=workspace,
        created_at=created.value.created_at if created else None,
        connections={provider: found.value for provider, found in kept.items() if found is not None},
        pull=pull.value if pull else None,
        reads=await _count(bus, subjects.meter(bus.region, "quickbooks", now(), workspace)),
    )


async def metered(bus: Bus) -> int:
    """This calendar month's metered reads of QuickBooks, of all workspaces together (UTC)."""
    return await _count(bus, subjects.metered(bus.region, "quickbooks", now()))


async def _count(bus: Bus, subject: str) -> int:
    return (await bus.counted(bus.topology.meters, subject)).get(subject, 0)
