"""Why a run is not moving, in lines: steps with the same reason share one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from hephaestus_celery.core.execution.standing import Cause, Reason
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.reports.advice import for_application
from hephaestus_celery.reports.standing import standing_of
from hephaestus_celery.reports.times import age, clock_time, length
from hephaestus_celery.storage.codec import moment

_NAMED = 3  # steps of one line


def reason_lines(
    instance: Instance, why: Sequence[Reason], *, now: datetime, application: str
) -> Sequence[tuple[str, str]]:
    """Whom each line is about, and what it says; the last one counts the steps that were not looked at.

    ``application`` is what advice gives to ``celery -A``.
    """
    alike: dict[object, list[Reason]] = {}
    for each in why:
        alike.setdefault(_alike(each), []).append(each)
    lines = [(_names(group), _sentence(_earliest(group), now=now, application=application)) for group in alike.values()]
    left = _left_out(instance, why)
    if left:
        counts = [f"{count:,} {word}" for word, count in left.items()]
        lines.append((f"{sum(left.values()):,} more steps", ", ".join(counts if len(left) > 1 else left)))
    if instance.deadline is not None and not instance.status.final and not instance.compensating:
        lines.append(("the run", _of_deadline(instance.deadline, now=now)))
    return lines


def _of_deadline(deadline: datetime, *, now: datetime) -> str:
    at = clock_time(deadline, now=now)
    if deadline <= now:
        return f"fails as soon as a scheduler looks, since its deadline was at {at} ({age(deadline, now=now)} ago)"
    return f"fails at {at} (in {length(deadline - now)}) unless it has ended by then: that is its deadline"


def _alike(reason: Reason) -> object:
    # Messages of one queue differ in how many are before them.
    return reason.cause, reason.moved_by, "" if reason.cause is Cause.BACKLOG else reason.waits_for


def _names(group: Sequence[Reason]) -> str:
    names = sorted((each.step or "the run" for each in group), key=_in_natural_order)
    if len(names) <= _NAMED + 1:
        return ", ".join(names)
    return f"{', '.join(names[:_NAMED])} and {len(names) - _NAMED} more"


def _in_natural_order(name: str) -> list[tuple[int, str]]:
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"([0-9]+)", name)]


def _earliest(group: Sequence[Reason]) -> Reason:
    since = [each.since for each in group if each.since is not None]
    until = [each.until for each in group if each.until is not None]
    return replace(group[0], since=min(since, default=None), until=min(until, default=None))


def _sentence(reason: Reason, *, now: datetime, application: str) -> str:
    text = f"waits for {reason.waits_for}"
    if reason.since is not None:
        since = moment(reason.since)
        text += f", since {clock_time(since, now=now)} ({age(since, now=now)})"
    if reason.until is not None:
        until = moment(reason.until)
        left = f"in {length(until - now)}" if until > now else f"{age(until, now=now)} ago"
        text += f", until {clock_time(until, now=now)} ({left})"
    return f"{text}; what moves it: {for_application(reason.moved_by, application)}"


def _left_out(instance: Instance, why: Sequence[Reason]) -> Mapping[str, int]:
    told = {each.step for each in why}
    return Counter(
        standing_of(state, instance.status)
        for key, state in instance.step_states.items()
        if state.status in (StepStatus.ACTIVE, StepStatus.WAITING) and key not in told and not instance.status.final
    )
