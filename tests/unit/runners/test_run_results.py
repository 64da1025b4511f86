"""The result of a run: who computes it, with what, and what becomes of the run where that fails or its process dies."""

from __future__ import annotations

import json
import secrets

import pytest
from defining import A, B, C, a_step, define

from hephaestus_celery import FAILED, Async, Done, Hephaestus, Ok, RetryPolicy, RunFailedError, Step, route
from hephaestus_celery.config import Settings
from hephaestus_celery.core.execution.limits import LOSSES
from hephaestus_celery.core.execution.resolve import RunReference
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.runners.attempt import Worker
from hephaestus_celery.storage.commits import Complete
from hephaestus_celery.storage.memory import MemoryStorage
from hephaestus_celery.storage.resume_and_cancel import Delivery
from hephaestus_celery.testing import EventCapture
from tests.support.starting import create


class Interruption(BaseException):
    """How the pool of a worker of these tests interrupts a step."""


WORKER = Worker(hostname="h", task_id="t", stop_exceptions=(Interruption,))
ONE = {(A, "ok"): Done}


class Computing:
    """A method ``result`` that notes its contexts, and gives or raises what it was told."""

    def __init__(self, *answers):
        self.answers = list(answers) or [{"sum": 7}]
        self.seen = []

    def __call__(self, context):
        self.seen.append(context)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer(context) if callable(answer) else answer


def a_flow(computing, **attributes):
    fields = {"name": f"given.{secrets.token_hex(6)}", "initial_step": A, "transitions": ONE}
    return define(**{**fields, "result": staticmethod(computing), **attributes})


def started(driver, flow, context=None):
    run_id, messages = create(driver, flow, id=f"orderid::{secrets.token_hex(4)}", context=context)
    return run_id, messages


def claimed(driver, message, attempt=None):
    number = attempt or message.attempt
    return driver.claim(message.workflow, message.run_id, message.activation, number, worker=WORKER)


def executed(driver, attempt):
    try:
        return driver.commit(attempt, driver.execute(attempt))
    finally:
        driver.release(attempt)


def result_of(driver, run_id):
    found = driver.storage.load(run_id).results.get("done")
    return None if found is None else json.loads(found)


def test_the_step_whose_commit_reaches_done_computes_the_result_with_its_own_in_the_context(make_driver):
    computing = Computing(lambda context: {"steps": context.steps, "initial": context.initial})
    driver = make_driver()
    step = a_step("Last", "ok")
    step.execute = lambda self, instance, config, context: Ok("ok", {"n": 1})
    flow = a_flow(computing, transitions={(A, "ok"): step, (step, "ok"): Done})
    run_id, [first] = started(driver, flow, {"items": 3})
    [second] = executed(driver, claimed(driver, first)).messages
    assert computing.seen == []
    outcome = executed(driver, claimed(driver, second))
    assert outcome.messages == []
    assert result_of(driver, run_id) == {"steps": {"a": {}, "last": {"n": 1}}, "initial": {"items": 3}}
    assert len(computing.seen) == 1


def test_of_two_branches_the_last_one_computes_it(make_driver):
    computing = Computing()
    driver = make_driver()
    run_id, [one, two] = started(driver, a_flow(computing, initial_step=[A, B], transitions={A: Done, B: Done}))
    executed(driver, claimed(driver, one))
    assert computing.seen == []
    executed(driver, claimed(driver, two))
    assert len(computing.seen) == 1
    assert result_of(driver, run_id) == {"sum": 7}


def test_a_result_is_computed_again_when_another_step_has_completed_meanwhile(make_driver):
    driver = make_driver()
    late = []

    def first(context):
        executed(driver, late[0])
        return {"seen": sorted(context.steps)}

    computing = Computing(first, lambda context: {"seen": sorted(context.steps)})
    flow = a_flow(
        computing,
        initial_step=[A, B],
        transitions={(A, "ok"): C, (B, "ok"): C, (C, "ok"): Done},
        joins={C: 1},
    )
    run_id, [one, two] = started(driver, flow)
    late.append(claimed(driver, two))
    [last] = executed(driver, claimed(driver, one)).messages
    executed(driver, claimed(driver, last))
    assert result_of(driver, run_id) == {"seen": ["a", "b", "c"]}
    assert len(computing.seen) == 2


