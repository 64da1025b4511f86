"""Deadlines that come at once, of small runs and of large ones, take the server a few milliseconds a slice."""

from __future__ import annotations

import pytest

from hephaestus_celery.core.execution.due_items import Deadline, encode_member
from hephaestus_celery.storage.schema import EDGES
from hephaestus_celery.testing.conformance.driven_values import DURATIONS

HOUR = 3_600_000_000


def fork(branches):
    return {
        ("a", "ok"): [f"b{branch}" for branch in range(branches)],
        **{(f"b{branch}", "ok"): ["done"] for branch in range(branches)},
    }


def side_by_side(branches):
    return {(f"b{branch}", "ok"): ["done"] for branch in range(branches)}


def forked(stand, number, branches):
    run = stand.start(fork(branches), instance_id=f"order::{number}", tags=("fast", "late"), deadline=HOUR)
    run.step("a")
    return run


def waiting(stand, number, branches):
    """A run of which all steps wait, each for two events or its timeout."""
    run = stand.start(side_by_side(branches), instance_id=f"order::{number}", deadline=HOUR)
    for branch in range(branches):
        run.wait_at(f"b{branch}", accepts={"go": "ok", "on": "ok"}, timeout=HOUR)
    return run


def undoable(stand, number, branches):
    """A run of which all steps have completed but one, and have compensations."""
    compensations = {f"b{branch}": f"undo_{branch}" for branch in range(branches)}
    run = stand.start(
        side_by_side(branches),
        instance_id=f"order::{number}",
        deadline=HOUR,
        compensations=compensations,
        schema=EDGES,
        lane="0:celery",
    )
    for branch in range(branches - 1):
        run.step(f"b{branch}")
    return run


@pytest.mark.parametrize(
    ("count", "begin", "branches"),
    [(200, forked, 5), (10, forked, 450), (10, waiting, 100), (200, undoable, 5), (10, undoable, 120)],
    ids=["200 small", "10 wide", "10 that wait", "200 that undo", "10 wide that undo"],
)
def test_deadlines_that_come_at_once(longest, server, count, begin, branches):
    def prepare(stand):
        return [begin(stand, number, branches) for number in range(count)]

    def come(runs, storage):
        due = storage.keys.of_run(runs[0].id).names[3]
        server.zadd(due, {encode_member(run.id, Deadline()): 1 for run in runs})
        found = []
        more = True
        while more:
            tick = storage.tick(0, owner="me", worker="w", seize=True, durations=DURATIONS)
            found += [entry.kind for entry in tick.entries]
            more = tick.more
        assert found == ["deadline"] * count
        status = "running" if begin is undoable else "failed"
        assert all(run.load().status == status for run in runs)

    assert longest(come, prepare) == {}
