"""Exit codes of commands, and the one place where errors become one of them and a sentence on standard error."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from enum import IntEnum

import click

from hephaestus_celery.exceptions import (
    AlreadyRunningError,
    AmbiguousInstanceError,
    AmbiguousResumeError,
    ConfigurationError,
    DataError,
    DefinitionError,
    HephaestusError,
    InstanceNotFoundError,
    RunStateError,
    StorageError,
    TooManyEventsError,
    WaitTimeoutError,
)
from hephaestus_celery.reports.text import printable


class ExitCode(IntEnum):
    """What a shell learns of a command."""

    DONE = 0
    WRONG = 1
    MISUSE = 2
    NOT_FOUND = 3
    REFUSED = 4
    OUT_OF_REACH = 5
    RUN_FAILED = 10
    RUN_CANCELLED = 11
    TIME_IS_OVER = 12


MEANINGS: Mapping[ExitCode, str] = {
    ExitCode.DONE: "done; with `--wait`, the run completed",
    ExitCode.WRONG: "something is wrong: an unexpected error, a check that failed, or a question that was not answered with yes",
    ExitCode.MISUSE: "misuse: a wrong option or value, no application, settings that can't be used",
    ExitCode.NOT_FOUND: "not found: a run or a workflow that is not there",
    ExitCode.REFUSED: "refused: nothing waits for the event, several runs or steps may be meant, the run has ended or is active, other tasks would lose messages; of many, some were",
    ExitCode.OUT_OF_REACH: "the store or the broker is out of reach",
    ExitCode.RUN_FAILED: "`start --wait`, `wait`, `watch RUN`: the run failed",
    ExitCode.RUN_CANCELLED: "`start --wait`, `wait`, `watch RUN`: the run was cancelled",
    ExitCode.TIME_IS_OVER: "`start --wait`, `wait`: the time is over, and the run goes on",
}
"""What each exit code means, for the reference page."""

_CODES: tuple[tuple[type[Exception], ExitCode], ...] = (
    (StorageError, ExitCode.OUT_OF_REACH),
    (InstanceNotFoundError, ExitCode.NOT_FOUND),
    (WaitTimeoutError, ExitCode.TIME_IS_OVER),
    (AlreadyRunningError, ExitCode.REFUSED),
    (AmbiguousInstanceError, ExitCode.REFUSED),
    (AmbiguousResumeError, ExitCode.REFUSED),
    (TooManyEventsError, ExitCode.REFUSED),
    (RunStateError, ExitCode.REFUSED),
    (DefinitionError, ExitCode.NOT_FOUND),
    (ConfigurationError, ExitCode.MISUSE),
    (DataError, ExitCode.MISUSE),
    (HephaestusError, ExitCode.WRONG),
    (ValueError, ExitCode.MISUSE),
)
_MOST = 2_000  # characters of an error


class CommandFailedError(click.ClickException):
    """Ends a command with a sentence and an exit code."""

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(" ".join(printable(line.strip(), limit=_MOST) for line in message.splitlines()))
        vars(self)["exit_code"] = int(code)  # click has it for each class


@contextmanager
def errors_as_exit_codes() -> Generator[None]:
    """Turn errors of the block into a sentence and an exit code.

    Click's own go through, and that a pipe is closed: click ends without a word then.
    """
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
        raise
    except Exception as error:  # nobody wants a traceback from a command line
        raise as_failure(error) from error


def as_failure(error: Exception) -> CommandFailedError:
    """The failure of a command by an error."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return CommandFailedError(str(error), code)
    return CommandFailedError(f"unexpected error: {type(error).__name__}: {error}", ExitCode.WRONG)
