"""Why a run does not move as a whole: it or its workflow is paused, it is copied, or next steps are being started.

Law held here: what executes goes on under a pause, and nothing else does.
"""

from __future__ import annotations

from dataclasses import replace

from hephaestus_celery.core.execution.standing import MOVED_BY_SCHEDULER, Cause, Reason, RunFacts
from hephaestus_celery.core.values.pause import PauseMark, Pauses

_GO_ON = (Cause.EXECUTING, Cause.APPLYING)
_NEXT = (Cause.BACKOFF, Cause.EVENT, Cause.TIMER)


def kept_by_pause(found: Reason, pauses: Pauses, *, family: str) -> Reason:
    """Why a step does not move where its run is paused; ``family`` is the name under which its workflow is."""
    if not pauses or found.cause in _GO_ON:
        return found
    marks = [mark for mark in (pauses.run, pauses.workflow) if mark is not None]
    whose = [
        *(["its run" + _by(pauses.run)] if pauses.run is not None else []),
        *(["its workflow" + _by(pauses.workflow)] if pauses.workflow is not None else []),
    ]
    ends = [
        *(["unpause RUN"] if pauses.run is not None else []),
        *([f"unpause --whole {family}"] if pauses.workflow is not None else []),
    ]
    then = f", then for {found.waits_for}" if found.cause in _NEXT else ""
    meanwhile = "; an event that comes before is kept" if found.cause is Cause.EVENT else ""
    return Reason(
        step=found.step,
        cause=Cause.PAUSED,
        waits_for=f"the end of the pause of {' and of '.join(whose)}{then}",
        since=min(mark.at for mark in marks),
        moved_by=" and ".join(ends) + meanwhile,
    )


def without_steps(run: RunFacts, *, since: int) -> Reason:
    """Why a run does not move that has neither ended nor a step that is active or waits; ``since`` is its start."""
    silent = run.scheduler is not None and run.scheduler.is_silent(run.at)
    if run.copies is not None:
        found = Reason(
            step=None,
            cause=Cause.COPYING,
            waits_for=f"its data to be copied from run {run.copies}",
            since=since,
            moved_by="the caller that copies it; if that is lost, a scheduler",
        )
    else:
        found = Reason(
            step=None,
            cause=Cause.STARTING,
            waits_for="its next steps to be started, which is done in slices",
            moved_by="the worker that does so; if that is lost, a scheduler. If it lasts, doctor says more",
        )
    return replace(found, moved_by=f"{found.moved_by}; none is at work: {MOVED_BY_SCHEDULER}") if silent else found


def _by(mark: PauseMark) -> str:
    return "" if mark.by is None else f" (set by {mark.by})"
