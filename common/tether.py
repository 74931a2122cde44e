"""Ties a process to its parent: when the parent is gone, however it went, the child stops.

The parent keeps the write end of the child's standard input open and never writes. End of file means the
parent is gone. This works for kill -9 and on every platform, which signals from the kernel do not.

`python -m common.tether PROGRAM ARGS…` runs a program that cannot watch its own input (the broker).
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

VARIABLE = "WEIR_TETHERED"
"""Set in the environment of a child whose standard input is its tether."""


def tethered() -> bool:
    """Whether another process of ours started this one."""
    return os.environ.get(VARIABLE) == "1"


def on_parent_gone(stop: Callable[[], None]) -> None:
    """Call `stop` once, from a thread, when the parent is gone; nothing happens in an untethered process."""
    if not tethered():
        return

    def watch() -> None:
        # The descriptor itself: a thread inside a buffered read would hold its lock while Python shuts down.
        while os.read(0, 4096):
            pass
        stop()

    threading.Thread(target=watch, name="tether", daemon=True).start()


def _main(command: list[str]) -> int:
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 (our own argument list)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: child.terminate())
    on_parent_gone(child.terminate)
    return child.wait()


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
