"""One event loop for each process, on a thread of its own, whatever the steps on it do."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import pytest
from stillness import Stillness

from hephaestus_celery.exceptions import AttemptLostError
from hephaestus_celery.runners import event_loop as loops

VAR: ContextVar[str] = ContextVar("var", default="unset")


async def running():
    return asyncio.get_running_loop()


def test_all_steps_of_a_process_run_on_one_loop_that_goes_on():
    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(lambda _: loops.run(running(), seconds=20), range(32)))
    assert len(found) == 1
    assert found.pop().is_running()


def test_two_at_once_meet_there():
    async def meet(barrier):
        return await barrier.wait()

    barrier = asyncio.Barrier(2)
    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(lambda _: loops.run(meet(barrier), seconds=20), range(2))) == [0, 1]


def test_context_variables_go_along():
    async def read():
        return VAR.get()

    VAR.set("mine")
    assert loops.run(read(), seconds=20) == "mine"


def test_what_takes_too_long_is_cancelled_and_has_ended_by_then():
    async def dawdle():
        begun.append(threading.get_ident())
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(threading.get_ident())

    begun, ended = [], []
    for seconds in (0.01, 0.1, 1, 10):  # the loop of a busy machine may begin too late
        with pytest.raises(AttemptLostError, match="time limit"):
            loops.run(dawdle(), seconds=seconds)
        assert ended == begun
        if begun:
            break
    assert len(ended) == 1


def test_nobody_waits_for_what_was_cancelled_before_it_began():
    async def dawdle():
        await asyncio.sleep(60)

    def given_up():
        with Stillness() as still, pytest.raises(AttemptLostError, match="time limit"):
            loops.run(dawdle(), seconds=0)
        return still.seconds

    assert loops.run(running(), seconds=20)
    assert min(given_up() for _ in range(5)) < loops._FAREWELL_SECONDS / 2
    gc.collect()  # and none is left that was never awaited, which is a warning


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()])
def test_what_is_raised_there_is_raised_here_and_the_loop_goes_on(error):
    async def fail():
        raise error

    with pytest.raises(type(error)):
        loops.run(fail(), seconds=20)
    assert loops.run(running(), seconds=20).is_running()


def test_a_task_that_is_left_behind_can_not_end_the_loop(caplog):
    async def leave():
        async def die():
            raise SystemExit(3)

        task = asyncio.create_task(die())
        await asyncio.wait([task])
        return task.exception()

    assert isinstance(loops.run(leave(), seconds=20), SystemExit)
    assert "the event loop goes on" in caplog.text


def test_the_waiting_thread_may_run_a_loop_of_its_own():
    assert asyncio.run(running()) is not loops.run(running(), seconds=20)


def loop_of_this_process(answer):
    answer.send(loops.run(asyncio.sleep(0, "child"), seconds=20))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_a_loop_of_its_own():
    mine = loops.run(running(), seconds=20)
    fork = multiprocessing.get_context("fork")
    asks, answers = fork.Pipe(duplex=False)
    child = fork.Process(target=loop_of_this_process, args=(answers,))
    child.start()
    assert asks.poll(20)
    assert asks.recv() == "child"
    child.join(20)
    assert loops.run(running(), seconds=20) is mine
