"""The start of every service process: settings, logs, event loop, and errors a person can read."""

import os
import signal
import sys
from collections.abc import Awaitable, Callable

import anyio

from common import crashes, logs, tether, tracing
from common.errors import UserError, WeirError, cause
from common.settings import Settings, load

BAD_INPUT = 2
STOPPED = 1


def main(name: str, serve: Callable[[Settings], Awaitable[None]]) -> None:
    """Run one service until it is told to stop, or the process that started it is gone.

    Exits 2 with one line when settings or input are wrong, 1 when the process had to stop; a supervisor
    starts it anew then.
    """
    try:
        settings = load()
        logs.configure(name, level=settings.log_level, style=settings.log_format)
        crashes.contain()
        tracing.configure(name, settings)
        tether.on_parent_gone(lambda: os.kill(os.getpid(), signal.SIGTERM))
        anyio.run(serve, settings, backend_options={"use_uvloop": sys.platform != "win32"})
    except (WeirError, OSError, BaseExceptionGroup) as raised:
        error = cause(raised)
        if not isinstance(error, WeirError | OSError):
            raise
        print(f"weir {name}: {error}", file=sys.stderr)  # noqa: T201 (the last word of a process)
        sys.exit(BAD_INPUT if isinstance(error, UserError) else STOPPED)
    finally:
        tracing.close()
