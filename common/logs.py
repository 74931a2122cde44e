"""Structured logs: one event per line, dotted name and fields, never a secret.

Two nets keep secrets out: code never logs them (they travel as `SecretStr` or bytes), and a processor
blanks any field whose name says secret and any text that looks like a token.
"""

import logging
import re
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

from common import tracing

_SECRET_NAME = re.compile(r"token|secret|password|authorization|cookie|master_key|api_key|code_verifier", re.IGNORECASE)
_SECRET_TEXT = re.compile(
    r"(?i)\b(bearer|basic)\s+[a-z0-9._~+/=-]{8,}"
    r"|(?:access_token|refresh_token|client_secret|code|token)['\"]?\s*[=:]\s*['\"]?[^&\s\"',}]+"
    r"|\btoken\s+[a-z]+\s*:\s*\S+"
    r"|\bory_[a-z]{2}_[A-Za-z0-9._-]+"
    r"|\b(?-i:RT1-|X?AB11|eyJ)[A-Za-z0-9._-]{16,}"  # Intuit's tokens and codes
    r"|\bweir_[A-Za-z0-9_-]{43}"  # our own, for programs
    r"|\b(?-i:S[UAONCX][A-Z2-7]{56})\b"  # seeds of nkeys
    r"|//[^/\s:@]*:[^/\s@]+@"
)
HIDDEN = "[hidden]"


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Blank whatever is or looks like a secret, at any depth."""
    return {key: HIDDEN if _SECRET_NAME.search(key) else _clean(value) for key, value in event.items()}


def _clean(value: Any) -> Any:
    match value:
        case str():
            return _SECRET_TEXT.sub(HIDDEN, value)
        case dict():
            return {key: HIDDEN if _SECRET_NAME.search(str(key)) else _clean(item) for key, item in value.items()}
        case list() | tuple():
            return [_clean(item) for item in value]
        case BaseException():
            return _SECRET_TEXT.sub(HIDDEN, f"{type(value).__name__}: {value}")
        case bytes():
            return f"<{len(value)} bytes>"
        case _:
            return value


def traced(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Name the trace that an event belongs to, where there is one and the event names none."""
    if "trace" not in event and (ident := tracing.current_ident()) is not None:
        event["trace"] = ident
    return event


def configure(service: str, *, level: str = "info", style: str = "auto") -> None:
    """Log this process's events to stderr, ours and the libraries' alike.

    `style`: json, text, or auto (text on a terminal). Library loggers start at WARNING.
    """
    text = style == "text" or (style == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        traced,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # A traceback becomes text before `redact` sees it, and shows no local variables: those may hold tokens.
    plain = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
    render: list[Any] = [
        structlog.processors.format_exc_info,
        redact,
        plain if text else structlog.processors.JSONRenderer(),
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.StackInfoRenderer(), *render],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
