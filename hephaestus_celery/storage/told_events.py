"""Makes telemetry events of what the event stream was told of a transition, with the numbers that it has reserved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hephaestus_celery.core.execution.joins import Shortfall
from hephaestus_celery.core.execution.telling import What
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.names import DONE, FAILED
from hephaestus_celery.core.values.stream_event import StreamEvent
from hephaestus_celery.storage.codec import decode, moment
from hephaestus_celery.storage.event_stream import Told
from hephaestus_celery.storage.history_entries import read_fields
from hephaestus_celery.storage.shortfalls import explained
from hephaestus_celery.telemetry.catalogue import names
from hephaestus_celery.telemetry.handlers import EventName

_ATTEMPT = "attempt"  # the kind of a history entry; others are of applied events


def events_of(told: Told) -> list[StreamEvent]:
    """The events of one transition, in order."""
    telling = told.telling
    found: list[StreamEvent] = []
    for place, (name, fields) in enumerate(_DESCRIBE[telling.what](_Facts.of(told))):
        found.append(
            StreamEvent(
                name=name,
                run_id=told.run_id,
                id=told.instance_id,
                workflow=told.workflow,
                version=told.version,
                sequence=telling.sequence + place,
                at=moment(telling.at),
                **fields,
            )
        )
    return found


Described = Iterator[tuple[EventName, dict[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """The facts of a transition, and its history entry."""

    at: int
    facts: Mapping[str, str]
    entry: Mapping[str, Any]

    @classmethod
    def of(cls, told: Told) -> _Facts:
        entry = read_fields(told.telling.detail or "{}", run_id=told.run_id)
        return cls(at=told.telling.at, facts=told.telling.facts, entry=entry)

    def nanoseconds(self, name: str) -> int | None:
        """A fact in microseconds as nanoseconds."""
        return int(self.facts[name]) * 1000 if name in self.facts else None

    @property
    def about_step(self) -> dict[str, Any]:
        """The step, its attempt, and who executed it."""
        return {
            "step_key": self.entry.get("step"),
            "attempt": self.entry.get("attempt"),
            "worker": self.entry.get("worker"),
            "task_id": self.entry.get("task_id"),
            "round": self.entry.get("round"),
            "compensates": self.entry.get("compensates"),
        }

    @property
    def took(self) -> int:
        """How long the step was executed, in nanoseconds."""
        return int(self.facts.get("took", 0))

    @property
    def failure(self) -> dict[str, Any]:
        """The failure of an attempt."""
        return {"kind": self.facts.get("kind", "error"), "reason": self.entry.get("reason")}

    @property
    def shortfall(self) -> Shortfall | None:
        """The counted join that is why the run has failed."""
        text = self.facts.get("shortfall")
        return None if text is None else Shortfall.parse(text)

    @property
    def lasted(self) -> int | None:
        """How long the run lasted, in nanoseconds; None where its start can't be read or lies after its end."""
        start = self.facts.get("start", "")
        lasted = self.at * 1000 - int(start) if start.isdecimal() else -1
        return lasted if lasted >= 0 else None


def _step(facts: _Facts) -> str | None:
    return Activation.parse(facts.facts["step"]).step if facts.facts.get("step") else None


def _claim(facts: _Facts) -> Described:
    if "first" in facts.facts:
        yield names.WORKFLOW_START, {}
        yield names.ENGINE_ADVANCE, {}
    if "step" in facts.facts:
        step = _step(facts)
        queued = int(facts.facts.get("queued", facts.at))
        waited = max(0, facts.at - queued) * 1000
        number = facts.facts.get("round")
        yield (
            names.STEP_START,
            {
                "step_key": step,
                "attempt": int(facts.facts["attempt"]),
                "queue_time": waited,
                "round": None if number is None else int(number),
                "compensates": facts.facts.get("compensates"),
            },
        )


def _complete(facts: _Facts) -> Described:
    event = facts.entry.get("event")
    if event == FAILED:
        yield names.STEP_EXCEPTION, {**facts.about_step, **facts.failure, "duration": facts.took}
    elif facts.entry.get("kind", _ATTEMPT) == _ATTEMPT:
        yield names.STEP_STOP, {**facts.about_step, "event": event, "duration": facts.took}
    else:
        waited = facts.nanoseconds("waited")
        yield names.STEP_RESUME, {**facts.about_step, "event": event, "wait_duration": waited}
    if not {"discarded", "late"} & facts.facts.keys():
        yield names.WORKFLOW_TRANSITION, {"step_key": facts.entry.get("step"), "event": event}
        yield names.ENGINE_ADVANCE, {}
    yield from _end(facts)


