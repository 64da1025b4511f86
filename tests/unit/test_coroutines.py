"""Coroutines that are run at once, without an event loop."""

from __future__ import annotations

import asyncio

import pytest

from hephaestus_celery.coroutines import run_now


async def twice(number):
    return 2 * number


def test_a_coroutine_that_never_suspends_is_run_to_its_end():
    async def whole():
        return await twice(await twice(1))

    assert run_now(whole()) == 4


def test_what_it_raises_is_raised():
    async def fails():
        await twice(1)
        raise KeyError("gone")

    with pytest.raises(KeyError, match="gone"):
        run_now(fails())


def test_it_runs_on_the_thread_of_an_event_loop_too():
    async def inside():
        return run_now(twice(2))

    assert asyncio.run(inside()) == 4


def test_one_that_waits_for_an_event_loop_is_ended_with_an_error():
    closed = []

    async def waits():
        try:
            await asyncio.sleep(0)
        finally:
            closed.append(True)

    with pytest.raises(RuntimeError, match="waits for an event loop"):
        run_now(waits())
    assert closed == [True]