def test_a_run_that_leaves_others_behind_has_its_result(make_driver):
    driver = make_driver()
    flow = a_flow(
        Computing(lambda context: {"seen": sorted(context.steps)}),
        initial_step=[A, B],
        transitions={(A, "ok"): C, (B, "ok"): C, (C, "ok"): Done},
        joins={C: 1},
    )
    run_id, [one, two] = started(driver, flow)
    late = claimed(driver, two)
    [last] = executed(driver, claimed(driver, one)).messages
    executed(driver, claimed(driver, last))
    assert result_of(driver, run_id) == {"seen": ["a", "c"]}
    executed(driver, late)
    assert [entry.outcome for entry in driver.storage.history(run_id)][-1] == "discarded"
    assert result_of(driver, run_id) == {"seen": ["a", "c"]}


REFUSED = {
    "it raises": (ValueError("no"), "error", "ValueError", "no"),
    "the process is to end": (SystemExit("out"), "exit", "SystemExit", "out"),
    "something is thrown": (KeyboardInterrupt("stop"), "throw", "KeyboardInterrupt", "stop"),
    "nothing": (lambda context: None, "error", "TypeError", "it must return a mapping"),
    "a list": (lambda context: [1], "error", "TypeError", "it must return a mapping"),
    "what no store takes": (lambda context: {"x": [object()]}, "error", "DataError", "Flow.result.x[0]"),
    "a key that is no text": (lambda context: {1: 2}, "error", "DataError", "Flow.result"),
    "what is too large": (lambda context: {"x": "y" * 2_000_000}, "error", "DataError", "Flow.result"),
    "a step that did not complete": (lambda context: context.result(B), "error", "KeyError", "'b' had not completed"),
}


@pytest.mark.parametrize("way", REFUSED)
def test_a_result_that_can_not_be_had_fails_the_run_at_done_and_is_not_tried_again(make_driver, way):
    answer, kind, name, message = REFUSED[way]
    computing = Computing(answer)
    driver = make_driver()
    flow = a_flow(computing, default_retry=RetryPolicy(max_attempts=5, base=0))
    run_id, [first] = started(driver, flow)
    outcome = executed(driver, claimed(driver, first))
    run = driver.storage.load(run_id)
    failure = json.loads(run.failure)
    assert (run.status, run.failed_step, run.steps["a"].status) == ("failed", "done", "completed")
    assert (failure["kind"], failure["type"].rpartition(".")[2]) == (kind, name)
    assert message in failure["message"]
    assert (outcome.messages, outcome.error, outcome.retry_in) == ([], None, None)
    assert [entry.outcome for entry in driver.storage.history(run_id)] == ["completed", "failed"]
    assert len(computing.seen) == 1


def test_an_empty_result_is_stored_as_nothing(make_driver):
    driver = make_driver()
    run_id, [first] = started(driver, a_flow(Computing({})))
    executed(driver, claimed(driver, first))
    run = driver.storage.load(run_id)
    assert (run.status, run.results) == ("completed", {})


def test_a_step_that_exceeds_its_time_in_the_result_has_failed_itself(make_driver):
    driver = make_driver()

    def slow(context):
        driver.clock.sleep(0.02)
        return {}

    step = a_step("Brief", "ok", time_limit=0.01, retry=RetryPolicy(max_attempts=1))
    run_id, [first] = started(driver, a_flow(Computing(slow), initial_step=step, transitions={step: Done}))
    executed(driver, claimed(driver, first))
    run = driver.storage.load(run_id)
    assert (run.status, run.failed_step, json.loads(run.failure)["kind"]) == ("failed", "brief", "exit")


