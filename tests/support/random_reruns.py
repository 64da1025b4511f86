"""Reruns of random runs: a run that is cut off at any point, and the run that a retry or a fork makes of it."""

from __future__ import annotations

from hypothesis import strategies as st
from random_runs import SimulatedRun

from hephaestus_celery import Status
from hephaestus_celery.core.definition.plan import shape_of
from hephaestus_celery.core.execution.reruns import Beginning, create, kept_states, standing, unfinished, with_events
from hephaestus_celery.core.execution.state import RunState
from hephaestus_celery.core.values.lifecycle import StepStatus


def any_of(data):
    """Chance, as Hypothesis wants it."""
    return lambda operations: data.draw(st.sampled_from(operations), label="next")


def cut(run, data):
    """Let a run go on for a while, and then fail or be cancelled; gives the run."""
    for _ in range(data.draw(st.integers(0, 30), label="operations")):
        operations = run.possible()
        if not operations:
            return run
        run.perform(any_of(data)(operations))
    if not run.state.status.final:
        failing = [("fail", key) for key in run.executing()]
        run.perform(any_of(data)([*failing, ("cancel", "")]))
    return run


def taken(workflow, state, key):
    graph = workflow.flow.graph
    return {target.step.key for target in graph.table[graph.by_key[key], state.event]} if key != "done" else set()


def _round(state, step):
    return state.round if step is None and state is not None else 1


def rerun(run, *, step=None):
    """The run that a retry of this one makes; with ``step`` a fork."""
    workflow, states = run.workflow, run.state.steps
    shape = shape_of(workflow.flow.graph)
    follows = frozenset() if step is None else shape.following(step)
    completed = {key for key, state in states.items() if state.status is StepStatus.COMPLETED} - follows
    kept = kept_states(states, completed, source="first")
    started = (unfinished(states) - follows) | ({step} if step else set())
    where = standing(shape, kept={key: taken(workflow, state, key) for key, state in kept.items()}, again=started)
    again = SimulatedRun(workflow)
    again.started = []
    decision = create(
        kept=kept,
        skipped=where.skipped,
        arrivals=where.arrivals,
        active={
            key: Beginning(max_attempts=1, origin="first", round=_round(states.get(key), step)) for key in where.active
        },
        times=again._times(),
        shortfall=where.shortfall,
    )
    again.state = RunState(status=Status.PENDING, steps={})
    again._note(decision, activated=())
    for key in where.active:
        if workflow.needed(key):
            continue
        missing = workflow.predecessors(key) - again.settled()
        assert not missing, f"{key} was started before {missing} were settled"
    again.started = list(where.active)
    again.state = with_events(again.state, run.state, retry=step is None)
    again.kept = {event.key for event in again.state.early}
    return again, set(kept)
