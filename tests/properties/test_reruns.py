"""The laws of retries and forks: random workflows, cut off at any point, and gone on with."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from random_reruns import any_of, cut, rerun
from random_runs import SimulatedRun, random_workflows

from hephaestus_celery import Status
from hephaestus_celery.core.definition.plan import shape_of
from hephaestus_celery.core.execution.reruns import (
    Obstacle,
    find_obstacle,
    unfinished,
)
from hephaestus_celery.core.values.lifecycle import StepStatus


def by_step(run):
    return {key: (state.status, state.event) for key, state in run.state.steps.items()}


@given(random_workflows(), st.data())
def test_a_retry_of_a_run_that_was_cut_off_ends_like_one_without_the_cut(workflow, data):
    undisturbed = SimulatedRun(workflow).finish(lambda operations: operations[0])
    run = cut(SimulatedRun(workflow), data)
    while run.state.status is not Status.COMPLETED:
        run, _ = rerun(run)
        if data.draw(st.booleans(), label="cut again"):
            cut(run, data)
        else:
            run.finish(any_of(data))
    assert by_step(run) == by_step(undisturbed)
    assert run.state.arrivals == undisturbed.state.arrivals


@given(random_workflows(), st.data())
def test_nothing_that_completed_runs_again(workflow, data):
    run = cut(SimulatedRun(workflow), data)
    if run.state.status is Status.COMPLETED:
        return
    again, kept = rerun(run)
    before = {key: again.state.steps[key] for key in kept}
    again.finish(any_of(data))
    assert not kept & set(again.started)
    assert max(Counter(again.started).values(), default=1) == 1
    assert {key: again.state.steps[key] for key in kept} == before


@given(random_workflows(), st.data())
def test_kept_steps_keep_their_order_and_come_before_all_others(workflow, data):
    run = cut(SimulatedRun(workflow), data)
    if run.state.status is Status.COMPLETED:
        return
    again, kept = rerun(run)
    again.finish(any_of(data))
    orders = {key: state.order for key, state in again.state.steps.items() if state.order is not None}
    in_order = sorted(orders, key=orders.get)
    assert in_order[: len(kept)] == sorted(kept, key=lambda key: run.state.steps[key].order)
    assert len(set(orders.values())) == len(orders)
    assert all((orders[key] <= 0) is (key in kept) for key in orders)


@given(random_workflows(), st.data())
def test_what_had_not_ended_repeats_the_key_of_the_first_run(workflow, data):
    run = cut(SimulatedRun(workflow), data)
    if run.state.status is Status.COMPLETED:
        return
    again, _ = rerun(run)
    assert {again.state.steps[key].origin for key in unfinished(run.state.steps)} <= {"first"}


@given(random_workflows(), st.data())
def test_a_fork_ends_like_its_run_and_runs_what_follows_its_step(workflow, data):
    run = SimulatedRun(workflow).finish(any_of(data))
    step = data.draw(st.sampled_from(sorted({*run.started} - {"done"})), label="step")
    follows = shape_of(workflow.flow.graph).following(step)
    again, kept = rerun(run, step=step)
    again.finish(any_of(data))
    assert by_step(again) == by_step(run)
    assert set(again.started) == set(run.started) & follows
    assert kept == {key for key, state in run.state.steps.items() if state.status is StepStatus.COMPLETED} - follows


@given(random_workflows(), st.data())
def test_a_fork_of_a_run_that_goes_on_ends_like_one_undisturbed(workflow, data):
    undisturbed = SimulatedRun(workflow).finish(lambda operations: operations[0])
    run = SimulatedRun(workflow)
    for _ in range(data.draw(st.integers(0, 20), label="operations")):
        if operations := run.possible():
            run.perform(any_of(data)(operations))
    step = data.draw(st.sampled_from(sorted({*run.started} - {"done"})), label="step")
    again, _ = rerun(run, step=step)
    assert by_step(again.finish(any_of(data))) == by_step(undisturbed)


@given(random_workflows(), st.data())
def test_only_a_run_that_failed_or_was_cancelled_is_retried_and_only_once(workflow, data):
    run = SimulatedRun(workflow)
    assert find_obstacle(run.state, retry=True, same_id=True) is Obstacle.ACTIVE
    assert find_obstacle(run.state, retry=False, same_id=False) is None
    cut(run, data)
    completed = run.state.status is Status.COMPLETED
    assert find_obstacle(run.state, retry=True, same_id=True) is (Obstacle.COMPLETED if completed else None)
