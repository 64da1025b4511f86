"""What scripts do with large runs that undo what has completed takes the server a few milliseconds."""

from __future__ import annotations

import json

import pytest
from wide_runs import completed_by_hand, fan

from hephaestus_celery.core.execution.due import Due
from hephaestus_celery.core.execution.due_items import Deadline, encode_member
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.core.values.undo import Undo
from hephaestus_celery.storage.schema import EDGES
from hephaestus_celery.testing.conformance.driven_values import DURATIONS

HOUR = 3_600_000_000


def undo_of(branch):
    return Undo(step=branch, compensation=f"undo_{branch}", max_attempts=5)


def undoable(stand, width, left):
    """A run of which all branches but the last ones have completed, and the very last is executed; its deadline is far."""
    branches = [f"b{number}" for number in range(width)]
    compensations = {branch: f"undo_{branch}" for branch in branches}
    run = fan(stand, width, compensations=compensations, schema=EDGES, lane="0:celery", deadline=HOUR)
    run.step("a")
    done = branches[:-left]
    completed_by_hand(run, done, json.dumps("x" * 10))
    key, client = stand.storage.keys.of_run(run.id).run, stand.storage._client
    texts = {f"u:{number}": undo_of(branch).text for number, branch in enumerate(done, 1)}
    for start in range(0, len(done), 1000):
        some = list(texts.items())[start : start + 1000]
        client.hset(key, mapping=dict(some))
    client.hset(key, mapping={"un": len(done), "act": left})
    run.claim(branches[-1])
    return run


def fails(run, storage):
    assert run.fail(run.branches[-1]).undoes


def runs_out(run, storage):
    """Its deadline comes; the step that is executed ends afterwards."""
    due = storage.keys.of_run(run.id).names[3]
    storage._client.zadd(due, {encode_member(run.id, Deadline()): 1})
    [entry] = storage.tick(0, owner="me", worker="w", seize=True, durations=DURATIONS).entries
    assert (entry.kind, entry.expired.undoes) == (Due.DEADLINE, True)
    run.fail(run.branches[-1])


def is_cancelled(run, storage):
    run.cancel(compensate=True)
    run.fail(run.branches[-1])


@pytest.mark.parametrize("why", [fails, runs_out, is_cancelled])
@pytest.mark.parametrize(("width", "left"), [(1_000, 1), (10_000, 1), (10_000, 5_000)])
def test_a_run_of_thousands_of_steps_that_can_be_undone(longest, why, width, left):
    def undone(run, storage):
        why(run, storage)
        while storage.undo(run.id, durations=run.durations).verdict is Verdict.APPLIED:
            pass
        done = width - left
        for number in range(done - 1, done - 4, -1):
            run.step(f"undo_b{number}")
        assert storage.load(run.id, steps=()).undoing.left == done - 4
        cancelled = run.cancel()
        assert cancelled.run.status is Status.CANCELLED

    assert longest(undone, lambda stand: undoable(stand, width, left)) == {}
