"""A worker that is stopped the way that supervisors do it."""

from __future__ import annotations

import os
import signal
import time

import flows
import pytest
from stage import Stage, eventually

LEASE = 1.0


@pytest.fixture
def stage(redis_url, namespace, tmp_path):
    stage = Stage(broker=redis_url, state=redis_url, namespace=namespace, folder=tmp_path, lease=LEASE)
    yield stage
    stage.close()
    print(stage.logs()[-3000:])


def test_a_soft_shutdown_by_sigterm_may_outlast_the_lease_of_a_step(stage):
    stage.switches.update(REMAP_SIGTERM="SIGQUIT", HEPHAESTUS_TEST_SOFT_SHUTDOWN="60")
    [worker] = stage.start_workers(1)
    handle = stage.hephaestus.start_instance(flows.Gated, {"gate": str(stage.folder / "gate")}, id="x1")
    eventually(stage.executions, what="the step is being executed")
    stage.start_workers(1)
    os.killpg(worker.process.pid, signal.SIGTERM)  # to its whole group, as systemd does
    eventually(lambda: "Soft Shutdown" in worker.log.read_text(), what="the worker is shutting down")
    overdue = time.monotonic() + 2 * LEASE
    eventually(lambda: time.monotonic() > overdue)
    (stage.folder / "gate").touch()
    assert stage.outcome(handle).status == "completed"
    assert [(entry.step, entry.attempt, entry.outcome) for entry in handle.history()] == [
        ("gate", 1, "completed"),
        ("b", 1, "completed"),
        ("done", 1, "completed"),
    ]
    worker.kill()  # Celery sleeps the whole time, with nothing left to wait for
