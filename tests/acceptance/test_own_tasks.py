"""Steps whose tasks derive from the application's own class, with every hook replaced by it or by annotations."""

from __future__ import annotations

import own_tasks
import pytest
import recorder

HOOKS = {
    "own.plain": ["before_start", "on_success", "after_return"],
    "own.later": ["before_start", "on_success", "after_return"],
    "own.flaky": ["before_start", "on_retry", "before_start", "on_success", "after_return"],
    "own_broken.broken": ["before_start", "on_failure", "after_return"],
}


@pytest.fixture
def stage(make_stage):
    # Without transactional dispatch it matters what is called after a step.
    return make_stage(application="own_tasks_app", transactional_dispatch=False)


def test_a_step_is_a_task_of_the_applications_class(stage):
    stage.start_workers(1, concurrency=1)  # a process calls all hooks of an attempt before it begins the next
    whole = stage.hephaestus.start_instance(own_tasks.Own, id="1")
    broken = stage.hephaestus.start_instance(own_tasks.OwnBroken, id="2")
    instance, failed = stage.outcome(whole), stage.outcome(broken)
    context = {"context": "the application's"}
    assert instance.context.steps == {"plain": context, "later": context, "flaky": context, "done": {}}
    assert (failed.status, failed.failure.message) == ("failed", "it broke")
    # Nothing was waited for: no message was lost, no lease ran out.
    kinds = {entry.kind for handle in (whole, broken) for entry in handle.history()}
    assert kinds == {"attempt"}
    emitted = [event["event"] for event in stage.emitted(whole.run_id)]
    assert emitted == [
        *("workflow.start", "engine.advance"),
        *("step.start", "step.stop", "workflow.transition", "engine.advance") * 2,
        *("step.start", "step.exception", "step.start", "step.stop", "workflow.transition", "engine.advance"),
        *("step.start", "step.stop", "workflow.transition", "workflow.stop"),
    ]
    stage.emitted(broken.run_id, last="workflow.exception")
    stage.close()
    called = recorder.read(stage.folder, "hook")
    assert {name: [note["hook"] for note in called if note["task"] == name] for name in HOOKS} == HOOKS
    assert {note["made"] for note in called} == {"by its own __init__"}
