"""Values of starts: a run that is to be created, and why it may be refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.identity import Scope
from hephaestus_celery.exceptions import AlreadyRunningError
from hephaestus_celery.storage.durations import Durations
from hephaestus_celery.storage.schema import PLAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedMessage:
    """A message for a store that is also the broker: ``text`` goes on its ``list`` in the transition that makes it due."""

    list: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstStep:
    """A step that a run begins with; ``config`` is a JSON text, ``prepared_message`` its message.

    ``lane`` is the lane of that message, see :mod:`hephaestus_celery.core.execution.lanes`; None if it can't be known.
    ``origin`` is the run whose idempotency key the step repeats; None if that is its own. ``round`` is where a retry goes on with
    an ``Again``.
    """

    step: str
    config: str | None
    max_attempts: int
    prepared_message: PreparedMessage | None = None
    lane: str | None = None
    origin: str | None = None
    round: int = 1

    @property
    def dispatch(self) -> DispatchStep:
        """Its first message."""
        return DispatchStep(Activation(self.step), 1, 1, self.round)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run to be created; ``header`` and ``initial`` are JSON texts. All of ``firsts`` start at once.

    ``deadline`` is in microseconds from the start; None if it has none. ``message_headers`` is the JSON text of the headers that every
    message of the run repeats; None if there are none. ``compensates``: its workflow has compensations.
    """

    operation: str
    run_id: str
    instance_id: str
    name: str
    family: str
    version: int
    scope: Scope
    tags: Sequence[str]
    header: str
    initial: str
    firsts: Sequence[FirstStep]
    durations: Durations
    schema: int = PLAIN
    message_headers: str | None = None
    deadline: int | None = None
    compensates: bool = False


def already_running(run: NewRun, holder: str, *, family: str, scope: str) -> AlreadyRunningError:
    """The error of a start whose id is held by the active run ``holder``, of this ``family`` and ``scope``."""
    wider = f"scope 'global' of {run.family if run.scope == 'global' else family}"
    reason = wider if "global" in (run.scope, scope) else f"scope {run.scope!r} of {run.family}"
    return AlreadyRunningError(
        f"{run.instance_id} is running already (run {holder} of {family}; {reason}); wait for its end, cancel it, or "
        "start another id"
    )
