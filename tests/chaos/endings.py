"""How runs end, what those that fail undo, and what their reruns keep: the laws of the checker for these.

A run that undoes goes on after it has failed: what is executed then ends late, and the compensations follow.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from chaos_flows import ENDINGS
from failing_flows import KEPT, Stuck, UndoB

from hephaestus_celery import FAILED, HistoryEntry

if TYPE_CHECKING:
    from checker import Run

COMPLETED = ("completed", None)
STATUS_TOLD = {"completed": "workflow.stop", "failed": "workflow.exception", "cancelled": "workflow.cancel"}
ADVANCES = 2
"""The events between that of a compensation's end and what follows: its transition and an advance."""


def ending(run: Run) -> tuple[str, Any]:
    """How such a run ends: its status, and the step that has failed. Reruns complete."""
    return COMPLETED if run.instance.forked_from is not None else ENDINGS.get(run.instance.workflow, COMPLETED)


def status_expected(run: Run) -> str:
    """The status with which such a run ends."""
    return ending(run)[0]


def last_event_expected(run: Run) -> str:
    """The event with which it does."""
    return STATUS_TOLD[status_expected(run)]


def failing(run: Run) -> HistoryEntry | None:
    """The entry with which a run that is not to complete has failed: of its step or its deadline, or that it was cancelled."""
    status, step = ending(run)
    if status == "completed":
        return None
    outcomes = {"failed": "completed", "cancelled": None} if step is None else {"failed": "failed"}
    kinds = {"failed": "timer" if step is None else "attempt", "cancelled": "cancel"}
    sought = (kinds[status], step and step.key, outcomes[status])
    return next((entry for entry in run.history if (entry.kind, entry.step, entry.outcome) == sought), None)


def undoes(run: Run, failed: HistoryEntry) -> bool:
    """Whether a run that failed so did not end at once: something was to be undone, or is executed still."""
    return _has_compensations(run) and bool(_to_undo(run) or _late(run, failed))


def completions(run: Run) -> list[HistoryEntry]:
    """The entries with which steps have completed, compensations apart, in their order; late ends of a run that undoes too."""
    return [
        entry
        for entry in run.history
        if entry.step and not entry.compensates and (_completes(entry) or _completes_late(run, entry))
    ]


def undone(run: Run) -> list[HistoryEntry]:
    """The entries with which compensations have completed, or failed for good, in their order."""
    return [entry for entry in run.history if entry.compensates and entry.outcome in ("completed", "failed")]


def kept(run: Run) -> set[str]:
    """The steps that had completed in the run before, and stay so; none but in a rerun."""
    return {step.key for step in KEPT} if run.instance.forked_from is not None else set()


def last_number(run: Run) -> int:
    """The number of the event with which the run has ended."""
    failed = failing(run)
    if failed is None:
        # It ends with four events of `Done`, of which the history has the number of the second.
        # What a counted join has left behind may end after that, and is discarded.
        return next((entry.sequence for entry in run.history if entry.step == "done"), run.history[-1].sequence) + 2
    began = followed_by(failed)
    if not undoes(run, failed):
        return began
    if ends := undone(run):
        return ends[-1].sequence + (ADVANCES if ends[-1].outcome == "completed" else 0) + 1
    return max([began, *(entry.sequence for entry in _late(run, failed))]) + 1


def followed_by(failed: HistoryEntry) -> int:
    """The number of the event that follows a failure: undoing, or the end of the run.

    Deadlines and cancellations have none of their own.
    """
    return failed.sequence + (failed.kind == "attempt")


def told_as(run: Run, failed: HistoryEntry) -> str:
    """The event whose number an entry without a step has with which a run has failed."""
    return "workflow.compensate" if undoes(run, failed) else last_event_expected(run)


def told_by_client(run: Run) -> bool:
    """Whether the client that has cancelled the run tells its end: it had nothing to undo."""
    failed = failing(run)
    return failed is not None and failed.kind == "cancel" and not undoes(run, failed)


def laws(run: Run) -> Iterator[str]:
    """All of this module."""
    yield from _reruns(run)
    yield from _timers(run)
    yield from _last(run)
    failed = failing(run)
    if status_expected(run) == "completed":
        return
    if failed is None:
        yield "its history does not say why it has failed"
        return
    yield from (_failures if status_expected(run) == "failed" else _cancellations)(run, failed)
    yield from _halts(run, failed)
    yield from _undoing(run, failed)


def _reruns(run: Run) -> Iterator[str]:
    forks = [position for position, entry in enumerate(run.history) if entry.kind == "fork"]
    expected = [] if run.instance.forked_from is None else [0]
    if forks != expected:
        yield f"its history has forks at {forks}, and should have them at {expected}"
    if again := kept(run) & set(run.executions):
        yield f"it has kept {sorted(again)}, and executed them again"
    if wrong := [step for step in sorted(kept(run)) if run.instance.context.steps[step] != {"by": step}]:
        yield f"it has kept other results of {wrong} than there were"


def _timers(run: Run) -> Iterator[str]:
    # Deadlines are the timers without a step.
    struck = sum(entry.kind == "timer" and entry.step is None for entry in run.history)
    expected = int(ending(run) == ("failed", None))
    if struck != expected:
        yield f"its deadline has come {struck} times, and should have {expected} times"


def _last(run: Run) -> Iterator[str]:
    numbers = [event["metadata"]["sequence"] for event in run.events if event["event"] == last_event_expected(run)]
    if any(number != last_number(run) for number in numbers):
        yield f"its end was emitted with the numbers {numbers}, and should be the last, {last_number(run)}"


