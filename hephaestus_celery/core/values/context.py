"""The context of a step: the initial context, and the results of the steps before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Self, cast, overload

from hephaestus_celery.core.values.data_types import Data, DataType, read_as
from hephaestus_celery.core.values.declared import DeclaredStep, DeclaredWorkflow
from hephaestus_celery.core.values.failure import Failure
from hephaestus_celery.core.values.formatting import named, shortened
from hephaestus_celery.core.values.lazy import Deferred
from hephaestus_celery.exceptions import StepFailedError

_SHOWN = 500  # characters of a failure's message in that of an error

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # for checkers, which know it: that of Python has defaults from 3.13 on

    I_co = TypeVar("I_co", bound=Data, covariant=True, default=dict[str, Any])
    R = TypeVar("R", bound=Data)
else:
    from typing import TypeVar

    I_co = TypeVar("I_co", covariant=True)
    R = TypeVar("R")


@dataclass(frozen=True, kw_only=True, repr=False)
class Context(Deferred, Generic[I_co]):
    """What a run knows: ``initial`` as given at start, ``steps`` by step key: the mapping that each step gave.

    Both are plain dicts and copies, so changes to them change no run. In a run with much data, they are read from the store
    when they are first accessed. The mapping of a step whose failure a ``FAILED`` transition took is that failure: ``kind``,
    ``type`` and ``message``. ``input`` and ``result`` give objects of the types that the workflow and its steps declare.
    """

    initial: dict[str, Any] = field(default_factory=dict[str, Any])
    steps: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    state: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    """What the round before has given to this one, by ``Again(after, state)``; empty in the first round."""
    round: int = field(default=1, repr=False)
    """How often the step has begun a round, from 1: one more for each ``Again``; attempts do not count."""
    failures: dict[str, Failure] = field(default_factory=dict[str, Failure], repr=False)
    """The failures of the steps that have failed, and whose failure a transition took, by step key; see :meth:`failure`."""
    read_result: Callable[[str], dict[str, Any] | Failure] | None = field(
        default=None, init=False, repr=False, compare=False
    )
    """Reads the result of one step, or its failure, where ``steps`` is not read yet; ``KeyError`` where it has not completed."""
    read_bare_event: Callable[[str], str | None] | None = field(default=None, init=False, repr=False, compare=False)
    """Reads the event of a step that has completed without a result; None where it has one."""
    is_over: Callable[[], bool] | None = field(default=None, init=False, repr=False, compare=False)
    """Asks whether the attempt that this context was given to is over."""
    definition: type[DeclaredWorkflow] | None = field(default=None, init=False, repr=False, compare=False)
    """The workflow class, which has the type of the initial context; None where this process does not define it."""

    @property
    def input(self) -> I_co:
        """The initial context, as an object of the type that the workflow declares (``Workflow[Order]``); else the mapping.

        The type of the code that reads it validates it, once. ``DataError`` if it does not fit: the type has changed since the
        start, and a step that reads it fails at once, whatever its retry policy.
        """
        type_ = None if self.definition is None else self.definition.__data_type__
        if type_ is None:
            return cast("I_co", self.initial)
        return self._object(type_, self.initial, what="the initial context", path="context", of=None)

    @overload
    def result(self, step: str) -> dict[str, Any]: ...

    @overload
    def result(self, step: type[DeclaredStep[R]]) -> R: ...

    def result(self, step: type[DeclaredStep[Any]] | str) -> Any:
        """The result of one step, without reading those of the others; ``KeyError`` if it has not completed.

        Of a step class that declares a type (``Step[Receipt]``) it is an object of the type, else the mapping; by a key it is
        the mapping. The type of the code that reads it validates it, once. ``DataError`` if it does not fit: the type has
        changed since it was stored, and a step that reads it fails at once, whatever its retry policy. ``KeyError`` names the
        event of a step that has given no result, as it may where it has several events. ``StepFailedError`` if it has failed
        and a ``FAILED`` transition took that; its ``failure`` says why.
        """
        key = _key(step)
        try:
            found = self.find(key)
        except KeyError:
            raise KeyError(f"step {key!r} had not completed, so there is no result of it") from None
        if isinstance(found, Failure):
            raise StepFailedError(
                f"step {key!r} has failed ({found.type}: {found.message[:_SHOWN]}), so there is no result of it; "
                "context.failure(step) gives the failure",
                failure=found,
            )
        type_ = None if isinstance(step, str) else step.__data_type__
        if isinstance(step, str) or type_ is None:
            return found
        event = None if found or self.read_bare_event is None else self.read_bare_event(key)
        if event is not None and (len(step.events) > 1 or event == "timeout"):
            raise KeyError(f"step {key!r} completed with the event {event!r}, and gave no result")
        what, path = f"the result of step {key}", f"steps.{key}"
        return self._object(type_, found, what=what, path=path, of=step)

    def failure(self, step: type[DeclaredStep[Any]] | str) -> Failure | None:
        """Why a step has failed whose failure a ``FAILED`` transition took; None of any other step.

        It is None too while the step has not completed. ``kind``, ``type`` and ``message`` are as in ``instance.failure``.
        """
        try:
            found = self.find(_key(step))
        except KeyError:
            return None
        return found if isinstance(found, Failure) else None

    def find(self, key: str) -> dict[str, Any] | Failure:
        """The result of the step with this key, or its failure; ``KeyError`` if it has not completed."""
        read = self.read_result
        if read is not None and not self.is_made("steps"):
            return read(key)
        failure = self.failures.get(key)
        return self.steps[key] if failure is None else failure

    def cancelled(self) -> bool:
        """Whether the result of this attempt is no longer wanted: its run was cancelled, has failed or ended without it.

        A long step may ask it to stop early. It asks the store at most once a second. While the store is away, it returns the
        last answer. Once True, it stays True. Outside the attempt that the context was made for, it is False.
        """
        return self.is_over is not None and self.is_over()

    def apart(self, **changes: Any) -> Self:
        """The same context with ``changes``; the two share nothing that a step can change."""
        made = super().apart(**changes)
        made.__dict__.pop("_objects", None)
        return made

    def _object(
        self,
        type_: DataType,
        stored: dict[str, Any],
        *,
        what: str,
        path: str,
        of: type[DeclaredStep[Any]] | None,
    ) -> Any:
        # Each is made once, so that validators run once, and changes that a step makes to it stay.
        made: dict[type[DeclaredStep[Any]] | None, Any] = self.__dict__.setdefault("_objects", {})
        if of not in made:
            workflow = self.definition
            version = "this code" if workflow is None else f"version {workflow.version} of {shortened(workflow.name)}"
            made[of] = read_as(type_, stored, what=what, path=path, version=version)
        return made[of]


def _key(step: object) -> str:
    key: object = step if isinstance(step, str) else getattr(step, "key", None)
    if not isinstance(key, str):
        raise TypeError(f"a step is named by its class or its key, not by {named(step)}")
    return key
