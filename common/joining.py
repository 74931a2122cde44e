"""How a process joins the broker: which address, whose key, over what, and what is said when it is not let in.

A key (nkey) is one identity of `common.rights`; a token may do everything and is for one machine. Off this machine the
broker is spoken to by TLS 1.3 from the first byte: a client that waited for the broker's greeting would believe
whoever says in clear that no TLS is wanted.
"""

import asyncio
import logging
import ssl
from collections import deque
from pathlib import Path
from typing import Any, get_args
from urllib.parse import ParseResult

import anyio
import nats
import nats.aio.client
import nats.errors
import nkeys
from faststream.nats.security import NatsNKey, NatsSecurity, NatsToken
from nats.aio.transport import TcpTransport

from common import rights
from common.errors import UserError
from common.settings import Settings, loopback, without_userinfo

FIRST_CONNECTION = 10.0
"""Seconds within which a broker has to answer for the first time."""
GOODBYE = 1.0
"""Seconds for the other side to answer the end of a connection."""
_SEED_BEGINS = "SU"
_REMEMBERED = 100


class Transport(TcpTransport):
    """The client library's transport, for brokers that end a connection without a goodbye.

    Over TLS an end that is not answered takes 30 seconds, which no option of asyncio or uvloop reaches here, and before
    it is over the library looks for no other broker. And a connection that a broker reset while it turned us away is
    dropped by the library; asyncio would then print the reset as an error that nobody heard.
    """

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:
        """Connect in clear."""
        await super().connect(uri, buffer_size, connect_timeout)
        self._hear_of_the_end()

    async def connect_tls(
        self, uri: str | ParseResult, ssl_context: ssl.SSLContext, buffer_size: int, connect_timeout: int
    ) -> None:
        """Go on in TLS."""
        await super().connect_tls(uri, ssl_context, buffer_size, connect_timeout)
        self._hear_of_the_end()

    async def wait_closed(self) -> None:
        """Return when the connection is closed, or cut it after GOODBYE seconds."""
        with anyio.move_on_after(GOODBYE) as patience:
            await super().wait_closed()  # type: ignore[no-untyped-call]
        if patience.cancelled_caught and self._io_writer is not None:
            self._io_writer.transport.abort()

    def _hear_of_the_end(self) -> None:
        writer: Any = self._io_writer
        # What `wait_closed` waits for has no public name.
        writer._protocol._get_close_waiter(writer).add_done_callback(_hear)  # noqa: SLF001


def _hear(ended: "asyncio.Future[None]") -> None:
    if not ended.cancelled():
        ended.exception()


nats.aio.client.TcpTransport = Transport  # type: ignore[attr-defined]  # the library takes it from here alone

logging.getLogger("asyncio").addFilter(lambda record: "eof_received" not in str(record.msg))
"""The client library's streams are told of TLS later than asyncio expects, which warns of it at every end."""


def identity(service: str) -> rights.Identity:
    """Whom a process of this name joins as: a service as itself, whatever a person runs as the operator."""
    return next((one for one in get_args(rights.Identity) if one == service), "operator")


def seed(settings: Settings) -> str | None:
    """The key to join with, None if a token or nothing is asked for; UserError if it is none or cannot be read."""
    if settings.nats_seed is not None:
        name, text = "WEIR_NATS_SEED", settings.nats_seed.get_secret_value()
    elif settings.nats_seed_file is not None:
        name, text = "WEIR_NATS_SEED_FILE", _read(settings.nats_seed_file)
    else:
        return None
    found = text.strip()
    try:
        nkeys.from_seed(bytearray(found.encode()))
    except (nkeys.NkeysError, ValueError):
        found = ""
    if not found.startswith(_SEED_BEGINS):
        raise UserError(f"{name}: is no seed of a user's key (SU…); `weir broker-config` makes one for each service")
    return found


