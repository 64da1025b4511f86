"""Behaviour 5.1: a workflow class as the facade of the one runtime of the process."""

from __future__ import annotations

import pytest
from defining import define, sound

from hephaestus_celery import ConfigurationError, Done, Hephaestus, InstanceNotFoundError, Unique
from hephaestus_celery.client import calls
from hephaestus_celery.client.runtimes import RuntimeRegistry

RUN_ID = "0190f0f0-0000-7000-8000-000000000001"
CALLS = {
    "start": lambda flow: flow.start("a1"),
    "resume": lambda flow: flow.resume("a1", "go"),
    "get": lambda flow: flow.get("a1"),
    "cancel": lambda flow: flow.cancel("a1"),
    "list": lambda flow: flow.list(),
    "handle": lambda flow: flow.handle("a1"),
    "wait": lambda flow: flow.wait("a1", 10),
    "history": lambda flow: flow.history("a1"),
}


@pytest.fixture(autouse=True)
def runtimes(monkeypatch):
    """A process in which no other test has opened a runtime."""
    registry = RuntimeRegistry()
    monkeypatch.setattr(calls, "RUNTIMES", registry)
    return registry


@pytest.fixture
def flow():
    return define(initial_step=Done)


@pytest.fixture
def nameless():
    """A workflow whose instances have no id that could be known before they are started."""
    return define(initial_step=Done, unique=Unique("orderid", "none"))


@pytest.fixture
def runtime(runtimes):
    with Hephaestus(name="only") as opened:
        runtimes.add(opened)
        yield opened


@pytest.mark.parametrize("call", CALLS)
def test_without_a_runtime_every_call_says_what_to_do(flow, call):
    with pytest.raises(ConfigurationError) as refused:
        CALLS[call](flow)
    assert str(refused.value) == (
        "Flow finds no Hephaestus in this process; create one, Hephaestus(app), in a module that is imported here"
    )


@pytest.mark.parametrize("call", CALLS)
def test_with_several_runtimes_every_call_names_them(flow, runtimes, runtime, call):
    with Hephaestus(name="other") as other:
        runtimes.add(other)
        with pytest.raises(ConfigurationError, match=r"Flow finds several Hephaestus in this process \(only, other\)"):
            CALLS[call](flow)


def test_the_runtime_that_a_workflow_names_is_used_among_several(runtimes, runtime):
    with Hephaestus(name="other") as other:
        runtimes.add(other)
        handle = define(initial_step=Done, hephaestus=other).start("a1")
    assert handle.hephaestus is other


def test_a_closed_runtime_counts_no_more(flow, runtimes, runtime):
    runtimes.discard(runtime)
    with pytest.raises(ConfigurationError, match="finds no Hephaestus"):
        flow.get("a1")


def test_start_makes_an_instance(flow, runtime):
    assert flow.start("a1").wait(timeout=10).status == "completed"


def test_get_finds_an_instance_by_its_value(flow, runtime):
    handle = flow.start("a1")
    assert flow.get("a1").run_id == handle.run_id


def test_get_finds_an_instance_by_its_run_id(flow, runtime):
    handle = flow.start("a1")
    assert flow.get(handle.run_id).id == "orderid::a1"


def test_a_handle_is_that_of_the_newest_run(flow, runtime):
    flow.start("a1").wait(timeout=10)
    started = flow.start("a1")
    assert flow.handle("a1") == started


def test_a_run_is_waited_for_by_its_value(flow, runtime):
    handle = flow.start("a1")
    assert flow.wait("a1", timeout=10).run_id == handle.run_id


def test_a_history_is_read_by_its_value(flow, runtime):
    handle = flow.start("a1")
    handle.wait(timeout=10)
    assert flow.history("a1") == handle.history()


def test_list_lists_the_runs_of_this_workflow_alone(flow, runtime):
    define(**sound(name="shop.other", unique=Unique("other"))).start("b1").wait(timeout=10)
    flow.start("a1").wait(timeout=10)
    assert [instance.id for instance in flow.list()] == ["orderid::a1"]


@pytest.mark.parametrize("call", ["resume", "get", "cancel", "handle", "wait", "history"])
def test_a_call_for_an_unknown_value_names_the_id(flow, runtime, call):
    with pytest.raises(InstanceNotFoundError, match="orderid::a1"):
        CALLS[call](flow)


def test_a_value_that_is_no_value_is_refused(flow, runtime):
    with pytest.raises(ValueError, match=r"1 to 200 printable characters .*, not 'A 1'"):
        flow.get("A 1")


def test_a_value_that_is_no_string_is_refused_by_name(flow, runtime):
    with pytest.raises(ValueError, match=r"must be a string, not 5 \(int\)"):
        flow.get(5)


@pytest.mark.parametrize("call", ["resume", "get", "cancel", "handle", "wait", "history"])
def test_with_scope_none_a_value_names_no_run(nameless, runtime, call):
    with pytest.raises(ConfigurationError, match=rf"^Flow.{call} can't tell which run 'a1' means: its scope is 'none'"):
        CALLS[call](nameless)


def test_with_scope_none_start_and_list_work(nameless, runtime):
    first, second = nameless.start("a1"), nameless.start("a1")
    assert {instance.id for instance in nameless.list()} == {first.id, second.id}


def test_with_scope_none_a_run_id_names_a_run(nameless, runtime):
    handle = nameless.start("a1")
    assert nameless.get(handle.run_id).id == handle.id


def test_a_run_id_that_nobody_knows_is_named(flow, runtime):
    with pytest.raises(InstanceNotFoundError, match=RUN_ID):
        flow.get(RUN_ID)
