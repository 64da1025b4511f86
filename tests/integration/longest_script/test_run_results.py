"""What scripts do with wide runs whose result is asked for takes the server a few milliseconds."""

from __future__ import annotations

import json

import pytest
from wide_runs import completed_by_hand, drained, fan

from hephaestus_celery.core.execution.state import AtDone, Verdict
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.core.values.names import DONE
from hephaestus_celery.storage.instances import decode_instance
from hephaestus_celery.storage.queries import DataKind
from hephaestus_celery.storage.schema import EDGES

WIDTHS = [700, 10_000]
ONE_TAKEN = 65_537
"""What an edge that was taken adds to the count of a join."""
RESULT = json.dumps({"text": "x" * 100_000})


def given(run, storage, step):
    """Complete the run by this step, with the result that the commit asks for."""
    wanted = run.complete(step, at_done=AtDone.ASKS)
    assert wanted.verdict is Verdict.WANTED
    context = decode_instance(wanted.run, reader=storage).context
    assert len(context.steps) >= len(run.branches)
    commitment = run.complete(step, outcome=RESULT, expected=wanted.run.applied)
    assert commitment.status_after is Status.COMPLETED
    assert storage.read_data(run.id, DataKind.RESULT, [DONE])[DONE] == RESULT
    drained(storage)


def all_but_the_last(run, target):
    """Let all branches but the last have completed, which lead to this step."""
    completed_by_hand(run, run.branches[:-1], json.dumps("x" * 100))
    came = (len(run.branches) - 1) * ONE_TAKEN
    run.storage._client.hset(run.storage.keys.of_run(run.id).run, mapping={"act": 1, f"p:{target}": came})


@pytest.mark.parametrize("width", WIDTHS)
def test_a_join_of_a_wide_run_asks_for_the_result(longest, width):
    def prepare(stand):
        run = fan(stand, width, schema=EDGES)
        run.step("a")
        all_but_the_last(run, "join")
        run.step(run.branches[-1])
        run.claim("join")
        return run

    assert longest(lambda run, storage: given(run, storage, "join"), prepare) == {}


@pytest.mark.parametrize("width", WIDTHS)
def test_the_last_of_many_branches_asks_for_the_result(longest, width):
    branches = [f"b{number}" for number in range(width)]

    def prepare(stand):
        edges = {("a", "ok"): branches, **{(branch, "ok"): ["done"] for branch in branches}}
        run = stand.start(edges, schema=EDGES)
        run.branches = branches
        run.step("a")
        all_but_the_last(run, "done")
        run.claim(branches[-1])
        return run

    assert longest(lambda run, storage: given(run, storage, branches[-1]), prepare) == {}


@pytest.mark.parametrize("width", WIDTHS)
def test_a_step_that_takes_none_of_many_branches_leads_to_the_result(longest, width):
    """Its edges are settled in slices, and the end is a message of its own."""

    def prepare(stand):
        run = fan(stand, width, schema=EDGES)
        run.claim("a")
        return run

    def end(run, storage):
        asked = run.complete("a", "no", at_done=AtDone.STARTS)
        assert [dispatch.activation.step for dispatch in asked.dispatches] == [DONE]
        run.claim(DONE)
        wanted = run.complete(DONE, "done", at_done=AtDone.ASKS)
        assert wanted.verdict is Verdict.WANTED
        ended = run.complete(DONE, "done", outcome=RESULT, expected=wanted.run.applied)
        assert ended.status_after is Status.COMPLETED
        drained(storage)

    assert longest(end, prepare) == {}
