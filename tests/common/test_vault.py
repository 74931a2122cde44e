"""Sealed values open only where and with what they were sealed."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.bus import Bus
from common.connections import prove_master_key
from common.errors import UserError
from common.vault import Damaged, Sealed, Vault

KEY = bytes(range(32))
names = st.text("abcdefghij-0123456789", min_size=1, max_size=40)


@given(value=st.binary(max_size=500), workspace=names, provider=names)
def test_what_was_sealed_opens(value: bytes, workspace: str, provider: str) -> None:
    vault = Vault(KEY)
    sealed = vault.seal(value, workspace=workspace, provider=provider)
    assert vault.open(sealed, workspace=workspace, provider=provider) == value
    assert len(value) < 8 or value not in sealed.data


@given(workspace=names, other=names)
def test_a_moved_value_does_not_open(workspace: str, other: str) -> None:
    vault = Vault(KEY)
    sealed = vault.seal(b"token", workspace=workspace, provider="qonto")
    with pytest.raises(Damaged):
        vault.open(sealed, workspace=workspace, provider="quickbooks")
    if other != workspace:
        with pytest.raises(Damaged):
            vault.open(sealed, workspace=other, provider="qonto")


@given(position=st.integers(0, 200), bit=st.integers(0, 7))
def test_an_altered_value_does_not_open(position: int, bit: int) -> None:
    vault = Vault(KEY)
    sealed = vault.seal(b"a fictional token of some length", workspace="ws", provider="qonto")
    data = bytearray(sealed.data)
    data[position % len(data)] ^= 1 << bit
    with pytest.raises(Damaged):
        vault.open(Sealed(sealed.master, sealed.wrapped_key, bytes(data)), workspace="ws", provider="qonto")


def test_another_master_key_is_named_as_the_cause() -> None:
    sealed = Vault(KEY).seal(b"token", workspace="ws", provider="qonto")
    with pytest.raises(UserError, match="WEIR_MASTER_KEY"):
        Vault(os.urandom(32)).open(sealed, workspace="ws", provider="qonto")


async def test_a_region_keeps_to_the_first_master_key(bus: Bus) -> None:
    await prove_master_key(bus, Vault(KEY))
    await prove_master_key(bus, Vault(KEY))
    with pytest.raises(UserError, match="WEIR_MASTER_KEY"):
        await prove_master_key(bus, Vault(os.urandom(32)))
