"""`weir broker-config` and `weir reviewers`, and a broker that reads anew what they wrote."""

import signal
from collections.abc import Callable
from pathlib import Path

import anyio
import nats
import nats.errors
import pytest

from common import brokerconf
from common.buckets import Bucket
from common.errors import UserError
from common.keys import Keys
from common.messages import Workspace, now
from common.rights import IDENTITIES
from services.cli.app import app
from tests.access.conftest import Guarded

Say = Callable[..., str]
NEW = "fictional-sluice"


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], guarded: Guarded) -> Say:
    """What `weir` answers to the operator of the guarded broker."""
    monkeypatch.setenv("WEIR_NATS_URL", guarded.url)
    monkeypatch.setenv("WEIR_NATS_SEED_FILE", str(guarded.keys.file("eu", "operator")))

    def say(*arguments: str) -> str:
        capsys.readouterr()
        app(list(arguments))
        return capsys.readouterr().out

    return say


def test_keys_are_made_once_and_never_shown(said: Say, tmp_path: Path) -> None:
    told = said("broker-config", str(tmp_path), "--region", "eu", "--tls", "/fictional/tls")
    keys = Keys(tmp_path / "keys")
    seeds = {path.name: path.read_text() for path in keys.directory.iterdir()}
    assert len(seeds) == len(IDENTITIES)
    assert {path.stat().st_mode & 0o777 for path in keys.directory.iterdir()} == {0o600}
    assert keys.directory.stat().st_mode & 0o077 == 0
    config = (tmp_path / "nats.conf").read_text()
    assert '"/fictional/tls/tls.key"' in config
    (tmp_path / "nats.conf").write_text(config + "# ours\n")

    told += said("broker-config", str(tmp_path), "--region", "us")
    assert {name: path.read_text() for name in seeds if (path := keys.directory / name).exists()} == seeds
    assert (tmp_path / "nats.conf").read_text().endswith("# ours\n")
    written = (tmp_path / brokerconf.ACCOUNTS).read_text()
    assert "weir_eu {" in written
    assert "weir_us {" in written
    assert keys.regions() == ["eu", "us"]
    for seed in seeds.values():
        assert seed.strip() not in told + written


def test_what_cannot_be_is_named(said: Say, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--region: region: 'EU!'"):
        said("broker-config", str(tmp_path), "--region", "EU!")
    with pytest.raises(UserError, match="--cluster and --route"):
        said("broker-config", str(tmp_path), "--cluster", "weir")
    with pytest.raises(UserError, match="there are no keys of region eu"):
        said("reviewers", "ls", "--directory", str(tmp_path))
    Keys(tmp_path / "keys").make("eu")
    Keys(tmp_path / "keys").file("eu", "scorer").write_text("nothing")
    with pytest.raises(UserError, match=r"eu-scorer\.seed: holds no key"):
        said("broker-config", str(tmp_path), "--region", "eu")


async def test_reviewers_come_and_go(said: Say, guarded: Guarded) -> None:
    where = ("--directory", str(guarded.keys.directory.parent))

    async def say(*arguments: str) -> str:
        return await anyio.to_thread.run_sync(lambda: said(*arguments, *where))

    with pytest.raises(UserError, match=f"workspace {NEW} is not known"):
        await say("reviewers", "add", NEW)
    async with guarded.bus("eu", "puller") as puller:
        known = Workspace(id=NEW, region="eu", created_at=now())
        await Bucket(puller, "workspaces", Workspace).create(NEW, known)
    told = await say("reviewers", "add", NEW)
    file = guarded.keys.reviewer_file("eu", NEW)
    assert str(file) in told
    assert file.read_text().strip() not in told
    assert NEW in await say("reviewers", "ls")
    await _reload(guarded)
    await _reload(guarded)  # the server takes what a new account imports only the second time, as we say
    async with guarded.reviewer(NEW) as someone:
        body = b'{"batch":1,"no_wait":true}'
        subject = f"$JS.API.CONSUMER.MSG.NEXT.REVIEWS_eu.reviewer-{NEW}"
        answer = await someone.client.request(subject, body, timeout=5)
        assert (answer.headers or {})["Status"] == "404"  # it is theirs, and holds nothing yet
    seed = file.read_text().strip()
    assert "the key is gone" in await say("reviewers", "remove", NEW)
    await _reload(guarded)
    with pytest.raises(nats.errors.Error):
        await nats.connect(guarded.url, nkeys_seed_str=seed, allow_reconnect=False, error_cb=_quiet)
    with pytest.raises(UserError, match="has no reviewers here"):
        await say("reviewers", "remove", NEW)


async def _reload(guarded: Guarded) -> None:
    """Have the broker read its configuration anew, and wait until it did."""
    log, done = guarded.store.parent / "nats.log", "Reloaded server configuration"
    before = log.read_text().count(done)
    guarded.process.send_signal(signal.SIGHUP)
    with anyio.fail_after(10):
        while log.read_text().count(done) == before:
            await anyio.sleep(0.02)


async def _quiet(_error: Exception) -> None:
    return
