"""The deadline of a run: when it comes, the run fails, whatever its steps do or wait for.

The due set has an entry of the run for it, from the start on and until the run ends. So it counts on the steady clock, also while
the run is paused, and while no worker is there. Mirrored by `storage/redis/lua/parts/deadlines.lua`.

Laws held here: a run that has ended does not change; what steps still execute is discarded, as after any other failure.
"""

from __future__ import annotations

from hephaestus_celery.core.execution.limits import DEADLINE_ACCOUNT, DEADLINE_FAILURE, DEADLINE_MESSAGE
from hephaestus_celery.core.execution.state import Decision, RunState, applied, stale
from hephaestus_celery.core.execution.times import Times
from hephaestus_celery.core.execution.undoing import stop
from hephaestus_celery.core.values.lifecycle import Status

EXCEEDED = "DeadlineExceeded"
"""The type of the failure of such a run."""
_SECOND = 1_000_000


def expire(state: RunState, *, times: Times) -> Decision:
    """The deadline of the run has come; ``STALE`` if the run has ended, or undoes already what has completed."""
    if state.status.final or state.undoing is not None:
        return stale(state)
    after, commands = stop(state, Status.FAILED, times)
    return applied(state, after, reserved=1, commands=commands)


def message_of(deadline: int) -> str:
    """What the failure says of a run with this deadline, in microseconds from its start."""
    return DEADLINE_MESSAGE % f"{deadline / _SECOND:.15g}"


def failure_of(deadline: int) -> str:
    """The failure of such a run, as JSON text."""
    return DEADLINE_FAILURE % message_of(deadline)


def account_of(deadline: int) -> str:
    """What the history says of it."""
    return DEADLINE_ACCOUNT % message_of(deadline)
