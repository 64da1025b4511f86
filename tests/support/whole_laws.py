"""The laws that hold of every run of a :class:`WholeFlow`, by its history, its instance and the event stream."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hephaestus_celery import FAILED, Status
from hephaestus_celery.storage.told_events import events_of

ENDS = ("attempt", "timer", "resume")
"""The kinds of the entries with which steps end."""
COMPENSATE = ("workflow", "compensate")
TERMINAL = {"stop", "exception", "cancel"}


@dataclass(frozen=True)
class Ended:
    """A run that has ended, and the one that it is a retry of."""

    world: Any
    instance: Any
    history: Any
    earlier: Any = None

    @property
    def kept(self):
        """The steps that had completed in the earlier run, and stay so; in their order there."""
        if self.earlier is None:
            return []
        again = {step.key for step in self.instance.completed_steps if self._was_completed_here(step.key)}
        known = [*self.earlier.kept, *(entry.step for entry in self.earlier.completions)]
        return [key for key in known if key not in again and self._is_completed(key)]

    def _was_completed_here(self, key):
        return any(entry.step == key for entry in self.completions)

    def _is_completed(self, key):
        return any(step.key == key for step in self.instance.completed_steps)

    @property
    def completions(self):
        """The entries with which steps have completed, but for ``done`` and compensations, in their order."""
        return [entry for entry in self.history if self._completes(entry) and entry.step != "done"]

    def _completes(self, entry):
        if entry.step is None or entry.compensates:
            return False
        late = entry.kind in ENDS and entry.outcome == "discarded" and entry.event is not None
        taken = (entry.outcome, entry.event) == ("failed", FAILED) and not self.undoes_at(entry)
        return entry.outcome == "completed" or taken or (late and self.instance.undoes)

    def undoes_at(self, entry):
        """Whether the run had begun to undo by then: no transition takes a failure any more."""
        return any(event.sequence < entry.sequence for event in self.told if event.name[1:] == COMPENSATE)

    @cached_property
    def told(self):
        """The events of the run in the event stream."""
        entries = self.world.storage.browse_events(0, after=None, limit=100_000).entries
        events = [event for entry in entries for event in events_of(entry.told)]
        return [event for event in events if event.run_id == self.instance.run_id]

    @property
    def failing(self):
        """The entry with which the run has failed or was cancelled first; None where it was ``Done`` or a join that failed it."""
        for entry in self.history:
            failed = (entry.kind, entry.outcome, entry.event) == ("attempt", "failed", None) and not entry.compensates
            if failed or entry.kind == "cancel" or (entry.kind == "timer" and entry.step is None):
                return entry
        return None


def problems(run):
    """Each law that a run breaks."""
    laws = (_numbers, _told, _once, _kept, _joins, _rounds, _nothing_after, _undone, _result, _ends)
    return [f"{law.__name__}: {problem}" for law in laws for problem in law(run)]


def _numbers(run):
    numbers = [entry.sequence for entry in run.history]
    if any(later <= earlier for earlier, later in itertools.pairwise(numbers)):
        yield f"the history has the numbers {numbers}"


def _told(run):
    told = run.told
    if [event.sequence for event in told] != list(range(1, len(told) + 1)):
        yield f"the stream has the numbers {[event.sequence for event in told]}"
    ends = [event.name for event in told if event.name[1] == "workflow" and event.name[2] in TERMINAL]
    expected = {Status.COMPLETED: "stop", Status.FAILED: "exception", Status.CANCELLED: "cancel"}
    if [name[2] for name in ends] != [expected[run.instance.status]]:
        yield f"a run that has {run.instance.status} ends with {ends}"
    undoing = [event.name for event in told if event.name[1:] == COMPENSATE]
    if len(undoing) > 1:
        yield f"it begins to undo {len(undoing)} times"


def _once(run):
    completions = Counter(entry.step for entry in run.completions)
    yield from (f"{key} completed {count} times" for key, count in completions.items() if count > 1)
    expected = {step.key for step in run.instance.completed_steps} - {"done"} - set(run.kept)
    if set(completions) != expected:
        yield f"the history completes {sorted(completions)}, the instance {sorted(expected)}"
    commits = Counter(
        (entry.kind, entry.step, entry.round, entry.attempt)
        for entry in run.history
        if entry.kind in ENDS and entry.step and entry.outcome != "waiting"
    )  # an attempt that waits ends once more, when what it was given is lost
    yield from (f"{what} was committed {count} times" for what, count in commits.items() if count > 1)


def _kept(run):
    if run.earlier is None:
        return
    undone = {step.key for step in (*run.earlier.instance.compensated, *run.earlier.instance.uncompensated)}
    begun = {entry.compensates for entry in run.earlier.history if entry.compensates}
    if again := set(run.kept) & begun:
        yield f"it keeps {again}, whose compensations were begun, of {undone}"
    executed = {entry.step for entry in run.history if entry.kind == "attempt"}
    if again := executed & set(run.kept):
        yield f"it has executed {again}, which it keeps"


def _joins(run):
    whole, graph = run.world.whole, run.world.whole.flow.graph
    ends = {entry.step: entry for entry in run.completions}
    for key, first in {entry.step: entry for entry in reversed(run.history) if entry.kind == "attempt"}.items():
        step = graph.by_key[key]
        before = [source.key for source in graph.predecessors(step)] if first.compensates is None else []
        came = [source for source in before if source in ends and ends[source].sequence < first.sequence]
        taken = [source for source in came if key in whole.transitions.get((source, ends[source].event), ())]
        kept = [source for source in before if source in run.kept]
        needed = whole.needed(key) if key != "done" else 0
        if before and not kept and len(taken) < max(1, needed):
            yield f"{key} was started when {taken} had led to it, and needs {needed or 'any'}"
        skipped = {step.key for step in run.instance.skipped_steps}
        if not needed and (left := set(before) - set(came) - set(kept) - skipped):
            yield f"{key} was started before {left} were settled"


def _rounds(run):
    for key, behaviour in run.world.whole.behaviours.items():
        again = [entry.round for entry in run.history if (entry.step, entry.outcome) == (key, "again")]
        if again and again != list(range(again[0], again[-1] + 1)):
            yield f"{key} has gone through the rounds {again}"
        if again and again[0] != 1 and (run.earlier is None or key in run.kept):
            yield f"{key} began with round {again[0]}"
        last = next((e.round for e in run.completions if e.step == key), None)
        if last is not None and last != behaviour.rounds + 1:
            yield f"{key} ended in round {last} of {behaviour.rounds + 1}"


def _nothing_after(run):
    failed = run.failing
    if failed is None or run.instance.status is Status.COMPLETED:
        return
    for entry in run.history:
        if (
            entry.kind == "attempt"
            and entry.started_at
            and not entry.compensates
            and entry.started_at > failed.finished_at
        ):
            yield f"{entry.step} was begun at {entry.started_at}, and the run had failed at {failed.finished_at}"


def _undone(run):
    compensations, behaviours = run.world.whole.compensations, run.world.whole.behaviours
    instance = run.instance
    ends = [entry for entry in run.history if entry.compensates and entry.outcome in ("completed", "failed")]
    if not instance.undoes:
        if ends or instance.compensated or instance.uncompensated:
            yield f"it has undone {ends} without undoing"
        return
    completed = [*run.kept, *(e.step for e in run.completions if e.event != FAILED)]
    failed = {e.step for e in run.earlier.completions if e.event == FAILED} if run.earlier else set()
    wanted = [key for key in reversed(completed) if key in compensations and key not in failed]
    found = [entry.compensates for entry in ends]
    was_cut = instance.status is Status.CANCELLED and (
        instance.failure is not None or sum(entry.kind == "cancel" for entry in run.history) > 1
    )
    if found != (wanted[: len(found)] if was_cut else wanted):
        yield f"it has undone {found}, and should have undone {wanted}"
    stuck = {key for key in wanted if behaviours[compensations[key]].how == "fails" and not run.world.mended}
    if {entry.compensates for entry in ends if entry.outcome == "failed"} != stuck & set(found):
        yield f"of {found} it has failed to undo others than {stuck}"
    undone = [entry.compensates for entry in ends if entry.outcome == "completed"]
    said = [[step.key for step in steps] for steps in (instance.compensated, instance.uncompensated)]
    if said != [undone, [key for key in wanted if key not in undone]]:
        yield f"it says that it has undone {said[0]} and not {said[1]}, and should have undone {wanted}"
    own = [entry for entry in run.history if entry.compensates and entry.started_at]
    for (_, first), (key, later) in itertools.pairwise(
        (key, list(group)) for key, group in itertools.groupby(own, key=lambda entry: entry.step)
    ):
        if later[0].started_at < first[-1].finished_at:
            yield f"{key} was begun before the one before had ended"


def _result(run):
    expected = None
    if run.instance.status is Status.COMPLETED:
        results = sorted(key for key in run.instance.context.steps if key != "done")
        expected = {"of": results} if run.world.whole.result else {}
    if run.instance.result != expected:
        yield f"its result is {run.instance.result}, and should be {expected}"


def _ends(run):
    instance = run.instance
    if instance.active_steps or instance.waiting_steps or instance.compensating:
        yield f"it has ended with {instance.active_steps or instance.waiting_steps}"
    if instance.status is Status.FAILED and instance.failure is None:
        yield "it has failed without a failure"
