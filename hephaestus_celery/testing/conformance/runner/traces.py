"""Tests of emitted events: each workflow gives exactly these, whichever runner executes its steps."""

from __future__ import annotations

import pytest

from hephaestus_celery.testing.conformance.conditions import eventually
from hephaestus_celery.testing.conformance.runner import workflows


def trace(events):
    """Each event with what it is about: `step.start a`, `transition a-done->[b]`, `advance 2`."""
    return [_line(event.name, event.metadata) for event in events]


def _line(name, metadata):
    match name:
        case "workflow.transition":
            return f"transition {metadata['from_step']}-{metadata['event']}->[{', '.join(metadata['targets'])}]"
        case "engine.advance":
            return f"advance {metadata['iteration']} {metadata['status_before']}->{metadata['status_after']}"
        case _ if name.startswith("step."):
            return f"{name} {metadata['step']}"
        case _:
            return name


def numbers(events):
    return [event.metadata["sequence"] for event in events]


def start(stage, workflow, value=1, **options):
    return stage.hephaestus.start_instance(workflow, {"value": value}, id="x1", **options)


def test_a_linear_workflow_gives_exactly_this_trace(stage):
    handle = start(stage, workflows.Linear)
    handle.wait(30)
    events = stage.seen(handle.run_id)
    assert trace(events) == [
        "workflow.start",
        "advance 1 pending->running",
        "step.start a",
        "step.stop a",
        "transition a-done->[b]",
        "advance 2 running->running",
        "step.start b",
        "step.stop b",
        "transition b-done->[done]",
        "advance 3 running->completed",
        "step.start done",
        "step.stop done",
        "transition done-done->[]",
        "workflow.stop",
    ]
    assert numbers(events) == list(range(1, 15))
    stop = events[-1]
    assert (stop.measurements["step_count"], stop.measurements["advance_count"]) == (3, 3)
    assert stop.metadata["completed_steps"] == ["a", "b", "done"]
    assert stop.metadata["status"] == "completed"


def test_a_diamond_joins_once(stage):
    handle = start(stage, workflows.Diamond)
    instance = handle.wait(30)
    events = stage.seen(handle.run_id)
    lines = trace(events)
    assert lines[:6] == [
        "workflow.start",
        "advance 1 pending->running",
        "step.start a",
        "step.stop a",
        "transition a-done->[b, c]",
        "advance 2 running->running",
    ]
    last, first = ("b", "c") if "transition b-done->[d]" in lines else ("c", "b")
    assert sorted(line for line in lines if line.startswith("transition")) == sorted(
        [
            "transition a-done->[b, c]",
            f"transition {first}-done->[]",
            f"transition {last}-done->[d]",
            "transition d-done->[done]",
            "transition done-done->[]",
        ]
    )
    assert sorted(numbers(events)) == list(range(1, len(events) + 1))
    assert lines.count("step.start d") == 1
    assert instance.context.steps == {
        "a": {"by": "a"},
        "b": {"by": "b"},
        "c": {"by": "c"},
        "d": {"by": "d"},
        "done": {},
    }


def test_a_branch_that_is_not_chosen_is_skipped_and_a_merge_does_not_wait_for_it(stage):
    handle = start(stage, workflows.Choice, value=1)
    instance = handle.wait(30)
    lines = trace(stage.seen(handle.run_id))
    assert "step.start right" not in lines
    assert {step.key for step in instance.skipped_steps} == {"right"}
    assert {step.key for step in instance.completed_steps} == {"a", "b", "choose", "left", "merge", "done"}
    assert lines.count("step.start merge") == 1


@pytest.mark.parametrize(("value", "path"), [(1, ["a", "c", "d", "done"]), (2, ["a", "b", "done"])])
def test_a_route_chooses_with_the_context(stage, value, path):
    handle = start(stage, workflows.Routed, value=value)
    instance = handle.wait(30)
    assert [line.split()[1] for line in trace(stage.seen(handle.run_id)) if line.startswith("step.stop")] == path
    assert dict(instance.step_configs) == ({workflows.D: {"tier": "gold"}} if value == 1 else {})


