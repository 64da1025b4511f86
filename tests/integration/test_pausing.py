"""Behaviour 7.4 on Redis: a pause over several partitions, with callers that are killed, and a store that goes away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta

import pytest

from hephaestus_celery import Async, Done, Hephaestus, LocalRunner, RedisStorage, Step, StorageError, Unique, Workflow
from hephaestus_celery.storage.claims import Refusal

PARTITIONS = 32
FAMILY = "shop.Order"
FLIPPING = """
import sys
from hephaestus_celery import Hephaestus, RedisStorage

hephaestus = Hephaestus(storage=RedisStorage(sys.argv[1], namespace=sys.argv[2], partitions=int(sys.argv[3])))
while True:
    hephaestus.pause_workflow(sys.argv[4])
    print("paused", flush=True)
    hephaestus.unpause_workflow(sys.argv[4])
    print("went on", flush=True)
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
    timeout = timedelta(seconds=0.5)
    storage = RedisStorage(private_server.url, namespace=namespace, partitions=PARTITIONS, timeout=timeout)
    yield storage
    storage.close()


@pytest.fixture
def hephaestus(storage):
    with Hephaestus(storage=storage, runner=Idle()) as runtime:
        yield runtime


@pytest.fixture
def runs(storage, drive):
    """A run in each of many partitions."""
    stand = drive(storage)
    return [stand.start(instance_id=f"order::{number}") for number in range(3 * PARTITIONS)]


@pytest.fixture
def freeze(private_server):
    pid = private_server.pid
    yield lambda: os.kill(pid, signal.SIGSTOP), lambda: os.kill(pid, signal.SIGCONT)
    os.kill(pid, signal.SIGCONT)


def refused(runs):
    """Which of these runs no worker gets."""
    return [isinstance(run.claim("a", versions=()), Refusal) and bool(run.load().pauses) for run in runs]


@pytest.mark.parametrize("killed_after", range(1, 5))
def test_a_pause_of_a_caller_that_was_killed_on_the_way_is_finished_by_the_next_call(
    hephaestus, runs, private_server, namespace, killed_after
):
    arguments = [private_server.url, namespace, str(PARTITIONS), FAMILY]
    script = [sys.executable, "-c", FLIPPING, *arguments]
    with subprocess.Popen(script, stdout=subprocess.PIPE, text=True) as caller:
        for _ in range(killed_after):
            assert caller.stdout.readline()
        caller.kill()
    if killed_after % 2:
        hephaestus.unpause_workflow(FAMILY)
        assert not any(refused(runs))
    hephaestus.pause_workflow(FAMILY)
    assert all(refused(runs))
    hephaestus.unpause_workflow(FAMILY)
    assert not any(refused(runs))


def test_a_pause_that_a_frozen_store_may_have_taken_is_just_repeated(hephaestus, freeze):
    stop, go_on = freeze
    handle = Question.start("a")
    for call, paused in (("pause", True), ("unpause", False)):
        for change in (getattr(handle, call), getattr(Question, call)):
            stop()
            with pytest.raises(StorageError):
                change()
            go_on()
            change()
            assert not change()
        assert handle.get().paused is paused
    assert [entry.kind for entry in handle.history()] == ["pause", "unpause"]
