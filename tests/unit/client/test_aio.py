"""Behaviour 7.6: every call is there for event loops too, under the same name, and in memory as in Redis."""

from __future__ import annotations

import asyncio
import inspect
import re
import threading

import pytest

import hephaestus_celery
from hephaestus_celery import Async, Done, HephaestusError, InstanceHandle, Ok, Step, Unique, WaitTimeoutError, Workflow
from hephaestus_celery.client.aio import AioHephaestus
from hephaestus_celery.client.facade import AioWorkflow
from hephaestus_celery.client.handle import AioHandle


class Ask(Step):
    events = ("told",)

    def execute(self, instance, config, context):
        return Async()


class Asking(Workflow):
    unique = Unique("asking")
    initial_step = Ask
    transitions = {(Ask, "told"): Done}


class Hello(Step):
    events = ("said",)

    def execute(self, instance, config, context):
        return Ok("said", {"to": context.initial["name"]})


class Greeting(Workflow):
    unique = Unique("greeting")
    initial_step = Hello
    transitions = {(Hello, "said"): Done}


@pytest.fixture
def hephaestus():
    with hephaestus_celery.Hephaestus() as opened:
        yield opened


PAIRS = {
    "Hephaestus": (
        hephaestus_celery.Hephaestus,
        AioHephaestus,
        {"app", "hooks", "storage", "runner", "settings", "aio"},
    ),
    "Workflow": (
        Workflow,
        AioWorkflow,
        {"aio", "to_mermaid", "to_text", "version_for", "retry_policy", "find_step", "step_names", "targets"},
    ),
    "InstanceHandle": (InstanceHandle, AioHandle, {"aio", "hephaestus"}),
}
"""The calls, their twins, and what is no call."""


def calls_of(kind):
    found = {name: inspect.getattr_static(kind, name) for name in dir(kind) if not name.startswith("_")}
    return {
        name: getattr(value, "__func__", value)
        for name, value in found.items()
        if isinstance(getattr(value, "__func__", value), (property, type(calls_of)))
    }


@pytest.mark.parametrize("pair", PAIRS)
def test_every_call_has_a_twin_of_the_same_name_parameters_and_meaning(pair):
    kind, twin, others = PAIRS[pair]
    calls, twins = calls_of(kind), calls_of(twin)
    assert calls.keys() - others - {"id", "run_id"} == twins.keys() - {"id", "run_id", "aio"} | {"close"} & calls.keys()
    for name in calls.keys() & twins.keys() - {"id", "run_id"}:
        call, other = calls[name], twins[name]
        if isinstance(call, property):
            assert isinstance(other, property), name
            assert inspect.iscoroutinefunction(other.fget), name
            call, other = call.fget, other.fget
        if name == "events":  # it is iterated over, and what it gives is awaited
            assert other.__doc__.startswith(call.__doc__.partition(",")[0])
            continue
        assert inspect.iscoroutinefunction(other), name
        ours, theirs = inspect.signature(call), inspect.signature(other)
        assert list(ours.parameters.values())[1:] == list(theirs.parameters.values())[1:], name
        assert ours.return_annotation == theirs.return_annotation, name
        if name != "close":
            first, second = (re.split("[,.:;]", function.__doc__)[0] for function in (call, other))
            assert first == second, name


def test_a_run_goes_from_its_start_to_its_end(hephaestus):
    async def whole():
        handle = await Greeting.aio.start("a1", {"name": "Ada"})
        assert (await Greeting.aio.handle("a1")) == handle
        ended = await handle.aio.wait(30)
        assert (ended.status, ended.context.steps["hello"]) == ("completed", {"to": "Ada"})
        assert await handle.aio.status == "completed"
        assert await handle.aio.get() == await Greeting.aio.get("a1") == await hephaestus.aio.get("greeting::a1")
        assert [entry.step for entry in await handle.aio.history()] == ["hello", "done"]
        assert [found.id for found in await Greeting.aio.list()] == ["greeting::a1"]
        assert await Greeting.aio.count(status="completed") == await hephaestus.aio.count() == 1
        assert (handle.aio.id, handle.aio.run_id) == (handle.id, handle.run_id)

    asyncio.run(whole())


def test_a_thousand_waits_need_no_thread(hephaestus):
    async def waits():
        handles = [await Asking.aio.start(f"a{number}") for number in range(50)]
        before = threading.active_count()
        waiting = [asyncio.ensure_future(handles[number % 50].aio.wait()) for number in range(1000)]
        await asyncio.sleep(0.05)
        assert threading.active_count() <= before
        await asyncio.gather(*(_tell(handle) for handle in handles))
        assert {ended.status for ended in await asyncio.gather(*waiting)} == {"completed"}

    asyncio.run(waits())


async def _tell(handle):
    await handle.aio.resume("told", keep_early=True)


def test_a_cancelled_wait_ends_at_once_and_the_run_goes_on(hephaestus):
    async def cancelled():
        handle = await Asking.aio.start("a1")
        wait = asyncio.create_task(handle.aio.wait())
        await asyncio.sleep(0.01)
        wait.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wait
        with pytest.raises(WaitTimeoutError, match="asking::a1"):
            await handle.aio.wait(0.01)
        assert len(asyncio.all_tasks()) == 1
        await handle.aio.cancel("enough")

    asyncio.run(cancelled())


def test_a_listed_instance_says_how_to_read_what_it_has_not(hephaestus):
    async def listed():
        handle = await Greeting.aio.start("a1", {"name": "Ada"})
        await handle.aio.wait(30)
        [found] = await Greeting.aio.list()
        assert found.status == "completed"
        with pytest.raises(HephaestusError, match=rf"await hephaestus\.aio\.get\('{handle.run_id}'\)"):
            found.context.initial  # noqa: B018 - touching it is the point

    asyncio.run(listed())


def test_the_block_of_a_runtime_comes_before_other_runtimes():
    async def within():
        async with one.aio as calls:
            assert calls is one.aio
            return (await Greeting.aio.start("a1", {"name": "Ada"})).hephaestus

    with_two = hephaestus_celery.Hephaestus(name="one"), hephaestus_celery.Hephaestus(name="two")
    one, two = with_two
    try:
        assert asyncio.run(within()) is one
        assert asyncio.run(within_again(one)) is one  # it stays open
    finally:
        one.close()
        two.close()


async def within_again(one):
    async with one.aio:
        handle = await Greeting.aio.start("a2", {"name": "Ada"})
        await handle.aio.wait(30)
        return handle.hephaestus


def test_a_hook_at_the_start_sees_the_context_of_its_caller(hephaestus):
    from contextvars import ContextVar

    tenant, seen = ContextVar("tenant", default="nobody"), []
    hephaestus.hooks.on_start(lambda headers: seen.append(tenant.get()))

    async def started(name):
        tenant.set(name)
        await Asking.aio.start(name)

    async def two():
        await asyncio.gather(started("one"), started("two"))

    asyncio.run(two())
    assert sorted(seen) == ["one", "two"]
