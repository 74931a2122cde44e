"""The keys of a broker's users on disk: one seed to a file that only its owner reads, each made once.

Everything the broker has to know follows from what is there: the public half of each key, the regions, the workspaces
that have reviewers. A seed is never shown.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import nkeys

from common import subjects
from common.errors import UserError
from common.rights import IDENTITIES, Identity

_ENDING = ".seed"
_REVIEWER = "reviewer-"


@dataclass(frozen=True)
class Keys:
    """The seeds below a directory, as `{region}-{identity}.seed` and `{region}-reviewer-{workspace}.seed`."""

    directory: Path

    def make(self, region: str) -> None:
        """One key for each identity of a region; those that exist stay."""
        for identity in IDENTITIES:
            self._make(self.file(region, identity))

    def make_reviewer(self, region: str, workspace: str) -> Path:
        """A key for the reviewers of a workspace, or the one that exists; its file."""
        path = self.reviewer_file(region, workspace)
        self._make(path)
        return path

    def forget_reviewer(self, region: str, workspace: str) -> bool:
        """Remove the key of the reviewers of a workspace; whether there was one."""
        path = self.reviewer_file(region, workspace)
        there = path.exists()
        path.unlink(missing_ok=True)
        return there

    def file(self, region: str, identity: Identity) -> Path:
        """Where an identity's seed is."""
        return self.directory / f"{subjects.region(region)}-{identity}{_ENDING}"

    def reviewer_file(self, region: str, workspace: str) -> Path:
        """Where the seed of a workspace's reviewers is."""
        return self.directory / f"{subjects.region(region)}-{_REVIEWER}{subjects.workspace(workspace)}{_ENDING}"

    def regions(self) -> list[str]:
        """Every region that has keys here, in order."""
        return sorted({path.name.partition("-")[0] for path in self.directory.glob(f"*-operator{_ENDING}")})

    def reviewers(self, region: str) -> list[str]:
        """Every workspace of a region whose reviewers have a key, in order."""
        head = f"{region}-{_REVIEWER}"
        return sorted(one.name[len(head) : -len(_ENDING)] for one in self.directory.glob(f"{head}*{_ENDING}"))

    def public(self, path: Path) -> str:
        """The half of a key that the broker knows (U…); UserError if the file holds none."""
        try:
            return str(nkeys.from_seed(bytearray(path.read_bytes().strip())).public_key.decode())
        except (OSError, ValueError, nkeys.NkeysError) as error:
            raise UserError(f"{path}: holds no key ({type(error).__name__}); remove it to have another made") from None

    def _make(self, path: Path) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return
        with os.fdopen(opened, "wb") as file:
            file.write(nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER) + b"\n")
