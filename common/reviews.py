"""Which bills wait for a person, told by the messages of REVIEWS in the order in which the stream holds them.

Of the questions about a bill the newest counts, asked or refused. An answer to it stands until it is carried out,
which closes the review, or rejected, which leaves the review open; answers to other questions change nothing. One
that nobody could carry out stands among the failures, which REVIEWS does not say: it waits there, in nobody's way.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Literal, NamedTuple, Protocol, TypeVar

from nats.aio.msg import Msg

from common import codec
from common.inbox import position
from common.messages import ReviewClosed, ReviewRequested, ReviewResolved

Step = Literal["requested", "refused"]
"""Whether a bill was held back for a person, or refused, which a person may still think otherwise of."""
_REJECTED = "rejected-"


class Question(Protocol):
    """A question as far as it is kept."""

    @property
    def review(self) -> str:
        """The id that answers name."""


Q = TypeVar("Q", bound=Question)


class Said(NamedTuple):
    """A message of REVIEWS: its subject, its sequence, its body, and the key it was published with."""

    subject: str
    sequence: int
    data: bytes
    key: str | None = None


@dataclass(slots=True)
class Review(Generic[Q]):
    """An open review; `answers` are those nothing came of yet, by sequence, `text` is what it is found by.

    Answers up to the sequence `given_up` stand among the failures.
    """

    step: Step
    sequence: int
    question: Q
    text: str = ""
    answers: dict[int, ReviewResolved] = field(default_factory=dict)
    given_up: int = 0

    @property
    def given(self) -> ReviewResolved | None:
        """The answer that is being carried out."""
        return next((answer for sequence, answer in self.answers.items() if sequence > self.given_up), None)


class Reviews(Generic[Q]):
    """The open reviews of one workspace by record key, fed message by message.

    `read` makes of a question's step, sequence and body what is to be kept of it, `text` of that what it is found by.
    """

    def __init__(self, read: Callable[[Step, int, bytes], Q], text: Callable[[Q], str] = lambda _: "") -> None:
        self.open: dict[str, Review[Q]] = {}
        self._read = read
        self._text = text
        self._given_up: dict[str, int] = {}

    def take(self, said: Said) -> None:
        """The next message of the stream; msgspec.MsgspecError where it cannot be read, and nothing has changed."""
        _, _, step, _, key = said.subject.split(".")
        match step:
            case "requested" | "refused":
                question = self._read(step, said.sequence, said.data)
                self.open[key] = Review(
                    step, said.sequence, question, self._text(question), given_up=self._given_up.get(key, 0)
                )
            case "resolved" if (review := self.open.get(key)) is not None:
                answer = codec.decode(said.data, ReviewResolved)
                if answer.review == review.question.review:
                    review.answers[said.sequence] = answer
            case "closed" if (review := self.open.get(key)) is not None:
                closed = codec.decode(said.data, ReviewClosed)
                if closed.review != review.question.review:
                    return
                if closed.outcome == "rejected":
                    review.answers.pop(rejected_by(said.key), None)
                else:
                    del self.open[key]

    def give_up(self, key: str, sequence: int) -> None:
        """Answers about a bill up to this sequence stand among the failures; 0: none does any more."""
        if sequence:
            self._given_up[key] = sequence
        else:
            self._given_up.pop(key, None)
        if key in self.open:
            self.open[key].given_up = sequence


def heard(message: Msg) -> Said:
    """A message as a consumer of REVIEWS delivered it."""
    return Said(message.subject, position(message).stream, message.data, (message.headers or {}).get("Nats-Msg-Id"))


def whole(_step: Step, _sequence: int, data: bytes) -> ReviewRequested:
    """A question with everything in it, for `Reviews`."""
    return codec.decode(data, ReviewRequested)


def rejection(sequence: int) -> str:
    """The key under which the rejection of the answer at `sequence` is published."""
    return f"{_REJECTED}{sequence}"


def rejected_by(key: str | None) -> int:
    """The sequence of the answer that a message with this key rejects; 0 if it rejects none."""
    number = (key or "").removeprefix(_REJECTED)
    return int(number) if number != key and number.isascii() and number.isdecimal() else 0