def test_an_attempt_that_is_interrupted_in_the_result_is_tried_again(make_driver):
    computing = Computing(Interruption(), {"sum": 7})
    driver = make_driver()
    flow = a_flow(computing, default_retry=RetryPolicy(max_attempts=2, base=0, jitter=False))
    run_id, [first] = started(driver, flow)
    assert executed(driver, claimed(driver, first)).label == "retrying"
    while driver.storage.load(run_id).steps["a"].backing_off:
        driver.storage.tick(0, owner="o", worker="w", seize=True, durations=driver.durations)
    executed(driver, claimed(driver, first, 2))
    assert result_of(driver, run_id) == {"sum": 7}


def test_a_route_that_leads_to_done_and_the_result_see_the_same(make_driver):
    computing = Computing(lambda context: {"seen": sorted(context.steps)})
    driver = make_driver()
    flow = a_flow(
        computing,
        transitions={(B, "ok"): Done},
        choose=route(A, "ok", targets=[B, Done])(lambda context: Done if context.steps else B),
    )
    run_id, [first] = started(driver, flow)
    executed(driver, claimed(driver, first))
    assert result_of(driver, run_id) == {"seen": ["a"]}


def test_an_applied_event_that_leads_to_done_computes_the_result_in_its_task(make_driver):
    step = a_step("Asking", "ok")
    step.execute = lambda self, instance, config, context: Async()
    computing = Computing(lambda context: {"by": context.result("asking")["by"]})
    driver = make_driver()
    run_id, [first] = started(driver, a_flow(computing, initial_step=step, transitions={step: Done}))
    executed(driver, claimed(driver, first))
    driver.storage.deliver(
        Delivery(
            operation="d1",
            run=RunReference(id=run_id),
            name="ok",
            data='{"by":"Ada"}',
            step=None,
            keep=False,
            durations=driver.durations,
        )
    )
    assert computing.seen == []
    executed(driver, claimed(driver, first))
    assert result_of(driver, run_id) == {"by": "Ada"}


def lost_flow(computing, **attributes):
    """A flow whose only step completes with its failure, which leads to the end."""
    step = a_step("Fragile", "ok", retry=RetryPolicy(max_attempts=1))
    return a_flow(computing, initial_step=step, transitions={(step, "ok"): Done, (step, FAILED): Done}, **attributes)


def test_after_a_rescue_a_task_of_its_own_computes_the_result(make_driver):
    computing = Computing(lambda context: {"why": context.failure("fragile").kind})
    driver = make_driver()
    run_id, [first] = started(driver, lost_flow(computing))
    driver.release(claimed(driver, first))
    outcome = driver.recovery.fail_lost(run_id, first.activation, 1, reason="it was killed", worker=WORKER)
    assert computing.seen == []
    assert driver.storage.load(run_id).status == "running"
    [message] = outcome.messages
    assert (message.step, message.attempt) == ("done", 1)
    with EventCapture() as capture:
        outcome = executed(driver, claimed(driver, message))
        outcome.emit(driver.emitter)
    assert result_of(driver, run_id) == {"why": "exit"}
    assert [".".join(event.event[1:]) for event in capture.events] == [
        "step.start",
        "step.stop",
        "workflow.transition",
        "workflow.stop",
    ]
    assert capture.events[-1].metadata["sequence"] == driver.storage.load(run_id).sequence


def test_a_failure_in_such_a_task_is_that_of_the_task(make_driver):
    error = ValueError("no")
    driver = make_driver()
    run_id, [first] = started(driver, a_flow(Computing(error), initial_step=Done, transitions={}))
    outcome = executed(driver, claimed(driver, first))
    run = driver.storage.load(run_id)
    assert (run.status, run.failed_step, outcome.error) == ("failed", "done", error)


