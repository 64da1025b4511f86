"""What scripts do with large runs that undo what has completed takes the server a few milliseconds."""

from __future__ import annotations

import json

import pytest
from wide_runs import completed_by_hand, fan

from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.core.values.undo import Undo
from hephaestus_celery.storage.schema import EDGES

THOUSANDS = 10_000


def undo_of(branch):
    return Undo(step=branch, compensation=f"undo_{branch}", max_attempts=5)


@pytest.mark.parametrize("left", [1, 5_000])
def test_a_run_of_thousands_of_steps_that_can_be_undone(longest, left):
    def prepare(stand):
        branches = [f"b{number}" for number in range(THOUSANDS)]
        compensations = {branch: f"undo_{branch}" for branch in branches}
        run = fan(stand, THOUSANDS, compensations=compensations, schema=EDGES, lane="0:celery")
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

    def undone(run, storage):
        last = run.branches[-1]
        first = run.fail(last)
        assert first.undoes
        while storage.undo(run.id, durations=run.durations).verdict is Verdict.APPLIED:
            pass
        done = THOUSANDS - left
        for number in range(done - 1, done - 4, -1):
            run.step(f"undo_b{number}")
        assert storage.load(run.id, steps=()).undoing.left == done - 4
        cancelled = run.cancel()
        assert cancelled.run.status is Status.CANCELLED

    assert longest(undone, prepare) == {}
