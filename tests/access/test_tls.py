"""Off this machine the broker is spoken to by TLS 1.3, to the host that was meant, or not at all."""

import datetime
import ipaddress
import signal
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import nats
import nats.errors
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from common import brokerconf, embedded, joining
from common.bus import Bus
from common.errors import UserError
from common.keys import Keys
from common.settings import Settings, load
from tests.access.conftest import serve


def issued(directory: Path, name: str) -> tuple[Path, Path]:
    """A certificate of its own for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"fictional {name}")])
    at = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - datetime.timedelta(hours=1))
        .not_valid_after(at + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert, private = directory / f"{name}.crt", directory / f"{name}.key"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return cert, private


@dataclass(frozen=True)
class Secure:
    """A broker with TLS: how to join it, a CA that did not sign its certificate, and the process."""

    settings: Settings
    wrong: Path
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """A broker with TLS."""
    directory = tmp_path_factory.mktemp("tls")
    cert, private = issued(directory, "broker")
    wrong, _ = issued(directory, "other")
    keys, port = Keys(directory / "keys"), embedded.free_port()
    keys.make("eu")
    files = brokerconf.Certificate(cert=str(cert), key=str(private), ca=str(cert))
    config = brokerconf.server(listen=f"127.0.0.1:{port}", store=str(directory / "store"), certificate=files)
    process = serve(directory, config, keys)
    settings = load(
        nats_url=f"tls://127.0.0.1:{port}", nats_ca=cert, nats_seed_file=keys.file("eu", "monitor"), region="eu"
    )
    yield Secure(settings, wrong, process)
    process.kill()
    process.wait(10)


async def test_a_service_joins_by_tls(secure: Secure) -> None:
    bus = Bus(secure.settings, "monitor")
    await bus.connect()
    assert bus.client.connected_url is not None
    await bus.close()


async def test_a_broker_that_fell_silent_is_left_without_a_goodbye(
    secure: Secure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.bus.PING_EVERY", 0.2)
    bus = Bus(secure.settings, "monitor")
    await bus.connect()
    secure.process.send_signal(signal.SIGSTOP)
    try:
        with anyio.fail_after(15), capture_logs() as said:  # by itself TLS waits 30 s for the other side's goodbye
            while not any(one["event"] == "broker.disconnected" for one in said):
                await anyio.sleep(0.05)
    finally:
        secure.process.send_signal(signal.SIGCONT)
    with anyio.fail_after(15):
        while not bus.client.is_connected:
            await anyio.sleep(0.05)
    await bus.close()


async def test_a_broker_that_somebody_else_vouches_for_is_refused(secure: Secure) -> None:
    with pytest.raises(UserError, match="certificate verify failed"):
        await Bus(secure.settings.model_copy(update={"nats_ca": secure.wrong}), "monitor").connect()


async def test_a_broker_at_another_name_is_refused(secure: Secure) -> None:
    url = secure.settings.broker_url().replace("127.0.0.1", "localhost")
    with pytest.raises(UserError, match="certificate verify failed"):
        await Bus(secure.settings.model_copy(update={"nats_url": url}), "monitor").connect()


async def test_older_tls_is_refused(secure: Secure) -> None:
    settings = secure.settings
    old = ssl.create_default_context(cafile=settings.nats_ca)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, nats.errors.Error), match=r"(?i)protocol version|tls"):
        await nats.connect(settings.broker_url(), tls=old, tls_handshake_first=True, allow_reconnect=False)


@pytest.mark.parametrize("url", ["nats://broker.fictional.example:4222", "tls://a.example:1,nats://b.example:1"])
def test_off_this_machine_nothing_is_said_in_clear(url: str) -> None:
    with pytest.raises(UserError, match="reached by TLS only"):
        joining.context(load(nats_url=url))


def test_on_this_machine_it_may_be(tmp_path: Path) -> None:
    assert joining.context(load(nats_url="nats://127.0.0.1:4222")) is None
    made = joining.context(load(nats_url="tls://127.0.0.1:4222"))
    assert made is not None
    assert (made.minimum_version, made.check_hostname) == (ssl.TLSVersion.TLSv1_3, True)
    with pytest.raises(UserError, match="WEIR_NATS_CA"):
        joining.context(load(nats_url="tls://127.0.0.1:4222", nats_ca=tmp_path / "none"))


@pytest.mark.parametrize("seed", ["nothing", "SUAB", "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4", ""])
def test_what_is_no_key_is_named(seed: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"WEIR_NATS_SEED: is no seed") as raised:
        joining.seed(load(nats_seed=seed))
    assert not seed or seed not in str(raised.value)
    (tmp_path / "x.seed").write_text(seed)
    with pytest.raises(UserError, match="WEIR_NATS_SEED_FILE"):
        joining.seed(load(nats_seed_file=tmp_path / "x.seed"))
    with pytest.raises(UserError, match="cannot be read"):
        joining.seed(load(nats_seed_file=tmp_path / "y.seed"))
