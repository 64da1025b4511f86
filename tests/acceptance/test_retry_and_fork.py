"""Retries and forks on real workers: a bug, mended code, killed callers, older workers, and no completed step that runs twice."""

from __future__ import annotations

import signal
from collections import Counter

import flows
import pytest
from stage import SUPPORT, eventually

from hephaestus_celery import Done, NotDeletableError, Status

RUNS = 500
RETRIES = """
import worker_app, flows
for found in flows.Mended.list(status="failed", retried=False, limit=1000):
    flows.Mended.retry(found.id, by="script")
worker_app.hephaestus.close()
"""
MANY_RETRIES = """
import worker_app, flows
print(worker_app.hephaestus.retry_many(workflow=flows.Mended, status="failed", by="script").done)
worker_app.hephaestus.close()
"""
SLOW_RETRIES = """
import time, worker_app, flows
slowly = lambda done: time.sleep(0.05)
worker_app.hephaestus.retry_many(workflow=flows.Mended, status="failed", by="script", progress=slowly)
print("returned")
"""


@pytest.fixture
def stage(make_stage):
    return make_stage(dispatch_timeout=1, lease=5)


def executed(stage):
    """How often each step of each instance was executed."""
    return Counter((note["value"], note["step"]) for note in stage.executions())


def failed_by_a_bug(stage, runs):
    """Runs that have failed by a bug of the workers' code, which are gone by then."""
    stage.switches["HEPHAESTUS_TEST_BUG"] = "1"
    workers = stage.start_workers(1, concurrency=4)
    handles = [flows.Mended.start(f"x{number}", {"value": number}) for number in range(runs)]
    for handle in handles:
        assert handle.wait(120).status is Status.FAILED
    for worker in workers:
        worker.stop()
    del stage.switches["HEPHAESTUS_TEST_BUG"]
    return handles


def ended(stage, handles, timeout=150):
    """The runs that came of these, which have all completed."""

    def all_ended():
        stage.revive()
        found = [handle.get().retried_as for handle in handles]
        return None not in found and not stage.hephaestus.count(status_in=["pending", "running", "waiting"])

    eventually(all_ended, timeout=timeout, what="all retries have ended")
    return [stage.hephaestus.get(handle.get().retried_as) for handle in handles]


def test_hundreds_of_runs_go_on_with_the_mended_code_whoever_is_killed(stage):
    handles = failed_by_a_bug(stage, RUNS)
    before = executed(stage)
    assert all(before[number, step] == 1 for number in range(RUNS) for step in "abc")
    workers = stage.start_workers(2, concurrency=2)
    first = stage.script(RETRIES)
    eventually(lambda: stage.hephaestus.count(retried=True) > RUNS // 5, timeout=60)
    first.kill()  # in the middle of its retries
    first.communicate()
    workers[0].kill()
    stage.start_workers(1, concurrency=2)
    _, errors = stage.script(RETRIES).communicate(timeout=120)
    assert "Traceback" not in errors, errors
    found = ended(stage, handles)
    assert {instance.status for instance in found} == {Status.COMPLETED}
    assert [instance.forked_from for instance in found] == [handle.run_id for handle in handles]
    after = executed(stage)
    assert all(after[number, step] == 1 for number in range(RUNS) for step in "abc")
    assert all(after[number, "mended"] >= 2 for number in range(RUNS))
    assert not stage.hephaestus.count(workflow=flows.Mended, status="failed", retried=False)


def test_a_killed_call_that_retries_many_is_repeated_and_retries_each_run_once(stage):
    handles = failed_by_a_bug(stage, 120)
    stage.start_workers(1, concurrency=2)
    caller = stage.script(SLOW_RETRIES)
    eventually(lambda: stage.hephaestus.count(retried=True) > 20, timeout=60)
    caller.kill()
    assert caller.communicate()[0] == ""  # it had not returned
    before = stage.hephaestus.count(retried=True)
    output, errors = stage.script(MANY_RETRIES).communicate(timeout=60)
    assert int(output) == 120 - before, errors
    found = ended(stage, handles)
    assert {instance.status for instance in found} == {Status.COMPLETED}
    assert [instance.forked_from for instance in found] == [handle.run_id for handle in handles]
    after = executed(stage)
    assert all(after[number, step] == 1 for number in range(120) for step in "abc")
    assert stage.hephaestus.count(workflow=flows.Mended) == 240


def test_a_retry_is_told_of_by_the_worker_that_takes_it(stage):
    [first] = failed_by_a_bug(stage, 1)
    stage.start_workers(1)
    again = first.retry(by="ada")
    assert again.wait(60).status is Status.COMPLETED
    events = stage.emitted(again.run_id, elsewhere=1)
    assert [event["event"] for event in events[:2]] == ["workflow.start", "engine.advance"]
    assert events[0]["metadata"]["forked_from"] == first.run_id
    assert again.history()[0].kind == "fork"
    keys = {note["key"] for note in stage.notes("key")}
    assert keys == {f"{first.run_id}:mended"}


def test_a_fork_onto_another_version(stage):
    stage.start_workers(1)
    first = stage.hephaestus.start_instance(flows.Track, {"value": 1}, id="x1", version=1)
    first.wait(60)
    again = flows.Track.fork("x1", flows.A, version=2)
    found = again.wait(60)
    assert (found.status, found.workflow_version) == (Status.COMPLETED, 2)
    assert executed(stage) == {(1, "a"): 2, (1, "b"): 1}


def test_a_fork_of_which_only_the_end_is_left(stage):
    stage.start_workers(1)
    first = stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="x1")
    first.wait(60)
    again = stage.hephaestus.fork(first.id, Done)
    assert again.wait(60).status is Status.COMPLETED
    assert [(entry.kind, entry.step) for entry in again.history()] == [("fork", None), ("attempt", "done")]


