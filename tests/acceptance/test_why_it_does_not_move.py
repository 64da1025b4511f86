"""``show`` says why a step does not move: each state is made with real workers and queues, and the line is right."""

from __future__ import annotations

import os
import re
import signal
from contextlib import closing, contextmanager
from datetime import datetime, timedelta

import pytest
from flows import SWORN, A, Approval, Crowd, ForEver, Gated, HalfAnHour, Linear, LongNaps, Payment
from shell import Shell

from hephaestus_celery import Done, Unique, Workflow
from hephaestus_celery.storage.redis.client import connect
from hephaestus_celery.testing.conformance.conditions import eventually

pytestmark = pytest.mark.only_on("redis", why="what differs between brokers is the length of a queue, which has tests")


class Unheard(Workflow):
    """Which no worker has imported."""

    name = "unheard"
    unique = Unique("unheard")
    initial_step = A
    transitions = {(A, "done"): Done}


@pytest.fixture
def why(stage):
    """``why(handle, cause)``: the reason of a run's only moving step, once it is this cause; and the line that tells it."""
    return asking(stage)


def asking(stage):
    shell = Shell(stage.app)

    def ask(handle, cause, step=None):
        def found():
            reasons = shell("show", handle.run_id, "--json").document["reasons"]
            return next((each for each in reasons if each["cause"] == cause and step in (None, each["step"])), None)

        reason = eventually(found, what=f"{cause} of {handle.id}", timeout=40)
        about = f"  {reason['step'] or 'the run'}: "
        line = next((each for each in shell("show", handle.run_id).lines if each.startswith(about)), "")
        return reason, line

    return ask


def moment(text):
    return datetime.fromisoformat(text)


