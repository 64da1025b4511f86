"""The laws of architecture 6 on the pure engine: random workflows, random interleavings."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from random_runs import SimulatedRun, initials_of, random_workflows

from hephaestus_celery import Status
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.lifecycle import StepStatus


def any_of(data):
    """Chance, as Hypothesis wants it."""
    return lambda operations: data.draw(st.sampled_from(operations), label="next")


def oracle(workflow):
    """Which steps a run must have completed: those that some completed step's answer leads to. No counting of edges."""
    completed, pending = set(), initials_of(workflow.transitions)
    while pending:
        key = pending.pop()
        if key not in completed:
            completed.add(key)
            pending.extend(workflow.transitions.get((key, workflow.answers.get(key)), ()))
    return completed


@given(random_workflows(), st.data())
def test_law_2_any_order_of_parallel_branches_ends_in_the_same_state(workflow, data):
    first_come = SimulatedRun(workflow).finish(lambda operations: operations[0])
    assert SimulatedRun(workflow).finish(any_of(data)).outcome() == first_come.outcome()


@given(random_workflows(), st.data())
def test_law_3_applying_anything_twice_equals_applying_it_once(workflow, data):
    run = SimulatedRun(workflow)
    while operations := run.possible():
        operation = any_of(data)(operations)
        suspends = run.suspends(operation[1])
        run.perform(operation)
        name, key = operation
        match name:
            case "claim":
                again = run.decide(operation)
                assert (again.verdict, again.state) == (Verdict.TAKEN, run.state)
            case "answer":
                again = run.suspend(key) if suspends else run.complete(key)
                assert (again.verdict, again.state, again.commands) == (Verdict.STALE, run.state, ())
            case "deliver":
                assert not run.waits_for_its_event(key)
            case "keep":
                again = run.decide(operation)
                assert (again.state, again.commands) == (run.state, ())


@given(random_workflows(), st.data())
def test_law_3_a_second_answer_of_another_kind_changes_nothing(workflow, data):
    run = SimulatedRun(workflow)
    while operations := run.possible():
        operation = any_of(data)(operations)
        run.perform(operation)
        if operation[0] == "answer":
            key = operation[1]
            others = [run.suspend(key), run.complete(key), run.decide(("fail", key))]
            assert [(other.verdict, other.state) for other in others] == [(Verdict.STALE, run.state)] * 3


@given(random_workflows(), st.data())
def test_law_3_an_answer_under_a_foreign_fence_changes_nothing(workflow, data):
    run = SimulatedRun(workflow)
    while operations := run.possible():
        run.perform(any_of(data)(operations))
        for key in run.workflow.answers:
            foreign = [run.complete(key, fence="foreign"), run.suspend(key, fence="foreign")]
            assert [(other.verdict, other.state) for other in foreign] == [(Verdict.STALE, run.state)] * 2


@given(random_workflows(), st.integers(1, 5), st.data())
def test_law_4_a_run_in_which_workers_and_messages_are_lost_ends_like_one_without(workflow, losses, data):
    undisturbed = SimulatedRun(workflow).finish(lambda operations: operations[0]).outcome()
    disturbed = SimulatedRun(workflow, losses=losses).finish(any_of(data)).outcome()
    assert {**disturbed, "sequence": undisturbed["sequence"]} == undisturbed


@given(random_workflows(), st.integers(1, 5), st.data())
def test_law_4_the_answer_of_a_lost_attempt_changes_nothing(workflow, losses, data):
    run = SimulatedRun(workflow, losses=losses)
    while operations := run.possible():
        name, key = any_of(data)(operations)
        fence = run.fence(key)
        was_held = key in run.executing()
        run.perform((name, key))
        if name == "due" and was_held:
            late = [run.complete(key, fence=fence), run.suspend(key, fence=fence)]
            assert [(decision.verdict, decision.state) for decision in late] == [(Verdict.STALE, run.state)] * 2


@given(random_workflows(), st.data())
def test_law_5_a_step_starts_once_and_only_where_a_branch_has_come(workflow, data):
    run = SimulatedRun(workflow).finish(any_of(data))
    assert Counter(run.started) == Counter(oracle(workflow))


@given(random_workflows(), st.data())
def test_law_5_a_step_starts_in_the_moment_its_last_predecessor_is_settled(workflow, data):
    run = SimulatedRun(workflow)
    later = oracle(workflow) - set(initials_of(workflow.transitions))
    while operations := run.possible():
        run.perform(any_of(data)(operations))
        due = {key for key in later if workflow.predecessors(key) <= run.settled()}
        assert due == set(run.started) & later


