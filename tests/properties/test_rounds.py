"""The laws of architecture 6 where steps answer ``Again`` before they answer anything else."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st
from random_reruns import any_of, cut, rerun
from random_runs import SimulatedRun, random_workflows

from hephaestus_celery import Status
from hephaestus_celery.core.execution import rounds
from hephaestus_celery.core.execution.limits import FIRST_KEPT, LAST_KEPT
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import StepStatus

MOST = 3
SOON = {0: 0, 1: 5, 2: 0, 3: 1000}
"""How long after each round the next one begins, in microseconds."""


class RunWithRounds(SimulatedRun):
    """A run whose steps answer ``Again`` so many times, each by its key."""

    def __init__(self, workflow, *, losses=0, more=MOST):
        self.more = {key: number % (more + 1) for number, key in enumerate(workflow.answers)}
        super().__init__(workflow, losses=losses)

    def fence(self, key):
        step = self.state.steps.get(key)
        return f"{key}:{step.round}:{step.attempt}" if step else key

    def possible(self):
        return [
            ("due", key) if name == "deliver" and self.state.steps[key].between_rounds else (name, key)
            for name, key in super().possible()
        ]

    def goes_on(self, key):
        """Whether a step begins another round when it answers."""
        step = self.state.steps[key]
        return step.resume is None and step.round <= self.more.get(key, 0)

    def suspends(self, key):
        return not self.goes_on(key) and super().suspends(key)

    def decide(self, operation):
        name, key = operation
        return self.again(key) if name == "answer" and self.goes_on(key) else super().decide(operation)

    def again(self, key, *, fence=None):
        step = self.state.steps[key]
        delay = SOON[step.round % len(SOON)]
        return rounds.again(
            self.state, Activation(key), fence=fence or self.fence(key), delay=delay, times=self._times()
        )


def of_rounds(run):
    return {key: step.round for key, step in run.state.steps.items() if step.status is StepStatus.COMPLETED}


def first(operations):
    return operations[0]


@given(random_workflows(), st.data())
def test_law_2_any_order_of_rounds_ends_in_the_same_state(workflow, data):
    one, other = RunWithRounds(workflow).finish(any_of(data)), RunWithRounds(workflow).finish(first)
    assert (one.outcome(), of_rounds(one)) == (other.outcome(), of_rounds(other))


@given(random_workflows(), st.data())
def test_a_run_with_rounds_ends_like_one_without(workflow, data):
    plain = SimulatedRun(workflow).finish(first).outcome()
    run = RunWithRounds(workflow).finish(any_of(data))
    assert {**run.outcome(), "sequence": plain["sequence"]} == plain
    assert of_rounds(run) == {key: run.more.get(key, 0) + 1 for key in of_rounds(run)}


@given(random_workflows(), st.integers(1, 5), st.data())
def test_law_4_lost_workers_and_messages_cost_no_round(workflow, losses, data):
    disturbed = RunWithRounds(workflow, losses=losses).finish(any_of(data))
    undisturbed = RunWithRounds(workflow).finish(first)
    expected = {**undisturbed.outcome(), "sequence": disturbed.state.sequence}
    assert (disturbed.outcome(), of_rounds(disturbed)) == (expected, of_rounds(undisturbed))


@given(random_workflows(), st.integers(0, 3), st.data())
def test_law_1_each_round_begins_once_and_its_number_never_falls(workflow, losses, data):
    run = RunWithRounds(workflow, losses=losses)
    while operations := run.possible():
        before = dict(run.state.steps)
        operation = any_of(data)(operations)
        goes_on = operation[0] == "answer" and run.goes_on(operation[1])
        run.perform(operation)
        for key, step in before.items():
            after = run.state.steps[key]
            assert after.round - step.round == (goes_on and key == operation[1])
            assert after.round == step.round or (after.attempt, after.fence) == (1, None)


@given(random_workflows(), st.data())
def test_law_3_a_round_that_is_committed_twice_or_late_is_committed_once(workflow, data):
    run = RunWithRounds(workflow)
    while operations := run.possible():
        name, key = any_of(data)(operations)
        goes_on, fence = name == "answer" and run.goes_on(key), run.fence(key)
        run.perform((name, key))
        if goes_on:
            for late in (run.again(key, fence=fence), run.complete(key, fence=fence)):
                assert (late.verdict, late.state, late.commands) == (Verdict.STALE, run.state, ())


@given(random_workflows(), st.data())
def test_no_event_reaches_a_step_between_two_rounds(workflow, data):
    run = RunWithRounds(workflow)
    while operations := run.possible():
        run.perform(any_of(data)(operations))
        assert not [
            key for key, step in run.state.steps.items() if step.between_rounds and run.waits_for_its_event(key)
        ]


@given(random_workflows(), st.integers(0, 3), st.data())
def test_law_10_the_numbers_of_all_commits_are_gapless(workflow, losses, data):
    run = RunWithRounds(workflow, losses=losses)
    numbers = []
    while operations := run.possible():
        decision = run.perform(any_of(data)(operations))
        numbers.extend(range(decision.sequence, decision.sequence + decision.reserved))
    assert numbers == list(range(1, run.state.sequence + 1))


@given(random_workflows(), st.booleans(), st.data())
def test_a_retry_goes_on_in_the_rounds_that_the_run_was_in_and_a_fork_begins_anew(workflow, forks, data):
    run = cut(RunWithRounds(workflow), data)
    assume(run.state.status is not Status.COMPLETED)
    unfinished = [key for key, step in run.state.steps.items() if step.status not in ("completed", "skipped")]
    assume(unfinished)
    again, kept = rerun(run, step=unfinished[0] if forks else None)
    for key, step in again.state.steps.items():
        if key in kept or (not forks and key in run.state.steps):
            assert step.round == run.state.steps[key].round
        else:
            assert step.round == 1
        assert step.attempt <= 1 or key in kept


@given(st.integers(0, 5 * (FIRST_KEPT + LAST_KEPT)))
def test_of_any_number_of_rounds_the_first_and_the_last_are_kept_and_the_rest_is_counted(count):
    kept, placed = [], {}
    for number in range(1, count + 1):
        place = rounds.place_of(number)
        if place is None:
            kept.append(number)
        else:
            placed[place] = number
    found = [*kept, *sorted(placed.values())]
    assert len(found) + rounds.left_out(count) == count
    assert found == [*range(1, min(count, FIRST_KEPT) + 1), *range(max(FIRST_KEPT, count - LAST_KEPT) + 1, count + 1)]
