"""Somebody subscribes and does not read: the broker lets go of them, and nobody else waits or loses anything."""

import socket
from contextlib import suppress
from urllib.parse import urlsplit

import anyio
import msgspec
from nats.aio.msg import Msg

from common.bus import Bus
from common.settings import Settings
from tests.conftest import RunningBroker

SIZE = 1 << 20
"""Bytes of a message; the broker keeps 64 MB for one that does not read, and then lets go."""


def deaf(broker: RunningBroker, subject: str) -> socket.socket:
    """A client that subscribes and never reads what comes."""
    at = urlsplit(broker.url)
    found = socket.create_connection((at.hostname, at.port))
    about = msgspec.json.encode({"verbose": False, "pedantic": False, "auth_token": broker.token, "name": "deaf"})
    found.recv(4096)
    found.sendall(b"CONNECT " + about + b"\r\nSUB " + subject.encode() + b" 1\r\nPING\r\n")
    return found


async def test_who_does_not_read_holds_up_nobody(bus: Bus, settings: Settings, broker: RunningBroker) -> None:
    stream, subject = bus.topology.notices, f"{bus.region}.notice.fictional"
    reader = Bus(settings, "reader")
    await reader.connect()
    heard: list[int] = []

    async def hear(message: Msg) -> None:
        heard.append(len(message.data))

    await reader.client.subscribe(f"{bus.region}.>", cb=hear)
    await reader.client.flush()
    with await anyio.to_thread.run_sync(deaf, broker, f"{bus.region}.>") as slow:
        for number in range(80):
            assert await bus.publish(subject, "x" * SIZE, stream=stream) == number + 1
        with anyio.fail_after(20):
            while len(heard) < 80:
                await anyio.sleep(0.01)

        def rest() -> None:
            slow.settimeout(15)
            while slow.recv(1 << 20):
                pass

        with suppress(ConnectionResetError):
            await anyio.to_thread.run_sync(rest)  # ends, for the broker let go
    assert (await bus.js.stream_info(stream)).state.messages == 80
    await reader.close()
