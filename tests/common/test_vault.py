"""Sealed values open only where, for what and with what they were sealed; re-wrapped they are the same values."""

import base64
import os
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from common import codec, masterkeys, settings
from common.bus import Bus
from common.errors import Fatal, UserError
from common.proof import move_proof, prove_master_key
from common.vault import Damaged, KeyMissing, Purpose, Sealed, Vault, fingerprint

KEY, NEW = bytes(range(32)), bytes(range(32, 64))
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
names = st.text("abcdefghij-0123456789", min_size=1, max_size=40)
purposes = st.sampled_from(PURPOSES)
keys = st.binary(min_size=32, max_size=32)


@given(value=st.binary(max_size=500), purpose=purposes, workspace=names, provider=names)
def test_what_was_sealed_opens(value: bytes, purpose: Purpose, workspace: str, provider: str) -> None:
    vault = Vault(KEY)
    sealed = vault.seal(value, purpose=purpose, workspace=workspace, provider=provider)
    assert vault.open(sealed, purpose=purpose, workspace=workspace, provider=provider) == value
    assert len(value) < 8 or value not in codec.encode(sealed)


@given(first=st.tuples(purposes, names, names), other=st.tuples(purposes, names, names))
def test_a_moved_value_does_not_open(first: tuple[Purpose, str, str], other: tuple[Purpose, str, str]) -> None:
    vault, place = Vault(KEY), ("purpose", "workspace", "provider")
    was: dict[str, Any] = dict(zip(place, first, strict=True))
    is_: dict[str, Any] = dict(zip(place, other, strict=True))
    sealed = vault.seal(b"token", **was)
    for changed in ({**was, name: is_[name]} for name in place):
        if changed != was:
            with pytest.raises(Damaged):
                vault.open(sealed, **changed)
            with pytest.raises(Damaged):
                Vault(NEW, KEY).rewrap(sealed, **changed)


@given(position=st.integers(0, 200), bit=st.integers(0, 7), field=st.sampled_from(["wrapped_key", "data"]))
def test_an_altered_value_does_not_open(position: int, bit: int, field: str) -> None:
    vault = Vault(KEY)
    sealed = vault.seal(b"a fictional token of some length", purpose="tokens", workspace="ws", provider="qonto")
    data = bytearray(getattr(sealed, field))
    data[position % len(data)] ^= 1 << bit
    altered = {"wrapped_key": sealed.wrapped_key, "data": sealed.data, field: bytes(data)}
    with pytest.raises(Damaged):
        vault.open(Sealed(sealed.master, **altered, format=2), purpose="tokens", workspace="ws", provider="qonto")
    for shorn in ({**altered, field: b""}, {**altered, field: b"short"}):
        with pytest.raises(Damaged):
            vault.open(Sealed(sealed.master, **shorn, format=2), purpose="tokens", workspace="ws", provider="qonto")


@given(value=st.binary(max_size=100), chain=st.lists(keys, min_size=2, max_size=5, unique=True), purpose=purposes)
def test_a_value_goes_from_key_to_key_and_stays_the_same(value: bytes, chain: list[bytes], purpose: Purpose) -> None:
    place: dict[str, Any] = {"purpose": purpose, "workspace": "ws", "provider": "qonto"}
    first = sealed = Vault(chain[0]).seal(value, **place)
    for old, new in pairwise(chain):
        both = Vault(new, old)
        moved = both.rewrap(sealed, **place)
        assert both.rewrap(moved, **place) is moved
        assert moved.same(first)
        assert both.open(moved, **place) == Vault(new).open(moved, **place) == value
        with pytest.raises(KeyMissing, match=fingerprint(new)):
            Vault(old).open(moved, **place)
        with pytest.raises(KeyMissing, match=fingerprint(old)):
            Vault(new).rewrap(sealed, **place)
        sealed = moved
    assert not sealed.same(Vault(chain[0]).seal(value, **place))


@pytest.mark.parametrize(
    "purpose, bound", [("tokens", b"ws|qonto"), ("verifier", b"ws|qonto"), ("webhook", b"ws|qonto-webhook")]
)
def test_a_value_of_the_first_format_opens_and_can_be_rewrapped(purpose: Purpose, bound: bytes) -> None:
    def encrypt(key: bytes, value: bytes) -> bytes:
        nonce = os.urandom(12)
        return nonce + AESGCM(key).encrypt(nonce, value, bound)

    inner = os.urandom(32)
    stored = {
        "master": fingerprint(KEY),
        "wrapped_key": base64.b64encode(encrypt(KEY, inner)).decode(),
        "data": base64.b64encode(encrypt(inner, b"token")).decode(),
    }
    old = codec.decode(codec.encode(stored), Sealed)
    place: dict[str, Any] = {"purpose": purpose, "workspace": "ws", "provider": "qonto"}
    assert Vault(KEY).open(old, **place) == b"token"
    assert Vault(NEW).open(Vault(NEW, KEY).rewrap(old, **place), **place) == b"token"
    other: Purpose = "tokens" if purpose == "webhook" else "webhook"
    with pytest.raises(Damaged):
        Vault(KEY).open(old, **{**place, "purpose": other})


