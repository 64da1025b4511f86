"""The suite for runners, on ours: the same workflows give the same events in the same order, and the same instances."""

from __future__ import annotations

import flows
import hooked
import odd
import pytest
import stage as real
from celery import Celery

from hephaestus_celery import Hephaestus
from hephaestus_celery.testing import EventCapture
from hephaestus_celery.testing.conformance.conditions import eventually
from hephaestus_celery.testing.conformance.runner import *  # noqa: F403 - all tests of the suite
from hephaestus_celery.testing.conformance.runner import workflows
from hephaestus_celery.testing.conformance.runner.fixtures import InProcess, SeenEvent
from hephaestus_celery.testing.conformance.runner.traces import numbers, start, trace

RUNNERS = ["local", "eager", "celery-solo", "celery-prefork", "celery-threads", "celery-gevent", "celery-eventlet"]


class OnWorkers:
    """A stage whose steps are executed by a worker of Celery."""

    def __init__(self, stage):
        self._stage, self.hephaestus = stage, stage.hephaestus

    def seen(self, run_id, *, last="workflow.stop"):
        return [
            SeenEvent(name=event["event"], measurements=event["measurements"], metadata=event["metadata"])
            for event in self._stage.emitted(run_id, last=last)
        ]


@pytest.fixture(scope="module", params=RUNNERS)
def stage(request, tmp_path_factory):
    kind, _, pool = request.param.partition("-")
    if kind == "local":
        with EventCapture() as capture, Hephaestus(name="local") as hephaestus:
            hooked.add_to(hephaestus)
            yield InProcess(hephaestus, capture)
        return
    if kind == "eager":
        app = Celery("eager", task_always_eager=True, set_as_current=False)
        with EventCapture() as capture, Hephaestus(app, name="eager") as hephaestus:
            hooked.add_to(hephaestus)
            yield InProcess(hephaestus, capture)
        return
    url = request.getfixturevalue("redis_url")
    stage = real.Stage(
        broker=url,
        state=url,
        namespace=f"conformance-{pool}",
        folder=tmp_path_factory.mktemp(pool),
        application="conformance_app",
    )
    hooked.add_to(stage.hephaestus)
    # One at a time: then one process emits everything, and its order is fixed.
    stage.start_workers(1, pool=pool, concurrency=1)
    yield OnWorkers(stage)
    stage.close()


def test_limits_and_waits_may_be_the_longest_that_there_are(stage):
    handle = start(stage, flows.ForEver)
    eventually(lambda: handle.get().waiting_steps == {flows.Unending, flows.Wait}, what="it waits")
    handle.resume("done")
    eventually(lambda: flows.Unending in handle.get().completed_steps, what="the event is applied")
    assert handle.get().status == "waiting"
    handle.cancel()


def failure_of(instance):
    """The kind of a run's failure, and its type without the module that it was defined in here."""
    return instance.failure.kind, instance.failure.type.rpartition(".")[2]


def test_every_step_sees_what_hooks_have_set_and_the_headers_that_were_added_at_the_start(stage):
    token = hooked.TRACE.set("t-1")
    try:
        handle = stage.hephaestus.start_instance(hooked.Hooked, id="x1")
    finally:
        hooked.TRACE.reset(token)
    steps = handle.wait(30).context.steps
    seen = {key: steps[key]["seen"] for key in ("plain", "awaited")}
    assert seen == {"plain": "plain 1 t-1", "awaited": "awaited 1 t-1"}


def test_whatever_a_step_raises_is_a_failed_attempt_with_a_reason(stage):
    handles = {
        name: stage.hephaestus.start_instance(odd.Odd, {"odd": name}, id=name.replace("-", "")) for name in odd.ODD
    }
    for name, (_, kind, type_name) in odd.ODD.items():
        instance = handles[name].wait(60)
        assert (instance.status, *failure_of(instance)) == ("failed", kind, type_name.rpartition(".")[2]), name
        assert instance.failure.message is not None
        events = stage.seen(handles[name].run_id, last="workflow.exception")
        assert trace(events)[2:] == [
            *("step.start raise_it", "step.exception raise_it", "step.start raise_it", "step.exception raise_it"),
            "workflow.exception",
        ], name
        assert numbers(events) == list(range(1, len(events) + 1))
        outcomes = [(entry.kind, entry.outcome) for entry in handles[name].history()]
        assert outcomes == [("attempt", "retrying"), ("attempt", "failed")], name
    # Nobody was lost, and everybody goes on.
    assert start(stage, workflows.Linear).wait(30).status == "completed"


def test_whatever_fails_between_a_claim_and_its_commit_is_a_failed_attempt(stage):
    handles = {
        name: stage.hephaestus.start_instance(workflow, {"place": place, "waits": waits}, id=name.replace("-", ""))
        for name, (workflow, place, waits, _, _) in odd.BREAKING.items()
    }
    for name, handle in handles.items():
        if name.endswith("resume"):
            handle.resume("later", {"a": 1}, keep_early=True)
    for name, (_, _, _, kind, type_name) in odd.BREAKING.items():
        instance = handles[name].wait(60)
        assert (instance.status, *failure_of(instance)) == ("failed", kind, type_name), name
        entries = [(entry.kind, entry.outcome) for entry in handles[name].history() if entry.outcome != "waiting"]
        outcomes = ["failed"] if name in odd.FOR_GOOD else ["retrying", "failed"]
        assert entries == [("attempt", outcome) for outcome in outcomes], name
        events = stage.seen(handles[name].run_id, last="workflow.exception")
        assert numbers(events) == list(range(1, len(events) + 1)), name
    assert start(stage, workflows.Linear).wait(30).status == "completed"
