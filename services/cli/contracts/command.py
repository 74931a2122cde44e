"""`weir contracts`: write down the subjects, messages and buckets that others build on."""

from pathlib import Path

from rich.console import Console

from services.cli.contracts.pages import files

MENDED_BY = "weir contracts"
"""The command that brings the files up to date."""


def contracts(into: Path = Path("docs/contracts"), *, check: bool = False) -> int:
    """Write the AsyncAPI document and the JSON Schemas of this release, and remove those it no longer has.

    Parameters
    ----------
    into
        The folder to write to.
    check
        Write nothing; say what differs, and end with 1 if something does.
    """
    screen = Console(highlight=False, soft_wrap=True)
    wanted = files()
    different = drift(into, wanted)
    for name in different:
        screen.print(
            f"{into / name}: {'differs' if check else 'written' if name in wanted else 'removed'}", markup=False
        )
        if not check:
            _write(into / name, wanted.get(name))
    if check and different:
        screen.print(f"`{MENDED_BY} --into {into}` brings them up to date", markup=False)
    return 1 if check and different else 0


def drift(folder: Path, wanted: dict[str, str]) -> list[str]:
    """The files of `folder` that are missing, not as they should be, or of no use any more, by their paths."""
    present = {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix in {".json", ".md"}
    }
    return sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))


def _write(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
