"""Every way in which a step fails for good: where a transition takes that, the run goes on; else it fails."""

from __future__ import annotations

import json
import secrets

import pytest
from defining import B, define

from hephaestus_celery import (
    FAILED,
    Async,
    Done,
    Error,
    Failure,
    Hephaestus,
    NonRetryableError,
    NotWaitingError,
    Ok,
    RetryPolicy,
    Step,
    StepFailedError,
    route,
)
from hephaestus_celery.core.execution.limits import LOSSES
from hephaestus_celery.core.execution.resolve import RunReference
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.runners.attempt import Executed, Worker
from hephaestus_celery.runners.step_result import Completed
from hephaestus_celery.storage.resume_and_cancel import CancelRequest, Delivery
from tests.support.starting import create

WORKER = Worker(hostname="h", task_id="t")


def raising(error):
    def execute(self, instance, config, context):
        raise error

    return execute


def giving(answer):
    return lambda self, instance, config, context: answer


def a_charge(execute, **attributes):
    return type(
        "Charge", (Step,), {"events": ("ok",), "execute": execute, "retry": RetryPolicy(max_attempts=1), **attributes}
    )


def a_flow(charge, **attributes):
    transitions = {(charge, "ok"): Done, (charge, FAILED): B, (B, "ok"): Done}
    return define(
        **{
            "name": f"taken.{secrets.token_hex(6)}",
            "initial_step": charge,
            "transitions": transitions,
            **attributes,
        }
    )


def a_routed_flow(charge, choose):
    return a_flow(
        charge,
        transitions={(charge, "ok"): Done, (B, "ok"): Done},
        choose=route(charge, FAILED, targets=[B, Done])(choose),
    )


def started(driver, flow):
    run_id, [message] = create(driver, flow, id=f"orderid::{secrets.token_hex(4)}")
    return run_id, message


def claimed(driver, message, attempt=None):
    number = attempt or message.attempt
    return driver.claim(message.workflow, message.run_id, message.activation, number, worker=WORKER)


def executed(driver, attempt):
    outcome = driver.commit(attempt, driver.execute(attempt))
    driver.release(attempt)
    return outcome


def failure_of(driver, run_id, step="charge"):
    return json.loads(driver.storage.load(run_id).results[step])


