"""What keeps the console from doing what it was asked, told to a person with the next step."""

from http import HTTPStatus

import msgspec
import nats.errors
from litestar.exceptions import HTTPException, ValidationException

from common.errors import RetryLater, UserError, cause
from common.subjects import BadTokenError


class Problem(Exception):  # noqa: N818 (answered with a page, never seen as an error)
    """Shown to the person as a page of its own, to a program as JSON."""

    def __init__(
        self, status: int, title: str, why: str, fix: str | None = None, *, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(why)
        self.status = status
        self.title = title
        self.why = why
        self.fix = fix
        self.headers = headers or {}


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """A problem as programs read it."""

    error: str
    why: str
    fix: str | None = None


def problem_of(error: Exception) -> Problem | None:
    """What to tell of an error that was foreseen; None of one that was not."""
    match cause(error):
        case Problem() as problem:
            return problem
        case HTTPException(status_code=404):
            return Problem(404, "Not found", "Weir has no page at this address.")
        case ValidationException(extra=[*fields]) if fields:
            wrong = "; ".join(f"{field.get('key', 'the request')}: {field.get('message')}" for field in fields)
            return Problem(400, "Cannot be read", f"{wrong}.", "Correct it and try again.")
        case HTTPException(status_code=code, headers=headers) if code < 500:
            status, allowed = HTTPStatus(code), (headers or {}).get("allow")
            answered = {} if allowed is None else {"Allow": allowed.replace(", OPTIONS", "").replace("OPTIONS, ", "")}
            return Problem(code, status.phrase, f"{status.description or status.phrase}.", headers=answered)
        case RetryLater() | nats.errors.Error():
            why = "The broker, or a service behind it, does not answer."
            return Problem(503, "Not just now", why, "See that the broker and the services run, and try again.")
        case UserError() | BadTokenError() as wrong_input:
            return Problem(400, "Cannot be read", f"{wrong_input}.", "Correct it and try again.")
        case _:
            return None
