"""The runtimes that a process has opened, and which of them a workflow means."""

from __future__ import annotations

import threading

import pytest
from defining import define, sound

from hephaestus_celery import ConfigurationError, Hephaestus
from hephaestus_celery.client.runtimes import RuntimeRegistry


@pytest.fixture
def flow():
    return define(**sound(name="shop.orders", version=2))


def test_the_one_runtime_is_given(flow):
    runtimes = RuntimeRegistry()
    with Hephaestus() as runtime:
        runtimes.add(runtime)
        assert runtimes.sole(flow) is runtime


def test_a_discarded_runtime_is_given_no_more(flow):
    runtimes = RuntimeRegistry()
    with Hephaestus() as runtime:
        runtimes.add(runtime)
        runtimes.discard(runtime)
        with pytest.raises(ConfigurationError, match="finds no Hephaestus"):
            runtimes.sole(flow)


def test_an_entered_runtime_comes_before_that_of_an_application_beside_it(flow):
    with Hephaestus(name="application's") as application, Hephaestus(name="test's") as of_test:
        runtimes = RuntimeRegistry()
        runtimes.add(application)
        runtimes.add(of_test)
        runtimes.enter(of_test)
        assert runtimes.of(flow) is of_test
        runtimes.leave(of_test)
        runtimes.discard(of_test)
        assert runtimes.of(flow) is application


def test_an_entered_runtime_comes_before_the_one_that_a_workflow_names(flow):
    with Hephaestus(name="application's") as application, Hephaestus(name="test's") as of_test:
        named = define(**sound(name="shop.named", hephaestus=application))
        runtimes = RuntimeRegistry()
        assert runtimes.of(named) is application
        runtimes.enter(of_test)
        assert runtimes.of(named) is of_test


def test_of_two_blocks_the_inner_one_counts_and_then_the_outer_one_again(flow):
    runtimes = RuntimeRegistry()
    with Hephaestus() as outer, Hephaestus() as inner:
        runtimes.enter(outer)
        runtimes.enter(inner)
        runtimes.enter(outer)
        assert runtimes.of(flow) is outer
        runtimes.leave(outer)
        assert runtimes.of(flow) is inner
        runtimes.leave(inner)
        assert runtimes.of(flow) is outer


def test_each_thread_finds_the_runtime_of_its_own_block_and_a_thread_without_one_the_last(flow):
    runtimes, found, entered, looked = RuntimeRegistry(), {}, threading.Barrier(3), threading.Barrier(3)

    def look(name, runtime):
        if runtime is not None:
            runtimes.enter(runtime)
        entered.wait(10)
        found[name] = runtimes.of(flow)
        looked.wait(10)

    with Hephaestus() as one, Hephaestus() as other, Hephaestus() as last:
        threads = [threading.Thread(target=look, args=item) for item in (("one", one), ("other", other))]
        for thread in threads:
            thread.start()
        threads.append(threading.Thread(target=look, args=("none", None)))
        threads[-1].start()
        for thread in threads:
            thread.join(10)
        assert found["one"] is one
        assert found["other"] is other
        assert found["none"] in {one, other}
        runtimes.enter(last)
        assert runtimes.of(flow) is last


def test_a_runtime_that_was_closed_in_its_block_is_found_no_more(flow):
    runtimes = RuntimeRegistry()
    with Hephaestus() as application, Hephaestus() as closed:
        runtimes.add(application)
        runtimes.enter(closed)
        runtimes.discard(closed)
        assert runtimes.of(flow) is application
