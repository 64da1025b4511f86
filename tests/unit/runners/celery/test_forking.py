"""A fork waits until the threads that work beside it hold nothing that a child would wait for, but not for long."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from hephaestus_celery.runners.celery import forking

FORK = """
import os, threading, time
from hephaestus_celery.runners.celery import forking

forking.delay_forks()
forking.delay_forks()
lock, inside, seconds = threading.Lock(), threading.Event(), {seconds}

def work():
    with forking.no_forks(), lock:
        inside.set()
        time.sleep(seconds)

threading.Thread(target=work, daemon=True).start()
inside.wait()
began = time.monotonic()
child = os.fork()
if child == 0:
    os._exit(0 if lock.acquire(timeout=2) else 7)
waited = time.monotonic() - began
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
for _ in range(2):  # whoever works is kept by no fork of before
    with forking.no_forks():
        pass
print(status, waited < forking.MAX_DELAY_SECONDS + 2)
"""


def outcome(seconds):
    code = FORK.format(seconds=seconds)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_waits_for_a_thread_that_is_at_work():
    assert outcome(0.2) == ["0", "True"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_waits_for_no_thread_for_long():
    assert outcome(30) == ["7", "True"]


def test_those_who_work_wait_for_each_other_no_longer_either():
    inside, over = threading.Event(), threading.Event()

    def work():
        with forking.no_forks():
            inside.set()
            over.wait(30)

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait(30)
    began = time.monotonic()
    with forking.no_forks():
        assert time.monotonic() - began < 10
    over.set()
    thread.join()
