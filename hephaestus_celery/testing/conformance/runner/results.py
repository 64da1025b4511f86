"""Tests of the results of runs: what a workflow computes, and what becomes of a run where that can't be computed."""

from __future__ import annotations

from decimal import Decimal

import pytest

from hephaestus_celery import Done, RunFailedError
from hephaestus_celery.testing.conformance.runner import workflows
from hephaestus_celery.testing.conformance.runner.traces import numbers, start, trace


def test_a_run_gives_the_result_that_its_workflow_computes(stage):
    handle = start(stage, workflows.Summed)
    assert handle.result(30) == {"by": ["a", "b"], "price": Decimal("9.90")}
    instance = handle.get()
    assert (instance.result, instance.context.steps["done"]) == (handle.result(), {})
    assert trace(stage.seen(handle.run_id))[-4:] == [
        "step.start done",
        "step.stop done",
        "transition done-done->[]",
        "workflow.stop",
    ]


def test_a_run_whose_result_can_not_be_computed_fails_at_done(stage):
    handle = start(stage, workflows.Summed, value=-1)
    with pytest.raises(RunFailedError, match=r"at step done \(ValueError: nothing to sum\)") as refused:
        handle.result(30)
    events = stage.seen(handle.run_id, last="workflow.exception")
    assert trace(events)[-4:] == [
        "advance 3 running->failed",
        "step.start done",
        "step.exception done",
        "workflow.exception",
    ]
    assert numbers(events) == list(range(1, len(events) + 1))
    assert (events[-1].metadata["failed_step"], events[-2].metadata["will_retry"]) == ("done", False)
    instance = refused.value.instance
    assert (instance.status, instance.failed_step, instance.result) == ("failed", Done, None)
    assert (refused.value.failure.kind, refused.value.failure.type) == ("error", "ValueError")
    last = handle.history()[-1]
    assert (last.step, last.outcome, last.reason) == ("done", "failed", "ValueError: nothing to sum")
    assert {step.key for step in instance.completed_steps} == {"a", "b"}


def test_a_retry_computes_a_result_anew(stage):
    handle = start(stage, workflows.Summed, value=-1)
    handle.wait(30)
    again = handle.retry(context={"value": 1})
    assert again.result(30)["by"] == ["a", "b"]
    assert [entry.step for entry in again.history() if entry.kind == "attempt"] == ["done"]


def test_a_workflow_that_is_nothing_but_its_end_gives_a_result(stage):
    assert start(stage, workflows.SummedAtOnce, value=4).result(30) == {"twice": 8, "of": "conformance_summed_at_once"}


def test_a_run_that_a_timer_ends_gives_a_result(stage):
    assert start(stage, workflows.SummedLater).result(30) == {"steps": ["wait"]}


def test_a_workflow_without_a_result_gives_an_empty_one(stage):
    handle = start(stage, workflows.Straight)
    assert handle.result(30) == {}
    assert handle.get().result == {}
