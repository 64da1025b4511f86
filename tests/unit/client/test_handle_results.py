"""`handle.result()`, and what an instance says of the result, the deadline and the undoing of its run."""

from __future__ import annotations

import asyncio
import secrets
from datetime import timedelta

import pytest
from defining import A, a_step, define

from hephaestus_celery import Async, Done, Error, Hephaestus, RunFailedError, WaitTimeoutError

SECONDS = 20
ASKS = a_step("AsksForIt", "ok", execute=lambda self, instance, config, context: Async())
REFUSES = a_step("RefusesIt", "ok", execute=lambda self, instance, config, context: Error("sold out", retry=False))
TAKES_BACK = a_step("TakesItBack", "ok", execute=lambda self, instance, config, context: {"back": True})


@pytest.fixture
def runtime():
    with Hephaestus() as runtime:
        yield runtime


def a_flow(step, **attributes):
    transitions = {A: step, step: Done}
    return define(name=f"unit.gives.{secrets.token_hex(6)}", initial_step=A, transitions=transitions, **attributes)


def number(context):
    return {"number": context.initial["number"] + 1}


def test_a_handle_waits_for_the_result_of_its_run(runtime):
    handle = runtime.start_instance(a_flow(ASKS, result=staticmethod(number)), {"number": 4}, id="x1")
    with pytest.raises(WaitTimeoutError, match=r"x1 is .* after 0\.05 s"):
        handle.result(timeout=0.05)
    assert handle.get().result is None
    handle.resume("ok", keep_early=True)
    assert handle.result(timeout=timedelta(seconds=SECONDS)) == {"number": 5}
    assert handle.get().result == {"number": 5}


def test_a_workflow_finds_the_result_by_the_value(runtime):
    flow = a_flow(ASKS, result=staticmethod(number), hephaestus=runtime)
    flow.start("x1", {"number": 4})
    flow.resume("x1", "ok", keep_early=True)
    assert flow.handle("x1").result(SECONDS) == {"number": 5}
    assert (flow.wait("x1", SECONDS).result, flow.get("x1").result) == ({"number": 5}, {"number": 5})


def test_a_workflow_without_one_gives_an_empty_mapping(runtime):
    handle = runtime.start_instance(a_flow(TAKES_BACK), {}, id="x1")
    assert handle.result(SECONDS) == {}


def test_a_run_that_failed_has_no_result_and_says_why(runtime):
    handle = runtime.start_instance(a_flow(REFUSES), {}, id="x1")
    with pytest.raises(
        RunFailedError, match=r"has failed at step refuses_it \(.*sold out\), so it has no result"
    ) as caught:
        handle.result(SECONDS)
    assert caught.value.instance.failed_step is REFUSES
    assert caught.value.failure.message == "sold out"
    assert handle.get().result is None


def test_a_cancelled_run_has_no_result(runtime):
    handle = runtime.start_instance(a_flow(ASKS), {}, id="x1")
    handle.cancel("enough")
    with pytest.raises(RunFailedError, match=r"was cancelled \(enough\), so it has no result") as caught:
        handle.result(SECONDS)
    assert (caught.value.instance.status, caught.value.failure) == ("cancelled", None)


def test_the_twins_on_event_loops_give_the_same(runtime):
    handle = runtime.start_instance(a_flow(TAKES_BACK, result=staticmethod(number)), {"number": 1}, id="x1")
    failed = runtime.start_instance(a_flow(REFUSES), {}, id="x2")

    async def on_a_loop():
        with pytest.raises(RunFailedError, match="sold out"):
            await failed.aio.result(SECONDS)
        return await handle.aio.result(timedelta(seconds=SECONDS))

    assert asyncio.run(on_a_loop()) == {"number": 2}


def test_an_instance_has_the_deadline_of_its_run_and_what_it_undoes(runtime):
    flow = a_flow(REFUSES, compensations={A: TAKES_BACK}, deadline=timedelta(hours=1))
    handle = runtime.start_instance(flow, {}, id="x1")
    instance = handle.wait(SECONDS)
    assert instance.deadline - instance.started_at == timedelta(hours=1)
    assert (instance.compensated, instance.uncompensated, instance.compensating) == ((A,), (), False)
    [listed] = runtime.list()
    assert (listed.deadline, listed.compensating) == (instance.deadline, False)
