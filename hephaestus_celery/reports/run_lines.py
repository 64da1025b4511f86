"""What is to be said of a run as a whole, a line each: what holds it, how far it is undone, and what it was made of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from hephaestus_celery.client.hephaestus import Hephaestus
from hephaestus_celery.core.values.history import HistoryEntry
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.core.values.pause import PausedBy
from hephaestus_celery.reports.times import age, clock_time


def pause_lines(instance: Instance, *, now: datetime) -> list[str]:
    """Why a run is paused, since when, and what ends it; empty where it is not."""
    lines: list[str] = []
    for pause in instance.pauses:
        of_run = pause.reason is PausedBy.RUN
        by = "" if pause.by is None else f" by {pause.by}"
        since = f"since {clock_time(pause.since, now=now)} ({age(pause.since, now=now)})"
        end = "unpause RUN" if of_run else f"unpause --whole {instance.workflow_family}"
        lines.append(f"{'paused' if of_run else 'its workflow is paused'}{by} {since}; what ends it: {end}")
    return lines


def undoing_line(instance: Instance) -> str:
    """How far a run is that undoes, or has undone, what had completed."""
    total = len(dict(instance.undone))
    states = instance.step_states
    over = [other for _, other in instance.undone if other in states and not states[other].is_compensating]
    done = sum(states[other].status is StepStatus.COMPLETED for other in over)
    if instance.compensating:
        return f"undoes what had completed: {done} of {total} undone; then it ends"
    if not total:
        return "no step had completed that is to be undone"
    return f"{done} of {total} steps that had completed are undone"


def origin_line(runtime: Hephaestus, instance: Instance, entries: Sequence[HistoryEntry]) -> str | None:
    """What a run was made of, by a retry or a fork; None where it was started."""
    # A retry is what the earlier run names as such; a fork is not named there.
    earlier = instance.forked_from
    if earlier is None:
        return None
    found = runtime.list(id=earlier, limit=1).instances
    what = "made" if not found else "retry" if found[0].retried_as == instance.run_id else "fork"
    by = next((entry.by for entry in entries if entry.kind == "fork" and entry.by), None)
    return f"{what} of run {earlier}" + (f", by {by}" if by else "")
