"""Turning away a worker that does not know a workflow or its version: when another message is sent.

Mirrored by ``storage/redis/lua/claim.lua``.

Laws held here: only the message that a step still awaits is replaced, each further one comes twice as late as the one
before, and none comes later than it would have come without the refusal.
"""

from __future__ import annotations

from hephaestus_celery.core.execution.lanes import redispatch_interval
from hephaestus_celery.core.execution.limits import TURNED_AWAY
from hephaestus_celery.core.values.step_state import StepState

_MOST_DOUBLINGS = 9


def sent_again_at(
    step: StepState, *, attempt: int, moment: int, dispatch_timeout: int, due_at: int | None
) -> int | None:
    """When the step's message is sent again after a worker left that of ``attempt``; None where nothing changes.

    ``due_at`` is when the step comes due as things stand. A message in a lane has no such entry, and is looked for at the
    end of its redispatch interval. All are microseconds on the clock that timers go by.
    """
    if step.attempt != attempt or not step.awaits_claim:
        return None
    soon = moment + TURNED_AWAY * 2 ** min(step.dispatch - 1, _MOST_DOUBLINGS)
    if step.lane is not None:
        interval = redispatch_interval(sent=step.sent, resends=step.resends, timeout=dispatch_timeout)
        if soon >= step.sent + interval:
            return None
    return soon if due_at is None else min(soon, due_at)