@pytest.mark.only_on("redis", why="the copy is in the store, whatever the broker")
def test_a_scheduler_goes_on_with_a_copy_whose_caller_was_killed(stage):
    first = stage.hephaestus.start_instance(flows.Crowd, {"value": 1}, id="crowd")
    first.cancel()
    stage.drop_messages(at_least=len(flows.THRONG))
    stage.switches["HEPHAESTUS_TEST_CUT"] = "copy:2"
    caller = stage.script("import flows, worker_app; flows.Crowd.retry('crowd')")
    _, errors = caller.communicate(timeout=60)
    assert caller.returncode == -signal.SIGKILL, errors
    [half] = stage.hephaestus.list(id=first.id, status="pending")
    assert (half.forked_from, stage.waiting_messages()) == (first.run_id, 0)
    with pytest.raises(NotDeletableError, match=half.run_id):
        stage.hephaestus.delete(first.run_id)
    stage.start_workers(1)
    assert stage.hephaestus.wait(half.run_id, 90).status is Status.COMPLETED
    assert executed(stage) == {**{(1, one.key): 1 for one in flows.THRONG}, (1, "d"): 1}
    stage.hephaestus.delete(first.run_id)
    assert len(stage.hephaestus.get(half.run_id).completed_steps) == len(flows.THRONG) + 2


@pytest.mark.only_on("redis", why="both sides talk to one store, whatever the broker")
def test_a_worker_of_older_code_leaves_retries_and_forks_alone(stage, older_code):
    hephaestus = stage.hephaestus
    stage.path = older_code
    [older] = stage.start_workers()
    first = hephaestus.start_instance(flows.Approval, {"value": 1}, id="x1")
    eventually(lambda: first.status == "waiting", what="step a has completed")
    first.cancel()
    again = first.retry(by="ada")
    other = hephaestus.fork(first.id, flows.A, value="x2")
    plain = hephaestus.start_instance(flows.Linear, {"value": 9}, id="plain")
    assert stage.outcome(plain).status is Status.COMPLETED
    eventually(lambda: "a newer hephaestus-celery has written (schema 2" in older.log.read_text(), what="it says so")
    assert {note["run_id"] for note in stage.executions()} == {first.run_id, plain.run_id}
    assert (again.status, other.status) == ("pending", "pending")
    stage.path = [SUPPORT]
    stage.start_workers()
    for handle in (again, other):
        eventually(lambda handle=handle: handle.status == "waiting", timeout=60, what="a newer worker has taken it")
        handle.resume("approved")
        assert stage.outcome(handle).status is Status.COMPLETED
    ran = Counter((note["run_id"], note["step"]) for note in stage.executions())
    assert {step for run_id, step in ran if run_id == again.run_id} == {"ask", "b"}
    assert set(ran.values()) == {1}
    assert hephaestus.delete(first.run_id) is None
    assert "Traceback" not in older.log.read_text()
