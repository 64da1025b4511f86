"""When the message of a worker that was turned away is sent again; the claim itself decides that it is refused.

Mirrored by ``storage/redis/lua/claim.lua``.

Laws held here: only a message that the step still awaits is replaced; the time until the next message doubles each time, and
begins anew with each attempt and each round; no message comes later than it would have come without the refusal.
"""

from __future__ import annotations

from hephaestus_celery.core.execution.lanes import redispatch_interval
from hephaestus_celery.core.execution.limits import MOST_DOUBLINGS, TURNED_AWAY
from hephaestus_celery.core.values.step_state import StepState


def sent_again_at(
    step: StepState, *, attempt: int, moment: int, dispatch_timeout: int, due_at: int | None
) -> int | None:
    """When the step's message is sent again after a worker was turned away with that of ``attempt``; None if nothing changes.

    ``due_at`` is when the step's due entry, if there is one, sends its message again. Mostly a message in a lane has no such
    entry, and is looked for at the end of its redispatch interval. If the entry was lost, nothing else would come, so the
    message is sent again soon. All times are microseconds on the clock that timers go by.
    """
    if step.attempt != attempt or not step.awaits_claim or step.held is not None:
        return None
    soon = moment + TURNED_AWAY * 2 ** min(step.resends, MOST_DOUBLINGS)
    expected_at = due_at
    if expected_at is None and step.lane is not None:
        interval = redispatch_interval(sent=step.sent, resends=step.resends, timeout=dispatch_timeout)
        expected_at = step.sent + interval
    return soon if expected_at is None or soon < expected_at else None