def test_a_new_value_does_not_pass_for_one_of_the_first_format() -> None:
    new = Vault(KEY).seal(b"verifier", purpose="verifier", workspace="ws", provider="qonto")
    for format_ in (1, 3):
        taken_for = Sealed(new.master, new.wrapped_key, new.data, format_)
        with pytest.raises(Damaged):
            Vault(KEY).open(taken_for, purpose="tokens", workspace="ws", provider="qonto")


async def test_a_region_keeps_to_its_master_key_until_it_is_moved_to_another(bus: Bus) -> None:
    for _ in range(2):
        await prove_master_key(bus, Vault(KEY))
    with pytest.raises(UserError, match=r"WEIR_MASTER_KEY.*weir vault rotate"):
        await prove_master_key(bus, Vault(NEW))
    both = Vault(NEW, KEY)
    await prove_master_key(bus, both)
    for _ in range(2):
        await move_proof(bus, both)
    for vault in (both, Vault(NEW), Vault(KEY, NEW)):
        await prove_master_key(bus, vault)
    with pytest.raises(UserError, match=rf"{fingerprint(KEY)}.*{fingerprint(NEW)}"):
        await prove_master_key(bus, Vault(KEY))


TEXT, OTHER = (base64.b64encode(key).decode() for key in (KEY, NEW))


def read(**chosen: object) -> list[bytes]:
    return masterkeys.master_keys(settings.load(**chosen))


def test_keys_come_from_a_variable_a_file_or_a_command(tmp_path: Path) -> None:
    assert read(master_key=TEXT) == [KEY]
    assert read(master_key=TEXT, master_key_previous=f"{OTHER}, {TEXT}") == [KEY, NEW]
    path = tmp_path / "keys"
    path.write_text(f"# the new one\n{OTHER}\n\n{TEXT}\n")
    assert read(master_key_file=path) == [NEW, KEY]
    script = tmp_path / "kms"
    script.write_text(f"import os\nassert not [n for n in os.environ if n.startswith('WEIR_')]\nprint('{TEXT}')\n")
    command = f"{sys.executable} '{script}'"
    assert read(master_key_command=command, master_key_previous=OTHER) == [KEY, NEW]


def test_what_is_wrong_with_keys_is_named_and_no_key_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty, binary = tmp_path / "empty", tmp_path / "binary"
    empty.write_text("# nothing\n")
    binary.write_bytes(KEY + b"\xff")
    python = f"{sys.executable} -c"
    wrong: list[tuple[dict[str, object], str]] = [
        ({}, "WEIR_MASTER_KEY is not set, nor"),
        ({"master_key": TEXT, "master_key_file": empty}, "WEIR_MASTER_KEY and WEIR_MASTER_KEY_FILE are set"),
        ({"master_key": TEXT, "master_key_previous": "x"}, "WEIR_MASTER_KEY_PREVIOUS is not base64"),
        ({"master_key_previous": TEXT}, "WEIR_MASTER_KEY is not set"),
        ({"master_key_file": tmp_path / "none"}, "WEIR_MASTER_KEY_FILE .*No such file"),
        ({"master_key_file": empty}, "gives no key"),
        ({"master_key_file": binary}, "is not text"),
        ({"master_key_command": ""}, "is empty"),
        ({"master_key_command": "'open"}, "No closing quotation"),
        ({"master_key_command": "/no/such/program"}, "/no/such/program cannot be run: No such file"),
        ({"master_key_command": f"{python} 'print(\"{TEXT[:20]}\")'"}, "WEIR_MASTER_KEY_COMMAND holds 15 bytes"),
    ]
    for chosen, words in wrong:
        with pytest.raises(UserError, match=words) as caught:
            read(**chosen)
        assert TEXT[:20] not in str(caught.value)
    failing = f"""{python} 'import sys; print("{TEXT}"); sys.exit(f"no access to{{chr(10)}}the key ring")'"""
    with pytest.raises(Fatal, match="failed with exit code 1: no access to the key ring") as caught_:
        read(master_key_command=failing)
    assert TEXT not in str(caught_.value)
    monkeypatch.setattr(masterkeys, "COMMAND_WITHIN", 0.2)
    with pytest.raises(Fatal, match=r"took longer than 0.2 s"):
        read(master_key_command=f"{python} 'import time; time.sleep(60)'")
