"""Reads the replies of scripts into values of the port: commits, deliveries, cancellations and ticks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.delivery import Delivered
from hephaestus_celery.core.execution.due import Due
from hephaestus_celery.core.execution.joins import Shortfall
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.storage.claims import Attempt
from hephaestus_celery.storage.commits import Cause, Commitment
from hephaestus_celery.storage.due import SEIZED, DueEntry, ExpiredRun, LaneReport, Outstanding, RescuedRun, Tick
from hephaestus_celery.storage.queries import StoredRun
from hephaestus_celery.storage.redis.stored_runs import read_run, read_step
from hephaestus_celery.storage.resume_and_cancel import Cancellation, DeliveryReport, RunAddress


def read_commitment(
    reply: Sequence[bytes],
    *,
    run_id: str,
    step: str,
    taken: Sequence[str] = (),
    states: Callable[[], Mapping[str, StepState]],
) -> Commitment:
    """What a commit did; ``taken`` are the targets that it was to activate. ``complete.lua`` says which facts it omits.

    ``states`` reads the states of a run of many steps that has ended; no step of it completes any more.
    """
    encoded, *more = reply
    facts = json.loads(encoded)
    start, rest, *cause = more or (b"", b"")
    verdict = Verdict(facts.get("v", Verdict.APPLIED))
    if verdict in (Verdict.CONFLICT, Verdict.WANTED):
        return Commitment(verdict=verdict, run=read_run(rest, start=start, run_id=run_id))
    if verdict is Verdict.STALE:
        return Commitment(verdict=verdict)
    ending: Mapping[str, Any] = json.loads(rest) if rest else {}
    activated: Sequence[str] = list(facts.get("activated", taken)) if verdict is Verdict.APPLIED else ()
    return Commitment(
        verdict=verdict,
        sequence=facts["seq"],
        status_before=Status(facts.get("before", Status.RUNNING)),
        status_after=Status(facts.get("after", Status.RUNNING)),
        advance=facts.get("adv", 0),
        active=facts.get("active", 0),
        activated=activated,
        ending=facts.get("ending"),
        undoes=facts.get("undoes", False),
        cause=_read_cause(*cause) if cause else None,
        dispatches=_dispatches(facts, step=step, activated=activated),
        resumed=facts.get("resumed", False),
        completed=_completed(states()) if ending.get("many") else list(ending.get("completed", ())),
        finished_at=_number(ending.get("t1")),
        start=start.decode() or None,
        shortfall=Shortfall.parse(facts["short"]) if "short" in facts else None,
    )


def _read_cause(failure: bytes, failed_step: bytes, reason: bytes) -> Cause:
    return Cause(
        failure=failure.decode() or None,
        failed_step=failed_step.decode() or None,
        reason=json.loads(reason) if reason else None,
    )


def _dispatches(facts: Mapping[str, Any], *, step: str, activated: Sequence[str]) -> list[DispatchStep]:
    # The messages still to be sent: of a step that an early event has resumed, or of the steps that start.
    if facts.get("resumed"):
        return [_message(step, facts)]
    if facts.get("undoes") or "undo" in facts:
        return _next_compensation(facts)
    posted = facts.get("posted", ())
    sent = {None if facts.get("starts") else "done", *(activated if posted is True else posted)}
    return [DispatchStep(Activation.parse(key), 1, 1) for key in activated if key not in sent]


def _next_compensation(facts: Mapping[str, Any]) -> list[DispatchStep]:
    return [DispatchStep(Activation(facts["undo"]), 1, 1)] if "undo" in facts else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """The edges that were settled: their number from this ``position`` on, and how many are ``left``."""

    position: int
    settled: int
    left: int


def read_slice(
    reply: Sequence[bytes], *, run_id: str, states: Callable[[], Mapping[str, StepState]]
) -> tuple[Commitment, Slice | None]:
    """The commitment of a settled slice, and which slice it was: see ``settle.lua``."""
    facts = json.loads(reply[0])
    commitment = read_commitment(reply, run_id=run_id, step="", states=states)
    if commitment.verdict is not Verdict.APPLIED:
        return commitment, None
    place = Slice(position=facts["position"], settled=facts["settled"], left=facts["left"])
    return replace(commitment, ending=facts.get("ending")), place


def has_many_steps(reply: Sequence[bytes]) -> bool:
    """Whether a commit ended a run of so many steps that their states must be read: see ``states`` above."""
    return len(reply) > 2 and bool(reply[2]) and json.loads(reply[2]).get("many", False)  # noqa: PLR2004 - facts, start, end


def _completed(states: Mapping[str, StepState]) -> list[str]:
    orders = {
        key: state.order for key, state in states.items() if state.order is not None and state.compensates is None
    }
    return sorted(orders, key=orders.__getitem__)


def read_delivery(facts: Mapping[str, Any]) -> DeliveryReport:
    """What became of a delivery, from the facts of ``deliver.lua``."""
    outcome = Delivered(facts["v"])
    if outcome in (Delivered.UNKNOWN_RUN, Delivered.SEVERAL):
        return DeliveryReport(outcome=outcome, active=facts.get("active") or ())
    steps = tuple[str, ...](facts.get("steps") or ())
    return DeliveryReport(
        outcome=outcome,
        run=RunAddress(
            run_id=facts["run"],
            name=facts["name"],
            version=int(facts["version"]),
            message_headers=facts.get("headers"),
        ),
        status=Status(facts["status"]),
        steps=steps,
        executing=facts.get("executing") or (),
        dispatches=[_message(steps[0], facts)] if outcome is Delivered.ACCEPTED and "attempt" in facts else (),
    )


def read_cancellation(reply: Mapping[str, bytes], *, run: StoredRun) -> Cancellation:
    """A run that was cancelled."""
    facts = json.loads(reply["facts"])
    return Cancellation(sequence=facts["seq"], run=run, dispatches=_next_compensation(facts))


def read_tick(reply: Mapping[str, bytes], *, lease: int) -> Tick:
    """What has come due, for the scheduler that holds the lock; seized attempts have this lease, in microseconds."""
    return Tick(
        held=True,
        next_in=_number(reply["next_in"].decode()),
        more=reply["more"] == b"1",
        entries=read_entries(reply["entries"], lease=lease),
        problems=json.loads(reply["problems"]),
        lanes=[_read_lane(found) for found in json.loads(reply["reports"])],
    )


_KINDS = {
    "lapsed": Due.LEASE_EXPIRED,
    "overran": Due.TIMED_OUT,
}  # as entries name them: schedulers of all versions read them


def read_entries(text: bytes, *, lease: int, holder: str | None = None) -> list[DueEntry]:
    """The entries that have come due, are sent again, or were seized (from ``holder``, where that is known)."""
    return [_read_due(found, lease=lease, holder=holder) for found in json.loads(text)]


def _read_due(found: Mapping[str, Any], *, lease: int, holder: str | None) -> DueEntry:
    step = read_step(json.loads(found["state"])) if "state" in found else None
    activation, kind = Activation.parse(found["step"]), _KINDS.get(found["kind"]) or Due(found["kind"])
    return DueEntry(
        kind=kind,
        run_id=found["run"],
        name=found["name"],
        version=int(found["version"]),
        dispatch=_message(found["step"], found),
        attempt=_read_seized(found, activation, step, lease=lease, holder=holder)
        if step is not None and kind in SEIZED
        else None,
        sequence=found["seq"],
        run=_read_rescued(found, step) if step is not None and "header" in found else None,
        message_headers=found.get("headers"),
        held=found.get("held", False),
        expired=_read_expired(found) if kind is Due.DEADLINE and "deadline" in found else None,
    )


def _read_seized(
    found: Mapping[str, Any], activation: Activation, step: StepState, *, lease: int, holder: str | None
) -> Attempt:
    return Attempt(
        run_id=found["run"],
        activation=activation,
        number=found["attempt"],
        max_attempts=step.max_attempts,
        fence=found["fence"],
        holder=holder,
        lease=lease,
    )


def _read_rescued(found: Mapping[str, Any], step: StepState) -> RescuedRun:
    return RescuedRun(
        header=found["header"],
        status=Status(found["status"]),
        started_at=int(found["started"]),
        start=found["start"] or None,
        step=step,
        at=int(found.get("at", 0)),  # an older scheduler left it out
    )


def _read_expired(found: Mapping[str, Any]) -> ExpiredRun:
    return ExpiredRun(
        header=found.get("header"),
        started_at=int(found["started"]),
        finished_at=int(found["at"]),
        start=found["start"] or None,
        deadline=int(found["deadline"]),
        advances=found["adv"],
        completed=found.get("completed"),
        undoes=found.get("undoes", False),
        dispatches=_next_compensation(found),
    )


def _read_lane(found: Mapping[str, Any]) -> LaneReport:
    return LaneReport(
        lane=found["lane"],
        moves=found["moves"],
        outstanding=[
            Outstanding(
                run_id=message["run"],
                name=message["name"],
                version=int(message["version"]),
                dispatch=_message(message["step"], message),
                passed=message["passed"],
            )
            for message in found["outstanding"]
        ],
    )


def _message(step: str, facts: Mapping[str, Any]) -> DispatchStep:
    # The round is left out of what scripts say of the first.
    return DispatchStep(Activation.parse(step), facts["attempt"], facts["token"], facts.get("round", 1))


def _number(text: str | None) -> int | None:
    return int(text) if text else None