def _failures(run: Run, failed: HistoryEntry) -> Iterator[str]:
    step, instance = ending(run)[1], run.instance
    if instance.failed_step is not step:
        yield f"its failed step is {instance.failed_step}, and should be {step}"
    known = instance.failure and (instance.failure.kind, instance.failure.type)
    if step is None and known != ("exit", "DeadlineExceeded"):
        yield f"its deadline has come, and it failed with {known}"
    # A step whose only attempt was killed has failed too.
    if step is not None and known != ("error", step.failure) and (not known or known[0] != "exit"):
        yield f"{step.key} has refused, and the run failed with {known}"
    if step is None and not instance.deadline <= failed.finished_at <= instance.finished_at:
        yield f"it has failed at {failed.finished_at} and ended at {instance.finished_at}, and its deadline is {instance.deadline}"


def _cancellations(run: Run, failed: HistoryEntry) -> Iterator[str]:
    count = sum(entry.kind == failed.kind for entry in run.history)
    if count != 1:
        yield f"it was cancelled {count} times"
    if run.instance.failure is not None or run.instance.failed_step is not None:
        yield f"it was cancelled, and has failed with {run.instance.failure}"


def _halts(run: Run, failed: HistoryEntry) -> Iterator[str]:
    # By the clock of the store, on which claims and commits follow each other.
    for entry in run.history:
        began = entry.started_at
        if entry.step and not entry.compensates and began and entry.kind != "rescue" and began > failed.finished_at:
            yield f"{entry.step} was begun at {began}, and the run had failed at {failed.finished_at}"
    number = followed_by(failed)
    for event in run.events:
        about = event["metadata"]
        if event["event"] != "workflow.transition" or about["sequence"] < number:
            continue
        if about["targets"] or about["from_step"] not in {entry.step for entry in undone(run)}:
            yield f"{about['from_step']} led to {about['targets']} when the run had failed"


def _undoing(run: Run, failed: HistoryEntry) -> Iterator[str]:
    compensations = {step.key: undo.key for step, undo in run.instance.workflow.graph.compensations.items()}
    expected = _to_undo(run)
    found = [(entry.compensates, entry.step) for entry in undone(run)]
    if found != [(step, compensations[step]) for step in expected]:
        yield f"it has undone {found}, and should have undone {expected}"
    stuck = [step for step in expected if compensations[step] == Stuck.key]
    if [entry.compensates for entry in undone(run) if entry.outcome == "failed"] != stuck:
        yield f"of {expected} it has failed to undo others than {stuck}"
    said = [[step.key for step in steps] for steps in (run.instance.compensated, run.instance.uncompensated)]
    if said != [[step for step in expected if step not in stuck], stuck]:
        yield f"it says that it has undone {said[0]} and not {said[1]}, and should have undone {expected} but {stuck}"
    executed = set(run.executions) & set(compensations.values())
    if executed != {compensations[step] for step in expected}:
        yield f"it has executed {sorted(executed)} to undo {expected}"
    yield from _one_by_one(run, failed)


def _one_by_one(run: Run, failed: HistoryEntry) -> Iterator[str]:
    before: Sequence[HistoryEntry] = [failed, *_late(run, failed)]
    for step, entries in itertools.groupby((entry for entry in run.history if entry.compensates), key=lambda e: e.step):
        own = list(entries)
        # A rescue of a message that nobody has claimed has no start.
        began = next((entry.started_at for entry in own if entry.started_at is not None), None)
        for entry in before:
            if not (own[0].sequence > entry.sequence and began is not None and began >= entry.finished_at):
                yield f"{step} was begun before {entry.step or 'the deadline'} had ended"
        before = [own[-1]]


def rounds_expected(run: Run) -> list[int]:
    """The rounds of compensations that are followed by another."""
    return [1 for entry in undone(run) if entry.step == UndoB.key]


def tellings(run: Run, *, silences: bool) -> Iterator[str]:
    """That undoing is told once; with ``silences`` it may have been kept from being told."""
    told = [event["metadata"]["sequence"] for event in run.events if event["event"] == "workflow.compensate"]
    failed = failing(run)
    expected = [followed_by(failed)] if failed is not None and undoes(run, failed) else []
    silences = silences or (failed is not None and failed.kind == "cancel")  # which the client has told
    if told != expected and not (silences and not told):
        yield f"it has told under {told} that it undoes, and should have under {expected}"


def _completes(entry: HistoryEntry) -> bool:
    # A failure that a transition takes is the end of an attempt that failed, and its step has completed.
    return entry.outcome == "completed" or (entry.outcome, entry.event) == ("failed", FAILED)


def _completes_late(run: Run, entry: HistoryEntry) -> bool:
    # What answers `Ok` while its run undoes is discarded, and has completed.
    return (
        _has_compensations(run) and (entry.kind, entry.outcome) == ("attempt", "discarded") and entry.event is not None
    )


def _late(run: Run, failed: HistoryEntry) -> list[HistoryEntry]:
    # The ends of steps that were executed when the run failed.
    return [
        entry
        for entry in run.history
        if entry.kind == "attempt" and not entry.compensates and entry.sequence > failed.sequence
    ]


def _to_undo(run: Run) -> list[str]:
    undone = {step.key for step in run.instance.workflow.graph.compensations}
    return [entry.step for entry in reversed(completions(run)) if entry.step in undone]


def _has_compensations(run: Run) -> bool:
    return bool(run.instance.workflow.graph.compensations)