def _end(facts: _Facts) -> Described:
    match facts.facts.get("end"):
        case "completed":
            yield names.STEP_START, {"step_key": DONE, "attempt": 1, "queue_time": 0}
            yield names.STEP_STOP, {"step_key": DONE, "attempt": 1, "event": DONE, "duration": 0}
            yield names.WORKFLOW_TRANSITION, {"step_key": DONE, "event": DONE}
            yield names.WORKFLOW_STOP, {"duration": facts.lasted}
        case "failed" if "refused" in facts.facts:
            yield from _refused(facts)
            yield names.WORKFLOW_EXCEPTION, {**_refusal(facts), "duration": facts.lasted}
        case "failed" if "stuck" in facts.facts:
            failure = explained(decode(facts.facts["stuck"]), facts.shortfall)
            reason = f"{failure['type']}: {failure['message']}"
            about = {"step_key": facts.entry.get("step") or _step(facts), "kind": failure["kind"], "reason": reason}
            yield names.WORKFLOW_EXCEPTION, {**about, "duration": facts.lasted}
        case "failed" if "failure" in facts.facts:  # what had completed is undone
            yield names.WORKFLOW_EXCEPTION, {**_first_failure(facts), "duration": facts.lasted}
        case "cancelled":
            yield names.WORKFLOW_CANCEL, {"reason": facts.facts.get("reason"), "duration": facts.lasted}
        case _ if "begins" in facts.facts:
            yield from _refused(facts)
            yield names.WORKFLOW_COMPENSATE, {}
        case _:
            pass


def _refused(facts: _Facts) -> Described:
    # The result of the run could not be computed.
    if "refused" in facts.facts:
        yield names.STEP_START, {"step_key": DONE, "attempt": 1, "queue_time": 0}
        yield names.STEP_EXCEPTION, {**_refusal(facts), "attempt": 1, "duration": 0}


def _refusal(facts: _Facts) -> dict[str, Any]:
    failure = decode(facts.facts["refused"])
    return {"step_key": DONE, "kind": failure["kind"], "reason": f"{failure['type']}: {failure['message']}"}


def _first_failure(facts: _Facts) -> dict[str, Any]:
    failed = facts.facts.get("failed")
    failure = explained(decode(facts.facts["failure"]), None if failed is not None else facts.shortfall)
    return {"step_key": failed, "kind": failure["kind"], "reason": f"{failure['type']}: {failure['message']}"}


def _suspend(facts: _Facts) -> Described:
    yield names.STEP_ASYNC, {**facts.about_step, "duration": facts.took}
    yield from _end(facts)


def _retry(facts: _Facts) -> Described:
    failed = {**facts.about_step, **facts.failure, "duration": facts.took}
    yield names.STEP_EXCEPTION, {**failed, "retry_in": facts.nanoseconds("delay")}
    yield from _end(facts)


def _fail(facts: _Facts) -> Described:
    yield names.STEP_EXCEPTION, {**facts.about_step, **facts.failure, "duration": facts.took}
    if {"begins", "undoes"} & facts.facts.keys():
        yield from _end(facts)
    elif "discarded" not in facts.facts:
        yield names.WORKFLOW_EXCEPTION, {**facts.about_step, **facts.failure, "duration": facts.lasted}


def _rescue(facts: _Facts) -> Described:
    yield names.STEP_RESCUE, {**facts.about_step, "reason": facts.entry.get("reason")}


def _discard(facts: _Facts) -> Described:
    yield names.STEP_DISCARD, {**facts.about_step, "reason": facts.entry.get("reason")}
    yield from _end(facts)


def _cancel(facts: _Facts) -> Described:
    if "begins" in facts.facts:
        yield names.WORKFLOW_COMPENSATE, {}
    else:
        yield names.WORKFLOW_CANCEL, {"reason": facts.entry.get("reason"), "duration": facts.lasted}


def _deadline(facts: _Facts) -> Described:
    about = {"kind": "exit", "reason": facts.entry.get("reason")}
    if "begins" in facts.facts:
        yield names.WORKFLOW_COMPENSATE, {}
    else:
        yield names.WORKFLOW_EXCEPTION, {**about, "duration": facts.lasted}


def _fork(_: _Facts) -> Described:
    yield names.WORKFLOW_FORK, {}


def _pause(facts: _Facts) -> Described:
    yield names.WORKFLOW_PAUSE, {"by": facts.entry.get("by")}


def _unpause(facts: _Facts) -> Described:
    yield names.WORKFLOW_UNPAUSE, {"by": facts.entry.get("by")}


def _nothing(_: _Facts) -> Described:
    yield from ()


_DESCRIBE: Mapping[What, Callable[[_Facts], Described]] = {
    What.CLAIM: _claim,
    What.COMPLETE: _complete,
    What.SUSPEND: _suspend,
    What.AGAIN: _suspend,
    What.RETRY: _retry,
    What.FAIL: _fail,
    What.RESCUE: _rescue,
    What.DISCARD: _discard,
    What.CANCEL: _cancel,
    What.DEADLINE: _deadline,
    What.FORK: _fork,
    What.PAUSE: _pause,
    What.UNPAUSE: _unpause,
    What.END: _end,
    What.OTHER: _nothing,
}
