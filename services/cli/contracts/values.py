"""What each bucket holds: the form of its keys, and the type of its values.

Types of one service are named by import path, since services import nothing of one another.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from services.cli.contracts.channels import TOPOLOGY


@dataclass(frozen=True)
class Value:
    """One kind of value in a bucket, or `several` of them by their ids; `{ws}` and the like stand for what varies."""

    bucket: str
    key: str
    where: str
    several: bool = False

    @property
    def name(self) -> str:
        """The name of its schema: the bucket's, and the kind where a bucket has several."""
        last = self.key.rsplit(".", maxsplit=1)[-1]
        if sum(one.bucket == self.bucket for one in VALUES) == 1:
            return self.bucket
        return f"{self.bucket}.{last.partition('-')[0].strip('{}')}"

    @property
    def type(self) -> Any:
        """Its type, loaded on demand."""
        module, _, name = self.where.partition(":")
        type_: Any = getattr(import_module(module), name)
        return dict[str, type_] if self.several else type_


VALUES = (
    Value("markers", "{ws}.{realm}.{entity}", "services.puller.marker:Marker"),
    Value("markers", "{ws}.{organization}.{list}", "services.poster.lists:Marker"),
    Value("markers", "{ws}.{organization}.accounts", "services.poster.mirror:Accounts"),
    Value("markers", "{ws}.{organization}.unread", "services.poster.unread:Watched", several=True),
    Value("markers", "{ws}.{organization}.compared-{kind}", "services.poster.comparison:Reached"),
    Value("omissions", "{ws}.{realm}.{bill}", "services.puller.files:Lacking"),
    Value("pulls", "{ws}", "common.messages:PullState"),
    Value("accounts", "{provider}.{account}", "common.messages:AccountClaim"),
    Value("idempotency", "{ws}.{realm}.bill.{bill}", "services.poster.ledger:Page"),
    Value("claims", "{ws}.{entry kind}-{entry}", "common.messages:Claim"),
    Value("connections", "{ws}.{provider}", "common.register:Connection"),
    Value("subscriptions", "{organization}", "services.poster.subscriptions:Subscription"),
    Value("vault", "proof", "common.vault:Sealed"),
    Value("authorizations", "{state}", "common.consent:Pending"),
    Value("policies", "{ws}", "common.messages:Policy"),
    Value("aliases", "{ws}.{realm}-{vendor}", "common.messages:Lessons"),
    Value("selfchecks", "{ws}", "common.messages:SelfCheck"),
    Value("surveys", "{ws}", "services.scorer.matching.books:Surveyed"),
    Value("workspaces", "{ws}", "common.messages:Workspace"),
    Value("people", "{name in base64url}", "common.people:Person"),
    Value("sessions", "{hash}", "services.console.sessions:Session"),
    Value("invitations", "{hash}", "common.invitations:Invitation"),
    Value("tokens", "{hash}", "common.tokens:Token"),
)
"""Every bucket but the leases, whose values mean nothing to anybody but their holder."""


def buckets() -> dict[str, str]:
    """The name of every bucket, without the region, and what it is for."""
    tail = f"_{TOPOLOGY.region}"
    return {
        str(one.name).removeprefix("KV_").removesuffix(tail): str(one.description)
        for one in TOPOLOGY.streams
        if str(one.name).startswith("KV_")
    }
