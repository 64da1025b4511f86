"""What listings and documents say of runs that undo what has completed."""

from __future__ import annotations

import secrets

import pytest
from defining import A, B, a_step, define
from stage import eventually

from hephaestus_celery import Async, Done, Error, Hephaestus, NotCancellableError, RetryPolicy
from hephaestus_celery.cli.instance_documents import brief_document, whole_document
from hephaestus_celery.reports.whereabouts import whereabouts
from hephaestus_celery.reports.workflows import undone_by

BREAKS = a_step(
    "Breaks", "ok", execute=lambda self, instance, config, context: Error("no"), retry=RetryPolicy(max_attempts=1)
)
UNDO_B = a_step("UndoB", "ok", execute=lambda self, instance, config, context: {})
UNDO_A = a_step("UndoA", "ok", execute=lambda self, instance, config, context: Async())


@pytest.fixture
def runtime():
    with Hephaestus() as runtime:
        yield runtime


@pytest.fixture
def handle(runtime):
    """A run that has undone B, and waits in what undoes A."""
    flow = define(
        name=f"undoes.{secrets.token_hex(6)}",
        initial_step=A,
        transitions={A: B, B: BREAKS, BREAKS: Done},
        compensations={A: UNDO_A, B: UNDO_B},
    )
    handle = runtime.start_instance(flow, {}, id="x1")
    eventually(lambda: handle.get().waiting_steps, what="it waits in the last compensation")
    return handle


def test_a_listing_says_what_a_run_is_undoing(handle):
    instance = handle.get()
    assert whereabouts(instance, {}, now=instance.started_at).startswith("undo_a (undoes a): waiting for ok, for ")


def test_documents_say_that_a_run_undoes(runtime, handle):
    [listed] = runtime.list()
    assert brief_document(listed, {})["compensating"] is True
    handle.resume("ok")
    handle.wait(20)
    [listed] = runtime.list()
    assert brief_document(listed, {})["compensating"] is False


def test_documents_have_the_same_steps_as_the_instance(handle):
    handle.resume("ok")
    instance = handle.wait(20)
    document = whole_document(instance, {})
    for name in ("active_steps", "waiting_steps", "completed_steps", "skipped_steps"):
        assert document[name] == sorted(step.key for step in getattr(instance, name)), name
    assert document["completed_steps"] == ["a", "b"]
    assert (document["compensated"], document["uncompensated"]) == (["b", "a"], [])
    assert document["steps"]["undo_b"]["status"] == "completed"


def test_a_second_cancel_that_is_to_undo_says_what_ends_the_run_at_once(handle):
    with pytest.raises(NotCancellableError, match=r"is undoing already .* to end it at once, cancel it without compen"):
        handle.cancel(compensate=True)
    handle.cancel()
    assert handle.get().status == "cancelled"


def test_the_compensations_of_a_graph_are_named_by_their_keys(handle):
    assert undone_by(handle.get().workflow.graph) == {"a": "undo_a", "b": "undo_b"}