WAYS = {
    "the last attempt raised": (raising(ValueError("no")), ("error", "ValueError", "no")),
    "it must not be retried": (raising(NonRetryableError("never")), ("error", "NonRetryableError", "never")),
    "an Error": (giving(Error("declined", retry=False)), ("error", "Error", "declined")),
    "no answer": (giving(7), ("error", "TypeError", "step charge")),
    "an event that it does not declare": (giving(Ok("@failed")), ("error", "ValueError", "which it does not declare")),
    "updates that no store takes": (giving(Ok("ok", {"x": object()})), ("error", "DataError", "context.x")),
    "the process is to end": (raising(SystemExit("out")), ("exit", "SystemExit", "out")),
    "something is thrown": (raising(KeyboardInterrupt("stop")), ("throw", "KeyboardInterrupt", "stop")),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_transition_takes_the_failure_of_a_step(make_driver, way):
    execute, (kind, name, message) = WAYS[way]
    attempts = 3 if "retry" in way or way in ("no answer", "an event that it does not declare") else 1
    driver = make_driver()
    charge = a_charge(execute, retry=RetryPolicy(max_attempts=attempts))
    run_id, first = started(driver, a_flow(charge))
    outcome = executed(driver, claimed(driver, first))
    assert [message.step for message in outcome.messages] == ["b"]
    assert (outcome.label, outcome.retry_in, isinstance(outcome.error, Exception)) == ("failed", None, True)
    found = failure_of(driver, run_id)
    assert (found["kind"], found["type"].rpartition(".")[2]) == (kind, name)
    assert message in found["message"]
    assert set(found) == {"kind", "type", "message"}
    [entry] = driver.storage.history(run_id)
    assert (entry.outcome, json.loads(entry.detail)["event"]) == ("failed", FAILED)


def test_what_is_tried_again_is_not_taken_yet(make_driver):
    driver = make_driver()
    run_id, first = started(driver, a_flow(a_charge(raising(ValueError("no")), retry=RetryPolicy(max_attempts=2))))
    outcome = executed(driver, claimed(driver, first))
    assert (outcome.label, outcome.messages) == ("retrying", [])
    assert [entry.outcome for entry in driver.storage.history(run_id)] == ["retrying"]


def test_a_step_that_exceeds_its_time_is_taken(make_driver):
    driver = make_driver()
    clock = driver.clock

    def slow(self, instance, config, context):
        clock.sleep(0.01)
        return Ok("ok")

    run_id, first = started(driver, a_flow(a_charge(slow, time_limit=0.001)))
    executed(driver, claimed(driver, first))
    assert failure_of(driver, run_id)["kind"] == "exit"


def test_a_lost_worker_on_the_last_attempt_is_taken(make_driver):
    driver = make_driver()
    run_id, first = started(driver, a_flow(a_charge(giving(Ok("ok")))))
    attempt = claimed(driver, first)
    outcome = driver.recovery.fail_lost(run_id, first.activation, 1, reason="it was killed", worker=WORKER)
    driver.release(attempt)
    assert [message.step for message in outcome.messages] == ["b"]
    assert failure_of(driver, run_id)["kind"] == "exit"
    assert [json.loads(entry.detail)["kind"] for entry in driver.storage.history(run_id)] == ["rescue", "attempt"]
    late = Executed(result=Completed(event="ok", result=None, metadata=None), duration=0)
    assert driver.commit(attempt, late).messages == []


def test_an_expired_lease_on_the_last_attempt_is_taken_by_the_scheduler(make_driver, schedule):
    driver = make_driver(lease=0.2)
    run_id, first = started(driver, a_flow(a_charge(giving(Ok("ok")))))
    driver.release(claimed(driver, first))
    scheduler = schedule(driver)
    assert [message.step for message in scheduler.wait(1)] == ["b"]
    assert failure_of(driver, run_id)["type"].endswith("AttemptLostError")


def test_a_failed_route_of_a_step_is_taken(make_driver):
    driver = make_driver()
    charge = a_charge(giving(Ok("ok")))

    def broken(context):
        raise KeyError("total")

    flow = a_flow(
        charge,
        transitions={(charge, FAILED): B, (B, "ok"): Done},
        choose=route(charge, "ok", targets=[Done])(broken),
    )
    run_id, first = started(driver, flow)
    outcome = executed(driver, claimed(driver, first))
    assert [message.step for message in outcome.messages] == ["b"]
    assert failure_of(driver, run_id) == {"kind": "error", "type": "KeyError", "message": "'total'"}


def test_a_failed_route_of_an_applied_event_is_taken(make_driver):
    driver = make_driver()
    charge = a_charge(giving(Async()))

    def broken(context):
        raise KeyError("total")

    flow = a_flow(
        charge,
        transitions={(charge, FAILED): B, (B, "ok"): Done},
        choose=route(charge, "ok", targets=[Done])(broken),
    )
    run_id, first = started(driver, flow)
    executed(driver, claimed(driver, first))
    delivered = driver.storage.deliver(
        Delivery(
            operation="d1",
            run=RunReference(id=run_id),
            name="ok",
            data='{"x":1}',
            step=None,
            keep=False,
            durations=driver.durations,
        )
    )
    assert delivered.outcome == "accepted"
    outcome = executed(driver, claimed(driver, first))
    assert [message.step for message in outcome.messages] == ["b"]
    assert failure_of(driver, run_id)["type"] == "KeyError"
    assert json.loads(driver.storage.history(run_id)[-1].detail)["kind"] == "attempt"


def test_a_route_is_given_the_failure_that_it_is_to_take(make_driver):
    seen = []

    def choose(context):
        seen.append(context.failure("charge"))
        with pytest.raises(StepFailedError):
            context.result("charge")
        return B

    driver = make_driver()
    run_id, first = started(driver, a_routed_flow(a_charge(raising(ValueError("no"))), choose))
    outcome = executed(driver, claimed(driver, first))
    assert [message.step for message in outcome.messages] == ["b"]
    assert seen == [Failure(kind="error", type="ValueError", message="no")]
    assert driver.storage.load(run_id).steps["charge"].targets == ("b",)


@pytest.mark.parametrize("answer", ["raises", "another"])
def test_a_failed_route_of_a_failure_fails_the_run(make_driver, answer):
    def choose(context):
        if answer == "raises":
            raise LookupError("no way")
        return Step

    driver = make_driver()
    run_id, first = started(driver, a_routed_flow(a_charge(raising(ValueError("no"))), choose))
    outcome = executed(driver, claimed(driver, first))
    run = driver.storage.load(run_id)
    assert (run.status, run.failed_step, outcome.messages) == ("failed", "charge", [])
    reason = json.loads(driver.storage.history(run_id)[-1].detail)["reason"]
    assert reason.endswith("(after the step's own failure: ValueError: no)")


def test_a_failure_whose_target_has_a_config_that_is_too_large_fails_the_run(make_driver):
    driver = make_driver()
    charge = a_charge(raising(ValueError("no")))
    large = {"text": "x" * (driver.settings.max_payload + 1)}
    run_id, first = started(
        driver, a_flow(charge, transitions={(charge, "ok"): Done, (charge, FAILED): (B, large), (B, "ok"): Done})
    )
    executed(driver, claimed(driver, first))
    run = driver.storage.load(run_id)
    assert (run.status, json.loads(run.failure)["type"].rpartition(".")[2]) == ("failed", "DataError")


def test_a_route_is_asked_where_steps_are_executed_also_when_the_worker_is_lost(make_driver, schedule):
    asked = []

    def choose(context):
        asked.append(context.failure("charge"))
        return B

    ran = []

    def execute(self, instance, config, context):
        ran.append(1)
        return Ok("ok")

    driver = make_driver()
    run_id, first = started(driver, a_routed_flow(a_charge(execute), choose))
    driver.release(claimed(driver, first))
    driver.recovery.fail_lost(run_id, first.activation, 1, reason="it was killed", worker=WORKER)
    assert (asked, ran) == ([], [])
    [message] = schedule(driver).wait(1)
    assert (message.step, message.attempt) == ("charge", 2)
    outcome = executed(driver, claimed(driver, message))
    assert [message.step for message in outcome.messages] == ["b"]
    assert (len(asked), ran) == (1, [])
    assert asked[0].kind == "exit"
    assert "its last attempt, 1, was lost" in asked[0].message


def test_a_route_that_ends_each_process_ends_the_run(make_driver):
    driver = make_driver()
    run_id, first = started(driver, a_routed_flow(a_charge(giving(Ok("ok"))), lambda context: B))
    for number in range(1, LOSSES + 2):
        state = driver.storage.load(run_id).steps["charge"]
        assert state.attempt == number
        while state.backing_off:
            driver.storage.tick(0, owner="o", worker="w", seize=True, durations=driver.durations)
            state = driver.storage.load(run_id).steps["charge"]
        driver.release(claimed(driver, first, number))
        driver.recovery.fail_lost(run_id, Activation("charge"), number, reason="it was killed", worker=WORKER)
    assert driver.storage.load(run_id).status == "failed"


def test_a_process_that_does_not_know_the_workflow_leaves_the_failure_to_one_that_does(make_driver, monkeypatch):
    driver = make_driver()
    run_id, first = started(driver, a_flow(a_charge(giving(Ok("ok")))))
    driver.release(claimed(driver, first))
    with monkeypatch.context() as patched:
        patched.setattr("hephaestus_celery.runners.recovery.find_definition", lambda instance: None)
        driver.recovery.fail_lost(run_id, first.activation, 1, reason="it was killed", worker=WORKER)
    assert driver.storage.load(run_id).status == "running"
    driver.storage.tick(0, owner="o", worker="w", seize=True, durations=driver.durations)
    outcome = executed(driver, claimed(driver, first, 2))
    assert [message.step for message in outcome.messages] == ["b"]


def test_the_same_fails_a_run_whose_workflow_takes_no_failures(make_driver, monkeypatch):
    driver = make_driver()
    charge = a_charge(giving(Ok("ok")))
    run_id, first = started(driver, a_flow(charge, transitions={(charge, "ok"): Done}))
    driver.release(claimed(driver, first))
    monkeypatch.setattr("hephaestus_celery.runners.recovery.find_definition", lambda instance: None)
    driver.recovery.fail_lost(run_id, first.activation, 1, reason="it was killed", worker=WORKER)
    assert driver.storage.load(run_id).status == "failed"


def test_a_run_that_was_cancelled_meanwhile_discards_the_failure(make_driver):
    driver = make_driver()
    run_id, first = started(driver, a_flow(a_charge(raising(ValueError("no")))))
    attempt = claimed(driver, first)
    driver.storage.cancel(
        CancelRequest(run_id=run_id, operation="c", entry='{"kind":"cancel"}', durations=driver.durations)
    )
    outcome = executed(driver, attempt)
    assert outcome.messages == []
    assert [entry.outcome for entry in driver.storage.history(run_id)][-1] == "discarded"


def test_a_result_that_looks_like_a_failure_is_none(make_driver):
    charge = a_charge(giving(Ok("ok", {"kind": "error", "type": "@failed", "message": "no"})))
    with Hephaestus() as hephaestus:
        instance = hephaestus.start_instance(a_flow(charge), {}, id="a1").wait(10)
        assert instance.context.result("charge")["type"] == "@failed"
        assert instance.context.failure("charge") is None


def test_no_resume_brings_a_name_of_the_engine():
    charge = a_charge(giving(Async()))
    with Hephaestus() as hephaestus:
        handle = hephaestus.start_instance(a_flow(charge), {}, id="a1")
        for keep in (False, True):
            with pytest.raises(NotWaitingError, match="names that begin with @ are the engine's"):
                handle.resume(FAILED, {}, keep_early=keep)
        handle.cancel()
