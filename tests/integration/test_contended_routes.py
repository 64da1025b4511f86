"""Computed routes of a wide fan-out that look at all branches: each is asked a bounded number of times."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from defining import a_step, define

from hephaestus_celery import Done, Hephaestus, LocalRunner, route
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.storage.queries import StoredRun
from hephaestus_celery.storage.snapshot import Snapshot

BRANCHES = 120


@pytest.mark.parametrize("again", [False, True], ids=["a first run", "a later run"])
def test_each_route_of_a_wide_fan_out_is_asked_twice_at_most(redis_storage, namespace, again):
    asked = Counter()
    first, last, *branches = [a_step(f"S{number}", "ok") for number in range(BRANCHES + 2)]

    def choose(step):
        def chosen(context):
            asked[step.key] += 1
            return last if context.steps else Done

        return route(step, "ok", targets=[last, Done])(chosen)

    flow = define(
        name=namespace,
        initial_step=first,
        transitions={(first, "ok"): branches, (last, "ok"): Done},
        **{f"choose_{step.key}": choose(step) for step in branches},
    )
    with Hephaestus(storage=redis_storage, runner=LocalRunner(), name=namespace) as hephaestus:
        for number in range(1 + again):
            asked.clear()
            instance = hephaestus.start_instance(flow, {}, id=str(number)).wait(60)
    assert instance.status == "completed"
    assert len(asked) == BRANCHES
    # The first time on what its claim brought, or was that refused, once more in its turn.
    assert max(asked.values()) <= 2
    assert sum(asked.values()) <= (1.2 if again else 2) * BRANCHES


class Slow:
    """A reader that answers for one run when it is let to, and at once for others."""

    def __init__(self):
        self.asked, self.release = threading.Event(), threading.Event()

    def read_states(self, run_id, steps=None):
        if run_id == "slow":
            self.asked.set()
            assert self.release.wait(30)
        return {"a": StepState(status=StepStatus.COMPLETED, order=1)}


def test_who_reads_of_one_run_keeps_no_other_waiting():
    reader = Slow()
    stored = StoredRun(header="{}", initial="{}", status="running", started_at=0, start=0, sequence=1, lacks_steps=True)

    def states(run_id):
        return Snapshot(stored, run_id=run_id, reader=reader).states

    slow = threading.Thread(target=states, args=["slow"])
    other = threading.Thread(target=states, args=["other"], daemon=True)
    slow.start()
    assert reader.asked.wait(30)
    other.start()
    other.join(10)
    kept = other.is_alive()
    reader.release.set()
    slow.join()
    assert not kept
