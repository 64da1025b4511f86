"""An interruption that strikes a task beside the body of its step: between claim and body, between body and commit."""

from __future__ import annotations

import signal
import sys
from itertools import count

import pytest
from billiard.pool import soft_timeout_sighandler
from celery import Celery
from defining import define

from hephaestus_celery import Done, Hephaestus, Ok, RetryPolicy, Step
from hephaestus_celery.runners import after_commit, completion, driver, execution
from hephaestus_celery.runners.celery.task import StepTask

executed = []


class Noted(Step):
    """Notes that it was executed."""

    events = ("ok",)
    retry = RetryPolicy(max_attempts=2, base=0.0)

    def execute(self, instance, config, context):
        executed.append(instance.run_id)
        return Ok("ok", {"value": 1})


@pytest.fixture
def app(redis_url, namespace):
    app = Celery("struck", broker=redis_url, set_as_current=False)
    app.conf.update(hephaestus_state_backend=redis_url, hephaestus_namespace=namespace, task_default_queue=namespace)
    yield app
    app.close()


@pytest.fixture
def pool_process(monkeypatch):
    """What a process of a pool does with the signal; a stray one is not waited for."""
    before = signal.signal(signal.SIGUSR1, soft_timeout_sighandler)
    monkeypatch.setattr(execution, "NOTICE_SECONDS", 0.0)
    yield
    signal.signal(signal.SIGUSR1, before)


class Striker:
    """Raises the signal before the line of this number that is executed of what :meth:`StepTask.run` calls."""

    WHERE = (
        StepTask.run.__code__.co_filename,
        *(module.__file__ for module in (driver, execution, completion, after_commit)),
    )

    def __init__(self, number):
        self.left = number

    def trace(self, frame, event, argument):
        before = frame.f_back
        inside = before.f_code is StepTask.run.__code__ or before.f_trace is not None
        return self.line if inside and frame.f_code.co_filename in self.WHERE else None

    def line(self, frame, event, argument):
        if event == "line":
            self.left -= 1
            if self.left == 0:
                signal.raise_signal(signal.SIGUSR1)
        return self.line


def run_task(app, handle, striker, **fields):
    """What a process of a pool does with the message of the first step, struck meanwhile."""
    task = app.tasks[f"{handle.get().workflow_name}.noted"]
    args = [handle.run_id, "noted", 1, 1]
    task_id = f"{handle.run_id}:noted:1.1"
    request = {"id": task_id, "args": args, "kwargs": {}, "hostname": "w1@test", "delivery_info": {}, "is_eager": False}
    request |= fields
    sys.settrace(striker.trace)
    try:
        return task.__trace__(task_id, args, {}, request)
    finally:
        sys.settrace(None)


@pytest.mark.usefixtures("pool_process")
def test_wherever_an_interruption_strikes_that_was_not_meant_no_attempt_is_lost(app, namespace):
    flow = define(name=namespace, initial_step=Noted, transitions={(Noted, "ok"): Done})
    with Hephaestus(app, name=namespace) as hephaestus:
        app.finalize()
        for number in count(1):
            handle = hephaestus.start_instance(flow, {}, id=str(number))
            striker = Striker(number)
            run_task(app, handle, striker)
            instance, history = handle.get(), handle.history()
            ended = [(entry.step, entry.attempt, entry.outcome) for entry in history]
            assert (instance.status, ended) == (
                "completed",
                [("noted", 1, "completed"), ("done", 1, "completed")],
            ), f"struck before line {number}"
            assert handle.run_id in executed
            if striker.left > 0:
                break
    assert number > 100


@pytest.mark.usefixtures("pool_process")
def test_a_time_limit_that_strikes_beside_the_body_is_one_or_comes_too_late(app, namespace):
    flow = define(name=namespace, initial_step=Noted, transitions={(Noted, "ok"): Done})
    outcomes = set()
    with Hephaestus(app, name=namespace) as hephaestus:
        app.finalize()
        for number in range(1, 200, 3):
            handle = hephaestus.start_instance(flow, {}, id=str(number))
            run_task(app, handle, Striker(number), timelimit=(None, 1e-9))
            first = handle.history()[0]
            assert first.attempt == 1
            assert first.outcome == "completed" or "SoftTimeLimitExceeded" in first.reason, (
                f"struck before line {number}"
            )
            outcomes.add(first.outcome)
    assert outcomes == {"completed", "retrying"}