def context(settings: Settings) -> ssl.SSLContext | None:
    """What the broker is spoken to through; None where it is this machine and does not ask for TLS."""
    urls = settings.broker_url().split(",")
    if settings.nats_ca is None and all(loopback(url) and not _secure(url) for url in urls):
        return None
    if bad := next((url for url in urls if not _secure(url)), None):
        raise UserError(
            f"WEIR_NATS_URL {without_userinfo(bad.strip())}: off this machine the broker is reached by TLS only; "
            "write tls://host:4222"
        )
    try:
        made = ssl.create_default_context(cafile=settings.nats_ca)
    except (OSError, ssl.SSLError) as error:
        raise UserError(f"WEIR_NATS_CA {settings.nats_ca}: cannot be used ({error})") from None
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    return made


def security(settings: Settings) -> NatsSecurity:
    """Key or token, and TLS, as FastStream takes them."""
    tls = context(settings)
    about: dict[str, Any] = {"ssl_context": tls, "tls_handshake_first": tls is not None}
    if (key := seed(settings)) is not None:
        return NatsNKey.from_seed(key, **about)
    if settings.nats_token is not None:
        return NatsToken(settings.nats_token.get_secret_value(), **about)
    return NatsSecurity(**about)


async def check_reachable(settings: Settings, whom: rights.Identity) -> None:
    """Return if the broker lets us in as `whom` within ten seconds; else UserError naming the setting and the fix."""
    why = "no answer"
    tls, key = context(settings), seed(settings)
    token = settings.nats_token.get_secret_value() if settings.nats_token is not None and key is None else None

    async def remember(error: Exception) -> None:
        nonlocal why
        why = str(error) or type(error).__name__

    with anyio.move_on_after(FIRST_CONNECTION):
        while "authorization" not in why.lower() and "certificate" not in why.lower():
            try:
                client = await nats.connect(
                    settings.broker_url().split(","),
                    token=token,
                    nkeys_seed_str=key,
                    tls=tls,
                    tls_handshake_first=tls is not None,
                    allow_reconnect=False,
                    connect_timeout=2,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    error_cb=remember,
                )
                try:
                    if key is not None:
                        # Only its own identity may listen there: with another's key nothing would ever be answered.
                        await client.subscribe(f"{rights.inbox(whom)}.joining")
                        await client.flush()
                        await client.flush()  # the first answer may overtake what was asked
                finally:
                    await client.close()
                if "permissions violation" in why.lower():
                    raise UserError(
                        f"WEIR_NATS_SEED_FILE: the key is another service's; needed is that of the {whom} of region "
                        f"{settings.region} ({settings.region}-{whom}.seed, where `weir broker-config` wrote)"
                    )
                return
            except (OSError, nats.errors.Error) as error:
                await remember(error)
                await anyio.sleep(0.25)
    raise UserError(
        f"WEIR_NATS_URL: the broker at {without_userinfo(settings.broker_url())} cannot be used ({why}); "
        "check the address and WEIR_NATS_SEED_FILE or WEIR_NATS_TOKEN, or start all on one machine with `weir up`"
    )


class Denials:
    """What the broker refused to let this process do; it says so beside the request, which nobody answers then."""

    def __init__(self) -> None:
        self._subjects: deque[str] = deque(maxlen=_REMEMBERED)

    def heard(self, error: Exception) -> str | None:
        """The subject of a refusal, None if the error is none: `permissions violation for publish to "a.b"`."""
        what = str(error)
        if "permissions violation" not in what.lower():
            return None
        subject = what.partition('"')[2].partition('"')[0] or what
        self._subjects.append(subject.lower())  # as the client library hands some of it over
        return subject

    def __contains__(self, subject: str) -> bool:
        return subject.lower() in self._subjects


def _secure(url: str) -> bool:
    return url.strip().startswith(("tls://", "wss://"))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise UserError(f"WEIR_NATS_SEED_FILE {path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UserError(f"WEIR_NATS_SEED_FILE {path}: is no text") from None
