"""Behaviour 7.4 and 7.6 on Redis: calls about many runs, with a store that goes away, killed callers, and other callers beside."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from hephaestus_celery import Async, Done, Hephaestus, LocalRunner, RedisStorage, Step, StorageError, Unique, Workflow
from hephaestus_celery.storage.starts import NewRun

RUNS = 530
ALL = {"status_in": ["pending", "running", "waiting"]}
KILLED = """
import sys
from hephaestus_celery import Hephaestus, RedisStorage

hephaestus = Hephaestus(storage=RedisStorage(sys.argv[1], namespace=sys.argv[2]))
call, status = getattr(hephaestus, sys.argv[3]), sys.argv[4]
call(status=status, progress=lambda count: (print(count, flush=True), count == 200 and sys.stdin.read()))
"""


class Ask(Step):
    events = ("answered",)

    def execute(self, instance, config, context):
        return Async()


class Question(Workflow):
    unique = Unique("question")
    initial_step = Ask
    transitions = {(Ask, "answered"): Done}


class Idle(LocalRunner):
    """Sends nothing, so that no run begins."""

    def dispatch(self, messages):
        del messages


@pytest.fixture
def storage(private_server, namespace):
    storage = RedisStorage(private_server.url, namespace=namespace, timeout=timedelta(seconds=0.5))
    yield storage
    storage.close()


@pytest.fixture
def hephaestus(storage):
    with Hephaestus(storage=storage, runner=Idle()) as runtime:
        yield runtime


@pytest.fixture
def pending(storage, drive):
    """Runs that nobody takes."""
    stand = drive(storage)
    runs = [stand.prepare(instance_id=f"order::{number}") for number in range(RUNS)]
    storage.create_many([run.new for run in runs])
    return runs


def cancellations(runs):
    """How many runs have how many entries of cancellations in their histories."""
    return Counter(sum('"cancel"' in entry.detail for entry in run.history()) for run in runs)


@pytest.fixture
def freeze(private_server):
    pid = private_server.pid
    yield lambda: os.kill(pid, signal.SIGSTOP), lambda: os.kill(pid, signal.SIGCONT)
    os.kill(pid, signal.SIGCONT)


def test_a_frozen_store_ends_a_call_with_what_was_done_and_a_repeat_goes_on(hephaestus, pending, freeze):
    stop, go_on = freeze
    with pytest.raises(StorageError) as raised:
        hephaestus.cancel_many(**ALL, progress=lambda count: count == 200 and stop())
    assert raised.value.partial == (200, {})
    go_on()
    again = hephaestus.cancel_many(**ALL)
    assert again.refused == {}
    assert RUNS - 300 <= again.done <= RUNS - 200  # the round trip that had no reply may have been made
    assert cancellations(pending) == {1: RUNS}


@pytest.mark.parametrize("call", ["pause_many", "unpause_many", "retry_many"])
def test_a_frozen_store_ends_a_call_that_goes_run_by_run_with_what_was_done(hephaestus, freeze, call):
    stop, go_on = freeze
    Question.start_many((f"q{number}", {}) for number in range(150))
    wanted = {"paused": False}
    if call == "unpause_many":
        hephaestus.pause_many(workflow=Question)
        wanted = {"paused": True}
    if call == "retry_many":
        hephaestus.cancel_many(workflow=Question)
        wanted = {"status": "cancelled"}
    with pytest.raises(StorageError) as raised:
        getattr(hephaestus, call)(**wanted, progress=lambda count: count == 120 and stop())
    assert raised.value.partial == (120, {})
    go_on()
    again = getattr(hephaestus, call)(**wanted)
    assert again.refused == {}
    assert again.done in (29, 30)  # the call that had no reply may have been made
    assert getattr(hephaestus, call)(**wanted) == (0, {})


@pytest.fixture
def kill_after_200(private_server, namespace):
    """Have another process call about many runs of a status, and kill it when it has handled 200."""

    def kill(call, status):
        script = [sys.executable, "-c", KILLED, private_server.url, namespace, call, status]
        with subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as caller:
            while caller.stdout.readline().strip() != "200":
                assert caller.poll() is None
            caller.kill()

    return kill


def test_a_caller_that_is_killed_leaves_the_rest_to_another(hephaestus, pending, kill_after_200):
    kill_after_200("cancel_many", "pending")
    assert hephaestus.count(status="cancelled") == 200
    assert hephaestus.cancel_many(status="pending") == (RUNS - 200, {})
    assert cancellations(pending) == {1: RUNS}


def test_a_caller_that_is_killed_while_it_deletes_leaves_the_rest_to_another(
    hephaestus, storage, pending, kill_after_200
):
    hephaestus.cancel_many(**ALL)
    kill_after_200("delete_many", "cancelled")
    assert hephaestus.count(status="cancelled") == RUNS - 200
    assert hephaestus.delete_many(status="cancelled") == (RUNS - 200, {})
    left = [key for key in storage._client.scan_iter(f"{storage.keys.namespace}:*", count=1000) if b"order::" in key]
    assert left == []
    assert not any(storage._client.exists(storage.keys.of_run(run.id).run) for run in pending)


def test_two_callers_at_once_cancel_each_run_once(hephaestus, pending, private_server, namespace):
    with (
        Hephaestus(storage=RedisStorage(private_server.url, namespace=namespace), runner=Idle()) as other,
        ThreadPoolExecutor(2) as pool,
    ):
        results = list(pool.map(lambda each: each.cancel_many(status_in=["pending"]), (hephaestus, other)))
    assert sum(result.done for result in results) == RUNS
    assert all("has ended already" in reason for result in results for reason in result.refused.values())
    assert cancellations(pending) == {1: RUNS}


def test_runs_that_are_started_meanwhile_are_left_alone(hephaestus, storage, drive, pending):
    started = []

    def start_another(count):
        started.append(drive(storage).start(instance_id=f"order::new{count}"))

    assert hephaestus.cancel_many(**ALL, progress=start_another).done == RUNS
    assert len(started) == 6
    assert hephaestus.count(**ALL) == 6


def test_runs_that_end_meanwhile_are_refused(hephaestus, pending):
    def cancel_one(count):
        if count == 100:
            pending[3].cancel()

    result = hephaestus.cancel_many(**ALL, progress=cancel_one)
    assert result.done == RUNS - 1
    assert hephaestus.delete_many(status="cancelled") == (RUNS, {})
    assert hephaestus.count() == 0


def test_many_starts_that_a_frozen_store_ends_say_what_was_started(hephaestus, freeze):
    stop, go_on = freeze

    def values():
        for number in range(500):
            if number == 300:
                stop()
            yield f"q{number}", {}

    with pytest.raises(StorageError) as raised:
        Question.start_many(values())
    partial = [handle.id for handle in raised.value.partial]
    assert partial == [f"question::q{number}" for number in range(len(partial))]
    assert len(partial) in (200, 300)  # the third hundred was on its way
    go_on()
    handles = Question.start_many(((f"q{number}", {}) for number in range(500)), on_conflict="skip")
    assert handles[: len(partial)] == [None] * len(partial)
    assert hephaestus.count() == 500


def test_a_server_that_has_forgotten_the_scripts_is_told_them_again(hephaestus, storage, pending):
    def forget(count):
        storage._client.script_flush()

    assert hephaestus.cancel_many(**ALL, progress=forget) == (RUNS, {})
    storage._client.script_flush()
    assert len(Question.start_many((f"q{number}", {}) for number in range(150))) == 150


def test_of_several_partitions_all_that_match_are_meant(private_server, namespace):
    storage = RedisStorage(private_server.url, namespace=namespace, partitions=3)
    with Hephaestus(storage=storage, runner=Idle()) as hephaestus:
        Question.start_many((f"q{number}", {}) for number in range(450))
        assert hephaestus.count() == hephaestus.count(workflow=Question, version=1) == 450
        assert hephaestus.cancel_many(workflow=Question) == (450, {})
        assert hephaestus.delete_many(workflow=Question) == (450, {})
        assert hephaestus.count() == 0


def test_a_start_that_the_store_refuses_is_the_only_one_of_many(hephaestus, storage, private_server):
    # Something else has written where the index of one id is to be.
    key = f"{storage.keys.of_instance('question::q7')}index:id:question::q7"
    storage._client.set(key, "not ours")
    with pytest.raises(ExceptionGroup, match="1 of 130 starts were refused") as raised:
        Question.start_many((f"q{number}", {}) for number in range(130))
    [error] = raised.value.exceptions
    assert "WRONGTYPE" in str(error)
    listed = {instance.id for instance in hephaestus.list(workflow=Question, limit=200)}
    assert {f"question::q{number}" for number in range(130)} - {"question::q7"} <= listed
    storage._client.delete(key)


def test_of_any_number_of_starts_a_few_batches_are_held_at_a_time(hephaestus):
    held = []

    def kept():
        return sum(isinstance(thing, NewRun) for thing in gc.get_objects())

    def starts():
        for number in range(1200):
            if number % 100 == 99:
                held.append(kept() - others)
            yield f"q{number}", {"number": number}

    gc.collect()
    others = kept()  # what tests before this one have left
    assert len(hephaestus.start_many(Question, starts())) == 1200
    assert 0 < max(held) <= 200
