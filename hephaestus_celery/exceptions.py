"""The tree of errors that this package raises.

Every message says what was expected, what came, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

_TOLD = 100  # problems of one definition


class FailureAccount(Protocol):
    """What an error says of a failure: that of ``context.failure``."""

    @property
    def kind(self) -> str:
        """``error``, ``exit`` or ``throw``."""
        ...

    @property
    def type(self) -> str:
        """The type of the exception."""
        ...

    @property
    def message(self) -> str:
        """What it said."""
        ...


class HephaestusError(Exception):
    """The base of every error that this package raises on purpose (errors about ids are plain ``ValueError``)."""


class DefinitionError(HephaestusError):
    """A workflow or step is not well defined. ``problems`` lists every problem found, one sentence each.

    The message has the first hundred of them.
    """

    def __init__(self, subject: str, problems: Iterable[str]) -> None:
        self.subject = subject
        self.problems = tuple(problems)
        lines = "".join(f"\n  - {problem}" for problem in self.problems[:_TOLD])
        if len(self.problems) > _TOLD:
            lines += f"\n  and {len(self.problems) - _TOLD:,} more, which are in the problems of this error"
        super().__init__(f"{subject} is not well defined:{lines}")

    def __reduce__(self) -> tuple[type[DefinitionError], tuple[str, tuple[str, ...]]]:
        return type(self), (self.subject, self.problems)


class ConfigurationError(HephaestusError):
    """The runtime can't be put together from its settings, or it is closed."""


class AlreadyRunningError(HephaestusError):
    """An active run holds the id within the workflow's scope; nothing was stored."""


class InstanceNotFoundError(HephaestusError):
    """No run has this id or run id (never started, pruned after its retention, or deleted)."""


class AmbiguousInstanceError(HephaestusError):
    """The id names several runs and nothing says which one is meant."""


class RunStateError(HephaestusError):
    """The status of the run, or of its steps, forbids the call; nothing was changed."""


class NotWaitingError(RunStateError):
    """No step of the run waits for this event; nothing was recorded."""


class AmbiguousResumeError(HephaestusError):
    """Several waiting steps declare the event; nothing was recorded."""


class TooManyEventsError(HephaestusError):
    """The run keeps as many early events, or as many keys of events, as it can; nothing was recorded."""


class NotCancellableError(RunStateError):
    """The run has ended already."""


class NotDeletableError(RunStateError):
    """The run is active, and only a run that has ended can be deleted; nothing was changed."""


class DataError(HephaestusError, ValueError):
    """A value can't be carried: not JSON plus datetime, date, time, Decimal, UUID, or larger than allowed.

    It is also a value that does not fit its declared type; ``__cause__`` is what pydantic raised. The message begins with the
    path to the value, such as ``context.items[3].price``. ``stored`` is True where the value is one that is stored, and does
    not fit the type of the code that reads it: then no further attempt can help, and the step fails at once.
    """

    def __init__(self, *args: object, stored: bool = False) -> None:
        super().__init__(*args)
        self.stored = stored


class StorageError(HephaestusError):
    """The state store is out of reach, or gave a reply that it never should.

    ``stored`` is False where a start has surely stored nothing, and None where that can't be known (and of other calls):
    the run may be there. ``transient``: the store is away, or takes nothing at this time, and the same call may succeed
    later; what it refuses for its own sake it refuses again. ``partial`` is what a call about many runs has done before: of
    ``cancel_many`` and the like a ``BulkResult``, of ``start_many`` the list of handles; None of other calls.
    """

    def __init__(self, *args: object, stored: bool | None = None, transient: bool = True, partial: Any = None) -> None:
        super().__init__(*args)
        self.stored = stored
        self.transient = transient
        self.partial = partial


class WaitTimeoutError(HephaestusError, TimeoutError):
    """The run had not ended when the time given to ``wait`` was over; the run goes on."""


class RunFailedError(HephaestusError):
    """The result of a run was asked for, and the run has not completed: it has failed, or was cancelled.

    ``instance`` is the run after its end, and ``failure`` its failure, with ``kind``, ``type`` and ``message``; None where it was
    cancelled.
    """

    def __init__(self, *args: object, instance: Any = None, failure: FailureAccount | None = None) -> None:
        super().__init__(*args)
        self.instance = instance
        self.failure = failure


class StepFailedError(HephaestusError):
    """A step has failed: it returned ``Error(reason)``, or its result was asked for, and there is none.

    ``context.result(step)`` raises it for a step whose failure a ``FAILED`` transition took; ``failure`` is that failure,
    with ``kind``, ``type`` and ``message``. It is None where Celery's monitors see the error of an ``Error``.
    """

    def __init__(self, *args: object, failure: FailureAccount | None = None) -> None:
        super().__init__(*args)
        self.failure = failure


class AttemptLostError(HephaestusError):
    """The worker that executed an attempt is gone, or was stopped; what telemetry gives as the reason."""


class DeadlineExceeded(HephaestusError):  # noqa: N818 - failures are stored with this type
    """A run has not ended within the ``deadline`` of its workflow; what telemetry gives as the reason of its failure."""


class NonRetryableError(HephaestusError):
    """Raise it (or a subclass) in ``execute``: the step fails at once, its remaining attempts are skipped."""
