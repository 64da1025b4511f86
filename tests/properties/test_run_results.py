"""The laws of results of runs, on random workflows in random orders: asked for when the run would complete, and only then."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from random_runs import SimulatedRun, random_workflows

from hephaestus_celery import Status
from hephaestus_celery.core.execution.state import AtDone, Verdict
from hephaestus_celery.core.values.lifecycle import StepStatus

FLOWS = random_workflows(counted=True)


def answers(run, name, key):
    """Whether this operation completes a step."""
    return name == "answer" and not run.suspends(key)


def go_on(run, data):
    return data.draw(st.sampled_from(run.possible()))


@given(FLOWS, st.data())
def test_the_result_is_asked_for_exactly_when_the_commit_would_complete_the_run(workflow, data):
    run = SimulatedRun(workflow)
    while run.possible():
        operation = go_on(run, data)
        if answers(run, *operation):
            before, asked = run.state, run.complete(operation[1], at_done=AtDone.ASKS)
            assert (asked.verdict is Verdict.WANTED) == run.complete(operation[1]).done
            assert asked.verdict is not Verdict.WANTED or asked.state == before
        run.perform(operation)


@given(FLOWS, st.data())
def test_a_run_with_a_result_ends_as_one_without(workflow, data):
    plain, giving = SimulatedRun(workflow), SimulatedRun(workflow)
    while plain.possible():
        operation = go_on(plain, data)
        if answers(giving, *operation):
            asked = giving.complete(operation[1], at_done=AtDone.ASKS)
            if asked.verdict is Verdict.WANTED:
                asked = giving.complete(operation[1], expected=giving.state.applied)
            giving._note(asked)
        else:
            giving.perform(operation)
        plain.perform(operation)
    assert giving.outcome() == plain.outcome()


@given(FLOWS, st.data())
def test_a_result_that_fails_fails_the_run_once_with_all_its_steps_as_they_are(workflow, data):
    run = SimulatedRun(workflow)
    while run.possible():
        operation = go_on(run, data)
        if not answers(run, *operation):
            run.perform(operation)
            continue
        before, now = run.state, run.now
        decision = run.complete(operation[1], at_done=AtDone.FAILS)
        run.now = now  # at the same moment: what starts in the commit that reaches Done has a time
        completes = run.complete(operation[1])
        run._note(decision)
        if decision.done:
            assert (run.state.status, run.state.failed_step) == (Status.FAILED, "done")
            assert run.state.sequence == before.sequence + 6
            others = {key: step for key, step in run.state.steps.items() if key != "done"}
            assert others == {key: step for key, step in completes.state.steps.items() if key != "done"}
            assert run.complete(operation[1], at_done=AtDone.FAILS).verdict in (Verdict.STALE, Verdict.DISCARDED)


@given(FLOWS, st.data())
def test_done_that_is_started_ends_the_run_when_it_is_executed_whatever_was_left_behind(workflow, data):
    run = SimulatedRun(workflow)
    while run.possible():
        operation = go_on(run, data)
        if operation == ("answer", "done") or not answers(run, *operation):
            run.perform(operation)
            continue
        run._note(run.complete(operation[1], at_done=AtDone.STARTS))
    plain = SimulatedRun(workflow).finish(lambda operations: operations[0])
    assert run.state.status.final
    assert run.started.count("done") <= 1
    if run.state.status is Status.COMPLETED:
        assert run.state.steps["done"].status is StepStatus.COMPLETED
    if not any(number for number in workflow.joins.values() if number != "any"):
        assert run.state.status is plain.state.status
