"""`weir certificates`: what it makes, a broker and its clients speak TLS 1.3 with, and nobody else."""

import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from nats import connect
from nats.errors import NoServersError

from common import embedded
from common.errors import UserError
from services.cli.certificates import certificates


@contextmanager
def broker(directory: Path) -> Iterator[int]:
    """A nats-server that speaks TLS with the certificate in a directory; its port."""
    port = embedded.free_port()
    config = directory / "nats.conf"
    config.write_text(
        f"listen: 127.0.0.1:{port}\n"
        f'tls {{ cert_file: "{directory}/tls.crt", key_file: "{directory}/tls.key", min_version: "1.3" }}\n'
    )
    log = directory / "nats.log"
    process = subprocess.Popen([str(embedded.binary()), "-c", str(config), "-l", str(log)])
    try:
        until = time.monotonic() + 15
        while not log.exists() or "Server is ready" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, "the broker did not start"
            time.sleep(0.02)
        yield port
    finally:
        process.kill()
        process.wait(10)


def trusting(ca: Path) -> ssl.SSLContext:
    """A client's side that trusts one authority."""
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


async def reach(port: int, ca: Path, host: str = "127.0.0.1") -> str:
    """The protocol that is spoken with the broker."""
    client = await connect(f"tls://{host}:{port}", tls=trusting(ca), allow_reconnect=False, max_reconnect_attempts=0)
    transport: Any = client._transport
    spoken = transport._io_writer.get_extra_info("ssl_object").version()
    await client.close()
    return str(spoken)


async def test_a_broker_is_known_by_it(tmp_path: Path) -> None:
    ours, other = tmp_path / "ours", tmp_path / "other"
    certificates(ours, name=["127.0.0.1", "nats"])
    certificates(other, name=["127.0.0.1"])
    with broker(ours) as port:
        assert await reach(port, ours / "ca.crt") == "TLSv1.3"
        with pytest.raises((NoServersError, ssl.SSLError)):
            await reach(port, other / "ca.crt")
        with pytest.raises((NoServersError, ssl.SSLError)):
            await reach(port, ours / "ca.crt", host="localhost")  # a name it was not made for


def test_again_renews_the_certificate_and_keeps_the_authority(tmp_path: Path) -> None:
    certificates(tmp_path, name=["nats"])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    certificates(tmp_path, name=["nats"], days=30)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(after) == {"ca.crt", "ca.key", "tls.crt", "tls.key"}
    assert {name for name in after if after[name] != before[name]} == {"tls.crt", "tls.key"}
    assert {path.name for path in tmp_path.iterdir() if path.stat().st_mode & 0o077 == 0} == {"ca.key", "tls.key"}


def test_half_an_authority_is_said_and_kept(tmp_path: Path) -> None:
    certificates(tmp_path, name=["nats"])
    (tmp_path / "ca.key").unlink()
    with pytest.raises(UserError, match=r"ca\.key is missing"):
        certificates(tmp_path, name=["nats"])
    assert not (tmp_path / "ca.key").exists()


def test_the_key_of_another_authority_is_said(tmp_path: Path) -> None:
    certificates(tmp_path / "one", name=["nats"])
    certificates(tmp_path / "two", name=["nats"])
    (tmp_path / "one/ca.key").write_bytes((tmp_path / "two/ca.key").read_bytes())
    with pytest.raises(UserError, match=r"is not the key of ca\.crt"):
        certificates(tmp_path / "one", name=["nats"])


@pytest.mark.parametrize("days", [0, -1, 100_000])
def test_a_time_that_is_none(days: int, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--days"):
        certificates(tmp_path, name=["nats"], days=days)
