"""Several processes over one file of SQLite: of what they all want, each thing is given to one of them."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest
from racing import claim_all, start_all
from sql_storage import SqlStorage

from hephaestus_celery.core.execution.due import Due
from hephaestus_celery.core.values.lifecycle import Status

RUNS = 100
JOIN = {("a", "ok"): ["b", "c"], ("b", "ok"): ["d"], ("c", "ok"): ["d"], ("d", "ok"): ["done"]}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs.sqlite"


@pytest.fixture
def storages(path):
    storages = [SqlStorage(path), SqlStorage(path)]
    yield storages
    for storage in storages:
        storage.close()


@pytest.fixture
def processes():
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def test_each_attempt_is_given_to_one_of_two_processes(path, storages, drive, processes):
    stand = drive(storages[0])
    runs = [stand.start(instance_id=f"order::{number}").id for number in range(RUNS)]
    claims = [processes.submit(claim_all, path, runs, name) for name in ("one", "two")]
    first, second = (claim.result(timeout=60) for claim in claims)
    assert sorted(first + second) == sorted(runs)


def test_of_two_starts_of_one_id_in_two_processes_one_wins(path, storages, drive, processes):
    stand = drive(storages[0])
    starts = [[stand.prepare(instance_id=f"order::{number}").new for number in range(RUNS)] for _ in range(2)]
    assert storages[0].outstanding() == 0  # the tables are there
    won = [start.result(timeout=60) for start in [processes.submit(start_all, path, runs) for runs in starts]]
    assert len(won[0]) + len(won[1]) == RUNS
    started = {run.instance_id for runs, ids in zip(starts, won, strict=True) for run in runs if run.run_id in ids}
    assert len(started) == RUNS


def test_a_join_starts_once_whoever_settles_its_branches(storages, drive):
    run = drive(storages[0]).start(JOIN)
    other = run.twin(storages[1])
    run.step("a")
    run.claim("b")
    other.claim("c")
    assert [list(commitment.activated) for commitment in (run.complete("b"), other.complete("c"))] == [[], ["d"]]
    other.step("d")
    assert run.load().status is Status.COMPLETED


def test_what_comes_due_is_given_to_one_of_two_schedulers(storages, drive):
    one, two = map(drive, storages)
    run = one.start()
    run.wait_at("a", timeout=0)
    assert [entry.kind for stand in (one, two, one) for entry in stand.tick().entries] == [Due.TIMEOUT]


def test_who_waits_in_one_process_sees_what_another_has_done(storages, drive):
    run = drive(storages[0]).start()
    run.twin(storages[1]).cancel()
    assert storages[0].wait_finished(run.id, timeout=10)
