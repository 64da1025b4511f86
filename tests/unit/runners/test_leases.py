"""Leases of what a process executes are renewed for as long as it executes it, and by its own threads."""

from __future__ import annotations

import logging
import multiprocessing
import threading
from datetime import timedelta

import pytest

from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.runners import native_threads as native
from hephaestus_celery.runners.leases import LeaseKeeper
from hephaestus_celery.storage.memory import MemoryStorage
from hephaestus_celery.testing.conformance.driven_values import held

ATTEMPT = held("run1", "a", fence="f1")
OTHER = held("run2", "b", fence="f2")


class Renewing(MemoryStorage):
    """A memory that notes lease renewals, and replies to them as the test says."""

    def __init__(self, *answers):
        super().__init__()
        self.answers, self.renewed, self.changed = list(answers), [], threading.Condition()

    def renew(self, attempts):
        with self.changed:
            self.renewed.append(list(attempts))
            self.changed.notify_all()
        answer = self.answers.pop(0) if self.answers else True
        if isinstance(answer, Exception):
            raise answer
        return [answer] * len(attempts)

    def wait(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.renewed) >= count, 20), self.renewed


@pytest.fixture
def keep():
    """``keep(storage)``: a keeper of very short leases."""
    made = []

    def make(storage, lease=0.003):
        made.append(LeaseKeeper(storage, lease=timedelta(seconds=lease)))
        return made[-1]

    yield make
    for keeper in made:
        keeper.close()
        if keeper._thread is not None:
            keeper._thread.join(20)


def test_a_held_lease_is_renewed_again_and_again(keep):
    storage = Renewing()
    with keep(storage).hold(ATTEMPT):
        storage.wait(3)
    assert storage.renewed[:3] == [[ATTEMPT]] * 3


def test_a_lease_is_renewed_three_times_before_it_runs_out(keep):
    assert keep(Renewing(), lease=30)._interval == 10


def test_a_lease_that_is_let_go_is_renewed_no_more(keep):
    storage = Renewing()
    keeper = keep(storage)
    with keeper.hold(ATTEMPT):
        pass
    with keeper.hold(OTHER):
        before = len(storage.renewed)
        storage.wait(before + 3)
        assert storage.renewed[-1] == [OTHER]


def test_a_lease_is_let_go_when_its_block_fails(keep):
    keeper = keep(Renewing())
    with pytest.raises(ZeroDivisionError), keeper.hold(ATTEMPT):
        raise ZeroDivisionError
    assert keeper._held == {}


def test_all_leases_are_renewed_in_one_call(keep):
    storage = Renewing()
    keeper = keep(storage)
    with keeper.hold(ATTEMPT), keeper.hold(OTHER):
        before = len(storage.renewed)
        storage.wait(before + 3)
    assert storage.renewed[before + 2] == [ATTEMPT, OTHER]


def test_a_lease_that_was_lost_is_not_renewed_any_more(keep):
    storage = Renewing(False)
    keeper = keep(storage)
    with keeper.hold(ATTEMPT):
        storage.wait(1)
        with keeper.hold(OTHER):
            storage.wait(4)
    assert storage.renewed[-1] == [OTHER]


def test_a_store_that_is_away_is_tried_again(keep, caplog):
    caplog.set_level(logging.WARNING, "hephaestus_celery")
    storage = Renewing(StorageError("away"), StorageError("away"))
    with keep(storage).hold(ATTEMPT):
        storage.wait(4)
    assert [record.message for record in caplog.records] == ["leases of 1 step(s) can't be renewed: away"]


@pytest.mark.parametrize("error", [RuntimeError("dictionary changed size"), MemoryError(), KeyError("f")])
def test_no_error_ends_the_thread_that_keeps_leases(keep, caplog, error):
    class Fragile(Renewing):
        """Its connections can't be had at first, and then it fails."""

        def separate(self):
            if not self.renewed:
                self.renewed.append([])
                raise OSError("too many open files")
            return self

    storage = Fragile(error)
    with keep(storage).hold(ATTEMPT):
        storage.wait(4)
    assert storage.renewed[-1] == [ATTEMPT]
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_a_thread_that_is_gone_is_replaced(keep):
    storage = Renewing()
    keeper = keep(storage)
    gone = native.Thread(lambda: None, name="gone")
    gone.start()
    gone.join(20)
    with keeper.hold(ATTEMPT):
        keeper._thread = gone
        with keeper.hold(OTHER):
            storage.wait(len(storage.renewed) + 3)
    assert storage.renewed[-1] == [ATTEMPT, OTHER]


def test_without_a_thread_a_step_is_executed_all_the_same(keep, caplog, monkeypatch):
    def none(self):
        raise RuntimeError("can't start new thread")

    keeper = keep(Renewing())
    with monkeypatch.context() as patch:
        patch.setattr(native.Thread, "start", none)
        keeper.keep(ATTEMPT)
    assert "no thread can be started to renew leases" in caplog.text
    keeper.keep(OTHER)
    keeper._storage.wait(2)
    assert keeper._storage.renewed[-1] == [ATTEMPT, OTHER]


def test_one_thread_keeps_all_leases_of_a_process(keep):
    keeper = keep(Renewing())
    with keeper.hold(ATTEMPT):
        thread = keeper._thread
        with keeper.hold(OTHER):
            assert keeper._thread is thread


def test_without_leases_there_is_no_thread(keep):
    assert keep(Renewing())._thread is None


def test_a_closed_keeper_ends_its_thread(keep):
    keeper = keep(Renewing())
    with keeper.hold(ATTEMPT):
        keeper.close()
        keeper._thread.join(20)
        assert not keeper._thread.is_alive()


def renews_in_this_process(keeper, storage, answer):
    with keeper.hold(OTHER):
        storage.wait(len(storage.renewed) + 2)
    answer.send(storage.renewed[-1] == [OTHER])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_keeps_its_own_leases(keep):
    storage = Renewing()
    keeper = keep(storage)
    fork = multiprocessing.get_context("fork")
    asks, answers = fork.Pipe(duplex=False)
    with keeper.hold(ATTEMPT), storage.changed:
        storage.changed.release()
        try:
            child = fork.Process(target=renews_in_this_process, args=(keeper, storage, answers))
            child.start()
        finally:
            storage.changed.acquire()
    assert asks.poll(20)
    assert asks.recv() is True
    child.join(20)
