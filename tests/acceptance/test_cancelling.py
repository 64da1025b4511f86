"""What becomes of the steps of a run that was cancelled: of those being executed, and of those that nobody has begun with."""

from __future__ import annotations

import os
import signal

import flows
import pytest
from stage import eventually

from hephaestus_celery.runners.celery import remote_control


def gated(stage, name, id):
    """A run that waits at a gate of its own, and the process that executes it."""
    gate = stage.folder / name
    handle = stage.hephaestus.start_instance(flows.Gated, {"gate": str(gate)}, id=id)

    def executed():
        return [record for record in stage.executions() if record["run_id"] == handle.run_id]

    return handle, gate, eventually(executed, what=f"{id} is executed")[0]["pid"]


def of_run(records, handle):
    return [record for record in records if record["run_id"] == handle.run_id]


def test_a_cancelled_step_learns_it_or_is_interrupted_and_no_other_pays_for_it(stage, monkeypatch):
    monkeypatch.setattr(remote_control, "INTERRUPT_SECONDS", 20)  # the first answer ends the wait
    stage.start_workers(1, concurrency=1)
    hephaestus = stage.hephaestus

    # A step that asks learns of it.
    asking = hephaestus.start_instance(flows.Enquires, {"value": 1}, id="asking")
    eventually(lambda: of_run(stage.notes("enquired"), asking), what="it asks")
    report = asking.cancel("changed my mind")
    assert (report.executing, report.interrupted) == ({"enquire"}, frozenset())
    eventually(lambda: of_run(stage.notes("learned"), asking), what="it learns of it")
    assert [of_run(stage.notes(kind), asking)[0]["cancelled"] for kind in ("enquired", "learned")] == [False, True]

    # What nobody has begun with is revoked, and not begun.
    first, _, _ = gated(stage, "never", "first")
    queued = hephaestus.start_instance(flows.Linear, {"value": 1}, id="queued")
    assert queued.cancel() == type(report)()
    # One that does not ask is interrupted, and its process goes on with what is next.
    active = stage.app.control.inspect(limit=1, timeout=5).active
    eventually(lambda: first.run_id in str(active()), what="the worker's main process knows, too, that it is executed")
    report = first.cancel(terminate=True)
    assert (report.executing, report.interrupted) == ({"gate"}, {"gate"})
    assert hephaestus.start_instance(flows.Linear, {"value": 1}, id="next").wait(30).status == "completed"
    eventually(lambda: first.history()[-1].outcome == "discarded", what="the end of what was interrupted")
    assert "Discarding revoked task: linear.a" in stage.logs()
    assert of_run(stage.executions(), queued) == []

    # An interruption that strikes another attempt costs it none: the step runs again.
    struck, gate, process = gated(stage, "struck", "struck")
    os.kill(process, signal.SIGUSR1)
    eventually(lambda: len(of_run(stage.executions(), struck)) == 2, what="it runs again")
    gate.touch()
    assert struck.wait(30).status == "completed"
    assert [(entry.step, entry.attempt, entry.outcome) for entry in struck.history()] == [
        ("gate", 1, "completed"),
        ("b", 1, "completed"),
        ("done", 1, "completed"),
    ]
    assert "was meant for another attempt, and runs again" in stage.logs()
    assert {record["pid"] for record in stage.executions()} == {process}


@pytest.mark.only_on("redis", why="the pool is what matters")
@pytest.mark.parametrize("pool", ["threads", "gevent", "eventlet", "solo"])
def test_where_the_pool_can_not_interrupt_the_call_says_so(stage, pool, caplog):
    stage.start_workers(1, pool=pool, concurrency=4)
    handle, gate, _ = gated(stage, "gate", "x1")
    report = handle.cancel(terminate=True)
    assert (report.executing, report.interrupted) == ({"gate"}, frozenset())
    assert "gate could not be interrupted" in caplog.text
    gate.touch()
    if pool == "solo":
        return  # which has no two steps at once

    # The other steps of a run that fails learn the same, also those on the event loop.
    beside = {"gate": str(stage.folder / "beside"), "value": 1}
    failing = stage.hephaestus.start_instance(flows.FailsBesideEnquiry, beside, id="beside")
    eventually(lambda: of_run(stage.notes("enquired"), failing), what="the other branch asks")
    (stage.folder / "beside").touch()
    assert failing.wait(30).status == "failed"
    eventually(lambda: of_run(stage.notes("learned"), failing), what="it learns of it")
