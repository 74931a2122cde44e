"""Services as child processes: started, tethered to us, started anew when they die, drained at the end."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import anyio
import anyio.abc
import structlog

from common import tether
from common.errors import UserError, backoff
from common.service import BAD_INPUT

log = structlog.get_logger()

DRAIN_WITHIN = 25.0
"""Seconds a service may take to finish what it began."""
_STEADY = 30.0


@dataclass
class Child:
    """One service process, whichever incarnation of it is running."""

    name: str
    environment: Mapping[str, str]
    log_file: Path | None = None
    starts: int = 0
    process: anyio.abc.Process | None = None
    _ended: anyio.Event = field(default_factory=anyio.Event)

    async def run(self) -> None:
        """Keep the service running; UserError if it says that its settings are wrong."""
        failures = 0
        while True:
            started_at = anyio.current_time()
            code = await self._once()
            if code == BAD_INPUT:
                raise UserError(f"{self.name} cannot start: {self._last_line()}")
            failures = failures + 1 if anyio.current_time() - started_at < _STEADY else 1
            delay = backoff(failures, first=0.5, cap=10.0)
            log.warning("process.restarted", name=self.name, code=code, delay=delay)
            await anyio.sleep(delay)

    async def _once(self) -> int:
        sink = self._open_log()
        self.process = await anyio.open_process(
            [sys.executable, "-m", f"services.{self.name.split('-')[0]}"],
            stdin=subprocess.PIPE,
            stdout=sink,
            stderr=sink,
            env={**self.environment, tether.VARIABLE: "1"},
            start_new_session=True,  # Ctrl-C is for us; we tell the children when it is their turn
        )
        if sink is not None:
            sink.close()
        self.starts += 1
        try:
            return await self.process.wait()
        finally:
            with anyio.CancelScope(shield=True):
                await self._drain(self.process)

    async def _drain(self, process: anyio.abc.Process) -> None:
        if process.returncode is None:
            process.terminate()
            with anyio.move_on_after(DRAIN_WITHIN):
                await process.wait()
        if process.returncode is None:
            log.warning("process.killed", name=self.name)
            process.kill()
            await process.wait()
        await process.aclose()

    def _open_log(self) -> IO[bytes] | None:
        if self.log_file is None:
            return None
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        return self.log_file.open("ab")

    def _last_line(self) -> str:
        if self.log_file is None:
            return "see its message above"
        lines = self.log_file.read_text(errors="replace").strip().splitlines()
        return lines[-1].removeprefix(f"weir {self.name}: ") if lines else "it said nothing"


@asynccontextmanager
async def running(*children: Child) -> AsyncIterator[None]:
    """Run the children during the block; when it ends they are drained, all at once."""
    async with anyio.create_task_group() as group:
        for child in children:
            group.start_soon(child.run)
        try:
            yield
        finally:
            group.cancel_scope.cancel()


def environment(**settings: object) -> dict[str, str]:
    """Our environment with WEIR_ settings laid over it."""
    chosen = {f"WEIR_{name.upper()}": str(value) for name, value in settings.items() if value is not None}
    return {**os.environ, **chosen}