@given(random_workflows(), st.data())
def test_law_5_what_no_branch_comes_to_is_skipped(workflow, data):
    run = SimulatedRun(workflow).finish(any_of(data))
    skipped = {key for key, step in run.state.steps.items() if step.status is StepStatus.SKIPPED}
    assert skipped == set(workflow.keys) - oracle(workflow)


@given(random_workflows(), st.data())
def test_law_6_every_run_ends_completed(workflow, data):
    assert SimulatedRun(workflow).finish(any_of(data)).state.status is Status.COMPLETED


@given(random_workflows(), st.data())
def test_law_6_done_completes_once(workflow, data):
    run = SimulatedRun(workflow)
    reached = 0
    while operations := run.possible():
        reached += run.perform(any_of(data)(operations)).done
    assert (reached, run.state.steps["done"].status) == (1, StepStatus.COMPLETED)


@given(random_workflows(), st.data())
def test_law_6_nothing_is_left_active_or_waiting(workflow, data):
    run = SimulatedRun(workflow).finish(any_of(data))
    left = [step.status for step in run.state.steps.values() if step.status in (StepStatus.ACTIVE, StepStatus.WAITING)]
    assert left == []


@given(random_workflows(), st.data())
def test_law_6_a_run_that_has_not_ended_has_something_to_do_or_to_wait_for(workflow, data):
    run = SimulatedRun(workflow)
    while operations := run.possible():
        assert {name for name, _ in operations} & {"claim", "answer", "deliver"}
        run.perform(any_of(data)(operations))


@given(random_workflows(), st.data())
def test_law_7_nothing_changes_a_completed_run(workflow, data):
    run = SimulatedRun(workflow).finish(any_of(data))
    for key in workflow.answers:
        calls = [("claim", key), ("fail", key), ("cancel", "")]
        late = [run.suspend(key), run.complete(key), *(run.decide(call) for call in calls)]
        assert [(decision.verdict, decision.state) for decision in late] == [(Verdict.STALE, run.state)] * 5


@given(random_workflows(), st.data())
def test_law_7_what_ends_after_a_cancellation_is_discarded_once(workflow, data):
    run = SimulatedRun(workflow)
    for _ in range(data.draw(st.integers(0, 12))):
        if operations := run.possible():
            run.perform(any_of(data)(operations))
    run.perform(("cancel", ""))
    final = run.state.status
    for key in run.executing():
        assert run.perform(("answer", key)).verdict is Verdict.DISCARDED
        assert run.perform(("answer", key)).verdict is Verdict.STALE
    assert (run.state.status, run.executing()) == (final, [])


@given(random_workflows(), st.data())
def test_law_7_after_a_failure_no_step_starts(workflow, data):
    run = SimulatedRun(workflow)
    run.perform(("claim", "s0"))
    for _ in range(data.draw(st.integers(0, 12))):
        operation = any_of(data)(run.possible())
        if operation[0] == "answer" and len(run.executing()) == 1:
            break  # somebody must be left to fail
        run.perform(operation)
    run.perform(("fail", data.draw(st.sampled_from(run.executing()))))
    started = list(run.started)
    for key in workflow.answers:
        run.perform(("claim", key))
        run.perform(("answer", key))
    assert (run.state.status, run.started) == (Status.FAILED, started)


@given(random_workflows(), st.integers(0, 3), st.data())
def test_law_10_the_numbers_of_all_commits_are_gapless(workflow, losses, data):
    run = SimulatedRun(workflow, losses=losses)
    numbers = []
    while operations := run.possible():
        decision = run.perform(any_of(data)(operations))
        numbers.extend(range(decision.sequence, decision.sequence + decision.reserved))
    assert numbers == list(range(1, run.state.sequence + 1))


@given(random_workflows(), st.data())
def test_law_10_completed_steps_are_ordered_by_their_numbers(workflow, data):
    run = SimulatedRun(workflow)
    completed = []
    while operations := run.possible():
        name, key = any_of(data)(operations)
        before = run.state.steps.get(key)
        run.perform((name, key))
        after = run.state.steps.get(key)
        if after is not None and after is not before and after.status is StepStatus.COMPLETED:
            completed.append(key)
    orders = {key: step.order for key, step in run.state.steps.items() if step.order is not None}
    assert sorted(orders, key=orders.__getitem__) == [*completed, "done"]
