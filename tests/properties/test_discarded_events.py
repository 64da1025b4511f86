"""The laws of architecture 6 where workers drop events whose data does not fit the types of their steps."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from random_runs import SimulatedRun, random_workflows

from hephaestus_celery.core.execution import waiting
from hephaestus_celery.core.execution.due import Due, fire
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.activation import Activation


class RunWithBadEvents(SimulatedRun):
    """A run whose steps check their events, so many of which do not fit."""

    checks, timeout = True, 1000

    def __init__(self, workflow, *, bad, losses=0):
        self.bad = bad
        super().__init__(workflow, losses=losses)

    def possible(self):
        return [*super().possible(), *(("drop", key) for key in self.droppable())]

    def droppable(self):
        return [key for key in self.executing() if self.bad and self.state.steps[key].resume is not None]

    def perform(self, operation):
        self.bad -= operation[0] == "drop"
        return super().perform(operation)

    def decide(self, operation):
        name, key = operation
        return self.drop(key) if name == "drop" else super().decide(operation)

    def drop(self, key, *, fence=None):
        step, times = self.state.steps[key], self._times()
        return waiting.discard(
            self.state, Activation(key), fence=fence or self.fence(key), accepts=step.accepts, times=times
        )


def any_of(data):
    """Chance, as Hypothesis wants it."""
    return lambda operations: data.draw(st.sampled_from(operations), label="next")


@given(random_workflows(), st.integers(1, 4), st.integers(0, 3), st.data())
def test_law_6_a_run_that_drops_events_ends_like_one_without(workflow, bad, losses, data):
    undisturbed = SimulatedRun(workflow).finish(lambda operations: operations[0]).outcome()
    disturbed = RunWithBadEvents(workflow, bad=bad, losses=losses).finish(any_of(data)).outcome()
    assert {**disturbed, "sequence": undisturbed["sequence"]} == undisturbed


@given(random_workflows(), st.data())
def test_law_3_dropping_an_event_twice_equals_dropping_it_once(workflow, data):
    run = RunWithBadEvents(workflow, bad=3)
    while operations := run.possible():
        operation = any_of(data)(operations)
        run.perform(operation)
        if operation[0] == "drop":
            again = run.drop(operation[1])
            assert (again.verdict, again.state, again.commands) == (Verdict.STALE, run.state, ())


@given(random_workflows(), st.data())
def test_a_step_waits_on_after_a_dropped_event_as_it_had_waited(workflow, data):
    run = RunWithBadEvents(workflow, bad=3)
    while operations := run.possible():
        operation = name, key = any_of(data)(operations)
        before = run.state.steps.get(key)
        run.perform(operation)
        after = run.state.steps.get(key)
        if name == "drop" and after.resume is None:
            renewed = replace(after, dispatch=before.dispatch, sent_at=before.sent_at)
            released = replace(before, resume=None, fence=None, deadline=None, resends=0)
            assert (renewed, after.dispatch) == (released, before.dispatch + 1)


@given(random_workflows(), st.data())
def test_a_worker_without_the_fence_drops_nothing(workflow, data):
    run = RunWithBadEvents(workflow, bad=3)
    while operations := run.possible():
        run.perform(any_of(data)(operations))
        for key in run.droppable():
            foreign = run.drop(key, fence="foreign")
            assert (foreign.verdict, foreign.state) == (Verdict.STALE, run.state)


@given(random_workflows(), st.data())
def test_a_timer_that_fires_before_an_event_is_dropped_fires_when_the_step_waits_on(workflow, data):
    run = RunWithBadEvents(workflow, bad=3)
    while operations := run.possible():
        name, key = any_of(data)(operations)
        if name == "drop":
            run.state = replace(run.state, early=())
            run.state = fire(run.state, Activation(key), times=run._times())[1].state
        run.perform((name, key))
        if name == "drop":
            assert run.state.steps[key].resume.source == "timeout"


@given(random_workflows(), st.data())
def test_a_timer_that_fires_before_an_event_is_applied_changes_no_run(workflow, data):
    run = RunWithBadEvents(workflow, bad=0)
    while operations := run.possible():
        operation = name, key = any_of(data)(operations)
        if name == "answer" and run.state.steps[key].resume is not None:
            kind, decision = fire(run.state, Activation(key), times=run._times())
            assert (kind, decision.state.steps, decision.commands) == (Due.NOTHING, run.state.steps, ())
            run.state = decision.state
        run.perform(operation)
    plain = SimulatedRun(workflow).finish(lambda operations: operations[0]).outcome()
    assert {**run.outcome(), "sequence": plain["sequence"]} == plain
