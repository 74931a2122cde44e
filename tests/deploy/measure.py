"""`python -m tests.deploy.measure DIRECTORY`: what docs/images.md tells of each image, measured.

For each target of the Dockerfile an environment is made in DIRECTORY as the image's is (one that is there is used
again), its packages are weighed, and its service is started from it against a broker until it is ready.
"""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import anyio
import psutil

from common import embedded, logs, topology
from common.bus import Bus
from common.settings import load
from services.cli.installation import SANDBOX_APPS
from tests.deploy.closure import ROOT, brought_by

TARGETS = ("scorer", "puller", "poster", "console", "sandbox", "cli")
READY = ('"service.ready"', '"sandbox.ready"')
_MODULES = "import json, sys, services.{0}.app; print(json.dumps(sorted({{n.partition('.')[0] for n in sys.modules}})))"
_MIB = 1024 * 1024


def built(directory: Path) -> Path:
    """The wheel of this clone."""
    directory.mkdir(parents=True, exist_ok=True)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    _run(*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(directory), str(ROOT))
    (wheel,) = directory.glob("weir-*.whl")
    return wheel


def environment(directory: Path, wheel: Path, target: str) -> Path:
    """The environment of a target, made unless it is there."""
    path = directory / target
    if not (path / "bin/weir").exists():
        _run(sys.executable, "-m", "venv", "--without-pip", str(path))
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(path / "bin/python"))
        _run(*pip, "install", "--quiet", "--constraint", str(ROOT / "constraints.txt"), f"{wheel}[{target}]")
    return path


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd="/").stdout


def size(path: Path) -> int:
    """Bytes of what an environment holds."""
    return sum(file.lstat().st_size for file in path.rglob("*") if file.is_file() and not file.is_symlink())


def modules(path: Path, target: str) -> list[str]:
    """Top-level modules from outside Python that a service has imported when it starts."""
    site = next(path.glob("lib/python*/site-packages"))
    there = {one.name.partition(".")[0] for one in site.iterdir()}
    loaded = json.loads(_run(str(path / "bin/python"), "-c", _MODULES.format(target)))
    return [one for one in loaded if one in there and not one.startswith("_") and one not in {"common", "services"}]


async def memory(path: Path, target: str, variables: dict[str, str]) -> int:
    """Resident bytes of a service that is ready and has nothing to do."""
    process = await anyio.open_process([str(path / "bin/weir"), target], env=variables, stdin=subprocess.DEVNULL)
    assert process.stderr
    assert process.stdout
    said = ""
    with anyio.fail_after(90):
        async with anyio.create_task_group() as group:

            async def listen(stream: anyio.abc.ByteReceiveStream) -> None:
                nonlocal said
                async for chunk in stream:
                    said += chunk.decode(errors="replace")
                    if any(word in said for word in READY):
                        group.cancel_scope.cancel()

            group.start_soon(listen, process.stdout)
            group.start_soon(listen, process.stderr)
    assert any(word in said for word in READY), said
    resident: int = psutil.Process(process.pid).memory_info().rss
    process.terminate()
    assert await process.wait() == 0, f"{target} did not end by itself"
    return resident


async def measure(directory: Path) -> None:
    """Print the two tables."""
    logs.configure("measure", level="warning")
    wheel = built(directory)
    imports: dict[str, list[str]] = {}
    print("| image | packages | MB of them | MB in memory, idle |\n|---|---|---|---|")
    async with embedded.broker(directory / "broker") as broker:
        chosen = {"nats_url": broker.url, "nats_token": broker.token, "data_dir": directory / "data"}
        bus = Bus(load(**chosen), "measure")
        await bus.connect()
        await topology.ensure(bus.js, bus.topology)
        await bus.close()
        told = {f"WEIR_{name.upper()}": str(value) for name, value in {**SANDBOX_APPS, **chosen}.items()}
        told |= {"WEIR_MASTER_KEY": base64.b64encode(bytes(32)).decode(), "WEIR_LOG_FORMAT": "json"}
        told |= {"WEIR_CONSOLE_PORT": "0", "WEIR_SANDBOX_QUICKBOOKS_PORT": "0", "WEIR_SANDBOX_QONTO_PORT": "0"}
        for target in TARGETS:
            path = environment(directory, wheel, target)
            if target == "cli":
                idle = "–"
            else:
                imports[target] = modules(path, target)
                idle = str(await memory(path, target, {"PATH": os.environ["PATH"], **told}) // _MIB)
            print(f"| {target} | {len(brought_by(target)) + 1} | {size(path) // _MIB} | {idle} |", flush=True)
    print()
    common = set.intersection(*map(set, imports.values()))
    print(f"Every service imports {', '.join(sorted(common))}.\n\n| service | imports besides |\n|---|---|")
    for target, names in imports.items():
        print(f"| {target} | {', '.join(one for one in names if one not in common)} |")


if __name__ == "__main__":
    anyio.run(measure, Path(sys.argv[1]).absolute())
