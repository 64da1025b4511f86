"""Calls about many runs on each storage: retries and pauses, run by run."""

from __future__ import annotations

import asyncio

import pytest

from hephaestus_celery import Done, Error, Hephaestus, LocalRunner, Ok, RetryPolicy, Step, Unique, Workflow
from hephaestus_celery.core.definition.registry import WORKFLOWS

RUNS = 12
BROKEN: set[str] = set()


class Fragile(Step):
    events = ("ok",)
    retry = RetryPolicy(max_attempts=1)

    def execute(self, instance, config, context):
        return Error("broken") if instance.id in BROKEN else Ok("ok")


class Job(Workflow):
    unique = Unique("job")
    initial_step = Fragile
    transitions = {(Fragile, "ok"): Done}


class Idle(LocalRunner):
    """Sends nothing, so that no run begins."""

    def dispatch(self, messages):
        del messages


@pytest.fixture
def broken():
    BROKEN.update(f"job::j{number}" for number in range(RUNS))
    yield BROKEN
    BROKEN.clear()


@pytest.fixture
def hephaestus(make_storage):
    with Hephaestus(storage=make_storage()) as runtime:
        yield runtime


@pytest.fixture
def idle(make_storage):
    with Hephaestus(storage=make_storage(), runner=Idle()) as runtime:
        yield runtime


def failed(broken):
    handles = [Job.start(f"j{number}") for number in range(RUNS)]
    for handle in handles:
        assert handle.wait(20).status == "failed"
    broken.clear()
    return handles


def awaited(hephaestus, call, **options):
    """What the twin of a call for event loops gives."""

    async def main():
        return await getattr(hephaestus.aio, call)(**options)

    return asyncio.run(main())


def made_of(handles, hephaestus):
    """The runs that came of these, when they have ended."""
    return [hephaestus.wait(handle.get().retried_as, timeout=20) for handle in handles]


def test_all_that_match_are_retried_once(hephaestus, broken):
    handles = failed(broken)
    completed = Job.start("fine")
    completed.wait(20)
    seen = []
    assert hephaestus.retry_many(workflow=Job, status="failed", by="ada", progress=seen.append) == (RUNS, {})
    assert seen == list(range(1, RUNS + 1))
    again = made_of(handles, hephaestus)
    assert {instance.status for instance in again} == {"completed"}
    first = hephaestus.history(again[0].run_id)[0]
    assert (first.kind, first.by) == ("fork", "ada")
    assert hephaestus.retry_many(workflow=Job, status="failed") == (0, {})
    result = hephaestus.retry_many(workflow=Job, status="failed", retried=True)
    assert (result.done, set(result.refused)) == (0, {handle.run_id for handle in handles})
    assert all("was retried before" in reason for reason in result.refused.values())


def test_runs_that_cannot_be_retried_are_refused_each_with_its_reason(hephaestus, broken):
    handles = failed(broken)
    newer = Job.start("j3")
    newer.wait(20)
    result = hephaestus.retry_many(workflow=Job)
    assert result.done == RUNS
    assert list(result.refused) == [newer.run_id]
    assert "has completed" in result.refused[newer.run_id]
    assert handles[3].get().retried_as


def test_runs_whose_workflow_is_not_known_here_are_refused(hephaestus, broken):
    handles = failed(broken)
    WORKFLOWS.discard(Job)
    try:
        result = hephaestus.retry_many(status="failed")
    finally:
        WORKFLOWS.add(Job)
    assert (result.done, set(result.refused)) == (0, {handle.run_id for handle in handles})
    assert hephaestus.retry_many(status="failed").done == RUNS


def test_all_that_match_are_retried_on_a_loop(hephaestus, broken):
    handles = failed(broken)
    assert awaited(hephaestus, "retry_many", status="failed", by="ada") == (RUNS, {})
    assert {instance.status for instance in made_of(handles, hephaestus)} == {"completed"}


def test_all_that_match_are_paused(idle):
    handles = [Job.start(f"j{number}") for number in range(RUNS)]
    handles[0].pause()
    ended = Job.start("ended")
    ended.cancel()
    seen = []
    result = idle.pause_many(workflow=Job, by="ada", progress=seen.append)
    assert (result.done, seen[-1]) == (RUNS - 1, RUNS + 1)
    assert set(result.refused) == {handles[0].run_id, ended.run_id}
    assert "is paused already" in result.refused[handles[0].run_id]
    assert "has ended already (cancelled)" in result.refused[ended.run_id]
    assert all(handle.get().paused for handle in handles)
    assert [(entry.kind, entry.by) for entry in handles[1].history()] == [("pause", "ada")]
    assert idle.pause_many(paused=False, status="pending") == (0, {})


def test_all_that_match_are_paused_and_go_on_on_a_loop(idle):
    handles = [Job.start(f"j{number}") for number in range(RUNS)]
    assert awaited(idle, "pause_many", workflow=Job) == (RUNS, {})
    assert all(handle.get().paused for handle in handles)
    assert awaited(idle, "unpause_many", workflow=Job) == (RUNS, {})
    assert not any(handle.get().paused for handle in handles)


def test_all_paused_runs_that_match_go_on(idle):
    handles = [Job.start(f"j{number}") for number in range(RUNS)]
    ended = Job.start("ended")
    ended.cancel()
    idle.pause_many(status="pending")
    handles[0].unpause()
    seen = []
    result = idle.unpause_many(workflow=Job, by="ada", progress=seen.append)
    assert (result.done, seen[-1]) == (RUNS - 1, RUNS + 1)
    assert set(result.refused) == {handles[0].run_id, ended.run_id}
    assert all("is not paused itself" in reason for reason in result.refused.values())
    assert not any(handle.get().paused for handle in handles)
    assert [(entry.kind, entry.by) for entry in handles[1].history()] == [("pause", None), ("unpause", "ada")]
    assert idle.unpause_many(paused=True) == (0, {})


def test_runs_that_their_workflow_alone_pauses_are_refused_and_stay_paused(idle):
    Job.pause()
    handle = Job.start("j")
    result = idle.unpause_many(paused=True)
    assert (result.done, list(result.refused)) == (0, [handle.run_id])
    assert "unpause_workflow" in result.refused[handle.run_id]
    assert handle.get().paused
    Job.unpause()
