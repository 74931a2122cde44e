"""The proof of the master key: a value sealed with it, by which a process with another key is told apart at once.

It tells which key the region is sealed with. A process goes on if that is among its keys, whichever it seals with.
"""

from typing import Final

import structlog

from common.buckets import Bucket
from common.bus import Bus
from common.errors import Conflict, UserError
from common.vault import Sealed, Vault

log = structlog.get_logger()

_KEY: Final = "proof"
_NOBODY: Final = "-"


async def prove_master_key(bus: Bus, vault: Vault) -> None:
    """UserError if the region is sealed with a key that is none of the vault's; the first key seen is the one."""
    bucket = Bucket(bus, "vault", Sealed)
    while True:
        kept = await bucket.get(_KEY)
        if kept is not None:
            if kept.value.master not in vault.fingerprints:
                raise UserError(
                    f"WEIR_MASTER_KEY (fingerprint {', '.join(vault.fingerprints)}) is not the key this region is "
                    f"sealed with (fingerprint {kept.value.master}): set that key, or add it as "
                    "WEIR_MASTER_KEY_PREVIOUS and run `weir vault rotate` to have it replaced"
                )
            vault.open(kept.value, purpose="proof", workspace=_NOBODY, provider=_NOBODY)
            return
        try:
            await bucket.create(_KEY, _sealed(vault))
        except Conflict:
            continue


async def move_proof(bus: Bus, vault: Vault) -> None:
    """Have the proof under the key that seals now: from here on no process starts that has the old key alone."""
    bucket = Bucket(bus, "vault", Sealed)
    while True:
        kept = await bucket.get(_KEY)
        if kept is not None and kept.value.master == vault.fingerprint:
            return
        try:
            if kept is None:
                await bucket.create(_KEY, _sealed(vault))
            else:
                await bucket.replace(_KEY, _sealed(vault), kept.revision)
        except Conflict:
            continue
        log.info("vault.proof_moved", fingerprint=vault.fingerprint)


def _sealed(vault: Vault) -> Sealed:
    return vault.seal(b"weir", purpose="proof", workspace=_NOBODY, provider=_NOBODY)