def test_a_worker_that_is_lost_at_done_is_not_the_end(make_driver):
    computing = Computing()
    driver = make_driver()
    flow = a_flow(computing, initial_step=Done, transitions={}, default_retry=RetryPolicy(max_attempts=1))
    run_id, [message] = started(driver, flow)
    for number in range(1, LOSSES + 2):
        while driver.storage.load(run_id).steps["done"].backing_off:
            driver.storage.tick(0, owner="o", worker="w", seize=True, durations=driver.durations)
        attempt = claimed(driver, message, number)
        if number <= LOSSES:
            driver.release(attempt)
            driver.recovery.fail_lost(run_id, Activation("done"), number, reason="it was killed", worker=WORKER)
    executed(driver, attempt)
    assert result_of(driver, run_id) == {"sum": 7}


def test_a_worker_that_is_killed_between_result_and_commit_leaves_the_step_to_another(make_driver):
    computing = Computing({"by": "lost"}, {"by": "next"})
    driver = make_driver()
    flow = a_flow(computing, default_retry=RetryPolicy(max_attempts=2, base=0, jitter=False))
    run_id, [first] = started(driver, flow)
    attempt = claimed(driver, first)
    commit = driver.storage.commit

    def lost(given):
        if isinstance(given, Complete) and given.outcome is not None:
            raise KeyboardInterrupt
        return commit(given)

    driver.storage.commit = lost
    with pytest.raises(KeyboardInterrupt):
        driver.commit(attempt, driver.execute(attempt))
    driver.storage.commit = commit
    driver.release(attempt)
    driver.recovery.fail_lost(run_id, first.activation, 1, reason="it was killed", worker=WORKER)
    while driver.storage.load(run_id).steps["a"].backing_off:
        driver.storage.tick(0, owner="o", worker="w", seize=True, durations=driver.durations)
    executed(driver, claimed(driver, first, 2))
    assert result_of(driver, run_id) == {"by": "next"}
    assert len(computing.seen) == 2


class LosingReplies(MemoryStorage):
    """Loses the reply of the first commit that has an outcome, before or after it was stored."""

    def __init__(self, *, stored):
        super().__init__()
        self.stored, self.lost = stored, 0

    def commit(self, commit):
        if isinstance(commit, Complete) and commit.outcome is not None and not self.lost:
            self.lost += 1
            if self.stored:
                super().commit(commit)
            raise StorageError("no reply")
        return super().commit(commit)


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("answer", [{"sum": 7}, ValueError("no")], ids=["result", "failure"])
def test_a_commit_whose_reply_was_lost_is_repeated_with_what_was_computed(make_driver, stored, answer):
    computing = Computing(answer)
    driver = make_driver(LosingReplies(stored=stored))
    run_id, [first] = started(driver, a_flow(computing))
    with EventCapture() as capture:
        executed(driver, claimed(driver, first)).emit(driver.emitter)
    assert (driver.storage.lost, len(computing.seen)) == (1, 1)
    run = driver.storage.load(run_id)
    if isinstance(answer, dict):
        assert (run.status, result_of(driver, run_id)) == ("completed", answer)
    else:
        assert (run.status, run.failed_step) == ("failed", "done")
        assert capture.events[-1].metadata["reason"] is answer
    assert capture.events[-1].metadata["sequence"] == run.sequence


def test_results_that_are_never_committed_are_not_kept_for_ever(make_driver):
    driver = make_driver()
    kept = driver._completion._computed
    for number in range(5000):
        kept[f"fence{number}"] = (None, None, None)
    run_id, [first] = started(driver, a_flow(Computing()))
    executed(driver, claimed(driver, first))
    assert len(kept) < 1000
    assert result_of(driver, run_id) == {"sum": 7}


def test_a_fork_and_a_retry_compute_anew():
    computing = Computing({"n": 1}, {"n": 2}, {"n": 3})
    flow = a_flow(computing)
    with Hephaestus() as hephaestus:
        handle = hephaestus.start_instance(flow, {}, id="a1")
        assert handle.result(20) == {"n": 1}
        forked = hephaestus.fork(handle.run_id, A, value="a2")
        assert forked.result(20) == {"n": 2}
        assert hephaestus.fork(handle.run_id, Done, value="a3").result(20) == {"n": 3}
        assert handle.result() == {"n": 1}