@contextmanager
def stopped(worker):
    """While its processes stand still."""
    os.killpg(worker.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(worker.process.pid, signal.SIGCONT)


def test_a_queue_without_a_consumer(stage, why):
    handle = stage.hephaestus.start_instance(Linear, id="1")
    reason, line = why(handle, "queue_without_consumer")
    assert reason["step"] == "a"
    assert abs(moment(reason["since"]) - handle.get().started_at) < timedelta(milliseconds=1)
    assert f"waits for a worker that takes from queue {stage.namespace}: none does" in line
    assert f"what moves it: a worker started with -Q {stage.namespace}" in line
    stage.start_workers()
    assert handle.wait(60).status == "completed"


def test_a_worker_that_does_not_know_the_workflow(stage, why):
    stage.start_workers()
    handle = stage.hephaestus.start_instance(Unheard, id="1")
    reason, line = why(handle, "unknown_version")
    assert f"a worker of queue {stage.namespace} that knows unheard version 1, which w0@test can't execute" in line
    assert reason["moved_by"] == "a worker with code that defines it"


def test_a_lease(stage, why, tmp_path):
    stage.start_workers()
    handle = stage.hephaestus.start_instance(Gated, {"gate": str(tmp_path / "gate")}, id="1")
    reason, line = why(handle, "executing")
    assert "waits for w0@test to end attempt 1 of 5, since " in line
    assert moment(reason["since"]) < moment(reason["until"]) <= moment(reason["since"]) + timedelta(seconds=60)
    assert "the end of its lease, which is renewed while it lives" in line
    (tmp_path / "gate").touch()
    assert handle.wait(60).status == "completed"
    assert Shell(stage.app)("show", handle.run_id, "--json").document["reasons"] == []


def test_a_backoff(stage, why):
    stage.start_workers()
    handle = stage.hephaestus.start_instance(HalfAnHour, id="1")
    why(handle, "backoff")  # the attempt may have failed after the history was read for this one
    reason, line = why(handle, "backoff")
    assert "waits for its backoff before attempt 2 of 4, since " in line
    assert timedelta(minutes=29) < moment(reason["until"]) - handle.get().started_at < timedelta(minutes=32)
    [failed] = [entry for entry in handle.history() if entry.outcome == "retrying"]
    assert abs(moment(reason["since"]) - failed.finished_at) < timedelta(milliseconds=1)
    assert "what moves it: the end of the backoff" in line


def test_an_event(stage, why):
    stage.start_workers()
    handle = stage.hephaestus.start_instance(Approval, id="1")
    reason, line = why(handle, "event")
    assert reason["step"] == "ask"
    assert "waits for the event 'approved' or 'declined', since " in line
    assert "what moves it: resume RUN approved" in line


def test_an_event_without_a_worker_to_apply_it(stage, why):
    stage.start_workers()
    handle = stage.hephaestus.start_instance(Payment, id="1")
    why(handle, "event")
    stage.workers[0].stop()
    handle.resume("paid")
    reason, _ = why(handle, "queue_without_consumer")
    assert (reason["step"], reason["until"]) == ("wait_for_event", None)


def test_a_time_that_is_very_far(stage, why):
    stage.start_workers()
    handle = stage.hephaestus.start_instance(ForEver, id="1")
    reason, line = why(handle, "timer")
    assert reason["step"] == "wait"
    assert "waits for its time, since " in line
    assert moment(reason["until"]).year > 2100


def test_a_rate_limit(make_stage):
    stage = make_stage(celery={"task_annotations": {"linear.a": {"rate_limit": "1/h"}}}, dispatch_timeout=6)
    stage.start_workers(concurrency=1)
    _, second = (stage.hephaestus.start_instance(Linear, id=str(number)) for number in range(2))
    _, line = asking(stage)(second, "rate_limit")
    assert "waits for w0@test, which holds the message of attempt 1 of 5 back by the rate limit 1/h" in line


def test_a_busy_worker_that_holds_the_message(make_stage, tmp_path):
    stage = make_stage(dispatch_timeout=6)
    stage.start_workers(concurrency=1, options=["--prefetch-multiplier", "2"])
    gate = {"gate": str(tmp_path / "gate")}
    first, second = (stage.hephaestus.start_instance(Gated, gate, id=str(number)) for number in range(2))
    _, line = asking(stage)(second, "held")
    assert "waits for w0@test, which has taken the message of attempt 1 of 5 and is busy" in line
    (tmp_path / "gate").touch()
    assert {first.wait(60).status, second.wait(60).status} == {"completed"}


def test_a_backlog(make_stage, tmp_path):
    stage = make_stage(dispatch_timeout=6)
    stage.start_workers(concurrency=1)
    gate = {"gate": str(tmp_path / "gate")}
    handles = [stage.hephaestus.start_instance(Gated, gate, id=str(number)) for number in range(6)]
    # One is executed, and one is held by the worker, for which it has been taken from the queue.
    _, line = asking(stage)(handles[-1], "backlog")
    assert f"messages before its own in queue {stage.namespace} (" in line
    assert " not taken yet), since " in line
    (tmp_path / "gate").touch()
    assert {handle.wait(60).status for handle in handles} == {"completed"}


def test_a_lost_message(stage, why):
    handle = stage.hephaestus.start_instance(Linear, id="1")
    stage.drop_messages(at_least=1)
    stage.start_workers()
    reason, line = why(handle, "message_lost")
    assert f"the message of attempt 1 of 5, which is neither in queue {stage.namespace} nor with a worker" in line
    assert moment(reason["until"]) > moment(reason["since"])
    assert "the look for lost messages at that time, which sends it again" in line


def test_no_scheduler(stage, why):
    stage.start_workers()
    handle = stage.hephaestus.start_instance(LongNaps, id="1")
    eventually(lambda: handle.get().waiting_steps, what="the nap")
    os.killpg(stage.workers[0].process.pid, signal.SIGKILL)
    reason, line = why(handle, "no_scheduler")
    assert reason["step"] == "wait"
    assert "waits for a scheduler: none is at work, and it waits for its time, since " in line
    assert " ago)" in line
    assert "what moves it: a worker, or celery -A APP hephaestus scheduler" in line


def test_a_worker_that_has_taken_the_message_and_said_nothing_yet(stage, why):
    [worker] = stage.start_workers()
    hephaestus = stage.hephaestus
    eventually(lambda: hephaestus.runner.fleet.holdings(hephaestus.storage), what="the worker has reported")
    for number in range(20):
        with stopped(worker):
            handle = hephaestus.start_instance(Linear, id=str(number))
            if stage.waiting_messages() == 0:
                _, line = why(handle, "sent")
                break
        handle.wait(60)  # the worker was stopped between two of its requests to the queue
    else:
        pytest.fail("the worker never had a request to the queue open when it was stopped")
    assert (
        f"waits for a worker to begin attempt 1 of 5: the message has just left queue {stage.namespace}, since " in line
    )
    assert handle.wait(60).status == "completed"


def test_an_event_that_a_worker_applies(stage, why, tmp_path):
    gate = tmp_path / "gate"
    handle = SWORN.start("1", {"deaths": 1, "way": "wait", "gate": str(gate)})
    stage.start_workers()
    eventually(lambda: handle.get().waiting_steps, what="the vow")
    handle.resume("given")
    reason, line = why(handle, "applying")
    assert "waits for w0@test to apply the event 'given', since " in line
    assert moment(reason["until"]) > moment(reason["since"])
    gate.touch()
    assert handle.wait(60).status == "completed"


def test_a_run_whose_message_and_entry_are_lost(stage, why, redis_url):
    handle = stage.hephaestus.start_instance(Linear, id="1")
    with closing(connect(redis_url, timeout=timedelta(seconds=5), options={})) as server:
        for key in server.scan_iter(f"{stage.namespace}:*lane:*"):
            server.delete(key)
    reason, line = why(handle, "nothing_due")
    assert "waits for nothing: no message of attempt 1 of 5 is known" in line
    assert reason["moved_by"] == "nothing does; doctor says more"


def test_a_copy_that_a_retry_makes(stage, why):
    """Of a large run, by a caller that dies; no worker is there to go on."""
    handle = stage.hephaestus.start_instance(Crowd, id="1")
    handle.cancel()
    stage.switches["HEPHAESTUS_TEST_CUT"] = "copy:1"
    caller = stage.script("import worker_app, flows; flows.Crowd.retry('1')")
    caller.communicate(timeout=60)
    assert caller.returncode == -signal.SIGKILL
    again = stage.hephaestus.get(handle.get().retried_as)
    reason, line = why(again, "copying")
    assert reason["step"] is None
    assert abs(moment(reason["since"]) - again.started_at) < timedelta(milliseconds=1)
    assert line.startswith(f"  the run: waits for its data to be copied from run {handle.run_id}, since ")
    assert (
        "what moves it: the caller that copies it; if that is lost, a scheduler; none is at work: a worker, or " in line
    )
    assert f"retry of run {handle.run_id}" in Shell(stage.app)("show", again.run_id).lines
    assert f"retried as run {again.run_id}" in Shell(stage.app)("show", handle.run_id).lines
    del stage.switches["HEPHAESTUS_TEST_CUT"]
    stage.start_workers(concurrency=4)
    assert stage.hephaestus.wait(again.run_id, 120).status == "completed"


def test_the_pause_of_a_run(stage, why):
    handle = stage.hephaestus.start_instance(Linear, id="1")
    handle.pause(by="ada")
    reason, line = why(handle, "paused")
    assert (reason["step"], reason["until"]) == ("a", None)
    assert abs(moment(reason["since"]) - handle.get().pauses[0].since) < timedelta(milliseconds=1)
    assert line.startswith("  a: waits for the end of the pause of its run (set by ada), since ")
    assert line.endswith("; what moves it: unpause RUN")
    shown = Shell(stage.app)("show", handle.run_id)
    assert shown.lines[0].startswith("linear::1  pending for ")
    assert shown.lines[0].endswith(", paused")
    assert shown.lines[3].startswith("  paused by ada since ")
    assert shown.lines[3].endswith("what ends it: unpause RUN")
    stage.start_workers()
    handle.unpause()
    assert handle.wait(60).status == "completed"


def test_the_pause_of_a_workflow(stage, why):
    stage.hephaestus.pause_workflow(Linear, by="bob")
    handle = stage.hephaestus.start_instance(Linear, id="1")
    reason, line = why(handle, "paused")
    assert reason["moved_by"] == "unpause --whole linear"
    assert line.startswith("  a: waits for the end of the pause of its workflow (set by bob), since ")
    handle.pause()
    reason, line = why(handle, "paused")
    assert reason["moved_by"] == "unpause RUN and unpause --whole linear"
    assert "the end of the pause of its run and of its workflow (set by bob), since " in line
    document = Shell(stage.app)("show", handle.run_id, "--json").document
    assert [(pause["reason"], pause["by"]) for pause in document["pauses"]] == [("run", None), ("workflow", "bob")]
    [row] = Shell(stage.app)("list", "--paused").lines[1:]
    assert re.search(r" pending  \S+  paused; a: (queued|held) ", row)


def test_a_pause_beside_what_is_waited_for_anyway(stage, why, tmp_path):
    stage.start_workers()
    gate = tmp_path / "gate"
    executing = stage.hephaestus.start_instance(Gated, {"gate": str(gate)}, id="1")
    asked = stage.hephaestus.start_instance(Approval, id="1")
    why(executing, "executing")
    why(asked, "event")
    for handle in (executing, asked):
        handle.pause()
    _, line = why(executing, "executing")
    assert "waits for w0@test to end attempt 1 of 5" in line
    _, line = why(asked, "paused")
    assert "the end of the pause of its run, then for the event 'approved' or 'declined', since " in line
    assert line.endswith("what moves it: unpause RUN; an event that comes before is kept")
    gate.touch()
    reason, _ = why(executing, "paused")
    assert reason["step"] == "b"


def test_what_a_pause_has_held_and_nobody_sends(stage, why):
    """The steps of a large run are sent in slices, by a scheduler."""
    stage.hephaestus.pause_workflow(Crowd)
    handle = stage.hephaestus.start_instance(Crowd, id="1")
    stage.hephaestus.unpause_workflow(Crowd)
    reason, _ = why(handle, "no_scheduler")
    assert "its message, which a pause has kept and a scheduler sends now" in reason["waits_for"]
    stage.start_workers(concurrency=4)
    assert stage.outcome(handle).status == "completed"


def test_steps_with_the_same_reason_share_a_line(stage, why):
    handle = stage.hephaestus.start_instance(Crowd, id="1")
    why(handle, "queue_without_consumer")
    shown = Shell(stage.app)("show", handle.run_id)
    told = shown.output.partition("Why it is not moving\n")[2].partition("\n\n")[0].splitlines()
    assert len(told) == 2
    assert re.match(r"  one_0, one_1, one_10 and 97 more: waits for a worker that takes from queue test-", told[0])
    assert told[1] == "  600 more steps: queued"
    assert len(shown.lines) < 220
