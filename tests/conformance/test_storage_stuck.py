"""A run that has nothing left to do without ``Done``: what a graph that was changed under it can lead to."""

from __future__ import annotations

import pytest

from hephaestus_celery.core.engine import Row, Settlement


@pytest.fixture
def stuck(storage, drive):
    """A run whose only step has completed, and whose next waits for a predecessor that never comes."""
    run = drive(storage).start()
    run.claim("a")
    settlement = Settlement(taken=("b",), dead=(), rows={"b": Row(predecessors=2)})
    return run, run.complete("a", settlement=settlement)


def test_it_fails_with_the_failure_that_names_the_last_step(stuck):
    run, _ = stuck
    assert run.load().status == "failed"
    assert run.load().failure == '{"kind":"error","type":"Error","message":"stuck"}'


def test_its_end_is_told_after_the_step(stuck):
    _, commitment = stuck
    assert (commitment.sequence, commitment.status_after) == (4, "failed")
    assert list(commitment.completed) == ["a"]
    assert commitment.finished_at is not None


def test_nothing_of_it_is_due(stuck):
    run, _ = stuck
    assert [member for member in run.due() if not member.endswith("|")] == []


def test_a_run_in_which_another_branch_goes_on_is_not_stuck(storage, drive):
    run = drive(storage).start({("a", "ok"): ["b", "c"], ("b", "ok"): ["done"], ("c", "ok"): ["done"]})
    run.claim("a")
    run.complete("a")
    run.claim("b")
    settlement = Settlement(taken=("done",), dead=(), rows={"done": Row(predecessors=3)})
    run.complete("b", settlement=settlement)
    assert run.load().status == "running"