def test_a_cancelled_run_has_no_result():
    step = a_step("Waiting", "ok")
    step.execute = lambda self, instance, config, context: Async()
    with Hephaestus() as hephaestus:
        handle = hephaestus.start_instance(
            a_flow(Computing(), initial_step=step, transitions={step: Done}), {}, id="a1"
        )
        handle.cancel("enough")
        with pytest.raises(RunFailedError, match=r"was cancelled \(enough\), so it has no result") as refused:
            handle.result(20)
        assert (refused.value.failure, refused.value.instance.cancel_reason) == (None, "enough")
        assert handle.get().result is None


def test_a_result_that_is_as_large_as_one_may_be_is_read_where_it_is_asked_for():
    flow = a_flow(Computing({"text": "x" * 1_000_000}))
    with Hephaestus(settings=Settings()) as hephaestus:
        handle = hephaestus.start_instance(flow, {}, id="a1")
        assert len(handle.result(20)["text"]) == 1_000_000
        [listed] = hephaestus.list()
        assert listed.is_far("result")
        assert len(listed.result["text"]) == 1_000_000


def test_a_step_may_not_change_the_result_of_a_run():
    with Hephaestus() as hephaestus:
        handle = hephaestus.start_instance(a_flow(Computing({"a": {"b": 1}})), {}, id="a1")
        handle.result(20)["a"]["b"] = 2
        assert handle.result(20) == {"a": {"b": 1}}


def test_workflows_without_a_result_commit_as_ever(make_driver):
    driver = make_driver()
    commits = []
    commit = driver.storage.commit
    driver.storage.commit = lambda given: commits.append(given) or commit(given)
    flow = define(name=f"given.{secrets.token_hex(6)}", initial_step=A, transitions=ONE)
    run_id, [first] = started(driver, flow)
    executed(driver, claimed(driver, first))
    [only] = commits
    assert (only.at_done, only.outcome, only.expected) == ("completes", None, None)
    assert json.loads(driver.storage.load(run_id).header)["schema"] == 1


def test_older_code_leaves_a_run_with_a_result_alone(make_driver):
    driver = make_driver()
    run_id, _ = started(driver, a_flow(Computing()))
    assert json.loads(driver.storage.load(run_id).header)["schema"] == 3


def test_typed_data_is_there_in_the_result():
    pytest.importorskip("pydantic")
    from pydantic import BaseModel

    from hephaestus_celery import Unique, Workflow

    class Order(BaseModel):
        items: int

    class Priced(Step[Order]):
        def execute(self, instance, config, context):
            return Order(items=context.input.items * 2)

    class TypedResult(Workflow[Order]):
        unique = Unique("typedresult")
        initial_step = Priced
        transitions = {Priced: Done}

        @staticmethod
        def result(context):
            return {"sum": context.input.items + context.result(Priced).items}

    with Hephaestus() as hephaestus:
        assert hephaestus.start_instance(TypedResult, Order(items=2), id="a1").result(20) == {"sum": 6}


def test_a_result_that_can_not_be_had_undoes_what_has_completed():
    refund = a_step("Refund", "ok")
    flow = a_flow(Computing(ValueError("no")), compensations={A: refund})
    with EventCapture() as capture, Hephaestus() as hephaestus:
        handle = hephaestus.start_instance(flow, {}, id="a1")
        instance = handle.wait(20)
        told = [event for event in capture.events if "run_id" in event.metadata]
        names = [".".join(event.event[1:]) for event in told]
        numbers = [event.metadata["sequence"] for event in told]
        assert numbers == list(range(1, len(numbers) + 1))
    assert (instance.status, instance.failed_step, instance.failure.message) == ("failed", Done, "no")
    assert [step.key for step in instance.compensated] == ["a"]
    begin = names.index("workflow.compensate")
    assert names[begin - 3 : begin] == ["engine.advance", "step.start", "step.exception"]
    assert names[-1] == "workflow.exception"
