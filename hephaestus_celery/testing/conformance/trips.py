"""Runs of a trip whose steps have compensations, and what became of their steps, in a form that tests compare."""

from __future__ import annotations

from hephaestus_celery.storage.schema import EDGES

TRIP = {
    ("a", "ok"): ["b"],
    ("b", "ok"): ["c", "x"],
    ("c", "ok"): ["done"],
    ("x", "ok"): ["done"],
}
UNDO = {"a": "undo_a", "b": "undo_b", "x": "undo_x"}


def trip(stand, edges=TRIP, undo=UNDO, **fields):
    """A run of a workflow with compensations."""
    return stand.start(edges, compensations=undo, schema=EDGES, **fields)


def failing(stand, **fields):
    """A run in which a and b have completed, c fails, and x was not begun."""
    run = trip(stand, **fields)
    run.step("a")
    run.step("b")
    run.claim("c")
    return run


def standing_of(run):
    """The status of each step."""
    return {key: step.status.value for key, step in run.load().steps.items()}


def sent(commitment):
    """The steps whose messages a commit sends."""
    return [dispatch.activation.step for dispatch in commitment.dispatches]
