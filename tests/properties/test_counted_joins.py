"""The laws of the engine with counted joins and failures that transitions take: random workflows, random interleavings."""

from __future__ import annotations

from collections import Counter

from hypothesis import assume, given
from hypothesis import strategies as st
from random_reruns import any_of, cut, rerun
from random_runs import SimulatedRun, initials_of, random_workflows

from hephaestus_celery import Status
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.lifecycle import StepStatus

FLOWS = random_workflows(counted=True)
OVER = (StepStatus.COMPLETED, StepStatus.SKIPPED)


def settled(run):
    """What has become of the steps that are over; what a counted join leaves behind is left out."""
    return {key: (step.status, step.event) for key, step in run.state.steps.items() if step.status in OVER}


def agree(one, other):
    """Whether two runs have ended alike, and agree on all that is over in both."""
    first, second = settled(one), settled(other)
    common = first.keys() & second.keys()
    assert (one.state.status, {key: first[key] for key in common}) == (
        other.state.status,
        {key: second[key] for key in common},
    )


def expected(workflow, completed):
    """Which steps have started and were skipped where these have completed: every edge is looked at again and again."""
    started, skipped = set(initials_of(workflow.transitions)), set()
    while True:
        fresh = set()
        for key in workflow.keys:
            if key in started | skipped:
                continue
            before = workflow.predecessors(key)
            taken = {
                source for source in before & completed if key in workflow.transitions[source, workflow.answers[source]]
            }
            over = before & (completed | skipped)
            needed = workflow.needed(key)
            if len(taken) >= (needed or 1) and (needed or over == before):
                fresh.add(key)
                started.add(key)
            elif (len(before - over) + len(taken) < needed) if needed else over == before:
                fresh.add(key)
                skipped.add(key)
        if not fresh:
            return started, skipped


@given(FLOWS, st.data())
def test_law_5_each_step_starts_or_is_skipped_in_the_moment_that_the_rule_says(workflow, data):
    run = SimulatedRun(workflow)
    while operations := run.possible():
        run.perform(any_of(data)(operations))
        completed = {key for key, step in run.state.steps.items() if step.status is StepStatus.COMPLETED} - {"done"}
        started, skipped = expected(workflow, completed)
        found = {key for key, step in run.state.steps.items() if step.status is StepStatus.SKIPPED}
        assert found == skipped
        if not run.state.status.final:
            assert set(run.started) == started
            assert "done" not in started | skipped
    assert max(Counter(run.started).values()) == 1


@given(FLOWS, st.data())
def test_law_2_any_order_ends_in_the_same_state_but_for_what_a_counted_join_leaves_behind(workflow, data):
    agree(SimulatedRun(workflow).finish(any_of(data)), SimulatedRun(workflow).finish(lambda operations: operations[0]))


@given(FLOWS, st.integers(1, 5), st.data())
def test_law_4_a_run_in_which_workers_and_messages_are_lost_ends_like_one_without(workflow, losses, data):
    disturbed = SimulatedRun(workflow, losses=losses).finish(any_of(data))
    agree(disturbed, SimulatedRun(workflow).finish(lambda operations: operations[0]))


@given(FLOWS, st.data())
def test_law_6_every_run_ends_and_a_failed_one_names_a_join(workflow, data):
    run = SimulatedRun(workflow).finish(any_of(data))
    if run.state.status is Status.COMPLETED:
        assert run.state.steps["done"].status is StepStatus.COMPLETED
        return
    shortfall = run.state.shortfall
    assert (run.state.status, run.state.steps["done"].status) == (Status.FAILED, StepStatus.SKIPPED)
    assert (shortfall.needed, shortfall.predecessors) == (
        workflow.needed(shortfall.step),
        len(workflow.predecessors(shortfall.step)),
    )
    assert shortfall.came < shortfall.needed


@given(FLOWS, st.data())
def test_law_7_what_a_counted_join_has_left_behind_is_discarded_once(workflow, data):
    run = SimulatedRun(workflow).finish(any_of(data))
    final = run.state.status
    for key in run.executing():
        assert run.perform(("answer", key)).verdict is Verdict.DISCARDED
        assert run.perform(("answer", key)).verdict is Verdict.STALE
    assert (run.state.status, run.executing()) == (final, [])


@given(FLOWS, st.integers(0, 3), st.data())
def test_law_10_the_numbers_of_all_commits_are_gapless(workflow, losses, data):
    run = SimulatedRun(workflow, losses=losses)
    numbers = []
    while operations := run.possible():
        decision = run.perform(any_of(data)(operations))
        numbers.extend(range(decision.sequence, decision.sequence + decision.reserved))
    assert numbers == list(range(1, run.state.sequence + 1))


@given(FLOWS, st.data())
def test_a_retry_of_a_run_that_was_cut_off_ends_like_one_without_the_cut(workflow, data):
    undisturbed = SimulatedRun(workflow).finish(lambda operations: operations[0])
    run = cut(SimulatedRun(workflow), data)
    assume(run.state.steps.get("done") is None)
    again, kept = rerun(run)
    assume("done" not in again.state.steps)
    before = {key: again.state.steps[key] for key in kept}
    agree(again.finish(any_of(data)), undisturbed)
    assert not kept & set(again.started)
    assert {key: again.state.steps[key] for key in kept} == before


@given(FLOWS, st.data())
def test_a_retry_that_can_not_reach_done_names_a_join(workflow, data):
    run = cut(SimulatedRun(workflow), data)
    assume(run.state.steps.get("done") is None)
    again, _ = rerun(run)
    assume(again.state.steps.get("done") is None)
    again.finish(any_of(data))
    assert again.state.status is Status.COMPLETED or again.state.shortfall.came < again.state.shortfall.needed


@given(FLOWS, st.data())
def test_a_fork_ends_like_its_run(workflow, data):
    run = SimulatedRun(workflow).finish(any_of(data))
    assume(run.state.status is Status.COMPLETED)
    step = data.draw(st.sampled_from(sorted({*run.started} - {"done"})), label="step")
    again, _ = rerun(run, step=step)
    assume("done" not in again.state.steps)  # what is kept may be all that the run needs: then Done begins it
    agree(again.finish(any_of(data)), run)
