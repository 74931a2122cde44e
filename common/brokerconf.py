"""What a nats-server is told of who may do what: its configuration, made from the keys and the table of rights.

Each region is an account of its own, so what one asks the broker for can never arrive in another. So is each
workspace's reviewers: where the broker puts what a consumer delivers, or answers to, is not looked at by permissions,
only by accounts. Sections are those of "NATS Server configuration" and "Accounts" of the NATS documentation, 2.15.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common import rights
from common.keys import Keys
from common.topology import Topology

ACCOUNTS = "accounts.conf"
"""The file that the configuration of each server includes."""
_SYSTEM = "SYS"

_SERVER = """\
# One server of Weir's broker: `nats-server -c nats.conf`, 2.15 or later. Written by `weir broker-config`, then yours.
# Who may do what is in {accounts}, which `weir broker-config` writes anew each time.

server_name: "{name}"
listen: "{listen}"
max_payload: 8MB
{tls}
jetstream {{
  store_dir: "{store}"
  # Every acknowledged write is on disk: without it a power loss forgets up to two minutes of them.
  sync_interval: always
{encrypted}}}
{cluster}
include "{accounts}"
"""
_TLS = """
tls {{
  cert_file: "{cert}"
  key_file: "{key}"
  min_version: "1.3"
  # Clients begin with TLS instead of waiting for a greeting in clear.
  handshake_first: auto
}}
"""
_ENCRYPTED = """\
  # What is on disk cannot be read without this key: 32 random bytes or more, kept apart from the disk.
  key: $NATS_STORE_KEY
  cipher: aes
"""
_CLUSTER = """
cluster {{
  name: "{name}"
  listen: "{listen}"
  routes: {routes}
  tls {{
    cert_file: "{cert}"
    key_file: "{key}"
    ca_file: "{ca}"
    verify: true
    min_version: "1.3"
  }}
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Where a server finds its certificate, its key, and who signed those of its cluster."""

    cert: str = "/etc/nats/tls/tls.crt"
    key: str = "/etc/nats/tls/tls.key"
    ca: str = "/etc/nats/tls/ca.crt"


def account(region: str) -> str:
    """The account of a region."""
    return f"weir_{region}"


def reviewers_account(region: str, workspace: str) -> str:
    """The account of a workspace's reviewers."""
    return f"reviewers_{region}_{workspace}"


def server(
    *,
    name: str = "weir-1",
    listen: str = "0.0.0.0:4222",
    store: str = "/var/lib/nats",
    certificate: Certificate | None = None,
    encrypted: bool = True,
    cluster: str | None = None,
    routes: Sequence[str] = (),
) -> str:
    """The configuration of one server, apart from who may do what; without a certificate for loopback only."""
    files = certificate if certificate is not None else Certificate()
    about = {"cert": files.cert, "key": files.key, "ca": files.ca}
    whole = {"name": cluster, "listen": "0.0.0.0:6222", "routes": json.dumps([f"nats://{one}" for one in routes])}
    return _SERVER.format(
        name=name,
        listen=listen,
        store=store,
        tls=_TLS.format(**about) if certificate is not None else "",
        encrypted=_ENCRYPTED if encrypted else "",
        cluster=_CLUSTER.format(**whole, **about) if cluster is not None else "",
        accounts=ACCOUNTS,
    )


def accounts(keys: Keys) -> str:
    """Every account, user and permission for the regions and reviewers that have keys."""
    lines = ["# Who may do what on Weir's broker. Written by `weir broker-config`: changes are lost.", "accounts {"]
    for region in keys.regions():
        at = Topology(region)
        reviewers = keys.reviewers(region)
        lines += [f"  {account(region)} {{", "    jetstream: enabled", "    users: ["]
        for identity in rights.IDENTITIES:
            public = keys.public(keys.file(region, identity))
            lines += _user(public, rights.permissions(identity, at, reviewers), f"{region} {identity}")
        lines += ["    ]", "    exports: ["]
        for workspace in reviewers:
            to = json.dumps([reviewers_account(region, workspace)])
            lines += [f"      {{ {kind}: {json.dumps(one)}{how}, accounts: {to} }}"
                      for kind, one, how in _shared(at, workspace)]  # fmt: skip
        lines += ["    ]", "  }"]
        for workspace in reviewers:
            public = keys.public(keys.reviewer_file(region, workspace))
            lines += [f'  "{reviewers_account(region, workspace)}" {{', "    imports: ["]
            for kind, one, _ in _shared(at, workspace):
                source = f"{{ account: {account(region)}, subject: {json.dumps(one)} }}"
                lines.append(f"      {{ {kind}: {source} }}")
            lines += ["    ]", "    users: [", f"      {{ nkey: {public} }}", "    ]", "  }"]
    return "\n".join([*lines, f"  {_SYSTEM} {{}}", "}", f"system_account: {_SYSTEM}", ""])


def write(directory: Path, text: str, name: str = ACCOUNTS, *, secret: bool = False) -> Path:
    """Put a file in the place of what is there, in one step: a server, of whatever user, may read it at any time."""
    directory.mkdir(parents=True, exist_ok=True)
    path, fresh = directory / name, directory / f".{name}.new"
    fresh.touch(mode=0o600 if secret else 0o644)
    fresh.write_text(text)
    fresh.replace(path)
    return path


def _shared(at: Topology, workspace: str) -> Iterable[tuple[str, str, str]]:
    """What reviewers of a workspace get: live and past messages of its reviews, and a way to answer."""
    durable = at.reviewer(workspace)
    yield "stream", durable.subject, ""
    yield "service", f"{at.region}.review.resolved.{workspace}.>", ""
    yield "service", f"$JS.API.CONSUMER.MSG.NEXT.{durable.stream}.{durable.name}", ", response_type: stream"
    yield "service", f"$JS.ACK.{durable.stream}.{durable.name}.>", ""


def _user(public: str, may: rights.Permissions, who: str) -> list[str]:
    answers = f'\n        allow_responses: {{ max: 1, expires: "{may.answers}" }}' if may.answers is not None else ""
    return [
        f"      # {who}",
        f"      {{ nkey: {public}, permissions: {{",
        f"        publish: {{ allow: {json.dumps(may.publish)}, deny: {json.dumps(may.denied)} }}",
        f"        subscribe: {{ allow: {json.dumps(may.subscribe)} }}{answers}",
        "      } }",
    ]
