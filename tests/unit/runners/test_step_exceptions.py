"""Of whatever is raised, something that can be stored, emitted and passed on to Celery."""

from __future__ import annotations

import logging
import pickle
import traceback

import odd
import pytest

from hephaestus_celery.exceptions import StepFailedError
from hephaestus_celery.runners.celery.soft_limits import RESERVED_EXCEPTIONS, STOP_EXCEPTIONS
from hephaestus_celery.runners.step_exceptions import TEXT_LIMIT, failed
from hephaestus_celery.storage import codec


def raised(make):
    try:
        raise make()  # noqa: TRY301 - for its traceback
    except BaseException as error:  # noqa: BLE001 - any
        return failed(error, stop_exceptions=STOP_EXCEPTIONS, reserved_exceptions=RESERVED_EXCEPTIONS)


@pytest.mark.parametrize("name", [*odd.ODD, *odd.POOL_SIGN])
def test_whatever_is_raised_can_be_stored_and_handed_on(name):
    make, kind, type_name = {**odd.ODD, **odd.POOL_SIGN}[name]
    answer = raised(make)
    assert answer.kind == kind
    assert answer.failure["type"].rpartition(".")[2] == type_name.rpartition(".")[2]
    assert len(answer.failure["stacktrace"]) <= TEXT_LIMIT + 5
    assert codec.decode(codec.encode(answer.failure)) == answer.failure
    assert answer.stacktrace[-1].name in {"raised", "_recursion"}
    # What Celery does with it on the way to the log and to its main process.
    error = answer.error
    assert isinstance(error, Exception)
    assert not isinstance(error, (MemoryError, *RESERVED_EXCEPTIONS))
    assert error
    assert type(pickle.loads(pickle.dumps(error))) is type(error)
    assert len(repr(error)) <= TEXT_LIMIT + 200
    assert traceback.format_exception(error)
    record = logging.LogRecord("x", logging.ERROR, "x", 1, "%r", (error,), (type(error), error, error.__traceback__))
    assert logging.Formatter().format(record)


@pytest.mark.parametrize("name", ["unequal", "stop", "noted", "cycle", "recursion", "soft-limit"])
def test_an_exception_that_hurts_nobody_is_handed_on_as_it_is(name):
    make = {**odd.ODD, **odd.POOL_SIGN}[name][0]
    answer = raised(make)
    assert answer.error is answer.reason


def test_what_stands_for_another_names_it_and_says_where_it_came_from():
    error = raised(odd.ODD["ignore"][0]).error
    assert type(error) is StepFailedError
    assert str(error) == "celery.exceptions.Ignore: me"
    assert [frame.name for frame in traceback.extract_tb(error.__traceback__)] == ["raised"]
