"""Sealing of provider tokens: envelope encryption bound to the workspace and the provider.

Each value is encrypted with a data key of its own (AES-256-GCM), and the data key with the master key. Both
carry `workspace|provider` as associated data, so a sealed value moved to another workspace or provider does
not open. The master key's fingerprint is stored beside the value to tell a wrong key from a damaged value.

Format of AES-GCM use: NIST SP 800-38D, 96-bit random nonces; a data key encrypts exactly one value.
"""

import hashlib
import os

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from common.errors import UserError, WeirError

_NONCE = 12


class Sealed(msgspec.Struct, frozen=True):
    """A sealed value as it is stored; nothing in it is secret without the master key."""

    master: str
    wrapped_key: bytes
    data: bytes


class Damaged(WeirError):  # noqa: N818
    """The value was altered, or sealed for another workspace or provider."""


class Vault:
    """Seals and opens values with one master key of 32 bytes."""

    def __init__(self, master_key: bytes) -> None:
        self._master = AESGCM(master_key)
        self.fingerprint = hashlib.sha256(b"weir master key\0" + master_key).hexdigest()[:16]

    def seal(self, value: bytes, *, workspace: str, provider: str) -> Sealed:
        """Encrypt `value` so that it opens only for this workspace and provider."""
        bound = _bound(workspace, provider)
        data_key = AESGCM.generate_key(256)
        return Sealed(
            master=self.fingerprint,
            wrapped_key=_encrypt(self._master, data_key, bound),
            data=_encrypt(AESGCM(data_key), value, bound),
        )

    def open(self, sealed: Sealed, *, workspace: str, provider: str) -> bytes:
        """The value; UserError if another master key sealed it, Damaged if it was altered or moved."""
        if sealed.master != self.fingerprint:
            raise UserError(
                f"WEIR_MASTER_KEY (fingerprint {self.fingerprint}) is not the key that sealed the {provider} "
                f"connection of {workspace} (fingerprint {sealed.master}); set that key, or reconnect"
            )
        bound = _bound(workspace, provider)
        try:
            data_key = _decrypt(self._master, sealed.wrapped_key, bound)
            return _decrypt(AESGCM(data_key), sealed.data, bound)
        except InvalidTag:
            raise Damaged(f"the sealed {provider} connection of {workspace} was altered or moved") from None


def _bound(workspace: str, provider: str) -> bytes:
    return f"{workspace}|{provider}".encode()


def _encrypt(key: AESGCM, value: bytes, bound: bytes) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + key.encrypt(nonce, value, bound)


def _decrypt(key: AESGCM, value: bytes, bound: bytes) -> bytes:
    return key.decrypt(value[:_NONCE], value[_NONCE:], bound)
