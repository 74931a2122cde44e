"""What an error is told as, however deep a task group wrapped it."""

import nats.errors
import pytest

from common import codec, subjects
from common.bus import Bus
from common.errors import RetryLater, UserError
from common.waiting import brief
from services.console.deciding import confirm_all
from services.console.problem import Problem, problem_of
from tests.console.desk.asking import WS, ask, question


@pytest.mark.parametrize(
    "error, status",
    [
        (RetryLater("the broker is not connected"), 503),
        (nats.errors.TimeoutError(), 503),
        (UserError("after: this is no mark of a page; begin with the first page"), 400),
        (Problem(404, "Not found", "There is none."), 404),
    ],
)
def test_an_error_is_told_alike_in_a_group_of_tasks(error: Exception, status: int) -> None:
    wrapped = ExceptionGroup("unhandled errors", [ExceptionGroup("unhandled errors", [error])])
    for one in (error, wrapped):
        problem = problem_of(one)
        assert problem is not None
        assert problem.status == status
    assert problem_of(ExceptionGroup("unhandled errors", [KeyError("x")])) is None


def test_a_name_that_cannot_be_one_is_bad_input() -> None:
    with pytest.raises(subjects.BadTokenError) as refused:
        subjects.workspace("two words")
    problem = problem_of(refused.value)
    assert problem is not None
    assert (problem.status, "two words" in problem.why) == (400, True)


async def test_an_answer_that_the_broker_does_not_take_costs_no_other_its_report(bus: Bus) -> None:
    asked = [question("1"), question("2")]
    bills = [brief("requested", await ask(bus, one), codec.encode(one)) for one in asked]
    gone = Bus(bus.settings, "test")
    await gone.connect()
    await gone.client.close()  # as if the broker went away for good
    given = await confirm_all(gone, WS, bills, "Olive", None)
    assert [(one.bill, one.sent) for one in given] == [(bill, None) for bill in bills]
    assert all(one.why for one in given)
