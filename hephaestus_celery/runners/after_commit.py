"""What is left to do once an attempt is committed: events to emit, and messages to send."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.runners import events
from hephaestus_celery.runners.attempt import HeldAttempt
from hephaestus_celery.runners.events import Event
from hephaestus_celery.runners.messages import Message, messages_of
from hephaestus_celery.storage.commits import Commitment
from hephaestus_celery.telemetry.emitter import Emitter
from hephaestus_celery.telemetry.event_dispatcher import has_any_handlers

logger = logging.getLogger("hephaestus_celery")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a committed attempt came to. ``label`` is a word for the log.

    ``error`` is set when the attempt failed, ``retry_in`` (seconds) when another is due.
    """

    label: str
    events: Sequence[Event] = ()
    messages: Sequence[Message] = ()
    error: Exception | None = None
    retry_in: float | None = None

    def emit(self, emitter: Emitter) -> None:
        """Emit the events of what was committed."""
        events.emit(self.events, emitter)


def outcome_of(
    attempt: HeldAttempt,
    commitment: Commitment,
    *,
    label: str,
    describe: Callable[[], Sequence[Event]],
    error: Exception | None = None,
    retry_in: float | None = None,
) -> Outcome:
    """The outcome of a commitment; ``describe`` makes its events, unless nobody listens.

    The commit is stored already. So an error here costs only events, or delays a message until the scheduler sends it again.
    """
    if commitment.verdict is Verdict.STALE:
        _log_stale(attempt)
    found: Sequence[Event] = ()
    sent: list[Message] = []
    try:
        found = describe() if has_any_handlers() else ()
        sent = messages_of(attempt.instance, commitment.dispatches)
    except Exception:
        logger.exception(
            "[%s] the events of step %s can't be emitted; its commit is stored",
            attempt.instance.id,
            attempt.source.step.key,
        )
    return Outcome(label=label, events=found, messages=sent, error=error, retry_in=retry_in)


def _log_stale(attempt: HeldAttempt) -> None:
    logger.warning(
        "[%s] step %s: the result of attempt %d is not stored; the attempt was taken from this worker (its lease has expired, "
        "or its time limit was over), or the run is gone (pruned, or lost with its server's data)",
        attempt.instance.id,
        attempt.step.key,
        attempt.number,
    )
