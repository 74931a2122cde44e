"""Where a process has its master keys from: a variable, a file, or a command that asks a key management service.

The first key seals, all of them open. They are read once, when the process starts.
"""

import base64
import binascii
import os
import shlex
import subprocess
from pathlib import Path

from common.errors import Fatal, UserError
from common.settings import Settings
from common.vault import Vault

COMMAND_WITHIN = 30.0
"""Seconds a key command may take."""
_SOURCES = ("master_key", "master_key_file", "master_key_command")
_SHOWN = 500
"""Characters of a failed command's own words that are shown."""


def vault(settings: Settings) -> Vault:
    """The vault of a process; errors as for `master_keys`."""
    return Vault(*master_keys(settings))


def named(settings: Settings) -> bool:
    """Whether any source of master keys is set."""
    return any(getattr(settings, source) is not None for source in _SOURCES)


def master_keys(settings: Settings) -> list[bytes]:
    """The keys of 32 bytes, the one that seals first.

    UserError if they are not named, not where they should be or malformed; Fatal if a key command fails.
    """
    given = [source for source in _SOURCES if getattr(settings, source) is not None]
    match given:
        case []:
            raise UserError(
                "WEIR_MASTER_KEY is not set, nor are WEIR_MASTER_KEY_FILE or WEIR_MASTER_KEY_COMMAND; "
                "make a key with `weir setup --new-key` and keep it safe"
            )
        case [source]:
            pass
        case _:
            names = " and ".join(f"WEIR_{source.upper()}" for source in given)
            raise UserError(f"{names} are set, and one of them is needed: unset the others")
    name = f"WEIR_{source.upper()}"
    match source:
        case "master_key":
            keys = [_key(settings.required(source).strip(), name)]
        case "master_key_file":
            keys = _lines(_held(Path(settings.required(source))), name)
        case _:
            keys = _lines(_told(settings.required(source)), name)
    if settings.master_key_previous is not None:
        previous = settings.master_key_previous.get_secret_value().split(",")
        keys += [_key(one.strip(), "WEIR_MASTER_KEY_PREVIOUS") for one in previous]
    return list(dict.fromkeys(keys))


def _lines(text: str, name: str) -> list[bytes]:
    """One key per line; empty lines and such that begin with # say nothing."""
    lines = [line.strip() for line in text.splitlines()]
    keys = [_key(line, name) for line in lines if line and not line.startswith("#")]
    if not keys:
        raise UserError(f"{name} gives no key; one per line is expected, in base64, the one that seals first")
    return keys


def _key(text: str, name: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise UserError(f"{name} is not base64; make one with `weir setup --new-key`") from None
    if len(key) != 32:
        raise UserError(f"{name} holds {len(key)} bytes, 32 are needed; `weir setup --new-key` makes one")
    return key


def _held(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except OSError as error:
        raise UserError(
            f"WEIR_MASTER_KEY_FILE {path}: {error.strerror}; mount the secret there, readable for Weir's user"
        ) from None
    except UnicodeDecodeError:
        raise UserError(f"WEIR_MASTER_KEY_FILE {path} is not text; write keys in base64, one per line") from None


def _told(command: str) -> str:
    """What the command prints, which is never shown.

    Fatal with the command's own words if it fails, since another try may succeed; UserError if it cannot be run at all.
    """
    name = "WEIR_MASTER_KEY_COMMAND"
    try:
        argv = shlex.split(command)
    except ValueError as error:
        raise UserError(f"{name}: {error}; quote its arguments as in a shell") from None
    if not argv:
        raise UserError(f"{name} is empty; name a program that prints the key")
    try:
        # No shell, no input; Weir's own secrets are none of its business.
        ended = subprocess.run(  # noqa: S603 (who sets Weir's environment may run programs as Weir)
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_WITHIN,
            check=False,
            env=_surroundings(),
        )
    except subprocess.TimeoutExpired:
        raise Fatal(f"{name}: {argv[0]} took longer than {COMMAND_WITHIN:g} s and was ended") from None
    except OSError as error:
        raise UserError(f"{name}: {argv[0]} cannot be run: {error.strerror}") from None
    if ended.returncode != 0:
        words = " ".join(ended.stderr.decode(errors="replace").split())[-_SHOWN:] or "it said nothing on stderr"
        code = f"exit code {ended.returncode}" if ended.returncode > 0 else f"signal {-ended.returncode}"
        raise Fatal(f"{name}: {argv[0]} failed with {code}: {words}")
    try:
        return ended.stdout.decode("ascii")
    except UnicodeDecodeError:
        raise UserError(f"{name}: {argv[0]} did not print base64; have it print keys, one per line") from None


def _surroundings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("WEIR_")}
