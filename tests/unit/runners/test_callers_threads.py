"""A runner without threads: who starts or resumes a run takes it as far as it goes, and who waits takes what comes due."""

from __future__ import annotations

import asyncio
import contextvars
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from celery import Celery
from defining import a_step, define

from hephaestus_celery import (
    Again,
    Async,
    Done,
    Hephaestus,
    LocalRunner,
    RetryPolicy,
    Settings,
    Step,
    Wait,
    WaitTimeoutError,
    telemetry,
)
from hephaestus_celery.clock import SYSTEM_CLOCK

SOON = {"duration": timedelta(milliseconds=60)}
LATE = {"duration": timedelta(days=1)}


def doing(do, *, name="Doing", events=("ok",), **attributes):
    def execute(self, instance, config, context):
        return do(instance) if do.__code__.co_argcount else do()

    return a_step(name, *events, **{"execute": execute, **attributes})


def asking(name="Ask", event="paid"):
    """A step that waits for an event."""
    return a_step(name, event, execute=lambda self, instance, config, context: Async())


def flow_of(*steps, **attributes):
    """Steps one after the other."""
    fields = {
        "name": f"callers.{secrets.token_hex(6)}",
        "initial_step": steps[0],
        "transitions": {
            (step[0] if isinstance(step, tuple) else step): then
            for step, then in zip(steps, [*steps[1:], Done], strict=True)
        },
    }
    return define(**{**fields, **attributes})


def start(hephaestus, flow, context=None, *, id="a1"):
    return hephaestus.start_instance(flow, context or {}, id=id)


@pytest.fixture
def eager():
    app = Celery("eager_callers", set_as_current=False)
    app.conf.task_always_eager = True
    with Hephaestus(app) as hephaestus:
        yield hephaestus
    app.close()


def test_an_eager_application_executes_steps_on_the_thread_that_starts_before_the_call_returns(eager):
    seen = []
    handle = start(eager, flow_of(doing(lambda: seen.append(threading.get_ident()))))
    assert seen == [threading.get_ident()]
    assert handle.get().status == "completed"


def test_it_starts_no_thread(eager):
    before = set(threading.enumerate())
    handle = start(eager, flow_of(doing(lambda: None), (Wait, SOON)))
    handle.wait(20)
    handle.history()
    assert set(threading.enumerate()) <= before


def test_side_by_side_steps_are_executed_in_the_order_of_the_definition(eager):
    seen = []
    steps = [doing(lambda instance, n=n: seen.append(n), name=f"Step{n}") for n in range(4)]
    start(eager, define(initial_step=steps, transitions=dict.fromkeys(steps, Done), name="callers.wide"))
    assert seen == [0, 1, 2, 3]


def test_a_chain_of_a_thousand_steps_is_no_recursion(eager):
    steps = [doing(lambda: None, name=f"Link{number}") for number in range(1000)]
    assert start(eager, flow_of(*steps)).status == "completed"


def test_what_a_step_raises_fails_the_run_and_never_the_call(eager):
    def broken():
        raise SystemExit("out")

    handle = start(eager, flow_of(doing(broken, retry=RetryPolicy(max_attempts=1))))
    assert (handle.status, handle.get().failure.kind) == ("failed", "exit")


def test_backoffs_last_no_time(eager):
    tried = []

    def flaky():
        tried.append(SYSTEM_CLOCK.monotonic_ns())
        if len(tried) < 4:
            raise ValueError("no")

    handle = start(eager, flow_of(doing(flaky, retry=RetryPolicy(max_attempts=4, base=1000))))
    assert (handle.status, len(tried)) == ("completed", 4)


def test_rounds_begin_at_once(eager):
    class Polling(Step):
        def execute(self, instance, config, context):
            return Again(3600, {"seen": context.round}) if context.round < 5 else {"seen": context.state["seen"]}

    assert start(eager, flow_of(Polling)).get().context.steps["polling"] == {"seen": 4}


