"""The rule of a resume: which waiting step takes an event, or whether the event is kept, refused, or a repeat.

Mirrored by `storage/redis/lua/deliver.lua`. Laws held here: an event is for one step alone; a refused event leaves no trace;
a run takes an event with a key once, however often it is delivered.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from hephaestus_celery.core.execution.limits import MOST_KEPT, MOST_KEYS
from hephaestus_celery.core.execution.state import Decision, EarlyEvent, RunState, Verdict, stale
from hephaestus_celery.core.execution.times import Times
from hephaestus_celery.core.execution.waiting import deliver
from hephaestus_celery.core.values.activation import Activation


class Delivered(StrEnum):
    """What became of a delivery."""

    ACCEPTED = "accepted"
    KEPT = "kept"
    REPEATED = "repeated"  # the run has taken an event with this key before
    NOT_WAITING = "not_waiting"
    AMBIGUOUS = "ambiguous"
    TOO_MANY_KEPT = "too_many_kept"
    TOO_MANY_KEYS = "too_many_keys"
    UNKNOWN_RUN = "unknown_run"
    SEVERAL = "several"  # several runs of the id are active, and the call does not say which is meant


@dataclass(frozen=True, slots=True, kw_only=True)
class Reception:
    """The outcome for an event, the decision about the run, and the keys of the steps that wait for the event."""

    outcome: Delivered
    decision: Decision
    steps: tuple[str, ...] = ()


def receive(
    state: RunState,
    *,
    name: str,
    step: str | None,
    keep: bool,
    times: Times,
    key: str | None = None,
    by: str | None = None,
) -> Reception:
    """Deliver an event to the one step that waits for it, or to ``step``; with ``keep`` the event may come too early.

    ``by``: who sends it.
    """
    unchanged = stale(state)
    if key is not None and key in state.keys:
        return Reception(outcome=Delivered.REPEATED, decision=unchanged)
    waiting = waiting_for(state, name, step=step)
    outcome = _outcome(state, waiting, keep=keep, key=key)
    match outcome:
        case Delivered.ACCEPTED:
            taker = Activation.parse(waiting[0])
            decision = deliver(state, taker, name=name, source="external", times=times, by=by, key=key)
        case Delivered.KEPT:
            number = state.kept + 1
            early = EarlyEvent(number=number, name=name, step=step, key=key, by=by)
            kept = replace(state, early=(*state.early, early), kept=number)
            decision = Decision(verdict=Verdict.APPLIED, state=kept)
        case _:
            return Reception(outcome=outcome, decision=unchanged, steps=waiting)
    if key is not None:
        noted = replace(decision.state, keys=decision.state.keys | {key})
        if outcome is Delivered.ACCEPTED:
            noted = replace(noted, owners={**noted.owners, key: waiting[0]})
        decision = replace(decision, state=noted)
    return Reception(outcome=outcome, decision=decision, steps=waiting)


def waiting_for(state: RunState, name: str, *, step: str | None = None) -> tuple[str, ...]:
    """The keys of the steps that wait for an event of this name and have not received one."""
    if state.status.final:
        return ()
    return tuple(
        key
        for key, candidate in state.steps.items()
        if candidate.waits and name in candidate.accepts and step in (None, key)
    )


def _outcome(state: RunState, waiting: tuple[str, ...], *, keep: bool, key: str | None) -> Delivered:
    if len(waiting) > 1:
        return Delivered.AMBIGUOUS
    if not waiting and (state.status.final or not keep):
        return Delivered.NOT_WAITING
    if not waiting and len(state.early) >= MOST_KEPT:
        return Delivered.TOO_MANY_KEPT
    if key is not None and len(state.keys) >= MOST_KEYS:
        return Delivered.TOO_MANY_KEYS
    return Delivered.ACCEPTED if waiting else Delivered.KEPT
