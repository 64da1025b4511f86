"""What the event stream is told of each transition: facts, from which a reader makes telemetry events.

Mirrored by `storage/redis/lua/parts/stream.lua` and the scripts that call it. Law held here: what is told of a run has each
event number that its transitions reserve, once and in order. Numbers are told as text, so that no store rounds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from hephaestus_celery.core.execution.state import Decision, RunState, Verdict
from hephaestus_celery.core.execution.times import Times
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.core.values.names import DONE


class What(StrEnum):
    """What a transition was. Readers of other versions read these words: they are added to, and never changed."""

    CLAIM = "claim"
    COMPLETE = "complete"
    SUSPEND = "suspend"
    RETRY = "retry"
    FAIL = "fail"
    DISCARD = "discard"
    AGAIN = "again"
    RESCUE = "rescue"
    CANCEL = "cancel"
    DEADLINE = "deadline"
    FORK = "fork"
    PAUSE = "pause"
    UNPAUSE = "unpause"
    END = "end"  # of a run that begins at Done, or whose last edges were settled after their step was committed
    OTHER = "other"  # what only newer code tells


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """What the stream is told of one transition: ``count`` events, from the number ``sequence`` on.

    ``detail`` is the JSON text of its history entry, empty where it has none. ``facts`` are what that does not say.
    """

    what: What
    sequence: int
    count: int
    at: int
    detail: str = ""
    facts: Mapping[str, str] = field(default_factory=dict[str, str])


def of_claim(before: RunState, decision: Decision, activation: Activation, times: Times) -> Telling | None:
    """A claim: the run begins with its first, and an attempt of the step, unless an event is applied."""
    if decision.verdict is not Verdict.APPLIED or decision.reserved == 0:
        return None
    first = before.status is Status.PENDING
    step = decision.state.steps[str(activation)]
    facts = {"first": "1"} if first else {}
    if decision.reserved > (2 if first else 0):
        facts |= {"step": str(activation), "attempt": str(step.attempt)}
        if step.queued_at is not None:
            facts["queued"] = str(step.queued_at)
        if step.round > 1:
            facts["round"] = str(step.round)
        if step.compensates is not None:
            facts["compensates"] = step.compensates
    return _telling(What.CLAIM, decision, times, facts=facts)


def of_commit(
    what: What,
    before: RunState,
    decision: Decision,
    activation: Activation,
    times: Times,
    *,
    detail: str,
    facts: Mapping[str, str],
    start: str,
    stuck: str = "",
    cause: Mapping[str, str | None] | None = None,
) -> Telling | None:
    """A commit; ``facts`` are those that it brings. ``start`` of the run is in nanoseconds, ``stuck`` its failure if it ends so.

    ``cause`` has the failure and the reason of a run that ends when it has undone what had completed.
    """
    if decision.reserved == 0:
        return None
    step = before.steps[str(activation)]
    told = dict(facts)
    if decision.verdict is Verdict.DISCARDED:
        return _telling(what, decision, times, detail=detail, facts={**told, "discarded": "1"})
    if step.resume is not None and step.waiting_since is not None and step.resume.at >= step.waiting_since:
        told["waited"] = str(step.resume.at - step.waiting_since)
    told |= _of_undoing(before, decision)
    if decision.state.status.final:
        why = {} if "refused" in told else _why(what, before, decision, stuck, cause or {})
        told |= {"end": decision.state.status, "start": start, **why}
    if activation.step == DONE and what is What.COMPLETE:
        return _telling(What.END, decision, times, facts=_of_end(told))
    return _telling(what, decision, times, detail=detail, facts=told)


def of_rescue(decision: Decision, times: Times, *, detail: str) -> Telling | None:
    """A lost message or attempt that was noticed."""
    return _telling(What.RESCUE, decision, times, detail=detail) if decision.reserved else None


def of_cancel(decision: Decision, times: Times, *, detail: str, start: str) -> Telling:
    """The cancellation of a run, or that it undoes from now on what has completed, to end then."""
    facts = {"start": start, **({} if decision.state.status.final else {"begins": "1"})}
    return _telling(What.CANCEL, decision, times, detail=detail, facts=facts)


def of_deadline(decision: Decision, times: Times, *, detail: str, start: str) -> Telling:
    """The failure of a run that has not ended in time; it may undo first what has completed."""
    facts = {"start": start, **({} if decision.state.status.final else {"begins": "1"})}
    return _telling(What.DEADLINE, decision, times, detail=detail, facts=facts)


def of_fork(decision: Decision, times: Times, *, detail: str) -> Telling:
    """A run that was made of an earlier one."""
    return _telling(What.FORK, decision, times, detail=detail)


def of_pause(what: What, decision: Decision, times: Times, *, detail: str) -> Telling:
    """The pause of a run, or its end."""
    return _telling(what, decision, times, detail=detail)


def _of_undoing(before: RunState, decision: Decision) -> dict[str, str]:
    found = {
        "late": decision.verdict is Verdict.LATE,
        "undoes": before.undoing is not None,
        "begins": before.undoing is None and decision.state.compensating,
    }
    return {name: "1" for name, holds in found.items() if holds}


def _why(
    what: What, before: RunState, decision: Decision, stuck: str, cause: Mapping[str, str | None]
) -> dict[str, str]:
    # Why a run has ended that has not completed.
    state = decision.state
    if before.undoing is not None:
        return _of_undone(state, cause)
    if what is not What.COMPLETE or state.status is not Status.FAILED:
        return {}
    shortfall = {} if state.shortfall is None else {"shortfall": state.shortfall.text}
    return {"stuck": stuck, **shortfall}


def _of_undone(state: RunState, cause: Mapping[str, str | None]) -> dict[str, str]:
    facts = {**cause, "failed": state.failed_step, "shortfall": state.shortfall and state.shortfall.text}
    return {name: fact for name, fact in facts.items() if fact is not None}


def _of_end(facts: Mapping[str, str]) -> dict[str, str]:
    return {name: facts[name] for name in ("end", "start", "stuck", "shortfall", "refused", "begins") if name in facts}


def _telling(
    what: What, decision: Decision, times: Times, *, detail: str = "", facts: Mapping[str, str] | None = None
) -> Telling:
    return Telling(
        what=what,
        sequence=decision.sequence,
        count=decision.reserved,
        at=times.now,
        detail=detail,
        facts=facts or {},
    )