def test_a_resumed_step_has_no_stop_but_a_resume(stage):
    handle = start(stage, workflows.Approval)
    eventually(lambda: handle.get().status == "waiting", what="the run waits")
    assert handle.get().current_step is workflows.Ask
    handle.resume("approved", {"by": "anna"})
    instance = handle.wait(30)
    events = stage.seen(handle.run_id)
    assert trace(events)[5:] == [
        "advance 2 running->running",
        "step.start ask",
        "step.async ask",
        "step.resume ask",
        "transition ask-approved->[b]",
        "advance 3 waiting->running",
        "step.start b",
        "step.stop b",
        "transition b-done->[done]",
        "advance 4 running->completed",
        "step.start done",
        "step.stop done",
        "transition done-done->[]",
        "workflow.stop",
    ]
    assert numbers(events) == list(range(1, len(events) + 1))
    assert instance.context.steps["ask"] == {"by": "anna"}
    waiting, resume = events[7], events[8]
    assert waiting.metadata["instance_status"] == "waiting"
    assert (resume.metadata["resume_event"], resume.metadata["source"]) == ("approved", "external")
    assert resume.measurements["wait_duration"] > 0
    kinds = [(entry.kind, entry.step, entry.outcome, entry.event) for entry in handle.history()]
    assert kinds == [
        ("attempt", "a", "completed", "done"),
        ("attempt", "ask", "waiting", None),
        ("resume", "ask", "completed", "approved"),
        ("attempt", "b", "completed", "done"),
        ("attempt", "done", "completed", "done"),
    ]


def test_an_early_event_is_kept_and_delivered_when_its_step_waits(stage):
    handle = start(stage, workflows.Payment)
    handle.resume("paid", {"amount": 3}, keep_early=True)
    instance = handle.wait(30)
    assert instance.context.steps["wait_for_event"] == {"amount": 3}
    assert trace(stage.seen(handle.run_id)).count("step.resume wait_for_event") == 1


def test_a_timer_fires_without_anybody_else(stage):
    instance = start(stage, workflows.Pausing).wait(30)
    assert instance.status == "completed"


def test_a_failed_attempt_is_tried_again_after_its_backoff(stage):
    handle = start(stage, workflows.Retried)
    assert handle.wait(30).status == "completed"
    outcomes = [(entry.step, entry.attempt, entry.outcome) for entry in handle.history()]
    assert outcomes == [("flaky", 1, "retrying"), ("flaky", 2, "completed"), ("done", 1, "completed")]


def test_a_failed_step_fails_its_run(stage):
    handle = start(stage, workflows.Failing)
    instance = handle.wait(30)
    events = stage.seen(handle.run_id, last="workflow.exception")
    assert trace(events) == [
        "workflow.start",
        "advance 1 pending->running",
        "step.start raises",
        "step.exception raises",
        "workflow.exception",
    ]
    assert numbers(events) == [1, 2, 3, 4, 5]
    assert instance.status == "failed"
    assert instance.failed_step is workflows.Raises
    assert events[-1].metadata["failed_step"] == "raises"
    assert "it broke" in str(events[-1].metadata["reason"])


def test_a_transition_takes_the_failure_of_a_step(stage):
    handle = start(stage, workflows.Refunding)
    instance = handle.wait(30)
    events = stage.seen(handle.run_id)
    assert trace(events) == [
        "workflow.start",
        "advance 1 pending->running",
        "step.start raises",
        "step.exception raises",
        "transition raises-@failed->[refund]",
        "advance 2 running->running",
        "step.start refund",
        "step.stop refund",
        "transition refund-done->[done]",
        "advance 3 running->completed",
        "step.start done",
        "step.stop done",
        "transition done-done->[]",
        "workflow.stop",
    ]
    assert numbers(events) == list(range(1, 15))
    assert (events[3].metadata["will_retry"], events[3].metadata["kind"]) == (False, "error")
    assert (instance.status, instance.failed_step, instance.failure) == ("completed", None, None)
    assert instance.context.steps["raises"] == {"kind": "error", "type": "RuntimeError", "message": "it broke"}
    assert instance.context.steps["refund"] == {"why": "error RuntimeError: it broke"}
    kinds = [(entry.step, entry.outcome, entry.event, entry.reason) for entry in handle.history()]
    assert kinds == [
        ("raises", "failed", "@failed", "RuntimeError: it broke"),
        ("refund", "completed", "done", None),
        ("done", "completed", "done", None),
    ]


def test_a_route_takes_the_failure_of_a_step(stage):
    handle = start(stage, workflows.RefundingByRoute)
    instance = handle.wait(30)
    assert (instance.status, instance.context.steps["refund"]) == ("completed", {"why": "error RuntimeError: it broke"})


def test_the_first_of_two_branches_is_enough_for_a_join_of_one(stage):
    handle = start(stage, workflows.FirstOf)
    instance = handle.wait(30)
    lines = trace(stage.seen(handle.run_id))
    assert lines.count("step.start last") == 1
    assert instance.status == "completed"
    assert {step.key for step in instance.completed_steps} == {"a", "b", "last", "done"}
    assert {step.key for step in instance.skipped_steps} <= {"ask"}
    assert instance.waiting_steps == instance.active_steps == frozenset()


