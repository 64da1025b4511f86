"""Turns: one after the other, and nobody waits for one that never ends."""

from __future__ import annotations

import os
import threading

from stillness import Stillness

from hephaestus_celery.clock import SYSTEM_CLOCK
from hephaestus_celery.locks import Turns


def test_turns_are_taken_one_after_the_other():
    turns, order = Turns(), []

    def go():
        with turns.turn():
            order.append("begin")
            SYSTEM_CLOCK.sleep(0.002)
            order.append("end")

    threads = [threading.Thread(target=go) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order == ["begin", "end"] * 20


def test_one_that_is_taken_is_seen_and_not_waited_for():
    turns, seen = Turns(), []

    def look():
        with turns.if_free() as free:
            seen.append(free)

    for _ in range(2):
        with turns.turn():
            other = threading.Thread(target=look)
            other.start()
            other.join()
            look()  # a signal handler in the midst of one's own turn
    assert seen == [False, True] * 2


def test_one_that_is_never_given_back_makes_others_wait_in_vain_once():
    turns = Turns(longest_wait=0.05)
    thread = threading.Thread(target=turns._lock().acquire)  # and a signal struck before it could be given back
    thread.start()
    thread.join()
    began = SYSTEM_CLOCK.monotonic_ns()
    with Stillness() as waited:
        for _ in range(20):
            with turns.turn():
                pass
    assert (SYSTEM_CLOCK.monotonic_ns() - began) / 1e9 >= 0.05
    assert waited.seconds < 0.5


def test_a_forked_process_has_turns_of_its_own():
    turns = Turns(longest_wait=60)
    held, release = threading.Event(), threading.Event()

    def hold():
        with turns.turn():
            held.set()
            release.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    pid = os.fork()
    if pid == 0:
        with turns.turn():
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    release.set()
    thread.join()
