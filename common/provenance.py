"""Whether a message was put where it is by somebody who may publish there.

The broker checks where a client publishes, and not where it has answers sent: who may read a stream could have one of
its messages, which it may have written itself, sent to a subject that it may not write, and another stream would keep
it. But a stream takes no message that names another one as its own (`Nats-Expected-Stream`), so none that was ever
kept elsewhere can name the stream it was sent to. Weir's own messages all do.
"""

from collections.abc import Mapping

from common.errors import Refused

_NAMED = "Nats-Expected-Stream"


def check(headers: Mapping[str, str] | None, stream: str) -> None:
    """Refused unless the message was published for this stream."""
    if (headers or {}).get(_NAMED) != stream:
        raise Refused(
            "it was not published for its stream, so it may come from somebody who may not write there",
            fix="find out who sent it; a program of your own has to name the stream (Nats-Expected-Stream)",
        )