def test_a_step_that_starts_a_run_finds_it_at_its_end(eager):
    inner = flow_of(doing(lambda: {"n": 7}, name="Inner"))
    seen = []

    def outer():
        handle = start(eager, inner, id="inner")
        seen.append((handle.status, handle.wait(5).context.steps["inner"]))

    assert start(eager, flow_of(doing(outer))).status == "completed"
    assert seen == [("completed", {"n": 7})]


def test_a_step_may_resume_another_of_its_own_run(eager):
    ask = asking()
    pay = doing(lambda instance: eager.resume(instance.run_id, "paid", {"by": "Ada"}), name="Pay")
    flow = define(initial_step=[ask, pay], transitions={ask: Done, pay: Done}, name="callers.own")
    handle = start(eager, flow)
    assert (handle.status, handle.get().context.steps["ask"]) == ("completed", {"by": "Ada"})


def test_a_resume_takes_the_run_further_before_it_returns(eager):
    seen = []
    ask = asking()
    handle = start(eager, flow_of(ask, doing(lambda: seen.append(threading.get_ident()), name="After")))
    assert (handle.status, seen) == ("waiting", [])
    handle.resume("paid", {"by": "Ada"})
    assert (seen, handle.status) == ([threading.get_ident()], "completed")


def test_a_resume_that_came_early_is_applied_when_the_step_waits(eager):
    ask = asking()
    gate = asking("Gate", "open")
    handle = start(eager, flow_of(gate, ask))
    handle.resume("paid", {"by": "Ada"}, keep_early=True)
    handle.resume("open")
    assert handle.status == "completed"


def test_who_waits_takes_what_comes_due_meanwhile(eager):
    seen = []
    handle = start(eager, flow_of((Wait, SOON), doing(lambda: seen.append(threading.get_ident()))))
    assert handle.get().status == "waiting"
    assert handle.wait(20).status == "completed"
    assert seen == [threading.get_ident()]


def test_the_next_call_takes_what_has_come_due(eager):
    one = start(eager, flow_of((Wait, SOON)), id="a1")
    due = one.get().step_states["wait"].waiting_since + 60_000
    while SYSTEM_CLOCK.time_ns() // 1000 < due:
        pass
    assert [instance.status for instance in eager.list()] == ["completed"]


def test_a_wait_ends_with_its_time(eager):
    handle = start(eager, flow_of((Wait, LATE)))
    for timeout in (0, 0.05):
        with pytest.raises(WaitTimeoutError):
            handle.wait(timeout)


def test_another_thread_may_end_what_one_waits_for(eager):
    ask = asking()
    handle = start(eager, flow_of(ask))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(handle.wait, 20)
        handle.resume("paid")
        assert waiting.result(20).status == "completed"


def test_a_step_sees_the_contextvars_of_the_caller_and_changes_none(eager):
    variable = contextvars.ContextVar("variable", default="none")
    seen = []

    def look():
        seen.append(variable.get())
        variable.set("of the step")

    variable.set("of the caller")
    start(eager, flow_of(doing(look)))
    assert (seen, variable.get()) == (["of the caller"], "of the caller")


def test_a_step_sees_what_the_thread_keeps(eager):
    kept = threading.local()
    kept.transaction = "open"
    seen = []
    start(eager, flow_of(doing(lambda: seen.append(getattr(kept, "transaction", None)))))
    assert seen == ["open"]


def test_an_async_step_is_executed_too(eager):
    class Later(Step):
        async def execute(self, instance, config, context):
            await asyncio.sleep(0)
            return {"n": 1}

    assert start(eager, flow_of(Later)).get().context.steps["later"] == {"n": 1}


def test_calls_on_an_event_loop_take_runs_as_far_as_they_go(eager):
    class Later(Step):
        async def execute(self, instance, config, context):
            await asyncio.sleep(0)
            return {"n": 1}

    ask = asking()

    async def main():
        handle = await eager.aio.start_instance(flow_of(Later, ask, (Wait, SOON)), {}, id="a1")
        assert await handle.aio.status == "waiting"
        await handle.aio.resume("paid")
        with pytest.raises(WaitTimeoutError):
            await handle.aio.wait(0)
        return await handle.aio.wait(20)

    assert asyncio.run(main()).status == "completed"


