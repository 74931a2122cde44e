"""Three nats-servers as one cluster: each can be killed, started again and, as root, cut off from all the rest.

As root every server has a network namespace of its own on one bridge, so that a partition is what it is in life: not a
word gets through any more, and nobody says so. Others share the loopback interface, and nothing can be cut.
"""

import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import httpx

from common import embedded
from services.cli.certificates import certificates

IP = shutil.which("ip") or ""
NODES = ("n1", "n2", "n3")
CLIENTS, ROUTES, MONITOR = 4222, 6222, 8222
HEALTHY_WITHIN = 60.0
"""Seconds in which a server that comes back has caught up with the others."""

_CONFIG = """\
server_name: {name}
listen: {host}:{clients}
http: {host}:{monitor}
server_tags: ["az:{name}"]
authorization {{ token: "{token}" }}
max_payload: 8MB
tls {{ cert_file: "{tls}/tls.crt", key_file: "{tls}/tls.key", min_version: "1.3", handshake_first: auto }}
jetstream {{
  store_dir: "{store}"
  sync_interval: always
  unique_tag: "az:"
}}
cluster {{
  name: weir
  listen: {host}:{routes}
  routes: [{peers}]
}}
"""


def can_cut() -> bool:
    """Whether network namespaces can be made here."""
    return os.geteuid() == 0 and bool(IP)


_NUMBERS = count()
"""Tell clusters of one process apart."""


@dataclass
class Node:
    """One server, whichever incarnation of it is running."""

    name: str
    host: str
    clients: int
    routes: int
    monitor: int
    launch: list[str] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"tls://{self.host}:{self.clients}"


class Cluster:
    """Three servers; all of them run when it is handed out."""

    def __init__(self, directory: Path, nodes: list[Node], bridge: str | None) -> None:
        self.token = secrets.token_hex(8)
        self.nodes = {node.name: node for node in nodes}
        self._directory = directory
        self._bridge = bridge
        certificates(directory, name=list(dict.fromkeys(node.host for node in nodes)))
        peers = ", ".join(f"nats-route://{node.host}:{node.routes}" for node in nodes)
        for node in nodes:
            text = _CONFIG.format(
                name=node.name, host=node.host, clients=node.clients, routes=node.routes, monitor=node.monitor,
                token=self.token, store=directory / node.name, peers=peers, tls=directory,
            )  # fmt: skip
            (directory / f"{node.name}.conf").write_text(text)

    @property
    def url(self) -> str:
        """Every server, as clients name them."""
        return ",".join(node.url for node in self.nodes.values())

    @property
    def settings(self) -> dict[str, Any]:
        """What a service has to know to join, as settings."""
        return {"nats_url": self.url, "nats_token": self.token, "nats_ca": self._directory / "ca.crt", "replicas": 3}

    def start(self, name: str) -> None:
        """Start a server, or start it again on what it kept."""
        node = self.nodes[name]
        with (self._directory / f"{name}.log").open("ab") as log:
            command = [*node.launch, str(embedded.binary()), "-c", str(self._directory / f"{name}.conf")]
            node.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self, name: str) -> None:
        """End a server by kill -9."""
        process = self.nodes[name].process
        assert process is not None
        process.send_signal(signal.SIGKILL)  # `ip netns exec` has become the server
        process.wait(10)

    def cut(self, name: str) -> None:
        """From now on nothing reaches the server and it reaches nobody; connections stay open and fall silent."""
        _ip("link", "set", f"{self._bridge}{name}", "nomaster")

    def mend(self, name: str) -> None:
        """Let it hear the others again."""
        _ip("link", "set", f"{self._bridge}{name}", "master", str(self._bridge))

    async def healthy(self, *names: str) -> None:
        """Wait until these servers, by default all, are there and hold what the others hold."""
        async with httpx.AsyncClient(timeout=2.0, trust_env=False) as http:
            with anyio.fail_after(HEALTHY_WITHIN):
                for name in names or NODES:
                    node = self.nodes[name]
                    while not await _is_healthy(http, f"http://{node.host}:{node.monitor}/healthz"):
                        await anyio.sleep(0.1)

    async def clients(self, name: str) -> list[str]:
        """The names of the clients that are connected to a server."""
        node = self.nodes[name]
        async with httpx.AsyncClient(timeout=2.0, trust_env=False) as http:
            told = (await http.get(f"http://{node.host}:{node.monitor}/connz")).json()
        return [one.get("name", "") for one in told["connections"]]


async def _is_healthy(http: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await http.get(url)).status_code == 200
    except httpx.TransportError:
        return False


def _ip(*words: str) -> None:
    subprocess.run([IP, *words], check=True, capture_output=True)


@contextmanager
def cluster(directory: Path) -> Iterator[Cluster]:
    """Run three servers with their stores below `directory` until the block ends."""
    with _spaces() if can_cut() else _loopback() as (nodes, bridge):
        found = Cluster(directory, nodes, bridge)
        try:
            for name in found.nodes:
                found.start(name)
            yield found
        finally:
            for node in nodes:
                if node.process is not None and node.process.poll() is None:
                    found.kill(node.name)


@contextmanager
def _loopback() -> Iterator[tuple[list[Node], None]]:
    ports = iter([embedded.free_port() for _ in range(3 * len(NODES))])
    yield [Node(name, "127.0.0.1", next(ports), next(ports), next(ports)) for name in NODES], None


@contextmanager
def _spaces() -> Iterator[tuple[list[Node], str]]:
    """A bridge of our own and a namespace for each server on it; gone with the block, whatever happens in it."""
    # The kernel lets go of the last one's links a little after their end, so each has names of its own.
    bridge = f"wr{os.getpid() % 100_000}x{next(_NUMBERS)}"
    net = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}"
    made: list[str] = []
    try:
        _ip("link", "add", bridge, "type", "bridge")
        _ip("addr", "add", f"{net}.1/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        nodes: list[Node] = []
        for number, name in enumerate(NODES, start=11):
            space, outside = f"{bridge}{name}", f"{bridge}{name}"
            _ip("netns", "add", space)
            made.append(space)
            _ip("link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("link", "set", outside, "master", bridge, "up")
            _ip("-n", space, "addr", "add", f"{net}.{number}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")
            launch = [IP, "netns", "exec", space]
            nodes.append(Node(name, f"{net}.{number}", CLIENTS, ROUTES, MONITOR, launch))
        yield nodes, bridge
    finally:
        for space in made:
            subprocess.run([IP, "netns", "del", space], check=False, capture_output=True)
        subprocess.run([IP, "link", "del", bridge], check=False, capture_output=True)
