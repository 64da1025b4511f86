"""The context of a step: the initial context, and the results of the steps before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hephaestus_celery.core.values.declared import DeclaredStep
from hephaestus_celery.core.values.failure import Failure
from hephaestus_celery.core.values.lazy import Deferred
from hephaestus_celery.exceptions import StepFailedError

_SHOWN = 500  # characters of a failure's message in that of an error


@dataclass(frozen=True, kw_only=True, repr=False)
class Context(Deferred):
    """What a run knows: ``initial`` as given at start, ``steps`` by step key: the mapping that each step gave.

    Both are plain dicts and copies, so changes to them change no run. In a run with much data, they are read from the store
    when they are first accessed. The mapping of a step whose failure a ``FAILED`` transition took is that failure: ``kind``,
    ``type`` and ``message``.
    """

    initial: dict[str, Any] = field(default_factory=dict[str, Any])
    steps: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    failures: dict[str, Failure] = field(default_factory=dict[str, Failure], repr=False)
    """The failures of the steps that have failed, and whose failure a transition took, by step key; see :meth:`failure`."""
    read_result: Callable[[str], dict[str, Any] | Failure] | None = field(
        default=None, init=False, repr=False, compare=False
    )
    """Reads the result of one step, or its failure, where ``steps`` is not read yet; ``KeyError`` where it has not completed."""
    is_over: Callable[[], bool] | None = field(default=None, init=False, repr=False, compare=False)
    """Asks whether the attempt that this context was given to is over."""

    def result(self, step: type[DeclaredStep] | str) -> dict[str, Any]:
        """The result of one step, without reading those of the others; ``KeyError`` if it has not completed.

        ``StepFailedError`` if it has failed and a ``FAILED`` transition took that; its ``failure`` says why.
        """
        key = step if isinstance(step, str) else step.key
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
        return found

    def failure(self, step: type[DeclaredStep] | str) -> Failure | None:
        """Why a step has failed whose failure a ``FAILED`` transition took; None of any other step.

        It is None too while the step has not completed. ``kind``, ``type`` and ``message`` are as in ``instance.failure``.
        """
        try:
            found = self.find(step if isinstance(step, str) else step.key)
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
