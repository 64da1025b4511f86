"""The context of a step: the initial context, and the results of the steps before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hephaestus_celery.core.values.declared import DeclaredStep
from hephaestus_celery.core.values.lazy import Deferred


@dataclass(frozen=True, kw_only=True, repr=False)
class Context(Deferred):
    """What a run knows: ``initial`` as given at start, ``steps`` by step key: the mapping that each step gave.

    Both are plain dicts and copies, so changes to them change no run. In a run with much data, they are read from the store
    when they are first accessed.
    """

    initial: dict[str, Any] = field(default_factory=dict[str, Any])
    steps: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    read_result: Callable[[str], dict[str, Any]] | None = field(default=None, init=False, repr=False, compare=False)
    """Reads the result of one step, where ``steps`` is not read yet; ``KeyError`` where it has not completed."""
    is_over: Callable[[], bool] | None = field(default=None, init=False, repr=False, compare=False)
    """Asks whether the attempt that this context was given to is over."""

    def result(self, step: type[DeclaredStep] | str) -> dict[str, Any]:
        """The result of one step, without reading those of the others; ``KeyError`` if it has not completed."""
        key = step if isinstance(step, str) else step.key
        read = self.read_result
        try:
            return self.steps[key] if read is None or self.is_made("steps") else read(key)
        except KeyError:
            raise KeyError(f"step {key!r} had not completed, so there is no result of it") from None

    def cancelled(self) -> bool:
        """Whether the result of this attempt is no longer wanted: its run was cancelled, has failed or ended without it.

        A long step may ask it to stop early. It asks the store at most once a second. While the store is away, it returns the
        last answer. Once True, it stays True. Outside the attempt that the context was made for, it is False.
        """
        return self.is_over is not None and self.is_over()