def test_a_step_that_waits_when_its_run_completes_without_it_is_skipped(stage):
    handle = start(stage, workflows.Overtaken)
    eventually(lambda: {step.key for step in handle.get().waiting_steps} == {"ask", "gate"}, what="both wait")
    handle.resume("opened")
    instance = handle.wait(30)
    assert (instance.status, {step.key for step in instance.skipped_steps}) == ("completed", {"ask"})
    assert {step.key for step in handle.get().skipped_steps} == {"ask"}


@pytest.mark.parametrize(("value", "skipped"), [(1, {"right", "merge"}), (2, {"last"})])
def test_a_join_of_all_is_skipped_where_one_goes_elsewhere(stage, value, skipped):
    handle = start(stage, workflows.AllOrNothing, value=value)
    instance = handle.wait(30)
    assert (instance.status, {step.key for step in instance.skipped_steps}) == ("completed", skipped)


def test_a_run_that_only_a_missed_join_leads_on_fails_and_names_it(stage):
    handle = start(stage, workflows.Missed)
    instance = handle.wait(30)
    events = stage.seen(handle.run_id, last="workflow.exception")
    why = "step merge joins 4 of its 4 predecessors, and "
    assert (instance.status, instance.failed_step) == ("failed", None)
    assert why in instance.failure.message
    assert instance.failure.message in str(events[-1].metadata["reason"])


def test_a_cancelled_run_starts_no_further_step(stage):
    handle = start(stage, workflows.Approval)
    eventually(lambda: handle.get().status == "waiting", what="the run waits")
    handle.cancel("not needed")
    assert handle.wait(30).status == "cancelled"
    assert [entry.step for entry in handle.history() if entry.kind == "attempt"] == ["a", "ask"]


def test_a_workflow_that_begins_with_done_completes(stage):
    handle = start(stage, workflows.Straight)
    assert handle.wait(30).status == "completed"
    assert trace(stage.seen(handle.run_id)) == [
        "workflow.start",
        "advance 1 pending->running",
        "step.start done",
        "step.stop done",
        "transition done-done->[]",
        "workflow.stop",
    ]


def test_the_telemetry_metadata_of_the_caller_is_in_every_event(stage):
    handle = start(stage, workflows.Linear, telemetry_metadata={"tenant": "acme"})
    handle.wait(30)
    events = stage.seen(handle.run_id)
    assert {event.metadata["tenant"] for event in events} == {"acme"}
    assert {event.metadata["run_id"] for event in events} == {handle.run_id}
    assert {event.metadata["workflow_version"] for event in events} == {1}


def test_an_async_step_is_run_to_its_end(stage):
    instance = start(stage, workflows.Asynchronous).wait(30)
    assert str(instance.context.steps["later"]["price"]) == "9.90"
    assert instance.context.steps["later"]["when"].utcoffset().total_seconds() == 0


def test_short_answers_are_those_that_they_stand_for(stage):
    handle = start(stage, workflows.Brief)
    instance = handle.wait(30)
    assert instance.context.steps == {"announce": {}, "weigh": {"kilos": 3}, "sort": {}}
    assert [(entry.step, entry.outcome, entry.event) for entry in handle.history()] == [
        ("announce", "completed", "ok"),
        ("weigh", "completed", "ok"),
        ("sort", "completed", "heavy"),
        ("unsure", "failed", None),
    ]
    assert "it declares several ('heavy', 'light')" in instance.failure.message


def test_a_step_that_polls_gives_exactly_this_trace(stage):
    handle = start(stage, workflows.Polling)
    instance = handle.wait(30)
    assert instance.context.steps["poll"] == {"seen": [1, 2]}
    events = stage.seen(handle.run_id)
    assert trace(events) == [
        "workflow.start",
        "advance 1 pending->running",
        "step.start poll",
        "step.async poll",
        "step.start poll",
        "step.exception poll",
        "step.start poll",
        "step.async poll",
        "step.start poll",
        "step.stop poll",
        "transition poll-ready->[done]",
        "advance 2 running->completed",
        "step.start done",
        "step.stop done",
        "transition done-done->[]",
        "workflow.stop",
    ]
    assert numbers(events) == list(range(1, 17))
    told = [event.metadata for event in events if event.name == "step.async"]
    assert [(each["round"], each["attempt"], each["resumes_in"], each["outcome"]) for each in told] == [
        (1, 1, 50_000_000, "again"),
        (2, 2, 0, "again"),
    ]
    assert [(entry.round, entry.attempt, entry.outcome) for entry in handle.history() if entry.step == "poll"] == [
        (1, 1, "again"),
        (2, 1, "retrying"),
        (2, 2, "again"),
        (3, 1, "completed"),
    ]
