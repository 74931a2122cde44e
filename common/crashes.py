"""What a process leaves behind when it dies of something nobody foresaw: the place, and no secret.

Python would print the traceback as it is, and an error's text may hold what a provider sent. So the last words go
through the logs, which blank secrets. The memory, where keys and tokens are, goes into no core file.
"""

import faulthandler
import sys
import threading
from types import TracebackType

import structlog

log = structlog.get_logger()


def contain() -> None:
    """Have whatever nobody catches told by the logs, and no core file written; call it once they are configured."""
    sys.excepthook = _ended
    threading.excepthook = _thread_ended
    sys.unraisablehook = _passed_over
    faulthandler.enable()  # of a crash in native code it tells files and lines, no values
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 (Windows has none)

        _, most = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, most))


def _ended(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return  # Ctrl-C needs no explanation
    log.critical("process.crashed", exc_info=(kind, error, where))


def _thread_ended(about: threading.ExceptHookArgs) -> None:
    if about.exc_value is not None:  # else it came so late that even its error is gone
        log.error("thread.crashed", exc_info=(about.exc_type, about.exc_value, about.exc_traceback))


def _passed_over(about: "sys.UnraisableHookArgs") -> None:
    if about.exc_value is not None:
        log.error("error.passed_over", exc_info=(about.exc_type, about.exc_value, about.exc_traceback))
