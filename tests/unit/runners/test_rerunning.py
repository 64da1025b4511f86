"""Preparing a rerun: of a large run it takes its time, in which an event loop goes on."""

from __future__ import annotations

from dataclasses import replace

from hephaestus_celery import Done, Hephaestus, LocalRunner, MemoryStorage, Ok, Step, Unique, Workflow
from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.coroutines import AT_ONCE, run_now
from hephaestus_celery.runners.rerunning import Earlier


class Branch(Step):
    events = ("ok",)

    def execute(self, instance, config, context):
        return Ok("ok")


BRANCHES = [Branch.named(f"branch_{number}") for number in range(1500)]
LAST = Branch.named("last")


class Broad(Workflow):
    name = "rerunning.Broad"
    unique = Unique("broad")
    initial_step = BRANCHES
    transitions = {**{(branch, "ok"): LAST for branch in BRANCHES}, (LAST, "ok"): Done}


class Idle(LocalRunner):
    """Executes nothing."""

    def dispatch(self, messages):
        del messages


def half_failed(storage, run_id):
    """The run as if every other step had completed, and the others had failed."""
    run = storage.load(run_id)
    completed = {"status": StepStatus.COMPLETED, "event": "ok"}
    steps = {
        key: replace(state, order=place + 1, **(completed if place % 2 else {"status": StepStatus.FAILED}))
        for place, (key, state) in enumerate(run.steps.items())
    }
    return replace(run, status=Status.FAILED, steps=steps)


def test_others_have_their_turn_again_and_again_while_thousands_of_steps_are_prepared():
    turns = []

    async def pause(seconds):
        turns.append(seconds)

    with Hephaestus(storage=MemoryStorage(), runner=Idle()) as runtime:
        parts = runtime._resolved()
        run_id = runtime.start_instance(Broad, {}, id="b1").run_id
        earlier = Earlier(run=half_failed(parts.storage, run_id), run_id=run_id, workflow=Broad, id="broad::b1")
        rerun, messages = run_now(parts.driver.rerunner.prepare(earlier, pause=pause))
    assert (len(rerun.kept), len(messages)) == (750, 750)
    assert turns == [0] * len(turns)
    assert len(turns) > 3 * (750 // AT_ONCE)  # over what is kept, over the messages, and over the first steps