def test_waits_on_an_event_loop_leave_it_free(eager):
    ask = asking()

    async def main():
        handle = await eager.aio.start_instance(flow_of(ask), {}, id="a1")
        wait = asyncio.create_task(handle.aio.wait(20))
        await asyncio.sleep(0)
        await handle.aio.resume("paid")
        return await wait

    assert asyncio.run(main()).status == "completed"


def test_a_handler_may_wait_for_the_run_whose_end_it_is_told(eager):
    seen = []

    def handler(name, measurements, metadata, config):
        seen.append(eager.wait(metadata["run_id"], 5).status)

    telemetry.attach("callers-end", ("hephaestus", "workflow", "stop"), handler)
    try:
        start(eager, flow_of(doing(lambda: None)))
    finally:
        telemetry.detach("callers-end")
    assert seen == ["completed"]


def test_threads_start_runs_side_by_side(eager):
    barrier = threading.Barrier(4, timeout=20)
    flow = flow_of(doing(lambda: {"place": barrier.wait()}))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: start(eager, flow, id=f"a{n}").status, range(4)))
    assert found == ["completed"] * 4


def test_an_attempt_that_outlives_its_lease_is_not_taken_away():
    inner = flow_of(doing(lambda: None, name="Inner"))
    settings = Settings(lease=timedelta(seconds=1))
    with Hephaestus(runner=LocalRunner(threads=False), settings=settings) as hephaestus:
        tried = []

        def long(instance):
            tried.append(1)
            begun = SYSTEM_CLOCK.monotonic_ns()
            while SYSTEM_CLOCK.monotonic_ns() - begun < 1_200_000_000:
                start(hephaestus, inner, id=f"i{secrets.token_hex(4)}")

        handle = start(hephaestus, flow_of(doing(long)))
        assert (handle.status, len(tried)) == ("completed", 1)
        assert [entry.kind for entry in handle.history() if entry.step != "done"] == ["attempt"]


def test_an_error_beside_a_step_is_logged_and_the_call_returns(eager, caplog):
    def refuse(*given, **named):
        raise RuntimeError("no claim today")

    eager.storage.claim = refuse
    handle = start(eager, flow_of(doing(lambda: None)))
    assert "could not be driven" in caplog.text
    del eager.storage.claim
    assert handle.status == "pending"


def test_an_interrupted_thread_is_interrupted(eager):
    def interrupted(*given, **named):
        raise KeyboardInterrupt

    eager.storage.claim = interrupted
    with pytest.raises(KeyboardInterrupt):
        start(eager, flow_of(doing(lambda: None)))
    del eager.storage.claim
    assert not eager.runner.holdings().messages


def test_a_closed_runtime_executes_nothing_more(eager):
    seen = []

    def close():
        eager.close()

    closing = doing(close)
    start(eager, flow_of(closing, doing(lambda: seen.append(1), name="After")))
    assert seen == []


def test_many_starts_are_taken_one_after_the_other(eager):
    flow = flow_of(doing(lambda: None))
    handles = eager.start_many(flow, [(f"a{number}", {}) for number in range(20)])
    assert {handle.status for handle in handles} == {"completed"}


def test_a_run_without_threads_gives_its_result(eager):
    flow = flow_of(doing(lambda: {"n": 1}), result=staticmethod(lambda context: {"sum": context.steps["doing"]["n"]}))
    assert start(eager, flow).result() == {"sum": 1}


def test_a_runtime_without_application_has_threads():
    seen = []
    with Hephaestus() as hephaestus:
        start(hephaestus, flow_of(doing(lambda: seen.append(threading.get_ident())))).wait(20)
    assert seen != [threading.get_ident()]
