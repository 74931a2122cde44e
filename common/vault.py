"""Sealing of secrets: envelope encryption bound to what a secret is for, to the workspace and to the provider.

Each value is encrypted with a data key of its own (AES-256-GCM), and the data key with a master key. Both carry
purpose, workspace and provider as associated data, so a sealed value that is moved to another workspace or provider,
or taken for another kind of secret, does not open. The master key's fingerprint is stored beside the value to tell a
missing key from a damaged value.

Of several master keys the first seals and all open. `rewrap` moves a value under the key that seals now by wrapping its
data key anew: what is encrypted with that stays as it is, and tells that it is the same value.

Format of AES-GCM use: NIST SP 800-38D, 96-bit random nonces; a data key encrypts exactly one value.
"""

import hashlib
import os
from typing import Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec.structs import replace

from common.errors import RetryLater, WeirError

Purpose = Literal["tokens", "verifier", "webhook", "proof"]
"""What a sealed value is: a grant's tokens, a PKCE verifier, a webhook's secret, the proof of the master key."""

_NONCE = 12


class Sealed(msgspec.Struct, frozen=True):
    """A sealed value as it is stored; nothing in it is secret without the master key.

    `format` 1 is that of values sealed before the purpose was bound too; they still open.
    """

    master: str
    wrapped_key: bytes
    data: bytes
    format: int = 1

    def same(self, other: "Sealed | None") -> bool:
        """Whether both hold the same value, sealed once, under whatever master key it is by now."""
        return other is not None and self.data == other.data


class Damaged(WeirError):  # noqa: N818
    """The value was altered, or sealed for another purpose, workspace or provider."""


class KeyMissing(RetryLater):
    """No master key of this process opens the value; one that is started with the right key can."""


class Vault:
    """Seals with the first of its master keys, of 32 bytes each, and opens with all of them."""

    def __init__(self, master_key: bytes, *others: bytes) -> None:
        self._masters = {fingerprint(key): AESGCM(key) for key in (master_key, *others)}
        self.fingerprints = tuple(self._masters)
        """Those of all keys, that of the one that seals first."""
        self.fingerprint = self.fingerprints[0]

    def seal(self, value: bytes, *, purpose: Purpose, workspace: str, provider: str) -> Sealed:
        """Encrypt `value` so that it opens only for this purpose, workspace and provider."""
        bound = _bound(2, purpose, workspace, provider)
        data_key = AESGCM.generate_key(256)
        return Sealed(
            master=self.fingerprint,
            wrapped_key=_encrypt(self._masters[self.fingerprint], data_key, bound),
            data=_encrypt(AESGCM(data_key), value, bound),
            format=2,
        )

    def open(self, sealed: Sealed, *, purpose: Purpose, workspace: str, provider: str) -> bytes:
        """The value; KeyMissing if none of our keys sealed it, Damaged if it was altered or moved."""
        bound = _bound(sealed.format, purpose, workspace, provider)
        data_key = self._unwrap(sealed, bound, f"{purpose} of {workspace} at {provider}")
        try:
            return _decrypt(AESGCM(data_key), sealed.data, bound)
        except InvalidTag:
            raise Damaged(f"the sealed {purpose} of {workspace} at {provider} was altered or moved") from None

    def rewrap(self, sealed: Sealed, *, purpose: Purpose, workspace: str, provider: str) -> Sealed:
        """The same value under the key that seals now; KeyMissing or Damaged as for `open`."""
        if sealed.master == self.fingerprint:
            return sealed
        bound = _bound(sealed.format, purpose, workspace, provider)
        data_key = self._unwrap(sealed, bound, f"{purpose} of {workspace} at {provider}")
        wrapped = _encrypt(self._masters[self.fingerprint], data_key, bound)
        return replace(sealed, master=self.fingerprint, wrapped_key=wrapped)

    def _unwrap(self, sealed: Sealed, bound: bytes, what: str) -> bytes:
        master = self._masters.get(sealed.master)
        if master is None:
            raise KeyMissing(
                f"the {what} are sealed with master key {sealed.master}, which this process does not have "
                f"(it has {', '.join(self.fingerprints)})",
                delay=60.0,
                fix="start it with that key among WEIR_MASTER_KEY_PREVIOUS, or reconnect if the key is lost",
            )
        try:
            return _decrypt(master, sealed.wrapped_key, bound)
        except InvalidTag:
            raise Damaged(f"the sealed {what} was altered or moved") from None


def fingerprint(master_key: bytes) -> str:
    """What a master key is called: 16 hexadecimal digits that tell nothing about it."""
    return hashlib.sha256(b"weir master key\0" + master_key).hexdigest()[:16]


def _bound(format_: int, purpose: Purpose, workspace: str, provider: str) -> bytes:
    match format_, purpose:
        case 1, "webhook":
            return f"{workspace}|{provider}-webhook".encode()
        case 1, "proof":
            return f"{workspace}|vault".encode()
        case 1, _:
            return f"{workspace}|{provider}".encode()
        case 2, _:
            return "\0".join(("weir sealed 2", purpose, workspace, provider)).encode()
        case _:
            raise Damaged(f"a sealed value of format {format_} is of a later version of Weir")


def _encrypt(key: AESGCM, value: bytes, bound: bytes) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + key.encrypt(nonce, value, bound)


def _decrypt(key: AESGCM, value: bytes, bound: bytes) -> bytes:
    try:
        return key.decrypt(value[:_NONCE], value[_NONCE:], bound)
    except ValueError:  # too short to be one
        raise InvalidTag from None
