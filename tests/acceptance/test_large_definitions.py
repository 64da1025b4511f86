"""A worker with ten thousand steps: each a task of its own, in little memory."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

MEGABYTE = 1024  # kilobytes
RUN = """
from large_app import Large, hephaestus
from stage import eventually
handle = hephaestus.start_instance(Large, {}, id="x1")
eventually(lambda: handle.get().waiting_steps, timeout=300, what="it waits")
instance = handle.get()
print(len(instance.completed_steps), "completed; waiting:", instance.current_step.key)
"""


@pytest.fixture
def stage(make_stage):
    return make_stage(application="large_app")


def pool_processes(worker):
    listed = Path(f"/proc/{worker.process.pid}/task/{worker.process.pid}/children").read_text()
    return [int(pid) for pid in listed.split()]


def resident(pid):
    """Kilobytes of a process, those that it shares with others included."""
    return int(re.search(r"^Rss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)[1])


@pytest.mark.only_on("redis", why="what a definition takes is the same with each broker")
def test_a_pool_process_with_ten_thousand_steps_takes_a_hundred_megabytes(stage):
    [worker] = stage.start_workers(1, concurrency=2)
    with stage.script(RUN) as client:
        printed, errors = client.communicate(timeout=400)
    assert printed.split() == ["300", "completed;", "waiting:", "s300"], errors
    assert ". large.s9999" in worker.log.read_text()  # what Celery lists
    sizes = [resident(pid) / MEGABYTE for pid in pool_processes(worker)]
    assert len(sizes) == 2
    assert max(sizes) < 100, sizes
